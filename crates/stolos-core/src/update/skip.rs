//! Leaving things out of a run at its author's request (section 3).

use jiff::Timestamp;
use stolos_api::update::{
    GroupStatus, MemberStatus, SkipTarget, SkipTargetType, StageGateStatus, StageStatus, State,
    WaitStatus,
};

use super::code;
use super::states::{derive_skipped, enter, is_final};

/// Applies what `spec.skip` lists. What is final or running stays as it is. Returns the targets that name nothing.
pub(super) fn apply<'a>(
    stages: &mut [StageStatus],
    targets: &'a [SkipTarget],
    started: bool,
    now: Timestamp,
) -> Vec<&'a SkipTarget> {
    let unknown = targets.iter().filter(|target| !apply_one(stages, target, now)).collect();
    if !targets.is_empty() {
        for stage in stages.iter_mut().filter(|stage| !is_final(stage.status.state)) {
            derive_skipped(stage, started, now);
        }
    }
    unknown
}

fn apply_one(stages: &mut [StageStatus], target: &SkipTarget, now: Timestamp) -> bool {
    let name = &target.name;
    match target.target_type {
        SkipTargetType::Member => {
            (stages.iter_mut())
                .flat_map(|stage| &mut stage.groups)
                .flat_map(|group| &mut group.members)
                .filter(|member| member.name == *name)
                .map(|member| skip_member(member, now))
                .count()
                > 0
        }
        SkipTargetType::Group => {
            (stages.iter_mut())
                .flat_map(|stage| &mut stage.groups)
                .filter(|group| group.name == *name)
                .map(|group| skip_group(group, now))
                .count()
                > 0
        }
        SkipTargetType::Stage => {
            (stages.iter_mut())
                .filter(|stage| stage.name == *name)
                .map(|stage| skip_stage(stage, now))
                .count()
                > 0
        }
        SkipTargetType::AfterStageWait => {
            (stages.iter_mut())
                .filter(|stage| stage.name == *name)
                .map(|stage| skip_wait(stage.after_stage_wait_status.as_mut(), now))
                .count()
                > 0
        }
    }
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

fn skip_group(group: &mut GroupStatus, now: Timestamp) {
    group.members.iter_mut().for_each(|member| skip_member(member, now));
    skip_gates(&mut group.before_gates, now);
    skip_gates(&mut group.after_gates, now);
    if group.members.is_empty() {
        enter(&mut group.status, State::Skipped, now);
    }
}

fn skip_stage(stage: &mut StageStatus, now: Timestamp) {
    stage.groups.iter_mut().for_each(|group| skip_group(group, now));
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
