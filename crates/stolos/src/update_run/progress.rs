//! What happened in a run between two looks at it.

use serde::Serialize;
use stolos_api::update::{
    GroupStatus, MemberStatus, StageGateStatus, StageStatus, State, UpdateRun, UpdateRunStatus,
    UpdateStatus,
};

use super::text;

/// Something that has come to another state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Change {
    /// What has changed.
    pub(super) event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<String>,
    /// The state that it has come to.
    pub(super) state: State,
    /// What a member is brought to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// Members done, out of all; only for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<String>,
    /// Members failed; only for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failures: Option<i32>,
}

/// What a change is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    #[default]
    Run,
    Stage,
    Group,
    Member,
    Wait,
    Gate,
    Warning,
}

/// Returns what happened, in an order in which it could have: what begins before what is in it, what ends after it.
/// Without a former look, everything that has begun is news.
pub(super) fn changes(before: Option<&UpdateRun>, after: &UpdateRun) -> Vec<Change> {
    let nothing = UpdateRunStatus::default();
    let old = before.and_then(text::status).unwrap_or(&nothing);
    let new = text::status(after).unwrap_or(&nothing);
    let mut changes = Vec::new();
    let warnings = new.warnings.iter().filter(|warning| !old.warnings.contains(warning));
    changes.extend(warnings.map(|warning| Change {
        event: Event::Warning,
        state: new.status.state,
        message: Some(warning.clone()),
        ..Change::default()
    }));
    let run = (before.is_none() || has_changed(Some(&old.status), &new.status)).then(|| Change {
        event: Event::Run,
        state: new.status.state,
        message: new.status.error.as_ref().map(|error| error.message.clone()),
        progress: new.progress.clone(),
        failures: Some(new.failure_count),
        ..Change::default()
    });
    let inside = new
        .stages
        .iter()
        .flat_map(|stage| of_stage(find(&old.stages, &stage.name), stage))
        .collect();
    wrap(&mut changes, run, inside);
    changes
}

fn find<'a, T: Named>(items: &'a [T], name: &str) -> Option<&'a T> {
    items.iter().find(|item| item.name() == name)
}

/// Something with a name that is unique where it stands.
trait Named {
    fn name(&self) -> &str;
}

impl Named for StageStatus {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for GroupStatus {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for MemberStatus {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Puts what is inside something after its beginning or before its end.
fn wrap(changes: &mut Vec<Change>, outer: Option<Change>, inner: Vec<Change>) {
    let ends = outer.as_ref().is_some_and(|change| match change.state {
        State::Skipped | State::Stopped | State::Failed | State::Completed => true,
        State::NotStarted | State::Running | State::Pending | State::Stopping => false,
    });
    if ends {
        changes.extend(inner);
        changes.extend(outer);
    } else {
        changes.extend(outer);
        changes.extend(inner);
    }
}

fn has_changed(before: Option<&UpdateStatus>, after: &UpdateStatus) -> bool {
    let former =
        before.map_or((State::NotStarted, None), |status| (status.state, status.error.as_ref()));
    former != (after.state, after.error.as_ref())
}

fn of_stage(before: Option<&StageStatus>, after: &StageStatus) -> Vec<Change> {
    let here = Change { stage: Some(after.name.clone()), ..Change::default() };
    let stage = has_changed(before.map(|stage| &stage.status), &after.status).then(|| Change {
        event: Event::Stage,
        state: after.status.state,
        message: after.status.error.as_ref().map(|error| error.message.clone()),
        ..here.clone()
    });
    let old = |gates: fn(&StageStatus) -> &Vec<StageGateStatus>| {
        before.map(gates).map(Vec::as_slice).unwrap_or_default()
    };
    let mut inside = of_gates(old(|stage| &stage.before_gates), &after.before_gates, &here);
    for group in &after.groups {
        let former = before.and_then(|stage| find(&stage.groups, &group.name));
        inside.extend(of_group(former, group, &here));
    }
    inside.extend(of_gates(old(|stage| &stage.after_gates), &after.after_gates, &here));
    if let Some(wait) = &after.after_stage_wait_status {
        let former = before.and_then(|stage| stage.after_stage_wait_status.as_ref());
        let changed = has_changed(former.map(|wait| &wait.status), &wait.status);
        inside.extend(changed.then(|| Change {
            event: Event::Wait,
            state: wait.status.state,
            message: Some(text::span(i64::from(wait.wait_duration_in_seconds))),
            ..here
        }));
    }
    let mut changes = Vec::new();
    wrap(&mut changes, stage, inside);
    changes
}

fn of_group(before: Option<&GroupStatus>, after: &GroupStatus, stage: &Change) -> Vec<Change> {
    let here = Change { group: Some(after.name.clone()), ..stage.clone() };
    let group = has_changed(before.map(|group| &group.status), &after.status).then(|| Change {
        event: Event::Group,
        state: after.status.state,
        message: after.status.error.as_ref().map(|error| error.message.clone()),
        ..here.clone()
    });
    let old = |gates: fn(&GroupStatus) -> &Vec<StageGateStatus>| {
        before.map(gates).map(Vec::as_slice).unwrap_or_default()
    };
    let mut inside = of_gates(old(|group| &group.before_gates), &after.before_gates, &here);
    for member in &after.members {
        let former = before.and_then(|group| find(&group.members, &member.name));
        inside.extend(of_member(former, member, &here));
    }
    inside.extend(of_gates(old(|group| &group.after_gates), &after.after_gates, &here));
    let mut changes = Vec::new();
    wrap(&mut changes, group, inside);
    changes
}

fn of_member(
    before: Option<&MemberStatus>,
    after: &MemberStatus,
    group: &Change,
) -> Option<Change> {
    let look = |member: &MemberStatus| {
        (member.status.state, member.attempt, text::message(member).to_owned())
    };
    let former = before.map_or((State::NotStarted, 0, String::new()), look);
    let message = text::message(after);
    (look(after) != former).then(|| Change {
        event: Event::Member,
        member: Some(after.name.clone()),
        state: after.status.state,
        target: after.target.as_ref().map(text::target),
        message: (!message.is_empty()).then(|| message.to_owned()),
        ..group.clone()
    })
}

fn of_gates(before: &[StageGateStatus], after: &[StageGateStatus], place: &Change) -> Vec<Change> {
    let change = |(index, gate): (usize, &StageGateStatus)| {
        let wrong = gate.status.error.as_ref().map(|error| &error.message);
        has_changed(before.get(index).map(|gate| &gate.status), &gate.status).then(|| Change {
            event: Event::Gate,
            gate: Some(gate.gate_id.clone().unwrap_or_else(|| text::gate_name(gate).to_owned())),
            state: gate.status.state,
            message: wrong.cloned().or_else(|| gate.display_name.clone()),
            ..place.clone()
        })
    };
    after.iter().enumerate().filter_map(change).collect()
}

impl Change {
    /// Returns the line for people; `None` for what other lines say already.
    pub(super) fn line(&self, run: &str) -> Option<String> {
        let state = self.state.as_str();
        let stage = self.stage.as_deref().unwrap_or_default();
        let place = match &self.group {
            Some(group) if group != stage => format!("{stage}/{group}"),
            _ => stage.to_owned(),
        };
        let mut line = match self.event {
            Event::Run => format!("update run {run}: {state}"),
            Event::Stage => format!("stage {stage}: {state}"),
            Event::Group => return None,
            Event::Member => {
                format!("{place}: {} {state}", self.member.as_deref().unwrap_or_default())
            }
            Event::Wait => format!("stage {stage}: wait {state}"),
            Event::Gate => {
                format!("{place}: gate {} {state}", self.gate.as_deref().unwrap_or_default())
            }
            Event::Warning => "warning".to_owned(),
        };
        let progress = self.progress.as_ref().map(|progress| {
            format!(", {progress} members done, {} failed", self.failures.unwrap_or(0))
        });
        let target = self.target.as_ref().filter(|_| self.state == State::Running);
        let target = target.map(|target| format!(", to {target}"));
        let message = self.message.as_ref().map(|message| format!(": {message}"));
        line.extend([progress, target, message].into_iter().flatten());
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    fn lines(before: Option<&UpdateRun>, after: &UpdateRun) -> String {
        let lines: Vec<String> =
            changes(before, after).iter().filter_map(|change| change.line("june")).collect();
        lines.join("\n")
    }

    #[test]
    fn the_first_look_tells_what_has_begun() {
        insta::assert_snapshot!(lines(None, &sample::half_way()), @"
        warning: group `asia` has no members
        update run june: Running, 1/4 members done, 1 failed
        canary: member-1 Completed: all nodes are up to date
        stage canary: wait Completed: 30s
        stage canary: Completed
        stage prod: Running
        prod: gate june-prod-before-0 Completed: go ahead
        prod/eu-west: member-2 Running, to 1.35.0: upgrading node member-2-node-1 after its neighbours were drained one by one, slowly
        prod/us: member-4 Failed: quota exceeded
        ");
        insta::assert_snapshot!(lines(None, &sample::not_started()), @"update run june: NotStarted, 0/2 members done, 0 failed");
    }

    #[test]
    fn looking_again_tells_nothing() {
        let run = sample::half_way();
        assert_eq!(changes(Some(&run), &run), []);
    }

    #[test]
    fn ends_come_after_what_led_to_them() {
        let before = sample::half_way();
        let mut after = before.clone();
        let status = after.status.as_mut().unwrap();
        status.status.state = State::Completed;
        status.progress = Some("3/4".to_owned());
        let prod = &mut status.stages[1];
        prod.status.state = State::Completed;
        prod.groups[0].status.state = State::Completed;
        prod.groups[0].members[0].status.state = State::Completed;
        prod.groups[0].members[1].status.state = State::Skipped;
        insta::assert_snapshot!(lines(Some(&before), &after), @"
        prod/eu-west: member-2 Completed: upgrading node member-2-node-1 after its neighbours were drained one by one, slowly
        prod/eu-west: member-3 Skipped
        stage prod: Completed
        update run june: Completed, 3/4 members done, 1 failed
        ");
        let last = changes(Some(&before), &after).pop().unwrap();
        insta::assert_snapshot!(serde_json::to_string(&last).unwrap(), @r#"{"event":"run","state":"Completed","progress":"3/4","failures":1}"#);
    }

    #[test]
    fn another_message_of_a_member_is_news() {
        let before = sample::half_way();
        let mut after = before.clone();
        after.status.as_mut().unwrap().stages[1].groups[0].members[0].message =
            Some("last node".to_owned());
        insta::assert_snapshot!(lines(Some(&before), &after), @"prod/eu-west: member-2 Running, to 1.35.0: last node");
    }
}
