//! `stolos updaterun watch`: follows a run until it has ended.

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use stolos_api::update::{RunState, State, UpdateRun};
use tokio::time::Instant;

use super::hub::{self, Fleet};
use super::reporter::{self, Reporter};
use super::{RunArgs, progress, request, show, text};
use crate::cli::Output;
use crate::exit::Exit;

/// How long the hub may not answer before watching it ends. A restart of the hub takes less.
const LOST_FOR: Duration = Duration::from_mins(5);

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
    let run = fleet.run(&args.name).await?;
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
    reporter.report(&run, &progress::changes(None, &run))?;
    let object = fleet.object_name(&name);
    let mut looks = std::pin::pin!(watch_object(fleet.runs(), &object).default_backoff());
    let mut latest = run;
    let mut lost_since = None;
    loop {
        if let Some(end) = end(&latest) {
            return Ok((latest, end));
        }
        if let Some(why) = request::refused_by_hub(&latest) {
            bail!("update run `{name}` cannot start: {why}");
        }
        let deadline = lost_since.map(|since: Instant| since + LOST_FOR);
        let look = match deadline {
            None => looks.next().await,
            Some(deadline) => match tokio::time::timeout_at(deadline, looks.next()).await {
                Ok(look) => look,
                Err(_) => bail!(
                    "lost the hub: it has not answered for {} minutes",
                    LOST_FOR.as_secs() / 60
                ),
            },
        };
        match look {
            Some(Ok(Some(next))) if next.metadata.uid == latest.metadata.uid => {
                lost_since = None;
                reporter.report(&next, &progress::changes(Some(&latest), &next))?;
                latest = next;
            }
            Some(Ok(_)) => bail!("update run `{name}` was deleted while it was watched"),
            Some(Err(error)) => {
                let error = permanent(error, &name)?;
                if lost_since.is_none() {
                    lost_since = Some(Instant::now());
                    reporter.note(&format!("lost the hub, trying again: {error}"));
                }
            }
            None => bail!("the watch of update run `{name}` has ended by itself"),
        }
    }
}

/// Returns the error if trying again may help, and fails with it otherwise.
fn permanent(error: watcher::Error, name: &str) -> anyhow::Result<String> {
    let doing = format!("failed to watch update run `{name}`");
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        error @ watcher::Error::NoResourceVersion => {
            return Err(anyhow::Error::from(error).context(doing));
        }
    };
    match &error {
        kube::Error::Api(status) if matches!(status.code, 400..=404) => {
            Err(hub::explain(&doing, error))
        }
        _ => Ok(hub::explain(&doing, error).to_string()),
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
