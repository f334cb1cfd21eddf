//! The engine's frame: prepare a run, read what happened, restart, skip, advance, sum up.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorCause, ErrorDetail, GroupStatus, MemberStatus, NodeImageSelectionStatus, NodeImageVersion,
    RunState, SkipTarget, StageGateStatus, StageStatus, State, UpdateRunStatus, UpdateStatus,
    WaitStatus,
};

use super::advance::Step;
use super::cluster::{Inspection, Member, Operation};
use super::events::Before;
use super::goal::Goal;
use super::image::{self, NodeImage};
use super::leave::leave;
use super::limits::StrategyLimits;
use super::problem::Problem;
use super::roll::{self, Roll, Rolls, each_group};
use super::sequence::Sequence;
use super::states::{
    count_outcomes, derive_run, derive_skipped, enter, is_final, is_passed, members, stage_failed,
    summarize,
};
use super::{Members, Observed, Plan, Run, Start, code, gates, rollback, skip};

/// Decides the next step of an update run. Asking twice with the same input gives the same answer, and asking again
/// after the answer was carried out asks for nothing.
#[must_use]
pub fn plan(run: &Run<'_>, observed: &Observed, now: Timestamp) -> Plan {
    plan_from(run, run.status.cloned().unwrap_or_default(), observed, now)
}

/// As [`plan`], but takes the run's status over instead of copying it from `run.status`, which is not read. Copies are
/// what costs most in a run over thousands of members.
#[must_use]
pub fn plan_from(
    run: &Run<'_>,
    status: UpdateRunStatus,
    observed: &Observed,
    now: Timestamp,
) -> Plan {
    plan_knowing(run, status, &mut Known::default(), observed, now)
}

/// What a plan has found out and the next one need not, when it goes on from the status of the first.
#[derive(Default)]
pub(super) struct Known {
    rolls: Option<Rolls>,
    /// None of these has left without the run having seen it.
    members: Option<Members>,
}

/// As [`plan_from`], for somebody who plans step by step: `known` is of the plan that gave this status.
pub(super) fn plan_knowing(
    run: &Run<'_>,
    mut status: UpdateRunStatus,
    known: &mut Known,
    observed: &Observed,
    now: Timestamp,
) -> Plan {
    // Status keeps microseconds; a finer `now` would make stored and fresh times differ.
    let now = now.round(Unit::Microsecond).unwrap_or(now);
    let before = Before::of(&status);
    let Known { rolls, members } = std::mem::take(known);
    // Until the start members come and go.
    let rolls = rolls.filter(|_| status.status.start_time.is_some());
    status.observed_generation = run.generation;
    let (goal, sequence) = match prepare(run, observed, &mut status) {
        Ok(prepared) => prepared,
        Err(error) => {
            status.status.error = Some(error);
            let release = release(run, observed, &status, &roll::call_all(&status.stages));
            return Plan::idle(status, release);
        }
    };
    let mut rolls = rolls.unwrap_or_else(|| roll::call_all(&status.stages));
    rolls.iter_mut().flatten().for_each(Roll::forget_changes);
    let mut wake_at = None;
    let stop = run.deleting || run.spec.state != RunState::Run;
    if status.status.start_time.is_none() {
        preview_images(&mut status, observed, &goal);
        if !stop {
            begin(run, &mut status, &goal, now);
        }
    }
    let started = status.status.start_time.is_some();
    let mut put_back = false;
    if started {
        read_operations(&mut status, &mut rolls, observed, now);
        put_back = !stop && resume(run, &mut status, &mut rolls);
    }
    let unknown = skip::apply(&mut status.stages, &mut rolls, &run.spec.skip, started, now);
    warn_of(&unknown, &mut status);
    if started {
        // Nobody has noticed whether a member left that was through at the time.
        if put_back || members.is_none_or(|known| !known.are(&observed.members)) {
            leave(&mut status, &mut rolls, &observed.members, now);
        }
        let wanted = (&goal, &sequence);
        wake_at = advance(run, &mut status, &mut rolls, observed, wanted, stop, now);
    }
    summarize(&mut status, &rolls);
    let plan = Plan {
        start: if started { to_start(&status, &rolls, observed) } else { Vec::new() },
        release: release(run, observed, &status, &rolls),
        gates: gates::actions(run, &sequence, &status, observed, now),
        events: before.events(&status, &rolls),
        wake_at,
        status,
    };
    *known =
        Known { rolls: Some(rolls), members: Some(observed.members.clone()).filter(|_| started) };
    plan
}

fn warn_of(unknown: &[&SkipTarget], status: &mut UpdateRunStatus) {
    for target in unknown {
        let text = format!(
            "skip names {:?} `{}`, which the run does not have",
            target.target_type, target.name
        );
        if !status.warnings.contains(&text) {
            status.warnings.push(text);
        }
    }
}

impl Plan {
    fn idle(status: UpdateRunStatus, release: Vec<String>) -> Self {
        Self {
            status,
            start: Vec::new(),
            release,
            gates: Vec::new(),
            events: Vec::new(),
            wake_at: None,
        }
    }
}

/// Checks the run and, until it starts, fixes its strategy and who is in which group.
fn prepare(
    run: &Run<'_>,
    observed: &Observed,
    status: &mut UpdateRunStatus,
) -> Result<(Goal, Sequence), ErrorDetail> {
    let mut problems = Vec::new();
    let goal = Goal::parse(&run.spec.managed_cluster_update, &mut problems);
    let started = status.status.start_time.is_some();
    if !started {
        copy_strategy(run, status)?;
    }
    let (strategy, field) = match (&run.spec.strategy, &status.strategy) {
        (Some(strategy), _) => (Some(strategy), "spec.strategy"),
        (None, copied) => (copied.as_ref(), "status.strategy"),
    };
    // A run that was started goes on, whatever the hub is asked to allow since.
    let limits = if started { StrategyLimits::default() } else { run.limits };
    let sequence = Sequence::parse(strategy, field, limits, &mut problems);
    if !started {
        let mut warnings = Vec::new();
        let members = candidates(run, observed, &mut warnings);
        let fresh = sequence.fix_members(&members, field, &mut problems, &mut warnings);
        if blank(&status.stages) != fresh {
            status.stages = fresh;
        }
        status.warnings = warnings;
    }
    match goal {
        Some(goal) if problems.is_empty() => {
            if !started {
                status.status.error = None;
            }
            Ok((goal, sequence))
        }
        _ => Err(refuse(problems)),
    }
}

/// Returns the members that groups and selectors choose among.
fn candidates<'a>(
    run: &Run<'_>,
    observed: &'a Observed,
    warnings: &mut Vec<String>,
) -> BTreeMap<&'a str, &'a Member> {
    let all = observed.members.iter().map(|(name, member)| (name.as_str(), member));
    if run.spec.members.is_empty() {
        return all.collect();
    }
    let listed: BTreeSet<&str> = run.spec.members.iter().map(String::as_str).collect();
    for name in listed.iter().filter(|name| !observed.members.contains_key(**name)) {
        warnings.push(format!("members names `{name}`, which the fleet does not have"));
    }
    all.filter(|(name, _)| listed.contains(name)).collect()
}

/// A run copies the strategy that it names once; edits of the strategy never reach it.
fn copy_strategy(run: &Run<'_>, status: &mut UpdateRunStatus) -> Result<(), ErrorDetail> {
    let name = run.spec.strategy_name.as_ref().filter(|_| run.spec.strategy.is_none());
    if status.strategy_name.as_ref() == name && status.strategy.is_some() == name.is_some() {
        return Ok(());
    }
    status.strategy = None;
    status.strategy_name = None;
    status.stages = Vec::new();
    let Some(name) = name else { return Ok(()) };
    let strategy = run.strategy.ok_or_else(|| ErrorDetail {
        code: code::STRATEGY_NOT_FOUND.into(),
        message: format!("the fleet has no update strategy `{name}`"),
        target: Some("spec.strategyName".into()),
        ..ErrorDetail::default()
    })?;
    status.strategy = Some(strategy.clone());
    status.strategy_name = Some(name.clone());
    Ok(())
}

fn refuse(problems: Vec<Problem>) -> ErrorDetail {
    let texts: Vec<String> =
        problems.iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect();
    let cause = |problem: Problem| ErrorCause {
        code: code::INVALID_UPDATE_RUN.into(),
        message: problem.message,
        target: Some(problem.field),
    };
    ErrorDetail {
        code: code::INVALID_UPDATE_RUN.into(),
        message: texts.join("; "),
        target: problems.first().map(|problem| problem.field.clone()),
        details: problems.into_iter().map(cause).collect(),
    }
}

/// Returns the stages as they were before anything happened in them.
fn blank(stages: &[StageStatus]) -> Vec<StageStatus> {
    let gates = |gates: &[StageGateStatus]| {
        let blank = |gate: &StageGateStatus| StageGateStatus {
            display_name: gate.display_name.clone(),
            ..StageGateStatus::default()
        };
        gates.iter().map(blank).collect()
    };
    let member = |member: &MemberStatus| MemberStatus {
        name: member.name.clone(),
        cluster_resource_id: member.cluster_resource_id.clone(),
        ..MemberStatus::default()
    };
    let group = |group: &GroupStatus| GroupStatus {
        name: group.name.clone(),
        max_concurrency: group.max_concurrency,
        max_allowed_failures: group.max_allowed_failures,
        members: group.members.iter().map(member).collect(),
        before_gates: gates(&group.before_gates),
        after_gates: gates(&group.after_gates),
        ..GroupStatus::default()
    };
    let stage = |stage: &StageStatus| StageStatus {
        name: stage.name.clone(),
        max_concurrency: stage.max_concurrency,
        max_allowed_failures: stage.max_allowed_failures,
        groups: stage.groups.iter().map(group).collect(),
        before_gates: gates(&stage.before_gates),
        after_gates: gates(&stage.after_gates),
        after_stage_wait_status: stage.after_stage_wait_status.as_ref().map(|wait| WaitStatus {
            wait_duration_in_seconds: wait.wait_duration_in_seconds,
            ..WaitStatus::default()
        }),
        ..StageStatus::default()
    };
    stages.iter().map(stage).collect()
}

/// Shows before the start which images the run would choose.
fn preview_images(status: &mut UpdateRunStatus, observed: &Observed, goal: &Goal) {
    let images = if goal.wants_consistent_images() {
        choose_images(status, observed).unwrap_or_default()
    } else {
        goal.custom_images().to_vec()
    };
    status.node_image_selection = (!images.is_empty()).then(|| selection(&images));
}

fn begin(run: &Run<'_>, status: &mut UpdateRunStatus, goal: &Goal, now: Timestamp) {
    status.status.start_time = Some(MicroTime(now));
    status.observed_restarts = run.spec.restarts;
    status.node_image_selection =
        (!goal.wants_consistent_images()).then(|| selection(goal.custom_images()));
}

fn selection(images: &[NodeImage]) -> NodeImageSelectionStatus {
    NodeImageSelectionStatus {
        selected_node_image_versions: (images.iter())
            .map(|image| NodeImageVersion { version: image.to_string() })
            .collect(),
    }
}

/// Takes over what providers report about members in flight.
fn read_operations(
    status: &mut UpdateRunStatus,
    rolls: &mut Rolls,
    observed: &Observed,
    now: Timestamp,
) {
    for (group, roll) in each_group(&mut status.stages, rolls) {
        let running: Vec<usize> = roll.running().iter().copied().collect();
        for index in running {
            roll.change(&mut group.members, index, |member| read_operation(member, observed, now));
        }
    }
}

fn read_operation(member: &mut MemberStatus, observed: &Observed, now: Timestamp) {
    let operation = member.operation_id.as_ref().and_then(|id| observed.operations.get(id));
    match operation {
        None | Some(Operation::Running(None)) => {}
        Some(Operation::Running(Some(message))) if rollback::is_under_way(member) => {
            rollback::tell(member, Some(message));
        }
        Some(Operation::Running(message)) => member.message.clone_from(message),
        Some(Operation::Done(message)) if rollback::is_under_way(member) => {
            rollback::end(member, Ok(message.clone()), now);
        }
        Some(Operation::Failed { code, message }) if rollback::is_under_way(member) => {
            rollback::end(member, Err((code.clone(), message.clone())), now);
        }
        Some(Operation::Done(message)) => {
            member.message.clone_from(message);
            enter(&mut member.status, State::Completed, now);
        }
        Some(Operation::Failed { code, message }) => {
            member.message = Some(message.clone());
            member.status.error = Some(ErrorDetail {
                code: code::UPGRADE_FAILED.into(),
                message: message.clone(),
                target: None,
                details: vec![ErrorCause {
                    code: code.clone(),
                    message: message.clone(),
                    target: None,
                }],
            });
            enter(&mut member.status, State::Failed, now);
        }
    }
}

/// Puts members that the run did not get to, and on a restart those that failed, back in line. Returns whether there are
/// any.
fn resume(run: &Run<'_>, status: &mut UpdateRunStatus, rolls: &mut Rolls) -> bool {
    let current =
        status.stages.iter_mut().zip(rolls).find(|(stage, _)| !is_passed(stage.status.state));
    let mut restart = run.spec.restarts > status.observed_restarts;
    let mut any = false;
    if let Some((stage, rolls)) = current {
        count_outcomes(stage, rolls);
        // After too many failures, a restart waits for the members that are still in flight.
        let in_flight = rolls.iter().any(|roll| roll.count(State::Running) > 0);
        restart &= !(stage_failed(stage, rolls) && in_flight);
        for (group, roll) in stage.groups.iter_mut().zip(&mut *rolls) {
            any |= put_back(group, roll, restart);
            if restart {
                rollback::call_off(group);
            }
        }
        if restart {
            look_at_health_anew(stage);
        }
        count_outcomes(stage, rolls);
    }
    if restart {
        status.observed_restarts = run.spec.restarts;
    }
    any
}

fn put_back(group: &mut GroupStatus, roll: &mut Roll, restart: bool) -> bool {
    let n_failed = if restart { roll.count(State::Failed) } else { 0 };
    if roll.count(State::Stopped) + n_failed == 0 {
        return false;
    }
    for index in 0..group.members.len() {
        let again = match group.members[index].status.state {
            State::Stopped => true,
            State::Failed => restart,
            State::NotStarted
            | State::Running
            | State::Pending
            | State::Skipped
            | State::Stopping
            | State::Completed => false,
        };
        if again {
            roll.change(&mut group.members, index, |member| {
                member.status = UpdateStatus::default();
                member.message = None;
            });
        }
    }
    true
}

fn look_at_health_anew(stage: &mut StageStatus) {
    let of_groups = stage
        .groups
        .iter_mut()
        .flat_map(|group| group.before_gates.iter_mut().chain(&mut group.after_gates));
    let gates = stage.before_gates.iter_mut().chain(&mut stage.after_gates).chain(of_groups);
    for gate in gates.filter(|gate| gate.status.state == State::Failed) {
        gate.status = UpdateStatus::default();
    }
}

fn advance(
    run: &Run<'_>,
    status: &mut UpdateRunStatus,
    rolls: &mut Rolls,
    observed: &Observed,
    (goal, sequence): (&Goal, &Sequence),
    stop: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    if status.node_image_selection.is_none() && !stop {
        match choose_images(status, observed) {
            Ok(images) => status.node_image_selection = Some(selection(&images)),
            Err(error) => {
                enter(&mut status.status, State::Pending, now);
                status.status.error = Some(error);
                return None;
            }
        }
    }
    let selected = status.node_image_selection.iter().flat_map(|s| &s.selected_node_image_versions);
    let images = selected.filter_map(|image| image.version.parse().ok()).collect();
    let restarting = run.spec.restarts > status.observed_restarts;
    let mut step = Step { run, observed, goal, images, stop, restarting, now, wake_at: None };
    let stages = status.stages.iter_mut().zip(&mut *rolls);
    for ((stage, rolls), sequence) in stages.zip(&sequence.stages) {
        if is_passed(stage.status.state) {
            continue;
        }
        step.advance(stage, rolls, sequence);
        if !is_passed(stage.status.state) {
            break;
        }
    }
    // Groups that nobody is in end with the start, also those of later stages.
    for (stage, rolls) in status.stages.iter_mut().zip(&*rolls) {
        if !is_final(stage.status.state) {
            derive_skipped(stage, rolls, true, now);
        }
    }
    derive_run(status, stop, now);
    step.wake_at
}

fn choose_images(
    status: &UpdateRunStatus,
    observed: &Observed,
) -> Result<Vec<NodeImage>, ErrorDetail> {
    let mut clusters = Vec::new();
    let mut unknown = Vec::new();
    for member in status.stages.iter().flat_map(members) {
        if is_final(member.status.state) {
            continue;
        }
        match observed.members.get(&member.name).map(|seen| &seen.cluster) {
            Some(Inspection::Known(cluster)) => clusters.push(cluster),
            Some(Inspection::Unknown(reason)) => unknown.push(ErrorCause {
                code: code::CLUSTER_NOT_REACHABLE.into(),
                message: reason.clone(),
                target: Some(member.name.clone()),
            }),
            None => {}
        }
    }
    let Some(first) = unknown.first() else { return Ok(image::consistent(clusters.into_iter())) };
    let message = format!(
        "images for all clusters cannot be chosen before all are known; {} are not, the first is `{}`: {}",
        unknown.len(),
        first.target.as_deref().unwrap_or_default(),
        first.message
    );
    let code = code::CLUSTER_NOT_REACHABLE.into();
    Err(ErrorDetail { code, message, target: None, details: unknown })
}

/// Members in flight whose upgrade no provider knows: decided in this step, or before a crash.
fn to_start(status: &UpdateRunStatus, rolls: &Rolls, observed: &Observed) -> Vec<Start> {
    in_flight(status, rolls)
        .filter_map(|member| {
            let operation_id = member.operation_id.as_ref()?;
            let target = member.target.as_ref()?;
            (!observed.operations.contains_key(operation_id)).then(|| Start {
                member: member.name.clone(),
                operation_id: operation_id.clone(),
                target: target.clone(),
            })
        })
        .collect()
}

/// Members whose lease the run holds without need.
fn release(
    run: &Run<'_>,
    observed: &Observed,
    status: &UpdateRunStatus,
    rolls: &Rolls,
) -> Vec<String> {
    let in_flight: BTreeSet<&str> =
        in_flight(status, rolls).map(|member| member.name.as_str()).collect();
    let held = observed.members.held_by(run.uid);
    held.filter(|name| !in_flight.contains(name.as_str())).cloned().collect()
}

fn in_flight<'a>(
    status: &'a UpdateRunStatus,
    rolls: &'a Rolls,
) -> impl Iterator<Item = &'a MemberStatus> {
    let groups = status.stages.iter().flat_map(|stage| &stage.groups);
    groups
        .zip(rolls.iter().flatten())
        .flat_map(|(group, roll)| roll.running().iter().map(|index| &group.members[*index]))
}
