//! `stolos updaterun delete`.

use std::time::Duration;

use clap::Args;
use stolos_api::update::{RunState, State, UpdateRun};

use super::text;
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

/// How long the hub may take to let a run go. It only gives back what the run holds.
const GONE_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// Names of the update runs within their fleet
    #[arg(required = true, value_name = "NAME", value_parser = arguments::name)]
    names: Vec<String>,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: DeleteArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let mut runs = Vec::new();
    // A name that is wrong deletes none of the others.
    for name in &args.names {
        runs.push(ended(fleet.get(name).await?, name)?);
    }
    for (name, run) in args.names.iter().zip(runs) {
        let hint = "is `stolos hub` or `stolos up` running? it gives back what the run holds";
        fleet.delete(&run, GONE_WITHIN, hint).await?;
        if output == Output::Name {
            output::line(name)?;
        } else if !output::structured(&text::readable(&run), output)? {
            output::line(&format!("update run `{name}` deleted"))?;
        }
    }
    Ok(Exit::Success)
}

/// Returns a run that may be deleted.
fn ended(run: UpdateRun, name: &str) -> anyhow::Result<UpdateRun> {
    if is_under_way(&run) {
        return Err(Hinted::error(
            format!("update run `{name}` is {}", text::state(&run).as_str()),
            format!("`stolos updaterun stop {name} --wait` first"),
        ));
    }
    Ok(run)
}

fn is_under_way(run: &UpdateRun) -> bool {
    match text::state(run) {
        State::Running | State::Pending | State::Stopping => run.spec.state != RunState::Initialize,
        State::NotStarted | State::Skipped | State::Stopped | State::Failed | State::Completed => {
            false
        }
    }
}
