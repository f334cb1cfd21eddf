//! What happened between two states of a run, for people: only what somebody may want to act on.

use std::collections::BTreeMap;

use stolos_api::update::{MemberStatus, State, UpdateRunStatus};

use super::gates::pending;
use super::states::members;
use super::{Event, Severity};

/// Returns the events of the step from one status to the next.
pub(super) fn between(before: &UpdateRunStatus, after: &UpdateRunStatus) -> Vec<Event> {
    let mut events = Vec::new();
    let states: BTreeMap<&str, (State, i32)> =
        all_members(before).map(|member| (member.name.as_str(), moment(member))).collect();
    for member in all_members(after) {
        if states.get(member.name.as_str()) != Some(&moment(member)) {
            events.extend(member_event(member));
        }
    }
    let known: Vec<_> =
        before.stages.iter().flat_map(pending).filter_map(|gate| gate.gate_id.as_ref()).collect();
    for stage in &after.stages {
        for gate in pending(stage) {
            let Some(id) = gate.gate_id.as_ref().filter(|id| !known.contains(id)) else { continue };
            let name = gate.display_name.as_deref().unwrap_or("without a name");
            let message = format!("stage `{}` waits for gate {id}, {name}", stage.name);
            events.push(Event { severity: Severity::Normal, reason: "GatePending", message });
        }
    }
    events.extend(run_event(before, after));
    events
}

fn all_members(status: &UpdateRunStatus) -> impl Iterator<Item = &MemberStatus> {
    status.stages.iter().flat_map(members)
}

fn moment(member: &MemberStatus) -> (State, i32) {
    (member.status.state, member.attempt)
}

fn member_event(member: &MemberStatus) -> Option<Event> {
    let text = |what: &str| {
        let error = member.status.error.as_ref();
        let why = error.map_or_else(String::new, |error| format!(": {}", error.message));
        format!("member `{}` {what}{why}", member.name)
    };
    match member.status.state {
        State::Failed => Some(Event {
            severity: Severity::Warning,
            reason: "MemberUpdateFailed",
            message: text("failed"),
        }),
        State::Pending => Some(Event {
            severity: Severity::Warning,
            reason: "MemberUpdatePending",
            message: text("cannot be updated yet"),
        }),
        State::NotStarted
        | State::Running
        | State::Skipped
        | State::Stopping
        | State::Stopped
        | State::Completed => None,
    }
}

fn run_event(before: &UpdateRunStatus, after: &UpdateRunStatus) -> Option<Event> {
    let begins = before.status.start_time.is_none() && after.status.start_time.is_some();
    if before.status.state == after.status.state && !begins {
        return None;
    }
    let normal = |reason, message: &str| {
        let progress = after.progress.as_deref().unwrap_or_default();
        let message = format!("{message}, {progress} members done");
        Some(Event { severity: Severity::Normal, reason, message })
    };
    match after.status.state {
        State::Completed => normal("UpdateRunCompleted", "the update run is completed"),
        State::Skipped => normal("UpdateRunSkipped", "everything was skipped"),
        State::Stopped => normal("UpdateRunStopped", "the update run is stopped"),
        State::Failed => {
            let error = after.status.error.as_ref().map(|error| error.message.clone());
            Some(Event {
                severity: Severity::Warning,
                reason: "UpdateRunFailed",
                message: error.unwrap_or_default(),
            })
        }
        _ if begins => normal("UpdateRunStarted", "the update run has started"),
        State::NotStarted | State::Running | State::Pending | State::Stopping => None,
    }
}
