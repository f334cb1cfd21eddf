//! How the state of a group, stage and run follows from what is below it (section 2.2).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorDetail, GroupStatus, MemberStatus, StageGateStatus, StageStatus, State, UpdateRunStatus,
    UpdateStatus,
};

use super::amount::to_i32;
use super::roll::{Roll, Rolls};
use super::{code, rollback};

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

pub(super) fn any_pending(gates: &[StageGateStatus]) -> bool {
    gates.iter().any(|gate| gate.status.state == State::Pending)
}

pub(super) fn all_passed(gates: &[StageGateStatus]) -> bool {
    gates.iter().all(|gate| is_passed(gate.status.state))
}

/// Whether a group is through with its members and its after gates.
pub(super) fn is_through(group: &GroupStatus, roll: &Roll) -> bool {
    roll.all_skipped() || (roll.all_final() && all_passed(&group.after_gates))
}

/// Whether all groups of a stage are through.
pub(super) fn are_through(stage: &StageStatus, rolls: &[Roll]) -> bool {
    stage.groups.iter().zip(rolls).all(|(group, roll)| is_through(group, roll))
}

/// Writes down how many members failed and how many are at the goal.
pub(super) fn count_outcomes(stage: &mut StageStatus, rolls: &[Roll]) {
    for (group, roll) in stage.groups.iter_mut().zip(rolls) {
        group.failure_count = to_i32(roll.count(State::Failed));
        group.success_count = to_i32(roll.n_at_goal());
    }
    stage.failure_count = stage.groups.iter().map(|group| group.failure_count).sum();
    stage.success_count = stage.groups.iter().map(|group| group.success_count).sum();
}

/// Returns how many members have to be at the goal when fewer than that can still get there.
fn missed_successes(wanted: i32, rolls: &[Roll]) -> Option<usize> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let expected: usize = rolls.iter().map(|roll| roll.n_members() - roll.n_excused()).sum();
    let possible: usize = rolls.iter().map(|roll| roll.n_at_goal() + roll.n_open()).sum();
    let needed = wanted.min(expected);
    (possible < needed).then_some(needed)
}

fn failed_gate(gates: &[StageGateStatus]) -> Option<&StageGateStatus> {
    gates.iter().find(|gate| gate.status.state == State::Failed)
}

fn group_failed(group: &GroupStatus, roll: &Roll) -> bool {
    group.failure_count > group.max_allowed_failures
        || missed_successes(group.min_successes, std::slice::from_ref(roll)).is_some()
        || failed_gate(&group.before_gates).or_else(|| failed_gate(&group.after_gates)).is_some()
}

/// Whether the stage or one of its groups has failed: too many failures, too few successes, or bad health at a gate.
pub(super) fn stage_failed(stage: &StageStatus, rolls: &[Roll]) -> bool {
    stage.failure_count > stage.max_allowed_failures
        || missed_successes(stage.min_successes, rolls).is_some()
        || failed_gate(&stage.before_gates).or_else(|| failed_gate(&stage.after_gates)).is_some()
        || stage.groups.iter().zip(rolls).any(|(group, roll)| group_failed(group, roll))
}

/// Ends groups and the stage where nothing but skipped members is left; gates that would hold nobody go with them. Before
/// the start, an empty group may still get members.
pub(super) fn derive_skipped(
    stage: &mut StageStatus,
    rolls: &[Roll],
    started: bool,
    now: Timestamp,
) {
    for (group, roll) in stage.groups.iter_mut().zip(rolls) {
        let nothing_left = roll.all_skipped() && (started || !group.members.is_empty());
        if nothing_left && !group_failed(group, roll) {
            skip_pending(&mut group.before_gates, now);
            skip_pending(&mut group.after_gates, now);
            enter(&mut group.status, State::Skipped, now);
        }
    }
    let all_skipped = stage.groups.iter().all(|group| group.status.state == State::Skipped);
    if all_skipped && !stage_failed(stage, rolls) {
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
pub(super) fn derive_stage(stage: &mut StageStatus, rolls: &[Roll], stop: bool, now: Timestamp) {
    let failed = stage_failed(stage, rolls);
    let begun = stage.status.start_time.is_some();
    for (group, roll) in stage.groups.iter_mut().zip(rolls) {
        let state = group_state(group, roll, begun, failed, stop);
        let error = group_failure(group, roll);
        settle(&mut group.status, state, error, now);
        let has_begun = |member: &MemberStatus| member.status.start_time.is_some();
        if group.status.start_time.is_none() && group.members.iter().any(has_begun) {
            group.status.start_time = Some(MicroTime(now));
        }
    }
    let state = stage_state(stage, rolls, failed, stop);
    let error = stage_failure(stage, rolls);
    settle(&mut stage.status, state, error, now);
}

/// The order of the tests matters. A gate that holds the group comes before a stop (section 2.2, group, 1 and 3): the group was
/// not reached. For its stage and run the stop comes first, see [`stage_state`].
fn group_state(
    group: &GroupStatus,
    roll: &Roll,
    begun: bool,
    stage_failed: bool,
    stop: bool,
) -> State {
    let in_flight = roll.count(State::Running) > 0;
    let halted = |state| if in_flight { State::Stopping } else { state };
    if any_pending(&group.before_gates) {
        return State::Pending;
    }
    if group_failed(group, roll) {
        return failed_state(in_flight, group.members.iter().any(rollback::is_awaited), stop);
    }
    if (stop || stage_failed) && !is_through(group, roll) {
        return halted(if begun { State::Stopped } else { State::NotStarted });
    }
    if roll.all_skipped() {
        return State::Skipped;
    }
    if in_flight {
        return State::Running;
    }
    if !begun {
        return State::NotStarted;
    }
    if is_through(group, roll) { State::Completed } else { State::Pending }
}

/// Returns the state of what has failed: it is not over before its members are through, also those that are put back. A stop
/// keeps them from that.
fn failed_state(in_flight: bool, awaited: bool, stop: bool) -> State {
    if in_flight || (awaited && !stop) {
        return State::Stopping;
    }
    if awaited { State::Stopped } else { State::Failed }
}

/// The order of the tests matters. A stop comes before the gates, so that a run that was stopped while it waited at one is
/// `Stopped` (section 2.1: from `Pending` to `Stopped`, and from there by a start), and not `Pending` as 2.2 alone would have
/// it: nobody who completes the gate makes it go on.
fn stage_state(stage: &StageStatus, rolls: &[Roll], failed: bool, stop: bool) -> State {
    let in_flight = rolls.iter().any(|roll| roll.count(State::Running) > 0);
    let waits =
        (stage.after_stage_wait_status.as_ref()).is_some_and(|wait| !is_passed(wait.status.state));
    let groups_through = are_through(stage, rolls);
    let gates_passed = all_passed(&stage.after_gates);
    if failed {
        return failed_state(in_flight, members(stage).any(rollback::is_awaited), stop);
    }
    let through = groups_through && gates_passed && !waits;
    if stop && !through {
        return if in_flight { State::Stopping } else { State::Stopped };
    }
    if any_pending(&stage.before_gates) {
        return State::Pending;
    }
    if rolls.iter().all(Roll::all_skipped) {
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
pub(super) fn summarize(status: &mut UpdateRunStatus, rolls: &Rolls) {
    let count = |state| rolls.iter().flatten().map(|roll| roll.count(state)).sum::<usize>();
    let all: usize = rolls.iter().flatten().map(Roll::n_members).sum();
    let done = count(State::Completed) + count(State::Skipped);
    status.progress = Some(format!("{done}/{all}"));
    status.failure_count = to_i32(count(State::Failed));
}

fn settle(status: &mut UpdateStatus, state: State, error: Option<ErrorDetail>, now: Timestamp) {
    enter(status, state, now);
    status.error = error;
}

fn group_failure(group: &GroupStatus, roll: &Roll) -> Option<ErrorDetail> {
    let GroupStatus { name, failure_count, max_allowed_failures, .. } = group;
    // First: members that are put back for it have failed as well.
    if let Some(gate) = bad_health(&group.before_gates, &group.after_gates) {
        return Some(gate);
    }
    if failure_count > max_allowed_failures {
        let what =
            format!("group `{name}`: {failure_count} failed, {max_allowed_failures} allowed");
        return Some(too_many_failures(&what, group.members.iter()));
    }
    if let Some(needed) = missed_successes(group.min_successes, std::slice::from_ref(roll)) {
        return Some(too_few_successes(&format!("group `{name}`"), group.success_count, needed));
    }
    None
}

fn bad_health(before: &[StageGateStatus], after: &[StageGateStatus]) -> Option<ErrorDetail> {
    failed_gate(before).or_else(|| failed_gate(after))?.status.error.clone()
}

fn stage_failure(stage: &StageStatus, rolls: &[Roll]) -> Option<ErrorDetail> {
    let StageStatus { name, failure_count, max_allowed_failures, .. } = stage;
    let of_groups = || {
        stage.groups.iter().find_map(|group| bad_health(&group.before_gates, &group.after_gates))
    };
    if let Some(gate) = bad_health(&stage.before_gates, &stage.after_gates).or_else(of_groups) {
        return Some(gate);
    }
    if failure_count > max_allowed_failures {
        let what =
            format!("stage `{name}`: {failure_count} failed, {max_allowed_failures} allowed");
        return Some(too_many_failures(&what, members(stage)));
    }
    if let Some(needed) = missed_successes(stage.min_successes, rolls) {
        return Some(too_few_successes(&format!("stage `{name}`"), stage.success_count, needed));
    }
    stage.groups.iter().zip(rolls).find_map(|(group, roll)| group_failure(group, roll))
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
