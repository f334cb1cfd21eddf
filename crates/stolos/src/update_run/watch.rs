//! `stolos updaterun watch`: follows a run until it has ended.

use anyhow::{Context, bail};
use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use stolos_api::update::{Gate, RunState, State, UpdateRun};

use super::frame::Openings;
use super::reporter::{self, Reporter};
use super::{RunArgs, progress, request, show, text};
use crate::cli::Output;
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::follow::Follower;

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Completed, or all of it skipped.
    Completed,
    Failed,
    Stopped,
}

impl End {
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Completed => Exit::Success,
            Self::Failed => Exit::UpdateRunFailed,
            Self::Stopped => Exit::UpdateRunStopped,
        }
    }
}

pub(super) async fn run(args: RunArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let run = fleet.get(&args.name).await?;
    Ok(follow(&fleet, run, output).await?.exit())
}

/// Shows how a run goes on until it has ended, then how it stands.
pub(super) async fn follow(fleet: &Fleet, run: UpdateRun, output: Output) -> anyhow::Result<End> {
    let name = fleet.short_name(&run).to_owned();
    let mut reporter = reporter::choose(&name, output);
    if run.spec.state == RunState::Initialize {
        reporter.note(&format!(
            "update run `{name}` has not been started; `stolos updaterun start {name}` starts it"
        ));
    }
    let followed = until_end(fleet, run, reporter.as_mut()).await;
    reporter.close();
    let (run, end) = followed?;
    // Programs have read the end as the last change.
    if output != Output::Json {
        show::print(fleet, &run, output)?;
    }
    Ok(end)
}

async fn until_end(
    fleet: &Fleet,
    run: UpdateRun,
    reporter: &mut (dyn Reporter + Send),
) -> anyhow::Result<(UpdateRun, End)> {
    let name = fleet.short_name(&run).to_owned();
    let refresh = reporter.refresh();
    let mut openings = Openings::new();
    learn_openings(fleet, &run, &mut openings).await;
    reporter.report(&run, &openings, &progress::changes(None, &run))?;
    let looks =
        watch_object(fleet.api::<UpdateRun>(), &fleet.object_name(&name)).default_backoff().boxed();
    let mut follower = Follower::new(format!("update run `{name}`"), &run, looks, None);
    let mut latest = run;
    loop {
        if let Some(end) = end(&latest) {
            return Ok((latest, end));
        }
        if let Some(why) = request::refused_by_hub(&latest) {
            bail!("update run `{name}` cannot start: {why}");
        }
        // Following may be broken off at any time and goes on where it was.
        let next = follower.next(|text| reporter.note(text));
        let next = match refresh {
            None => next.await?,
            Some(refresh) => {
                let Ok(next) = tokio::time::timeout(refresh, next).await else {
                    reporter.report(&latest, &openings, &[])?;
                    continue;
                };
                next?
            }
        };
        let next = next.context("watching has no deadline")?;
        learn_openings(fleet, &next, &mut openings).await;
        reporter.report(&next, &openings, &progress::changes(Some(&latest), &next))?;
        latest = next;
    }
}

/// Looks up when the gates that a run waits for open by themselves, each once. A gate that cannot be seen counts as one
/// that somebody has to open.
async fn learn_openings(fleet: &Fleet, run: &UpdateRun, openings: &mut Openings) {
    for id in text::pending_gates(run) {
        if openings.contains_key(id) {
            continue;
        }
        let gate = fleet.api::<Gate>().get_opt(&fleet.object_name(id)).await.ok().flatten();
        let start = gate.and_then(|gate| gate.spec.scheduled_start);
        openings.insert(id.to_owned(), start.map(|start| start.absolute_start_time.0));
    }
}

/// Returns how a run has ended, if it has and its status takes the newest spec into account.
pub(super) fn end(run: &UpdateRun) -> Option<End> {
    let status = run.status.as_ref().filter(|_| request::is_observed(run))?;
    match text::state(run) {
        State::Completed | State::Skipped => Some(End::Completed),
        State::Failed => (status.observed_restarts >= run.spec.restarts).then_some(End::Failed),
        State::Stopped => (run.spec.state == RunState::Stop).then_some(End::Stopped),
        State::NotStarted | State::Running | State::Pending | State::Stopping => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    fn run(state: State, spec: RunState) -> UpdateRun {
        let mut run = sample::half_way();
        run.spec.state = spec;
        run.status.as_mut().unwrap().status.state = state;
        run
    }

    #[test]
    fn ends_are_told_from_pauses() {
        let table = [
            (State::NotStarted, RunState::Initialize, None),
            (State::NotStarted, RunState::Run, None),
            (State::Running, RunState::Run, None),
            (State::Pending, RunState::Run, None),
            (State::Stopping, RunState::Stop, None),
            (State::Stopped, RunState::Stop, Some(End::Stopped)),
            (State::Stopped, RunState::Run, None),
            (State::Failed, RunState::Run, Some(End::Failed)),
            (State::Completed, RunState::Run, Some(End::Completed)),
            (State::Skipped, RunState::Run, Some(End::Completed)),
        ];
        for (state, spec, want) in table {
            assert_eq!(end(&run(state, spec)), want, "{state:?} {spec:?}");
        }
    }

    #[test]
    fn a_status_that_is_older_than_the_spec_is_no_end() {
        let mut stopped = run(State::Stopped, RunState::Stop);
        stopped.metadata.generation = Some(3);
        assert_eq!(end(&stopped), None);
        let mut restarted = run(State::Failed, RunState::Run);
        restarted.spec.restarts = 1;
        assert_eq!(end(&restarted), None);
    }
}
