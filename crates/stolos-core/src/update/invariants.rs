//! What holds for every plan of every run, whatever happens to it (section 12). Tests check each plan; so can a shell that
//! would rather stop than do harm.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stolos_api::update::{
    MemberStatus, RunState, StageGateStatus, StageStatus, State, UpdateRunStatus, UpdateStatus,
};

use super::cluster::Inspection;
use super::goal::Goal;
use super::roll;
use super::states::{is_final, is_passed, members, stage_failed};
use super::window::{Opening, Window};
use super::{GateAction, Observed, Plan, Run, rollback};

/// A plan that must not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// The rule, as a sentence in `snake_case`.
    pub rule: &'static str,
    /// What breaks it.
    pub what: String,
}

/// A plan with what it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The run.
    pub run: &'a Run<'a>,
    /// Its status before the plan; `None` when it had none.
    pub before: Option<&'a UpdateRunStatus>,
    /// The world that the plan was made for.
    pub observed: &'a Observed,
    /// The plan.
    pub plan: &'a Plan,
    /// When it was made.
    pub now: Timestamp,
}

type Rule = fn(&Planned<'_>) -> Result<(), String>;

const RULES: [(&str, Rule); 12] = [
    ("budgets_are_kept", budgets_are_kept),
    ("earlier_stages_come_first", earlier_stages_come_first),
    ("nothing_begins_after_a_stop_or_a_failure", nothing_begins_after_a_stop_or_a_failure),
    ("nothing_begins_outside_its_window", nothing_begins_outside_its_window),
    ("starts_are_written_down", starts_are_written_down),
    ("only_what_the_run_updated_is_put_back", only_what_the_run_updated_is_put_back),
    ("nobody_is_put_back_twice", nobody_is_put_back_twice),
    ("final_states_stay", final_states_stay),
    ("gates_are_made_once", gates_are_made_once),
    ("times_are_in_order", times_are_in_order),
    ("outcomes_are_counted", outcomes_are_counted),
    ("the_next_look_is_in_the_future", the_next_look_is_in_the_future),
];

/// Checks a plan against every rule.
///
/// # Errors
///
/// Names the first rule that the plan breaks.
pub fn check(planned: &Planned<'_>) -> Result<(), Violation> {
    for (rule, holds) in RULES {
        holds(planned).map_err(|what| Violation { rule, what })?;
    }
    Ok(())
}

fn budgets_are_kept(planned: &Planned<'_>) -> Result<(), String> {
    let over = |limit: i32, members: &mut dyn Iterator<Item = &MemberStatus>| {
        let running = members.filter(|member| member.status.state == State::Running).count();
        running > usize::try_from(limit).unwrap_or(0)
    };
    for stage in &planned.plan.status.stages {
        if over(stage.max_concurrency, &mut members(stage)) {
            return Err(format!("stage `{}`", stage.name));
        }
        for group in &stage.groups {
            if over(group.max_concurrency, &mut group.members.iter()) {
                return Err(format!("group `{}`", group.name));
            }
        }
    }
    Ok(())
}

/// Returns the members of a stage whose upgrade was decided in this plan. Putting them back is no upgrade.
fn begun<'a>(planned: &Planned<'a>, stage: &'a StageStatus) -> Vec<&'a str> {
    let decided: Vec<&MemberStatus> = members(stage)
        .filter(|member| member.status.state == State::Running)
        .filter(|member| member.status.start_time.as_ref().is_some_and(|t| t.0 == planned.now))
        .filter(|member| !rollback::is_under_way(member))
        .collect();
    if decided.is_empty() {
        return Vec::new();
    }
    let before = planned.before.into_iter().flat_map(|status| &status.stages).flat_map(members);
    let ran: BTreeSet<(&str, i32)> = before
        .filter(|member| member.status.state == State::Running)
        .map(|member| (member.name.as_str(), member.attempt))
        .collect();
    let is_new = |member: &&&MemberStatus| !ran.contains(&(member.name.as_str(), member.attempt));
    decided.iter().filter(is_new).map(|member| member.name.as_str()).collect()
}

fn earlier_stages_come_first(planned: &Planned<'_>) -> Result<(), String> {
    let stages = &planned.plan.status.stages;
    for (index, stage) in stages.iter().enumerate() {
        let earlier_open = stages[..index].iter().any(|stage| !is_passed(stage.status.state));
        if earlier_open && let Some(member) = begun(planned, stage).first() {
            return Err(format!("member `{member}` of stage `{}`", stage.name));
        }
    }
    Ok(())
}

fn nothing_begins_after_a_stop_or_a_failure(planned: &Planned<'_>) -> Result<(), String> {
    let stop = planned.run.deleting || planned.run.spec.state != RunState::Run;
    let failed = |stage: &StageStatus| stage_failed(stage, &roll::call(stage));
    for stage in &planned.plan.status.stages {
        // A stage can fail by what becomes of the last member that it reaches in this very plan; others may have begun
        // before that.
        let was_failed = planned.before.is_some_and(|status| {
            let same = status.stages.iter().find(|before| before.name == stage.name);
            same.is_some_and(failed)
        });
        let restarted = planned.before.is_some_and(|status| {
            status.observed_restarts != planned.plan.status.observed_restarts
        });
        let ended = stop || (was_failed && !restarted && failed(stage));
        if ended && let Some(member) = begun(planned, stage).first() {
            return Err(format!("member `{member}` of stage `{}`", stage.name));
        }
    }
    Ok(())
}

fn nothing_begins_outside_its_window(planned: &Planned<'_>) -> Result<(), String> {
    let update = &planned.run.spec.managed_cluster_update;
    let Some(goal) = Goal::parse(update, &mut Vec::new()) else { return Ok(()) };
    for name in planned.plan.status.stages.iter().flat_map(|stage| begun(planned, stage)) {
        let member = planned.observed.members.get(name);
        let Some(window) = member.and_then(|member| goal.window(member)) else { continue };
        let open = Window::parse(window)
            .is_ok_and(|window| matches!(window.at(planned.now), Opening::OpenUntil(_)));
        if !open {
            return Err(format!("member `{name}`"));
        }
    }
    Ok(())
}

/// The status says everything about an upgrade before it is started, and no upgrade touches a member of another run.
fn starts_are_written_down(planned: &Planned<'_>) -> Result<(), String> {
    if planned.plan.start.is_empty() {
        return Ok(());
    }
    let written: BTreeMap<&str, &MemberStatus> = (planned.plan.status.stages.iter())
        .flat_map(members)
        .filter(|member| member.status.state == State::Running)
        .map(|member| (member.name.as_str(), member))
        .collect();
    for start in &planned.plan.start {
        let is_written = written.get(start.member.as_str()).is_some_and(|member| {
            member.operation_id.as_ref() == Some(&start.operation_id)
                && member.target.as_ref() == Some(&start.target)
        });
        let holder = planned.observed.members.get(&start.member).and_then(|m| m.holder.as_ref());
        if !is_written || holder.is_some_and(|holder| holder.uid != planned.run.uid) {
            return Err(format!("member `{}`", start.member));
        }
    }
    Ok(())
}

/// Returns the members that begin to be put back in this plan, each as it was before, and whether its run goes on.
fn put_back<'a>(
    planned: &Planned<'a>,
) -> impl Iterator<Item = (Option<&'a MemberStatus>, &'a MemberStatus)> {
    let before = planned.before;
    let of = |status: &'a UpdateRunStatus| status.stages.iter().flat_map(members);
    let before: BTreeMap<&str, &MemberStatus> =
        before.into_iter().flat_map(of).map(|member| (member.name.as_str(), member)).collect();
    of(&planned.plan.status).filter(|member| rollback::is_under_way(member)).filter_map(
        move |member| {
            let was = before.get(member.name.as_str()).copied();
            (!was.is_some_and(rollback::is_under_way)).then_some((was, member))
        },
    )
}

/// Only behind a gate that has failed, only while the run goes on, and only a cluster that nobody else works on.
fn only_what_the_run_updated_is_put_back(planned: &Planned<'_>) -> Result<(), String> {
    let stop = planned.run.deleting || planned.run.spec.state != RunState::Run;
    let failed = |stage: &StageStatus| gates(stage).any(|gate| gate.status.state == State::Failed);
    for (was, member) in put_back(planned) {
        let updated = was.is_some_and(|was| {
            let by_run = was.status.state == State::Completed || was.status.state == State::Running;
            by_run && was.attempt == member.attempt && was.attempt > 0 && was.previous.is_some()
        });
        let stage = planned
            .plan
            .status
            .stages
            .iter()
            .find(|stage| members(stage).any(|other| other.name == member.name));
        let seen = planned.observed.members.get(&member.name);
        let is_free = seen.is_some_and(|seen| {
            let held = seen.holder.as_ref().is_some_and(|holder| holder.uid != planned.run.uid);
            let quiet =
                matches!(&seen.cluster, Inspection::Known(cluster) if cluster.hold.is_none());
            !held && quiet
        });
        if stop || !updated || !is_free || !stage.is_some_and(failed) {
            return Err(format!("member `{}`", member.name));
        }
    }
    Ok(())
}

fn nobody_is_put_back_twice(planned: &Planned<'_>) -> Result<(), String> {
    for (was, member) in put_back(planned) {
        let ended = was.and_then(|was| was.rollback.as_ref()).filter(|rollback| {
            is_final(rollback.status.state) && rollback.attempt == member.attempt
        });
        if ended.is_some() {
            return Err(format!("member `{}`", member.name));
        }
    }
    Ok(())
}

fn final_states_stay(planned: &Planned<'_>) -> Result<(), String> {
    let started = |status: &&UpdateRunStatus| status.status.start_time.is_some();
    let Some(before) = planned.before.filter(started) else { return Ok(()) };
    let after = &planned.plan.status;
    let restarted = after.observed_restarts > before.observed_restarts;
    for (was, is) in before.stages.iter().zip(&after.stages) {
        if is_passed(was.status.state) && !is_passed(is.status.state) {
            return Err(format!("stage `{}`", was.name));
        }
        for (was, is) in members(was).zip(members(is)) {
            let again = was.status.state == State::Failed && restarted
                || was.status.state == State::Completed && rollback::is_under_way(is);
            let stays = was.status.state == is.status.state;
            if was.name != is.name || (is_final(was.status.state) && !stays && !again) {
                return Err(format!("member `{}`", was.name));
            }
        }
    }
    Ok(())
}

fn gates_are_made_once(planned: &Planned<'_>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for action in &planned.plan.gates {
        if let GateAction::Create { id, .. } = action
            && (planned.observed.gates.contains_key(id) || !seen.insert(id))
        {
            return Err(format!("gate {id}"));
        }
    }
    let mut ids = BTreeSet::new();
    let twice = planned.plan.status.stages.iter().flat_map(gates).find(|gate| {
        let id = gate.gate_id.as_ref();
        id.is_some_and(|id| !ids.insert(id))
    });
    twice.map_or(Ok(()), |gate| Err(format!("gate {:?} stands in two places", gate.gate_id)))
}

fn gates(stage: &StageStatus) -> impl Iterator<Item = &StageGateStatus> {
    let of_groups =
        stage.groups.iter().flat_map(|group| group.before_gates.iter().chain(&group.after_gates));
    stage.before_gates.iter().chain(&stage.after_gates).chain(of_groups)
}

fn times_are_in_order(planned: &Planned<'_>) -> Result<(), String> {
    let check = |name: &str, status: &UpdateStatus| {
        let ends_first = match (&status.start_time, &status.completed_time) {
            (Some(start), Some(end)) => end.0 < start.0,
            _ => false,
        };
        if ends_first || status.completed_time.is_some() != is_final(status.state) {
            return Err(format!("`{name}` is {:?}", status.state));
        }
        Ok(())
    };
    let status = &planned.plan.status;
    check("run", &status.status)?;
    for stage in &status.stages {
        check(&stage.name, &stage.status)?;
        for group in &stage.groups {
            check(&group.name, &group.status)?;
            for member in &group.members {
                check(&member.name, &member.status)?;
            }
        }
    }
    Ok(())
}

fn outcomes_are_counted(planned: &Planned<'_>) -> Result<(), String> {
    let status = &planned.plan.status;
    let failed = status.stages.iter().flat_map(members);
    let failed = failed.filter(|member| member.status.state == State::Failed).count();
    if usize::try_from(status.failure_count) != Ok(failed) {
        return Err(format!("{failed} members failed, not {}", status.failure_count));
    }
    Ok(())
}

fn the_next_look_is_in_the_future(planned: &Planned<'_>) -> Result<(), String> {
    match planned.plan.wake_at.filter(|at| *at <= planned.now) {
        Some(at) => Err(format!("{at} is not after {}", planned.now)),
        None => Ok(()),
    }
}
