//! Leaving things out of a run at its author's request (section 3).

use std::collections::BTreeSet;

use jiff::Timestamp;
use stolos_api::update::{
    GroupStatus, MemberStatus, SkipTarget, SkipTargetType, StageGateStatus, StageStatus, State,
    WaitStatus,
};

use super::code;
use super::roll::{Roll, Rolls, each_group};
use super::states::{derive_skipped, enter, is_final};

/// Applies what `spec.skip` lists. What is final or running stays as it is. Returns the targets that name nothing.
pub(super) fn apply<'a>(
    stages: &mut [StageStatus],
    rolls: &mut Rolls,
    targets: &'a [SkipTarget],
    started: bool,
    now: Timestamp,
) -> Vec<&'a SkipTarget> {
    if targets.is_empty() {
        return Vec::new();
    }
    let members = targets.iter().filter(|target| target.target_type == SkipTargetType::Member);
    let names: BTreeSet<&str> = members.map(|target| target.name.as_str()).collect();
    let known = skip_members(stages, rolls, &names, now);
    let unknown = (targets.iter())
        .filter(|target| match target.target_type {
            SkipTargetType::Member => !known.contains(target.name.as_str()),
            SkipTargetType::Group => !skip_groups(stages, rolls, &target.name, now),
            SkipTargetType::Stage => !skip_stages(stages, rolls, &target.name, now),
            SkipTargetType::AfterStageWait => !skip_waits(stages, &target.name, now),
        })
        .collect();
    for (stage, rolls) in stages.iter_mut().zip(rolls) {
        if !is_final(stage.status.state) {
            derive_skipped(stage, rolls, started, now);
        }
    }
    unknown
}

/// Returns the names that the run has.
fn skip_members<'a>(
    stages: &mut [StageStatus],
    rolls: &mut Rolls,
    names: &BTreeSet<&'a str>,
    now: Timestamp,
) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    if names.is_empty() {
        return known;
    }
    for (group, roll) in each_group(stages, rolls) {
        for index in 0..group.members.len() {
            if let Some(name) = names.get(group.members[index].name.as_str()) {
                known.insert(*name);
                roll.change(&mut group.members, index, |member| skip_member(member, now));
            }
        }
    }
    known
}

/// Returns whether the run has such a group.
fn skip_groups(stages: &mut [StageStatus], rolls: &mut Rolls, name: &str, now: Timestamp) -> bool {
    let named = each_group(stages, rolls).filter(|(group, _)| group.name == name);
    named.map(|(group, roll)| skip_group(group, roll, now)).count() > 0
}

/// Returns whether the run has such a stage.
fn skip_stages(stages: &mut [StageStatus], rolls: &mut Rolls, name: &str, now: Timestamp) -> bool {
    let named = stages.iter_mut().zip(rolls).filter(|(stage, _)| stage.name == name);
    named.map(|(stage, rolls)| skip_stage(stage, rolls, now)).count() > 0
}

/// Returns whether the run has such a stage.
fn skip_waits(stages: &mut [StageStatus], name: &str, now: Timestamp) -> bool {
    let named = stages.iter_mut().filter(|stage| stage.name == name);
    named.map(|stage| skip_wait(stage.after_stage_wait_status.as_mut(), now)).count() > 0
}

fn skip_member(member: &mut MemberStatus, now: Timestamp) {
    let state = member.status.state;
    if !is_final(state) && state != State::Running {
        enter(&mut member.status, State::Skipped, now);
        member.status.error = None;
        member.message = Some("skipped by request.".into());
    }
    // Also one that was left out for another reason is not asked for in the end.
    let excused = matches!(member.reason.as_deref(), Some(code::AT_TARGET | code::MEMBER_LEFT));
    if member.status.state == State::Skipped && !excused {
        member.reason = Some(code::SKIPPED_BY_REQUEST.into());
    }
}

fn skip_group(group: &mut GroupStatus, roll: &mut Roll, now: Timestamp) {
    for index in 0..group.members.len() {
        roll.change(&mut group.members, index, |member| skip_member(member, now));
    }
    skip_gates(&mut group.before_gates, now);
    skip_gates(&mut group.after_gates, now);
    if group.members.is_empty() {
        enter(&mut group.status, State::Skipped, now);
    }
}

fn skip_stage(stage: &mut StageStatus, rolls: &mut [Roll], now: Timestamp) {
    for (group, roll) in stage.groups.iter_mut().zip(rolls) {
        skip_group(group, roll, now);
    }
    skip_gates(&mut stage.before_gates, now);
    skip_gates(&mut stage.after_gates, now);
    skip_wait(stage.after_stage_wait_status.as_mut(), now);
}

fn skip_gates(gates: &mut [StageGateStatus], now: Timestamp) {
    for gate in gates.iter_mut().filter(|gate| !is_final(gate.status.state)) {
        gate.status.error = None;
        enter(&mut gate.status, State::Skipped, now);
    }
}

fn skip_wait(wait: Option<&mut WaitStatus>, now: Timestamp) {
    if let Some(wait) = wait
        && !is_final(wait.status.state)
    {
        enter(&mut wait.status, State::Skipped, now);
    }
}
