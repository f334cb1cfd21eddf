//! `stolos updaterun retry`: a new run for the members that another run did not bring to its goal.

use std::collections::BTreeSet;

use clap::Args;
use stolos_api::cluster::fleet::MAX_NAME_LENGTH;
use stolos_api::update::{RunState, State, UpdateRun, UpdateRunSpec};
use stolos_core::update;

use super::request::Refusal;
use super::{RunArgs, text, watch};
use crate::arguments;
use crate::cli::Output;
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos updaterun retry june
  stolos updaterun retry june --start --wait
  stolos updaterun retry june --new-name june-late

The new run has the goal and the sequence of the old one, the node images that it chose, and only those members that failed
or were left out. `stolos updaterun start` on a failed run tries its members again within the same run.

Exit codes with --wait: 0 completed, 3 failed, 4 stopped";

#[derive(Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Name of the new run [default: the old name and a number, as in june-retry-1]
    #[arg(long, value_name = "NAME", value_parser = arguments::name)]
    new_name: Option<String>,
    /// Starts the new run at once
    #[arg(long)]
    start: bool,
    /// Follows the new run until it has ended
    #[arg(long, requires = "start")]
    wait: bool,
}

pub(super) async fn run(args: RetryArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.run.fleet).await?;
    let runs: Vec<UpdateRun> = fleet.list().await?;
    let old: UpdateRun = fleet.get(&args.run.name).await?;
    let mut spec = decide(&old, &args.run.name)
        .map_err(|refusal| Hinted::error(refusal.message, refusal.hint))?;
    if args.start {
        spec.state = RunState::Run;
    }
    let taken: BTreeSet<&str> = runs.iter().map(|run| fleet.short_name(run)).collect();
    let name = args.new_name.unwrap_or_else(|| free_name(&args.run.name, &taken));
    let n_members = output::count(spec.members.len(), "member");
    let mut new = UpdateRun::new(&fleet.object_name(&name), spec);
    new.metadata.namespace = Some(fleet.namespace.clone());
    let new = fleet.create(&name, &new).await?;
    let started = if args.start { "created and started" } else { "created" };
    let told = format!("update run `{name}` {started}, for {n_members} of `{}`", args.run.name);
    if args.wait {
        output::note(&told);
        return Ok(watch::follow(&fleet, new, output).await?.exit());
    }
    output::outcome(&name, &new, &told, output)?;
    Ok(Exit::Success)
}

/// Decides what a new run does for an old one.
fn decide(run: &UpdateRun, name: &str) -> Result<UpdateRunSpec, Refusal> {
    let state = text::state(run);
    match state {
        State::Running | State::Pending | State::Stopping => {
            return Err(Refusal {
                message: format!("update run `{name}` is {}", state.as_str()),
                hint: format!("wait for its end, or `stolos updaterun stop {name} --wait` first"),
            });
        }
        State::NotStarted => {
            return Err(Refusal {
                message: format!("update run `{name}` has not been started"),
                hint: format!("`stolos updaterun start {name}` starts it"),
            });
        }
        State::Skipped | State::Stopped | State::Failed | State::Completed => {}
    }
    let nothing = || Refusal {
        message: format!("update run `{name}` has left no member behind"),
        hint: "members that were skipped by request are not tried again".to_owned(),
    };
    let status = text::status(run).ok_or_else(nothing)?;
    update::retry(&run.spec, status).ok_or_else(nothing)
}

/// Returns the first name that no run has: `june-retry-1`, `june-retry-2`.
fn free_name(old: &str, taken: &BTreeSet<&str>) -> String {
    let stem = match old.rsplit_once("-retry-") {
        Some((stem, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        _ => old,
    };
    let name = |number: usize| {
        let ending = format!("-retry-{number}");
        // Names are ASCII, and a dash before the ending would be one too many.
        let stem = &stem[..stem.len().min(MAX_NAME_LENGTH - ending.len())];
        format!("{}{ending}", stem.trim_end_matches('-'))
    };
    // One more name than there are runs cannot all be taken.
    (1..=taken.len() + 1).map(name).find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    #[test]
    fn members_that_were_left_behind_get_another_run() {
        let mut run = sample::half_way();
        run.status.as_mut().unwrap().status.state = State::Failed;
        let spec = decide(&run, "june").unwrap();
        assert!(spec.members.contains(&"member-4".to_owned()));
        assert!(!spec.members.contains(&"member-1".to_owned()), "it is at the goal");
        assert_eq!(spec.state, RunState::Initialize);
    }

    #[test]
    fn a_run_that_goes_on_or_left_nobody_behind_is_not_retried() {
        let mut run = sample::half_way();
        assert_eq!(decide(&run, "june").unwrap_err().message, "update run `june` is Running");
        let not_started = decide(&sample::not_started(), "june").unwrap_err();
        assert_eq!(not_started.message, "update run `june` has not been started");
        let status = run.status.as_mut().unwrap();
        status.status.state = State::Completed;
        status.stages.truncate(1);
        let nobody = decide(&run, "june").unwrap_err();
        assert_eq!(nobody.message, "update run `june` has left no member behind");
    }

    #[test]
    fn new_names_are_free_and_short() {
        let taken = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<&str>>();
        assert_eq!(free_name("june", &taken(&["june"])), "june-retry-1");
        let both = taken(&["june", "june-retry-1"]);
        assert_eq!(free_name("june", &both), "june-retry-2");
        assert_eq!(free_name("june-retry-1", &both), "june-retry-2");
        let long = free_name(&"a".repeat(50), &taken(&[]));
        assert_eq!((long.len(), long.ends_with("-retry-1")), (50, true));
    }
}
