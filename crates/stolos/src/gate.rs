//! `stolos gate`: the points that update runs do not pass by themselves.
//!
//! What may be asked of a gate is decided by `request`; what is shown is made by `text`. The rest reads and writes
//! objects on the hub.

use clap::{Args, Subcommand};

use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;

mod approve;
mod list;
mod request;
mod show;
mod text;

#[cfg(test)]
mod sample;

#[derive(Subcommand)]
pub(crate) enum GateCommand {
    /// Lists the gates that runs have reached, pending ones first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos gate list\n  stolos gate list --pending --run june\n  stolos gate list -o wide"
    )]
    List(list::ListArgs),
    /// Shows a gate: where it stands and what opens it
    #[command(
        after_help = "Examples:\n  stolos gate show june-prod-before-0\n  stolos gate show june-prod-before-0 -o yaml"
    )]
    Show(GateArgs),
    /// Lets a run pass gates that are pending
    #[command(
        after_help = "Examples:\n  stolos gate approve june-prod-before-0\n  stolos gate approve --run june\n\nA gate that was approved cannot be closed again."
    )]
    Approve(approve::ApproveArgs),
}

/// Names a gate.
#[derive(Args)]
pub(crate) struct GateArgs {
    /// Name of the gate within its fleet, as `stolos gate list` and `stolos updaterun show` tell it
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(command: GateCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        GateCommand::List(args) => list::run(args, output).await,
        GateCommand::Show(args) => show::run(args, output).await,
        GateCommand::Approve(args) => approve::run(args, output).await,
    }
}
