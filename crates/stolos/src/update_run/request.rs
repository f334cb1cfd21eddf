//! What a user may ask of a run, given how it stands.
//!
//! A request is a change of the run's spec; the hub acts on it. The hub would take some requests that mean nothing,
//! such as starting a run that runs; here they get an answer instead.

use serde_json::{Value, json};
use stolos_api::update::{
    RunState, SkipTarget, SkipTargetType, StageStatus, State, UpdateRun, UpdateRunStatus,
};

use super::text;

/// A change of a run's spec, and what to tell the user.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    pub(super) state: Option<RunState>,
    pub(super) restarts: Option<i32>,
    /// All targets, the old ones first.
    pub(super) skip: Option<Vec<SkipTarget>>,
    /// What will happen.
    pub(super) outcome: String,
    /// What will not happen, and why.
    pub(super) notes: Vec<String>,
}

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Change {
    /// Returns the merge patch that makes the change, unless somebody else has changed the run since.
    pub(super) fn patch(&self, run: &UpdateRun) -> Value {
        let mut spec = json!({});
        if let Some(state) = self.state {
            spec["state"] = json!(state);
        }
        if let Some(restarts) = self.restarts {
            spec["restarts"] = json!(restarts);
        }
        if let Some(skip) = &self.skip {
            spec["skip"] = json!(skip);
        }
        json!({ "metadata": { "resourceVersion": run.metadata.resource_version }, "spec": spec })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.is_none() && self.restarts.is_none() && self.skip.is_none()
    }
}

fn put_right(name: &str) -> String {
    format!(
        "put the run right with `stolos updaterun update {name}`, or delete it and create another"
    )
}

fn refuse<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { message: message.into(), hint: hint.into() })
}

/// Decides how to start a run (NotStarted, Stopped and Failed ones can be started).
pub(super) fn start(run: &UpdateRun, name: &str) -> Result<Change, Refusal> {
    let state = text::state(run);
    let start = |outcome: &str| Change {
        state: (run.spec.state != RunState::Run).then_some(RunState::Run),
        outcome: outcome.to_owned(),
        ..Change::default()
    };
    let follow = format!("`stolos updaterun watch {name}` follows it");
    match (state, run.spec.state) {
        (State::Completed | State::Skipped, _) => refuse(
            format!("update run `{name}` has ended as {}", state.as_str()),
            "create another run",
        ),
        (State::Failed, _) => {
            let observed = run.status.as_ref().map_or(0, |status| status.observed_restarts);
            if run.spec.state == RunState::Run && run.spec.restarts > observed {
                return refuse(
                    format!("update run `{name}` is asked to start again already"),
                    follow,
                );
            }
            let restarts = Some(run.spec.restarts.max(observed) + 1);
            Ok(Change { restarts, ..start("started again; members that failed are tried again") })
        }
        (_, RunState::Initialize) => Ok(start("started")),
        (State::Stopped | State::NotStarted, RunState::Stop) => Ok(start("resumed")),
        (State::Running | State::Pending | State::Stopping, RunState::Stop) => refuse(
            format!("update run `{name}` is being stopped"),
            "start it when its members in flight have come to their end",
        ),
        (State::NotStarted, RunState::Run) => match refused_by_hub(run) {
            Some(why) => refuse(
                format!("update run `{name}` is asked to start already, but cannot: {why}"),
                put_right(name),
            ),
            None => refuse(format!("update run `{name}` is asked to start already"), follow),
        },
        (State::Stopped, RunState::Run) => {
            refuse(format!("update run `{name}` is asked to resume already"), follow)
        }
        (State::Running | State::Pending | State::Stopping, RunState::Run) => {
            refuse(format!("update run `{name}` is {} already", state.as_str()), follow)
        }
    }
}

/// Returns why the hub does not begin a run that it was asked to start.
pub(super) fn refused_by_hub(run: &UpdateRun) -> Option<&str> {
    let status = run.status.as_ref()?;
    let waits = run.spec.state == RunState::Run && status.status.start_time.is_none();
    let error = status.status.error.as_ref().filter(|_| waits && is_observed(run))?;
    Some(&error.message)
}

/// Whether the status takes the newest spec into account.
pub(super) fn is_observed(run: &UpdateRun) -> bool {
    let observed = run.status.as_ref().and_then(|status| status.observed_generation);
    observed >= run.metadata.generation
}

/// Decides how to stop a run (Running and Pending ones can be stopped).
pub(super) fn stop(run: &UpdateRun, name: &str) -> Result<Change, Refusal> {
    let state = text::state(run);
    match (state, run.spec.state) {
        (State::Completed | State::Skipped | State::Failed, _) => refuse(
            format!("update run `{name}` has ended as {}", state.as_str()),
            format!("`stolos updaterun show {name}` tells more"),
        ),
        (_, RunState::Initialize) => refuse(
            format!("update run `{name}` has not been started"),
            format!(
                "it does nothing before it is started; `stolos updaterun delete {name}` removes it"
            ),
        ),
        (State::Stopped, RunState::Stop) => refuse(
            format!("update run `{name}` is stopped already"),
            format!("`stolos updaterun start {name}` resumes it"),
        ),
        (_, RunState::Stop) => refuse(
            format!("update run `{name}` is being stopped already"),
            format!(
                "members in flight come to their end; `stolos updaterun watch {name}` follows them"
            ),
        ),
        (_, RunState::Run) => Ok(Change {
            state: Some(RunState::Stop),
            outcome: "is being stopped; members in flight come to their end".to_owned(),
            ..Change::default()
        }),
    }
}

/// Whether the hub has said what a run consists of, or why it cannot.
pub(super) fn is_decided(run: &UpdateRun) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| !status.stages.is_empty() || status.status.error.is_some())
}

/// Decides how to leave things out of a run.
pub(super) fn skip(run: &UpdateRun, name: &str, targets: &[SkipTarget]) -> Result<Change, Refusal> {
    let state = text::state(run);
    if matches!(state, State::Completed | State::Skipped) {
        return refuse(
            format!(
                "update run `{name}` has ended as {}, so nothing is left to skip",
                state.as_str()
            ),
            format!("`stolos updaterun show {name}` tells what it did"),
        );
    }
    let Some(status) = run.status.as_ref().filter(|_| is_decided(run)) else {
        return refuse(
            format!("the hub has not yet decided what update run `{name}` consists of"),
            "is `stolos hub` or `stolos up` running? try again when it is",
        );
    };
    if let (true, Some(error)) = (status.stages.is_empty(), &status.status.error) {
        return refuse(
            format!("update run `{name}` has nothing to skip: {}", error.message),
            put_right(name),
        );
    }
    let unknown: Vec<String> =
        targets.iter().filter(|target| find(status, target).is_none()).map(describe).collect();
    if !unknown.is_empty() {
        return refuse(
            format!("update run `{name}` has no {}", unknown.join(", no ")),
            format!("`stolos updaterun show {name}` shows what it has; nothing was skipped"),
        );
    }
    let mut all = run.spec.skip.clone();
    let mut notes = Vec::new();
    for target in targets {
        if !all.contains(target) {
            all.push(target.clone());
        }
        notes.extend(find(status, target).and_then(|found| remark(target, &found)));
    }
    let changed = all.len() > run.spec.skip.len();
    Ok(Change {
        skip: changed.then_some(all),
        outcome: format!("skips {}", targets.iter().map(describe).collect::<Vec<_>>().join(", ")),
        notes,
        ..Change::default()
    })
}

fn describe(target: &SkipTarget) -> String {
    let name = &target.name;
    match target.target_type {
        SkipTargetType::Member => format!("member `{name}`"),
        SkipTargetType::Group => format!("group `{name}`"),
        SkipTargetType::Stage => format!("stage `{name}`"),
        SkipTargetType::AfterStageWait => format!("wait after stage `{name}`"),
    }
}

/// Returns the states of what a target names; `None` when the run does not have it.
fn find(status: &UpdateRunStatus, target: &SkipTarget) -> Option<Vec<State>> {
    let members = |stage: &StageStatus| -> Vec<(String, State)> {
        let members = stage.groups.iter().flat_map(|group| &group.members);
        members.map(|member| (member.name.clone(), member.status.state)).collect()
    };
    let mut stages = status.stages.iter();
    match target.target_type {
        SkipTargetType::Member => stages
            .flat_map(members)
            .find(|(name, _)| *name == target.name)
            .map(|(_, state)| vec![state]),
        SkipTargetType::Group => {
            let group =
                stages.flat_map(|stage| &stage.groups).find(|group| group.name == target.name)?;
            Some(group.members.iter().map(|member| member.status.state).collect())
        }
        SkipTargetType::Stage => {
            let stage = stages.find(|stage| stage.name == target.name)?;
            Some(members(stage).into_iter().map(|(_, state)| state).collect())
        }
        SkipTargetType::AfterStageWait => {
            let stage = stages.find(|stage| stage.name == target.name)?;
            stage.after_stage_wait_status.as_ref().map(|wait| vec![wait.status.state])
        }
    }
}

/// Says what a skip does not reach: what is being updated comes to its end, and what has ended stays as it is.
fn remark(target: &SkipTarget, states: &[State]) -> Option<String> {
    let running = states.iter().filter(|state| **state == State::Running).count();
    let ended = |state: &State| matches!(state, State::Completed | State::Failed | State::Skipped);
    let what = describe(target);
    if target.target_type != SkipTargetType::AfterStageWait && running > 0 {
        return Some(match target.target_type {
            SkipTargetType::Member => format!("{what} is being updated and comes to its end"),
            _ => {
                format!("{what}: {running} of its members are being updated and come to their end")
            }
        });
    }
    (!states.is_empty() && states.iter().all(ended))
        .then(|| format!("{what} has ended and stays as it is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    fn asked(state: State, spec: RunState) -> UpdateRun {
        let mut run = sample::half_way();
        run.spec.state = spec;
        run.status.as_mut().unwrap().status.state = state;
        run
    }

    fn target(target_type: SkipTargetType, name: &str) -> SkipTarget {
        SkipTarget { target_type, name: name.to_owned() }
    }

    #[test]
    fn what_start_does_depends_on_how_the_run_stands() {
        use RunState::{Initialize, Run, Stop};
        let table = [
            (State::NotStarted, Initialize),
            (State::NotStarted, Run),
            (State::Running, Run),
            (State::Pending, Run),
            (State::Stopping, Stop),
            (State::Running, Stop),
            (State::Stopped, Stop),
            (State::Stopped, Run),
            (State::Failed, Run),
            (State::Failed, Stop),
            (State::Completed, Run),
            (State::Skipped, Initialize),
        ];
        let line = |(state, spec): (State, RunState)| match start(&asked(state, spec), "june") {
            Ok(change) => format!("{state:?}/{spec:?}: {:?} {:?}", change.state, change.restarts),
            Err(refusal) => format!("{state:?}/{spec:?}: {}", refusal.message),
        };
        insta::assert_snapshot!(table.map(line).join("\n"), @"
        NotStarted/Initialize: Some(Run) None
        NotStarted/Run: update run `june` is asked to start already
        Running/Run: update run `june` is Running already
        Pending/Run: update run `june` is Pending already
        Stopping/Stop: update run `june` is being stopped
        Running/Stop: update run `june` is being stopped
        Stopped/Stop: Some(Run) None
        Stopped/Run: update run `june` is asked to resume already
        Failed/Run: None Some(1)
        Failed/Stop: Some(Run) Some(1)
        Completed/Run: update run `june` has ended as Completed
        Skipped/Initialize: update run `june` has ended as Skipped
        ");
    }

    #[test]
    fn what_stop_does_depends_on_how_the_run_stands() {
        use RunState::{Initialize, Run, Stop};
        let table = [
            (State::NotStarted, Initialize),
            (State::NotStarted, Run),
            (State::Running, Run),
            (State::Pending, Run),
            (State::Stopping, Stop),
            (State::Stopped, Stop),
            (State::Failed, Run),
            (State::Completed, Run),
        ];
        let line = |(state, spec): (State, RunState)| match stop(&asked(state, spec), "june") {
            Ok(change) => format!("{state:?}/{spec:?}: {:?}", change.state),
            Err(refusal) => format!("{state:?}/{spec:?}: {}", refusal.message),
        };
        insta::assert_snapshot!(table.map(line).join("\n"), @"
        NotStarted/Initialize: update run `june` has not been started
        NotStarted/Run: Some(Stop)
        Running/Run: Some(Stop)
        Pending/Run: Some(Stop)
        Stopping/Stop: update run `june` is being stopped already
        Stopped/Stop: update run `june` is stopped already
        Failed/Run: update run `june` has ended as Failed
        Completed/Run: update run `june` has ended as Completed
        ");
    }

    #[test]
    fn a_restart_that_the_hub_has_not_seen_is_not_asked_for_twice() {
        let mut run = asked(State::Failed, RunState::Run);
        run.spec.restarts = 1;
        assert_eq!(
            start(&run, "june").unwrap_err().message,
            "update run `june` is asked to start again already"
        );
        run.status.as_mut().unwrap().observed_restarts = 1;
        assert_eq!(start(&run, "june").unwrap().restarts, Some(2));
    }

    #[test]
    fn a_start_that_the_hub_refuses_says_why() {
        let mut run = sample::refused();
        run.spec.state = RunState::Run;
        insta::assert_snapshot!(start(&run, "june").unwrap_err().message, @"update run `june` is asked to start already, but cannot: the fleet has no update strategy `rings`");
    }

    #[test]
    fn skip_adds_to_what_is_skipped() {
        let mut run = sample::half_way();
        run.spec.skip = vec![target(SkipTargetType::Member, "member-3")];
        let targets =
            [target(SkipTargetType::Member, "member-3"), target(SkipTargetType::Stage, "prod")];
        let change = skip(&run, "june", &targets).unwrap();
        assert_eq!(change.skip.as_deref(), Some(&targets[..]));
        assert_eq!(
            change.patch(&run),
            json!({
                "metadata": { "resourceVersion": "7" },
                "spec": { "skip": [
                    { "type": "Member", "name": "member-3" }, { "type": "Stage", "name": "prod" },
                ]},
            })
        );
        assert!(skip(&run, "june", &targets[..1]).unwrap().is_empty());
    }

    #[test]
    fn skip_names_everything_that_is_not_there() {
        let targets = [
            target(SkipTargetType::Member, "member-9"),
            target(SkipTargetType::Group, "europe"),
            target(SkipTargetType::AfterStageWait, "prod"),
        ];
        let refusal = skip(&sample::half_way(), "june", &targets).unwrap_err();
        insta::assert_snapshot!(refusal.message, @"update run `june` has no member `member-9`, no group `europe`, no wait after stage `prod`");
    }

    #[test]
    fn skip_says_what_it_does_not_reach() {
        let targets = [
            target(SkipTargetType::Member, "member-2"),
            target(SkipTargetType::Stage, "prod"),
            target(SkipTargetType::Stage, "canary"),
        ];
        let change = skip(&sample::half_way(), "june", &targets).unwrap();
        insta::assert_snapshot!(change.notes.join("\n"), @"
        member `member-2` is being updated and comes to its end
        stage `prod`: 1 of its members are being updated and come to their end
        stage `canary` has ended and stays as it is
        ");
    }
}
