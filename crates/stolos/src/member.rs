//! `stolos member list|show|taint|label`: the members of the fleet.

use clap::{Args, Subcommand};

use crate::cli::{HubClientArgs, Output};
use crate::exit::Exit;

mod change;
mod hub;
mod list;
mod show;

#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// Lists the members
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos member list\n  stolos member list -l region=europe\n  stolos member list -o wide"
    )]
    List(list::ListArgs),
    /// Shows a member with its labels, taints, properties and placements
    #[command(
        after_help = "Examples:\n  stolos member show member-1\n  stolos member show member-1 -o yaml"
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
    hub: HubClientArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(command: MemberCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        MemberCommand::List(args) => list::run(args, output).await,
        MemberCommand::Show(args) => show::run(args, output).await,
        MemberCommand::Taint(args) => change::taint(args, output).await,
        MemberCommand::Label(args) => change::label(args, output).await,
    }
}
