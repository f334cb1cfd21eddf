//! `stolos autoupgrade`: profiles that create and start update runs by themselves.
//!
//! What a profile is asked for is decided by `wish`; what is shown is made by `list` and `show`. The rest reads and writes
//! objects on the hub.

use clap::{Args, Subcommand};

use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;

mod create;
mod delete;
mod generate;
mod list;
mod show;
mod text;
mod update;
mod wish;

#[derive(Subcommand)]
pub(crate) enum AutoUpgradeCommand {
    /// Creates a profile, which acts at once unless it is disabled
    #[command(
        after_help = "Examples:\n  stolos autoupgrade create stable --channel stable --strategy rings\n  stolos autoupgrade create lts --channel target-kubernetes-version --kubernetes-version 1.33\n  stolos autoupgrade create images --channel node-image --reconcile published --disabled"
    )]
    Create(create::CreateArgs),
    /// Lists the profiles of a fleet
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos autoupgrade list\n  stolos autoupgrade list -o wide"
    )]
    List(list::ListArgs),
    /// Shows a profile: its target, whether members are there, and its latest run
    #[command(
        after_help = "Examples:\n  stolos autoupgrade show stable\n  stolos autoupgrade show stable -o yaml"
    )]
    Show(ProfileArgs),
    /// Changes a profile; runs that it made go on
    #[command(
        after_help = "Examples:\n  stolos autoupgrade update stable --disable\n  stolos autoupgrade update stable --enable --strategy slow\n  stolos autoupgrade update stable --no-strategy\n  stolos autoupgrade update stable --on-unreachable skip --preflight nodes-ready\n\nRuns that exist stay as they are."
    )]
    Update(update::UpdateArgs),
    /// Deletes profiles; runs that they made go on
    #[command(after_help = "Examples:\n  stolos autoupgrade delete stable")]
    Delete(delete::DeleteArgs),
    /// Has a profile create the run for its present target, without starting it
    #[command(
        after_help = "Examples:\n  stolos autoupgrade generate stable\n  stolos updaterun start $(stolos autoupgrade generate stable -o name)"
    )]
    Generate(generate::GenerateArgs),
}

/// Names a profile.
#[derive(Args)]
pub(crate) struct ProfileArgs {
    /// Name of the profile within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Runs one of the commands.
pub(crate) async fn run(command: AutoUpgradeCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        AutoUpgradeCommand::Create(args) => create::run(args, output).await,
        AutoUpgradeCommand::List(args) => list::run(args, output).await,
        AutoUpgradeCommand::Show(args) => show::run(args, output).await,
        AutoUpgradeCommand::Update(args) => update::run(args, output).await,
        AutoUpgradeCommand::Delete(args) => delete::run(args, output).await,
        AutoUpgradeCommand::Generate(args) => generate::run(args, output).await,
    }
}
