//! `stolos fleet`: sets of clusters that are managed together.
//!
//! `hub` is what every command about something of a fleet reads and writes with; `members` follows members that join or
//! leave. What a change comes to is decided by `update::decide`; what is shown is made by `text` and `show`.

use clap::{Args, Subcommand};

use crate::cli::{HubClientArgs, Output};
use crate::exit::Exit;

mod create;
mod delete;
pub(crate) mod hub;
mod list;
pub(crate) mod members;
mod show;
pub(crate) mod text;
mod update;

#[derive(Subcommand)]
pub(crate) enum FleetCommand {
    /// Creates a fleet: without a hub, a grouping for updates; with one, it places workloads too
    #[command(
        after_help = "Examples:\n  stolos fleet create edge\n  stolos fleet create shop --hub -n shops\n\nA hub cannot be removed again, and is added later only by `stolos fleet update --hub --allow-hub-upgrade`."
    )]
    Create(create::CreateArgs),
    /// Lists fleets
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos fleet list\n  stolos fleet list -A\n  stolos fleet list -o name"
    )]
    List(list::ListArgs),
    /// Shows a fleet with its members, update runs and strategies
    #[command(
        after_help = "Examples:\n  stolos fleet show local\n  stolos fleet show local -o wide\n  stolos fleet show local -o yaml"
    )]
    Show(FleetName),
    /// Labels a fleet, names its credentials for Azure, or adds a hub to one without
    #[command(
        after_help = "Examples:\n  stolos fleet update edge --label owner=shops\n  stolos fleet update edge --label owner-\n  stolos fleet update edge --azure-credentials azure\n  stolos fleet update edge --hub --allow-hub-upgrade --wait"
    )]
    Update(update::UpdateArgs),
    /// Deletes a fleet with its update runs and strategies; its members leave it and live on
    #[command(
        after_help = "Examples:\n  stolos fleet delete edge\n  stolos fleet delete edge --with-members --timeout 15m"
    )]
    Delete(delete::DeleteArgs),
}

/// Names a fleet.
#[derive(Args)]
pub(crate) struct FleetName {
    /// Name of the fleet
    #[arg(value_parser = crate::arguments::fleet_name)]
    name: String,
    /// Namespace of the fleet (its resource group)
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    hub: HubClientArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(command: FleetCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        FleetCommand::Create(args) => create::run(args, output).await,
        FleetCommand::List(args) => list::run(args, output).await,
        FleetCommand::Show(args) => show::run(args, output).await,
        FleetCommand::Update(args) => update::run(args, output).await,
        FleetCommand::Delete(args) => delete::run(args, output).await,
    }
}
