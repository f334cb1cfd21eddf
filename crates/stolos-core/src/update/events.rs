//! What happened between two states of a run, for people: only what somebody may want to act on.

use std::collections::BTreeSet;

use stolos_api::update::{MemberStatus, State, UpdateRunStatus};

use super::gates::pending;
use super::states::members;
use super::{Event, Severity};

/// What has to be known of a status to tell later what happened since.
pub(super) struct Before {
    /// State and attempt of each member, in the order of the status. A member that is not listed has not begun.
    members: Vec<(State, i32)>,
    /// Ids of pending gates.
    gates: BTreeSet<String>,
    state: State,
    started: bool,
}

impl Before {
    pub(super) fn of(status: &UpdateRunStatus) -> Self {
        let gates = status.stages.iter().flat_map(pending);
        let started = status.status.start_time.is_some();
        Self {
            // Until the start members come and go.
            members: if started { all_members(status).map(moment).collect() } else { Vec::new() },
            gates: gates.filter_map(|gate| gate.gate_id.clone()).collect(),
            state: status.status.state,
            started,
        }
    }

    /// Returns the events of the step to the status `after`.
    pub(super) fn events(&self, after: &UpdateRunStatus) -> Vec<Event> {
        let mut events = Vec::new();
        let mut was = self.members.iter();
        for member in all_members(after) {
            if was.next().copied().unwrap_or_default() != moment(member) {
                events.extend(member_event(member));
            }
        }
        for stage in &after.stages {
            for gate in pending(stage) {
                let Some(id) = gate.gate_id.as_ref().filter(|id| !self.gates.contains(*id)) else {
                    continue;
                };
                let name = gate.display_name.as_deref().unwrap_or("without a name");
                let message = format!("stage `{}` waits for gate {id}, {name}", stage.name);
                events.push(Event { severity: Severity::Normal, reason: "GatePending", message });
            }
        }
        events.extend(self.run_event(after));
        events
    }

    fn run_event(&self, after: &UpdateRunStatus) -> Option<Event> {
        let begins = !self.started && after.status.start_time.is_some();
        if self.state == after.status.state && !begins {
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
