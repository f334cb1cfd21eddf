//! What happened between two states of a run, for people: only what somebody may want to act on.

use std::collections::BTreeSet;

use stolos_api::update::{GroupStatus, MemberRollback, MemberStatus, State, UpdateRunStatus};

use super::gates::pending;
use super::roll::{Moment, Roll, Rolls, moment};
use super::{Event, Severity};

/// What has to be known of a status to tell later what happened since.
pub(super) struct Before {
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
            gates: gates.filter_map(|gate| gate.gate_id.clone()).collect(),
            state: status.status.state,
            started,
        }
    }

    /// Returns the events of the step to the status `after`; the rolls know which members changed.
    pub(super) fn events(&self, after: &UpdateRunStatus, rolls: &Rolls) -> Vec<Event> {
        let groups = after.stages.iter().flat_map(|stage| &stage.groups);
        let mut events: Vec<Event> = groups
            .zip(rolls.iter().flatten())
            .flat_map(|(group, roll)| changed(group, roll))
            .filter_map(|(member, was)| {
                let is = moment(member);
                let rollback = member.rollback.as_ref().filter(|_| was.rollback != is.rollback);
                match rollback {
                    Some(rollback) => rollback_event(member, rollback),
                    None => member_event(member),
                }
            })
            .collect();
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

/// Returns the members that are elsewhere than when the roll was called, with where they were.
fn changed<'a>(
    group: &'a GroupStatus,
    roll: &'a Roll,
) -> impl Iterator<Item = (&'a MemberStatus, Moment)> {
    let before = roll.before().iter().map(|(index, was)| (&group.members[*index], *was));
    before.filter(|(member, was)| moment(member) != *was)
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

fn rollback_event(member: &MemberStatus, rollback: &MemberRollback) -> Option<Event> {
    let MemberRollback { status, gate, attempt: _ } = rollback;
    let why = status.error.as_ref().map_or("", |error| error.message.as_str());
    let (reason, what) = match status.state {
        State::Running => ("MemberRollbackStarted", format!("goes back, as {gate} has failed")),
        State::Completed => ("MemberRolledBack", format!("was put back, as {gate} has failed")),
        State::Failed => ("MemberRollbackFailed", why.to_owned()),
        State::Skipped => {
            ("MemberNotRolledBack", format!("stays as it is although {gate} has failed: {why}"))
        }
        State::NotStarted | State::Pending | State::Stopping | State::Stopped => return None,
    };
    let message = format!("member `{}` {what}", member.name);
    Some(Event { severity: Severity::Warning, reason, message })
}
