//! What can be counted of update runs: how many of their parts are in which state, and what began and ended between two
//! states of a run.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stolos_api::update::{MemberStatus, State, UpdateRunStatus, UpgradeType};

use super::states::members;

/// How a run stands, in numbers. A state that nothing is in has no entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Stages by their state.
    pub stages: BTreeMap<State, usize>,
    /// Groups by their state.
    pub groups: BTreeMap<State, usize>,
    /// Members by their state.
    pub members: BTreeMap<State, usize>,
    /// Pending members by the code of what they wait for.
    pub pending: BTreeMap<String, usize>,
    /// When the waits that are under way end, by their stage.
    pub waits: BTreeMap<String, Timestamp>,
}

/// Counts the parts of a run.
#[must_use]
pub fn figures(status: &UpdateRunStatus) -> Figures {
    let mut figures = Figures::default();
    for stage in &status.stages {
        *figures.stages.entry(stage.status.state).or_default() += 1;
        for group in &stage.groups {
            *figures.groups.entry(group.status.state).or_default() += 1;
        }
        for member in members(stage) {
            *figures.members.entry(member.status.state).or_default() += 1;
            let error = member.status.error.as_ref();
            if let Some(error) = error.filter(|_| member.status.state == State::Pending) {
                *figures.pending.entry(error.code.clone()).or_default() += 1;
            }
        }
        let wait = stage.after_stage_wait_status.as_ref();
        if let Some(wait) = wait.filter(|wait| wait.status.state == State::Running)
            && let Some(start) = &wait.status.start_time
        {
            let wait = SignedDuration::from_secs(wait.wait_duration_in_seconds.into());
            let end = start.0.checked_add(wait).unwrap_or(Timestamp::MAX);
            figures.waits.insert(stage.name.clone(), end);
        }
    }
    figures
}

/// What happened to members between two states of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Upgrades that began.
    pub begun: Vec<UpgradeType>,
    /// Upgrades that ended.
    pub ended: Vec<Ended>,
    /// The codes of members that failed, whether or not an upgrade had begun.
    pub failures: Vec<String>,
}

/// An upgrade of a member that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What was upgraded.
    pub upgrade_type: UpgradeType,
    /// `Completed` or `Failed`; `Skipped` when the member left the fleet meanwhile.
    pub outcome: State,
    /// How long it took.
    pub took: SignedDuration,
}

/// Compares two states of a run.
#[must_use]
pub fn turnover(before: &UpdateRunStatus, after: &UpdateRunStatus) -> Turnover {
    let mut turnover = Turnover::default();
    // Until the start members come and go; afterwards they keep their order.
    let started = before.status.start_time.is_some();
    let mut was = before.stages.iter().filter(|_| started).flat_map(members);
    let nothing = MemberStatus::default();
    for member in after.stages.iter().flat_map(members) {
        turnover.add(was.next().unwrap_or(&nothing), member);
    }
    turnover
}

impl Turnover {
    fn add(&mut self, before: &MemberStatus, after: &MemberStatus) {
        let upgrade_type = after.target.as_ref().map(|target| target.upgrade_type);
        if after.attempt > before.attempt {
            self.begun.extend(upgrade_type);
        }
        if before.status.state == after.status.state && before.attempt == after.attempt {
            return;
        }
        let ended = before.status.state == State::Running && after.status.state != State::Running;
        if ended
            && let Some(upgrade_type) = upgrade_type
            && let Some(start) = &after.status.start_time
            && let Some(end) = &after.status.completed_time
        {
            let took = end.0.duration_since(start.0);
            self.ended.push(Ended { upgrade_type, outcome: after.status.state, took });
        }
        let error = after.status.error.as_ref();
        self.failures.extend(
            error.filter(|_| after.status.state == State::Failed).map(|error| error.code.clone()),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(members: &Value) -> UpdateRunStatus {
        serde_json::from_value(json!({
            "status": {"state": "Running", "startTime": "2026-01-01T00:00:00.000000Z"},
            "stages": [{
                "name": "first", "status": {"state": "Running"},
                "groups": [{"name": "g", "status": {"state": "Running"}, "members": members}],
            }, {"name": "second", "groups": [{"name": "h"}]}],
        }))
        .unwrap()
    }

    fn member(state: &str, attempt: i32, more: Value) -> Value {
        let mut member = json!({
            "name": "m", "attempt": attempt, "target": {"type": "Full"},
            "status": {"state": state, "startTime": "2026-01-01T00:00:10.000000Z"},
        });
        member["status"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        member
    }

    fn failed(attempt: i32, code: &str) -> Value {
        let error = json!({"code": code, "message": "so"});
        let end = "2026-01-01T00:01:10.000000Z";
        member("Failed", attempt, json!({"completedTime": end, "error": error}))
    }

    #[test]
    fn parts_are_counted_by_state_and_pending_members_by_code() {
        let busy = json!({"error": {"code": "ClusterBusy", "message": "so"}});
        let members = json!([member("Pending", 0, busy), failed(1, "UpgradeFailed")]);
        let figures = figures(&status(&members));
        let one = |state| BTreeMap::from([(state, 1), (State::NotStarted, 1)]);
        assert_eq!(figures.stages, one(State::Running));
        assert_eq!(figures.groups, one(State::Running));
        assert_eq!(figures.members, [(State::Pending, 1), (State::Failed, 1)].into());
        assert_eq!(figures.pending, [("ClusterBusy".to_owned(), 1)].into());
        assert_eq!(figures.waits, BTreeMap::new());
    }

    #[test]
    fn a_wait_under_way_has_its_end() {
        let mut status = status(&json!([]));
        status.stages[0].after_stage_wait_status = serde_json::from_value(json!({
            "waitDurationInSeconds": 60,
            "status": {"state": "Running", "startTime": "2026-01-01T00:00:00.000000Z"},
        }))
        .unwrap();
        let end: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(figures(&status).waits, [("first".to_owned(), end)].into());
    }

    #[test]
    fn beginnings_ends_and_failures_are_found_between_two_states() {
        let none = || json!([{"name": "m"}]);
        let running = |attempt| json!([member("Running", attempt, json!({}))]);
        let failed = |attempt, code| json!([failed(attempt, code)]);
        let end = json!({"completedTime": "2026-01-01T00:01:10.000000Z"});
        let completed = json!([member("Completed", 1, end)]);
        let ended = |outcome| Ended {
            upgrade_type: UpgradeType::Full,
            outcome,
            took: SignedDuration::from_mins(1),
        };
        let full = || vec![UpgradeType::Full];
        for (before, after, begun, ends, failures) in [
            (none(), running(1), full(), vec![], vec![]),
            (running(1), running(1), vec![], vec![], vec![]),
            (running(1), completed, vec![], vec![ended(State::Completed)], vec![]),
            (
                running(1),
                failed(1, "UpgradeFailed"),
                vec![],
                vec![ended(State::Failed)],
                vec!["UpgradeFailed"],
            ),
            (none(), failed(0, "SkewNotAllowed"), vec![], vec![], vec!["SkewNotAllowed"]),
            (failed(1, "UpgradeFailed"), failed(1, "UpgradeFailed"), vec![], vec![], vec![]),
            (failed(1, "UpgradeFailed"), running(2), full(), vec![], vec![]),
        ] {
            let turnover = turnover(&status(&before), &status(&after));
            assert_eq!(turnover.begun, begun, "{before} → {after}");
            assert_eq!(turnover.ended, ends, "{before} → {after}");
            assert_eq!(turnover.failures, failures, "{before} → {after}");
        }
    }
}
