//! `stolos placement`, `stolos plan` and `stolos explain`.
//!
//! What would happen and why something has not happened is decided in `stolos-core`, by the functions that the hub's
//! controllers use; here is what is read for them and how the answers look.

use clap::{Args, Subcommand};

use crate::cli::{HubClientArgs, Output};
use crate::exit::Exit;
use crate::service::{self, ServiceArgs};
use crate::update_run;

mod catalogue;
mod explain;
mod history;
mod hub;
mod list;
mod plan;
mod rollback;
mod show;
mod text;
mod watch;

pub(crate) use explain::ExplainArgs;
pub(crate) use plan::PlanArgs;

#[derive(Subcommand)]
pub(crate) enum PlacementCommand {
    /// Lists placements, of both kinds unless a namespace is given
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos placement list\n  stolos placement list -n shop\n  stolos placement list -o wide"
    )]
    List(list::ListArgs),
    /// Shows a placement with its clusters and objects
    #[command(
        after_help = "Examples:\n  stolos placement show shop\n  stolos placement show settings -n shop\n  stolos placement show shop -o yaml"
    )]
    Show(PlacementArgs),
    /// Follows a placement until it is in place everywhere
    #[command(
        after_help = "Examples:\n  stolos placement watch shop\n  stolos placement watch shop --timeout 2m\n\nExit codes: 0 everything is in place, 5 it was not when the time was over"
    )]
    Watch(watch::WatchArgs),
    /// Lists the earlier states of what a placement selects, and where each is
    #[command(
        after_help = "Examples:\n  stolos placement history shop\n  stolos placement history shop -o wide"
    )]
    History(PlacementArgs),
    /// Takes the objects on the hub back to an earlier state; the placement then rolls it out
    #[command(
        after_help = "Examples:\n  stolos placement rollback shop --to 3 --dry-run\n  stolos placement rollback shop --to 3\n\nObjects that came later are listed and left alone."
    )]
    Rollback(rollback::RollbackArgs),
}

#[derive(Subcommand)]
pub(crate) enum PlanCommand {
    /// Shows where a placement would go and what would be written, without writing anything
    #[command(
        after_help = "Examples:\n  stolos plan placement -f shop.yaml\n  stolos plan placement -f shop.yaml -f overrides.yaml\n  stolos plan placement -f shop.yaml -o json | jq .clusters\n  kubectl get crp shop -o yaml | stolos plan placement -f -\n\nThe files may also hold overrides and objects that are not on the hub yet."
    )]
    Placement(PlanArgs),
    /// Shows when a run would update which member, what it would wait for, and when it would end
    #[command(name = "updaterun", visible_alias = "ur", after_help = update_run::plan::EXAMPLES)]
    UpdateRun(update_run::plan::PlanArgs),
}

#[derive(Subcommand)]
pub(crate) enum ExplainCommand {
    /// Tells why a placement is not in place yet, cluster by cluster
    #[command(
        after_help = "Examples:\n  stolos explain placement shop\n  stolos explain placement shop --cluster member-2\n  stolos explain placement settings -n shop"
    )]
    Placement(ExplainArgs),
    /// Tells why connections to a service do not go where they should
    #[command(after_help = "Examples:\n  stolos explain service web -n shop")]
    Service(ServiceArgs),
}

/// Names a placement.
#[derive(Args, Clone)]
pub(crate) struct PlacementArgs {
    /// Name of the placement
    name: String,
    /// Namespace of a ResourcePlacement; without it, a ClusterResourcePlacement is meant
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    hub: HubClientArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(command: PlacementCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        PlacementCommand::List(args) => list::run(args, output).await,
        PlacementCommand::Show(args) => show::run(args, output).await,
        PlacementCommand::Watch(args) => watch::run(args, output).await,
        PlacementCommand::History(args) => history::run(args, output).await,
        PlacementCommand::Rollback(args) => rollback::run(args, output).await,
    }
}

/// Runs `stolos plan`.
pub(crate) async fn plan(command: PlanCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        PlanCommand::Placement(args) => plan::run(args, output).await,
        PlanCommand::UpdateRun(args) => update_run::plan::run(args, output).await,
    }
}

/// Runs `stolos explain`.
pub(crate) async fn explain(command: ExplainCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        ExplainCommand::Placement(args) => explain::run(args, output).await,
        ExplainCommand::Service(args) => service::explain(args, output).await,
    }
}
