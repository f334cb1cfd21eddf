//! `stolos member`: clusters that join and leave fleets, and what the hub knows of them.
//!
//! A member is a FleetMember in its fleet and, where the fleet has a hub, a MemberCluster there. `join`, `leave` and `update`
//! are about the first, `taint` and `label` about the second; `list` and `show` about the one that is asked for.

use clap::{Args, Subcommand};

use crate::cli::{FleetArgs, HubClientArgs, Output};
use crate::exit::Exit;

mod change;
mod hub;
mod join;
mod leave;
mod list;
mod show;
mod update;

#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// Joins a cluster to a fleet
    #[command(visible_alias = "create", after_help = join::EXAMPLES)]
    Join(join::JoinArgs),
    /// Lets members leave their fleet; the clusters and what was placed on them live on
    #[command(visible_alias = "delete", after_help = leave::EXAMPLES)]
    Leave(leave::LeaveArgs),
    /// Changes the update group, the labels and the maintenance windows of a member
    #[command(after_help = update::EXAMPLES)]
    Update(update::UpdateArgs),
    /// Lists the members of the hub, or of one fleet
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos member list\n  stolos member list -l region=europe\n  stolos member list -o wide\n  stolos member list --fleet edge"
    )]
    List(list::ListArgs),
    /// Shows a member with its labels, taints, properties and placements
    #[command(
        after_help = "Examples:\n  stolos member show member-1\n  stolos member show member-1 -o yaml\n  stolos member show shop --fleet edge"
    )]
    Show(MemberName),
    /// Adds taints to a member, or takes them away
    #[command(
        after_help = "Examples:\n  stolos member taint member-1 maintenance=july:NoSchedule\n  stolos member taint member-1 maintenance:NoSchedule-\n\nA taint keeps new placements away; what is placed stays."
    )]
    Taint(change::TaintArgs),
    /// Sets labels of a member, or takes them away
    #[command(
        after_help = "Examples:\n  stolos member label member-1 region=europe tier=gold\n  stolos member label member-1 tier=silver --overwrite\n  stolos member label member-1 tier-"
    )]
    Label(change::LabelArgs),
}

/// Names a member.
#[derive(Args)]
pub(crate) struct MemberName {
    /// Name of the member cluster
    name: String,
    #[command(flatten)]
    fleet: OfFleet,
    #[command(flatten)]
    hub: HubClientArgs,
}

/// Asks for what a fleet knows of its members rather than for what the hub knows of clusters.
#[derive(Args)]
pub(crate) struct OfFleet {
    /// Shows what this fleet knows of its members: update group, versions, update runs; it may have no hub
    #[arg(long)]
    fleet: Option<String>,
    /// Namespace of the fleet (its resource group)
    #[arg(short, long, default_value = "default", requires = "fleet")]
    namespace: String,
}

impl OfFleet {
    /// Returns the fleet as other commands name it.
    fn arguments(&self, hub: &HubClientArgs) -> Option<FleetArgs> {
        let fleet = self.fleet.clone()?;
        Some(FleetArgs { hub: hub.clone(), namespace: self.namespace.clone(), fleet })
    }
}

/// Runs one of the commands.
pub(crate) async fn run(command: MemberCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        MemberCommand::Join(args) => join::run(args, output).await,
        MemberCommand::Leave(args) => leave::run(args, output).await,
        MemberCommand::Update(args) => update::run(args, output).await,
        MemberCommand::List(args) => list::run(args, output).await,
        MemberCommand::Show(args) => show::run(args, output).await,
        MemberCommand::Taint(args) => change::taint(args, output).await,
        MemberCommand::Label(args) => change::label(args, output).await,
    }
}
