//! How the state of a group, stage and run follows from what is below it (section 2.2).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorDetail, GroupStatus, MemberStatus, StageGateStatus, StageStatus, State, UpdateRunStatus,
    UpdateStatus,
};

use super::amount::to_i32;
use super::code;

/// Whether a member is through: it is not touched again unless the run is restarted.
pub(super) fn is_final(state: State) -> bool {
    match state {
        State::Skipped | State::Failed | State::Completed => true,
        State::NotStarted | State::Running | State::Pending | State::Stopping | State::Stopped => {
            false
        }
    }
}

/// Whether what comes after a stage, gate or wait in this state may begin.
pub(super) fn is_passed(state: State) -> bool {
    matches!(state, State::Completed | State::Skipped)
}

/// Enters a state; entering the one that it has changes nothing.
pub(super) fn enter(status: &mut UpdateStatus, state: State, now: Timestamp) {
    if status.state == state {
        return;
    }
    status.state = state;
    status.completed_time = is_final(state).then_some(MicroTime(now));
}

pub(super) fn members(stage: &StageStatus) -> impl Iterator<Item = &MemberStatus> {
    stage.groups.iter().flat_map(|group| &group.members)
}

pub(super) fn count(members: &[MemberStatus], state: State) -> usize {
    members.iter().filter(|member| member.status.state == state).count()
}

pub(super) fn all_skipped(group: &GroupStatus) -> bool {
    count(&group.members, State::Skipped) == group.members.len()
}

pub(super) fn all_final(group: &GroupStatus) -> bool {
    group.members.iter().all(|member| is_final(member.status.state))
}

pub(super) fn any_pending(gates: &[StageGateStatus]) -> bool {
    gates.iter().any(|gate| gate.status.state == State::Pending)
}

pub(super) fn all_passed(gates: &[StageGateStatus]) -> bool {
    gates.iter().all(|gate| is_passed(gate.status.state))
}

/// Whether a group is through with its members and its after gates.
pub(super) fn is_through(group: &GroupStatus) -> bool {
    all_skipped(group) || (all_final(group) && all_passed(&group.after_gates))
}

/// Counts the members that failed and those that are at the goal.
pub(super) fn count_outcomes(stage: &mut StageStatus) {
    for group in &mut stage.groups {
        group.failure_count = to_i32(count(&group.members, State::Failed));
        group.success_count = to_i32(group.members.iter().filter(|m| is_success(m)).count());
    }
    stage.failure_count = stage.groups.iter().map(|group| group.failure_count).sum();
    stage.success_count = stage.groups.iter().map(|group| group.success_count).sum();
}

/// Whether a member is where the run wants it.
fn is_success(member: &MemberStatus) -> bool {
    match member.status.state {
        State::Completed => true,
        State::Skipped => member.reason.as_deref() == Some(code::AT_TARGET),
        State::NotStarted
        | State::Running
        | State::Pending
        | State::Stopping
        | State::Stopped
        | State::Failed => false,
    }
}

/// Whether nobody expects the member to reach the goal: somebody skipped it, or it left.
fn is_excused(member: &MemberStatus) -> bool {
    let reason = member.reason.as_deref();
    member.status.state == State::Skipped
        && matches!(reason, Some(code::SKIPPED_BY_REQUEST | code::MEMBER_LEFT))
}

/// Returns how many members have to be at the goal when fewer than that can still get there.
fn missed_successes<'a>(
    wanted: i32,
    members: impl Iterator<Item = &'a MemberStatus>,
) -> Option<usize> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if wanted == 0 {
        return None;
    }
    let (mut expected, mut possible) = (0, 0);
    for member in members {
        expected += usize::from(!is_excused(member));
        possible += usize::from(is_success(member) || !is_final(member.status.state));
    }
    let needed = wanted.min(expected);
    (possible < needed).then_some(needed)
}

fn failed_gate(gates: &[StageGateStatus]) -> Option<&StageGateStatus> {
    gates.iter().find(|gate| gate.status.state == State::Failed)
}

fn group_failed(group: &GroupStatus) -> bool {
    group.failure_count > group.max_allowed_failures
        || missed_successes(group.min_successes, group.members.iter()).is_some()
        || failed_gate(&group.before_gates).or_else(|| failed_gate(&group.after_gates)).is_some()
}

/// Whether the stage or one of its groups has failed: too many failures, too few successes, or bad health at a gate.
pub(super) fn stage_failed(stage: &StageStatus) -> bool {
    stage.failure_count > stage.max_allowed_failures
        || missed_successes(stage.min_successes, members(stage)).is_some()
        || failed_gate(&stage.before_gates).or_else(|| failed_gate(&stage.after_gates)).is_some()
        || stage.groups.iter().any(group_failed)
}

/// Ends groups and the stage where nothing but skipped members is left; gates that would hold nobody go with them. Before
/// the start, an empty group may still get members.
pub(super) fn derive_skipped(stage: &mut StageStatus, started: bool, now: Timestamp) {
    for group in &mut stage.groups {
        let nothing_left = all_skipped(group) && (started || !group.members.is_empty());
        if nothing_left && !group_failed(group) {
            skip_pending(&mut group.before_gates, now);
            skip_pending(&mut group.after_gates, now);
            enter(&mut group.status, State::Skipped, now);
        }
    }
    let all_skipped = stage.groups.iter().all(|group| group.status.state == State::Skipped);
    if all_skipped && !stage_failed(stage) {
        skip_pending(&mut stage.before_gates, now);
        skip_pending(&mut stage.after_gates, now);
        enter(&mut stage.status, State::Skipped, now);
        if let Some(wait) = &mut stage.after_stage_wait_status
            && !is_final(wait.status.state)
        {
            enter(&mut wait.status, State::Skipped, now);
        }
    }
}

fn skip_pending(gates: &mut [StageGateStatus], now: Timestamp) {
    for gate in gates.iter_mut().filter(|gate| gate.status.state == State::Pending) {
        gate.status.error = None;
        enter(&mut gate.status, State::Skipped, now);
    }
}

/// Derives the state of a stage that the run has reached, and of its groups.
pub(super) fn derive_stage(stage: &mut StageStatus, stop: bool, now: Timestamp) {
    let failed = stage_failed(stage);
    let begun = stage.status.start_time.is_some();
    for group in &mut stage.groups {
        let state = group_state(group, begun, failed, stop);
        let error = group_failure(group);
        settle(&mut group.status, state, error, now);
        let has_begun = group.members.iter().any(|member| member.status.start_time.is_some());
        if has_begun && group.status.start_time.is_none() {
            group.status.start_time = Some(MicroTime(now));
        }
    }
    let state = stage_state(stage, failed, stop);
    let error = stage_failure(stage);
    settle(&mut stage.status, state, error, now);
}

/// The order of the tests matters.
fn group_state(group: &GroupStatus, begun: bool, stage_failed: bool, stop: bool) -> State {
    let in_flight = count(&group.members, State::Running) > 0;
    let halted = |state| if in_flight { State::Stopping } else { state };
    if any_pending(&group.before_gates) {
        return State::Pending;
    }
    if group_failed(group) {
        return halted(State::Failed);
    }
    if (stop || stage_failed) && !is_through(group) {
        return halted(if begun { State::Stopped } else { State::NotStarted });
    }
    if all_skipped(group) {
        return State::Skipped;
    }
    if in_flight {
        return State::Running;
    }
    if !begun {
        return State::NotStarted;
    }
    if is_through(group) { State::Completed } else { State::Pending }
}

fn stage_state(stage: &StageStatus, failed: bool, stop: bool) -> State {
    let in_flight = members(stage).any(|member| member.status.state == State::Running);
    let waits =
        (stage.after_stage_wait_status.as_ref()).is_some_and(|wait| !is_passed(wait.status.state));
    let groups_through = stage.groups.iter().all(is_through);
    let gates_passed = all_passed(&stage.after_gates);
    if failed {
        return if in_flight { State::Stopping } else { State::Failed };
    }
    let through = groups_through && gates_passed && !waits;
    if stop && !through {
        return if in_flight { State::Stopping } else { State::Stopped };
    }
    if any_pending(&stage.before_gates) {
        return State::Pending;
    }
    if stage.groups.iter().all(all_skipped) {
        return State::Skipped;
    }
    if stage.status.start_time.is_none() {
        return State::NotStarted;
    }
    if in_flight {
        return State::Running;
    }
    if !groups_through || any_pending(&stage.after_gates) {
        return State::Pending;
    }
    if waits { State::Running } else { State::Completed }
}

/// Derives the state of a run that has started.
pub(super) fn derive_run(status: &mut UpdateRunStatus, stop: bool, now: Timestamp) {
    let current = status.stages.iter().find(|stage| !is_passed(stage.status.state));
    let (state, error) = match current {
        Some(stage) => match stage.status.state {
            State::NotStarted if stop => (State::Stopped, None),
            State::NotStarted => (State::Pending, None),
            state => (state, stage.status.error.clone()),
        },
        None if status.stages.iter().all(|stage| stage.status.state == State::Skipped) => {
            (State::Skipped, None)
        }
        None => (State::Completed, None),
    };
    settle(&mut status.status, state, error, now);
}

/// Counts for the run's own fields.
pub(super) fn summarize(status: &mut UpdateRunStatus) {
    let states: Vec<State> =
        status.stages.iter().flat_map(members).map(|member| member.status.state).collect();
    let done = states.iter().filter(|state| is_passed(**state)).count();
    status.progress = Some(format!("{done}/{}", states.len()));
    status.failure_count = to_i32(states.iter().filter(|state| **state == State::Failed).count());
}

fn settle(status: &mut UpdateStatus, state: State, error: Option<ErrorDetail>, now: Timestamp) {
    enter(status, state, now);
    status.error = error;
}

fn group_failure(group: &GroupStatus) -> Option<ErrorDetail> {
    let GroupStatus { name, failure_count, max_allowed_failures, .. } = group;
    if failure_count > max_allowed_failures {
        let what =
            format!("group `{name}`: {failure_count} failed, {max_allowed_failures} allowed");
        return Some(too_many_failures(&what, group.members.iter()));
    }
    if let Some(needed) = missed_successes(group.min_successes, group.members.iter()) {
        return Some(too_few_successes(&format!("group `{name}`"), group.success_count, needed));
    }
    let gate = failed_gate(&group.before_gates).or_else(|| failed_gate(&group.after_gates));
    gate.and_then(|gate| gate.status.error.clone())
}

fn stage_failure(stage: &StageStatus) -> Option<ErrorDetail> {
    let StageStatus { name, failure_count, max_allowed_failures, .. } = stage;
    if failure_count > max_allowed_failures {
        let what =
            format!("stage `{name}`: {failure_count} failed, {max_allowed_failures} allowed");
        return Some(too_many_failures(&what, members(stage)));
    }
    if let Some(needed) = missed_successes(stage.min_successes, members(stage)) {
        return Some(too_few_successes(&format!("stage `{name}`"), stage.success_count, needed));
    }
    let gate = failed_gate(&stage.before_gates).or_else(|| failed_gate(&stage.after_gates));
    gate.and_then(|gate| gate.status.error.clone())
        .or_else(|| stage.groups.iter().find_map(group_failure))
}

fn too_few_successes(what: &str, successes: i32, needed: usize) -> ErrorDetail {
    ErrorDetail {
        code: code::SUCCESS_THRESHOLD_NOT_MET.into(),
        message: format!(
            "{what}: {successes} members are at the goal, {needed} are needed and cannot be reached"
        ),
        ..ErrorDetail::default()
    }
}

fn too_many_failures<'a>(
    what: &str,
    members: impl Iterator<Item = &'a MemberStatus>,
) -> ErrorDetail {
    let failed: Vec<&str> = members
        .filter(|member| member.status.state == State::Failed)
        .map(|member| member.name.as_str())
        .collect();
    ErrorDetail {
        code: code::FAILURE_THRESHOLD_EXCEEDED.into(),
        message: format!("{what}: {}", failed.join(", ")),
        ..ErrorDetail::default()
    }
}
