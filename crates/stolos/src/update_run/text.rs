//! Words for what a run wants and how it stands, used by every view of it.

use jiff::Timestamp;
use stolos_api::update::{
    MemberStatus, MemberTarget, NodeImageSelectionType, RunState, StageGateStatus, StageStatus,
    State, UpdateRun, UpdateRunStatus, UpgradeType, WaitStatus,
};

pub(super) use crate::output::{age, span};

/// Returns what a run brings members to.
pub(super) fn goal(run: &UpdateRun) -> String {
    let update = &run.spec.managed_cluster_update;
    let version = update.upgrade.kubernetes_version.as_deref().unwrap_or("-");
    let images = update.node_image_selection.as_ref().map(|selection| selection.selection_type);
    let images = match images {
        None | Some(NodeImageSelectionType::Latest) => "newest node images",
        Some(NodeImageSelectionType::Consistent) => "the same node images everywhere",
        Some(NodeImageSelectionType::Custom) => "chosen node images",
    };
    match update.upgrade.upgrade_type {
        UpgradeType::Full => format!("Kubernetes {version}, {images}"),
        UpgradeType::ControlPlaneOnly => format!("Kubernetes {version}, control planes only"),
        UpgradeType::NodeImageOnly => format!("{images}, no new Kubernetes version"),
    }
}

/// Returns the sequence of a run.
pub(super) fn strategy(run: &UpdateRun) -> String {
    match (&run.spec.strategy_name, &run.spec.strategy) {
        (Some(name), _) => format!("strategy {name}"),
        (None, Some(strategy)) => {
            let names: Vec<&str> =
                strategy.stages.iter().map(|stage| stage.name.as_str()).collect();
            format!("stages {}", names.join(", "))
        }
        (None, None) => "one member after another".to_owned(),
    }
}

/// Returns the state of a run, as far as the hub has written one.
pub(super) fn state(run: &UpdateRun) -> State {
    status(run).map_or(State::NotStarted, |status| status.status.state)
}

pub(super) fn status(run: &UpdateRun) -> Option<&UpdateRunStatus> {
    run.status.as_ref()
}

/// Returns a run as people read it: who set which field is left out, as kubectl does.
pub(super) fn readable(run: &UpdateRun) -> UpdateRun {
    let mut run = run.clone();
    run.metadata.managed_fields = None;
    run
}

/// Returns how far a run is: `Running, 1/3 members done, 0 failed`.
pub(super) fn standing(run: &UpdateRun) -> String {
    let mut text = state(run).as_str().to_owned();
    if let Some(status) = status(run) {
        let progress = status.progress.as_deref().unwrap_or("0/0");
        text = format!("{text}, {progress} members done, {} failed", status.failure_count);
    }
    let begun = status(run).is_some_and(|status| status.status.start_time.is_some());
    if run.spec.state == RunState::Run && !begun {
        text.push_str("; asked to start");
    }
    text
}

/// Returns what a member is brought to, in short.
pub(super) fn target(target: &MemberTarget) -> String {
    match (&target.kubernetes_version, target.node_images.as_slice()) {
        (Some(version), _) => version.clone(),
        (None, [image]) => image.clone(),
        (None, []) => "newest image".to_owned(),
        (None, images) => format!("{} images", images.len()),
    }
}

/// Returns everything that a member is brought to.
pub(super) fn full_target(target: &MemberTarget) -> String {
    let version = target.kubernetes_version.iter().cloned();
    let parts: Vec<String> = version.chain(target.node_images.iter().cloned()).collect();
    if parts.is_empty() { "newest image".to_owned() } else { parts.join(" ") }
}

/// Returns what there is to say about a member. The error tells why a member waits or has failed; around it, the message of
/// one that waits has a sentence for Azure's clients, which would leave a line no room for the reason.
pub(super) fn message(member: &MemberStatus) -> &str {
    let rollback = member.rollback.as_ref().and_then(|rollback| rollback.status.error.as_ref());
    let error = member.status.error.as_ref().or(rollback).map(|error| error.message.as_str());
    error.or(member.message.as_deref()).unwrap_or_default()
}

/// Returns the seconds that are left of a wait; nothing for one that has not begun or is over.
pub(super) fn wait_left(wait: &WaitStatus, now: Timestamp) -> Option<i64> {
    let started =
        wait.status.start_time.as_ref().filter(|_| wait.status.state == State::Running)?;
    let passed = now.duration_since(started.0).as_secs().max(0);
    Some((i64::from(wait.wait_duration_in_seconds) - passed).max(0))
}

/// Members that are done, out of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: usize,
    pub(super) failed: usize,
    pub(super) all: usize,
}

impl Tally {
    /// Counts members.
    pub(super) fn of<'a>(members: impl Iterator<Item = &'a MemberStatus>) -> Self {
        let mut tally = Self::default();
        for member in members {
            tally.all += 1;
            match member.status.state {
                State::Completed | State::Skipped => tally.done += 1,
                State::Failed => tally.failed += 1,
                State::NotStarted
                | State::Running
                | State::Pending
                | State::Stopping
                | State::Stopped => {}
            }
        }
        tally
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} done", self.done, self.all)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        Ok(())
    }
}

/// Returns the members of a stage.
pub(super) fn members(stage: &StageStatus) -> impl Iterator<Item = &MemberStatus> {
    stage.groups.iter().flat_map(|group| &group.members)
}

/// Returns the names of the gates that a run waits for.
pub(super) fn pending_gates(run: &UpdateRun) -> impl Iterator<Item = &str> {
    let stages = status(run).map(|status| status.stages.as_slice()).unwrap_or_default();
    let gates = stages.iter().flat_map(|stage| {
        let groups = stage.groups.iter();
        let of_groups =
            groups.flat_map(|group| group.before_gates.iter().chain(&group.after_gates));
        stage.before_gates.iter().chain(&stage.after_gates).chain(of_groups)
    });
    gates
        .filter(|gate| gate.status.state == State::Pending)
        .filter_map(|gate| gate.gate_id.as_deref())
}

/// Returns what opens a gate that a run waits for, after what is wrong there.
pub(super) fn opened_by(gate: &StageGateStatus, id: &str) -> String {
    let wrong = gate.status.error.as_ref().map(|error| format!("{}; ", error.message));
    format!("{}`stolos gate approve {id}` opens it", wrong.unwrap_or_default())
}

/// Returns what a gate is called.
pub(super) fn gate_name(gate: &StageGateStatus) -> &str {
    gate.display_name.as_deref().or(gate.gate_id.as_deref()).unwrap_or("without a name")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_gate_says_what_is_wrong_before_what_opens_it() {
        let gate = |error: Value| {
            let gate = json!({ "gateId": "g", "status": { "state": "Pending", "error": error } });
            opened_by(&serde_json::from_value(gate).unwrap(), "g")
        };
        assert_eq!(gate(Value::Null), "`stolos gate approve g` opens it");
        let late = json!({ "code": "HealthCheckFailed", "message": "web is not healthy" });
        assert_eq!(gate(late), "web is not healthy; `stolos gate approve g` opens it");
    }

    #[test]
    fn a_line_about_a_member_begins_with_the_reason() {
        let error = |message: &str| json!({ "state": "Pending", "error": { "code": "X", "message": message } });
        for (name, status, message, want) in [
            ("at work", json!({ "state": "Running" }), json!("node 1"), "node 1"),
            (
                "waits",
                error("it is closed"),
                json!("set member: m … err: it is closed"),
                "it is closed",
            ),
            ("failed", error("no quota"), Value::Null, "no quota"),
            ("nothing to say", json!({ "state": "NotStarted" }), Value::Null, ""),
        ] {
            let member = json!({ "name": "m", "status": status, "message": message });
            let member: MemberStatus = serde_json::from_value(member).unwrap();
            assert_eq!(super::message(&member), want, "{name}");
        }
    }
}
