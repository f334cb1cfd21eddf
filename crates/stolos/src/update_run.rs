//! `stolos updaterun`: makes, steers and shows update runs.
//!
//! What a command asks for is decided by plain functions on the run (`create::draft`, `request`); what is shown is
//! made by plain functions too (`show`, `progress`, `frame`). The rest reads and writes objects on the hub.

use clap::{Args, Subcommand};

use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;

pub(crate) mod calendar;
mod coming;
mod create;
mod delete;
mod frame;
mod list;
mod observe;
pub(crate) mod plan;
mod progress;
mod reporter;
mod request;
mod retry;
mod show;
mod steer;
mod text;
mod update;
mod watch;
mod wish;

#[cfg(test)]
mod sample;

#[derive(Subcommand)]
pub(crate) enum UpdateRunCommand {
    /// Creates an update run; it updates nothing before it is started
    #[command(after_help = create::EXAMPLES)]
    Create(create::CreateArgs),
    /// Changes a run: before its start everything, afterwards how it treats members that cannot be updated
    #[command(after_help = update::EXAMPLES)]
    Update(update::UpdateArgs),
    /// Starts a run, resumes a stopped one, or tries the failed members of a failed one again
    #[command(
        after_help = "Examples:\n  stolos updaterun start june\n  stolos updaterun start june --wait"
    )]
    Start(SteerArgs),
    /// Stops a run: nothing new begins, members in flight come to their end
    #[command(
        after_help = "Examples:\n  stolos updaterun stop june\n  stolos updaterun stop june --wait"
    )]
    Stop(SteerArgs),
    /// Leaves members, groups, stages or waits out of a run, for good
    #[command(
        after_help = "Examples:\n  stolos updaterun skip june --member member-2\n  stolos updaterun skip june --group europe --after-stage-wait canary"
    )]
    Skip(steer::SkipArgs),
    /// Creates a run for the members that another run did not bring to its goal, with the same images
    #[command(after_help = retry::EXAMPLES)]
    Retry(retry::RetryArgs),
    /// Shows a run with its stages, groups and members
    #[command(
        after_help = "Examples:\n  stolos updaterun show june\n  stolos updaterun show june -o wide\n  stolos updaterun show june -o json"
    )]
    Show(RunArgs),
    /// Follows a run until it has ended
    #[command(
        after_help = "Examples:\n  stolos updaterun watch june\n  stolos updaterun watch june -o json | jq .state\n\nInterrupting this command does not stop the run.\n\nExit codes: 0 completed, 3 failed, 4 stopped"
    )]
    Watch(RunArgs),
    /// Lists the runs of a fleet
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos updaterun list\n  stolos updaterun list -o wide\n  stolos updaterun list --fleet production -n fleets"
    )]
    List(list::ListArgs),
    /// Deletes runs that are not under way
    #[command(
        after_help = "Examples:\n  stolos updaterun delete june\n  stolos updaterun delete may june"
    )]
    Delete(delete::DeleteArgs),
}

/// Names a run.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Name of the update run within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Names a run that is asked to do something.
#[derive(Args)]
pub(crate) struct SteerArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Follows the run until it has ended
    #[arg(long)]
    wait: bool,
}

/// Runs one of the commands.
pub(crate) async fn run(command: UpdateRunCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        UpdateRunCommand::Create(args) => create::run(args, output).await,
        UpdateRunCommand::Update(args) => update::run(args, output).await,
        UpdateRunCommand::Start(args) => steer::start(args, output).await,
        UpdateRunCommand::Stop(args) => steer::stop(args, output).await,
        UpdateRunCommand::Skip(args) => steer::skip(args, output).await,
        UpdateRunCommand::Retry(args) => retry::run(args, output).await,
        UpdateRunCommand::Show(args) => show::run(args, output).await,
        UpdateRunCommand::Watch(args) => watch::run(args, output).await,
        UpdateRunCommand::List(args) => list::run(args, output).await,
        UpdateRunCommand::Delete(args) => delete::run(args, output).await,
    }
}
