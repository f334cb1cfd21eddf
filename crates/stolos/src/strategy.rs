//! `stolos strategy`: sequences that update runs follow, kept under a name.
//!
//! `source` reads a sequence as the user gives it, `check` finds everything that is wrong with it, `text` draws it. The
//! rest reads and writes objects on the hub.

use clap::{Args, Subcommand};

use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;

mod check;
mod delete;
mod list;
mod show;
mod source;
mod write;

#[derive(Subcommand)]
pub(crate) enum StrategyCommand {
    /// Creates a strategy from stages or a file
    #[command(after_help = write::CREATE_EXAMPLES)]
    Create(write::WriteArgs),
    /// Gives a strategy other stages; runs that exist keep the stages that they were made with
    #[command(
        after_help = "Examples:\n  stolos strategy update rings --stages 'canary:canary@1h;prod:europe,world'\n  stolos strategy update rings -f rings.yaml"
    )]
    Update(write::WriteArgs),
    /// Lists the strategies of a fleet
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos strategy list\n  stolos strategy list -o name"
    )]
    List(list::ListArgs),
    /// Shows a strategy with its stages, groups, gates and waits
    #[command(
        after_help = "Examples:\n  stolos strategy show rings\n  stolos strategy show rings -o yaml > rings.yaml"
    )]
    Show(StrategyArgs),
    /// Deletes strategies; runs that were made with them keep their stages
    #[command(after_help = "Examples:\n  stolos strategy delete rings")]
    Delete(delete::DeleteArgs),
}

/// Names a strategy.
#[derive(Args)]
pub(crate) struct StrategyArgs {
    /// Name of the strategy within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(command: StrategyCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        StrategyCommand::Create(args) => write::create(args, output).await,
        StrategyCommand::Update(args) => write::update(args, output).await,
        StrategyCommand::List(args) => list::run(args, output).await,
        StrategyCommand::Show(args) => show::run(args, output).await,
        StrategyCommand::Delete(args) => delete::run(args, output).await,
    }
}
