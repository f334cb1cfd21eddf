//! The engine's frame: prepare a run, read what happened, restart, skip, advance, sum up.

use std::cmp::Ordering;
use std::collections::btree_map::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::Bound;

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorCause, ErrorDetail, GroupStatus, MemberStatus, NodeImageSelectionStatus, NodeImageVersion,
    RunState, StageGateStatus, StageStatus, State, UpdateRunStatus, UpdateStatus, WaitStatus,
};

use super::advance::Step;
use super::cluster::{Inspection, Member, Operation};
use super::events::Before;
use super::goal::Goal;
use super::image::{self, NodeImage};
use super::problem::Problem;
use super::sequence::Sequence;
use super::states::{
    count_outcomes, derive_run, derive_skipped, enter, is_final, is_passed, members, stage_failed,
    summarize,
};
use super::{Observed, Plan, Run, Start, code, gates, skip};

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
    mut status: UpdateRunStatus,
    observed: &Observed,
    now: Timestamp,
) -> Plan {
    // Status keeps microseconds; a finer `now` would make stored and fresh times differ.
    let now = now.round(Unit::Microsecond).unwrap_or(now);
    let before = Before::of(&status);
    status.observed_generation = run.generation;
    let (goal, sequence) = match prepare(run, observed, &mut status) {
        Ok(prepared) => prepared,
        Err(error) => {
            status.status.error = Some(error);
            let release = release(run, observed, &status);
            return Plan::idle(status, release);
        }
    };
    let mut wake_at = None;
    let stop = run.deleting || run.spec.state != RunState::Run;
    if status.status.start_time.is_none() {
        preview_images(&mut status, observed, &goal);
        if !stop {
            begin(run, &mut status, &goal, now);
        }
    }
    let started = status.status.start_time.is_some();
    if started {
        read_operations(&mut status, observed, now);
        if !stop {
            resume(run, &mut status);
        }
    }
    let unknown = skip::apply(&mut status.stages, &run.spec.skip, started, now);
    for target in unknown {
        let text = format!(
            "skip names {:?} `{}`, which the run does not have",
            target.target_type, target.name
        );
        if !status.warnings.contains(&text) {
            status.warnings.push(text);
        }
    }
    if started {
        leave(&mut status, observed, now);
        wake_at = advance(run, &mut status, observed, &goal, &sequence, stop, now);
    }
    summarize(&mut status);
    Plan {
        start: if started { to_start(&status, observed) } else { Vec::new() },
        release: release(run, observed, &status),
        gates: gates::actions(run, &sequence, &status, observed, now),
        events: before.events(&status),
        wake_at,
        status,
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
    let sequence = Sequence::parse(strategy, field, &mut problems);
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
fn read_operations(status: &mut UpdateRunStatus, observed: &Observed, now: Timestamp) {
    for member in each_member(&mut status.stages) {
        if member.status.state != State::Running {
            continue;
        }
        let operation = member.operation_id.as_ref().and_then(|id| observed.operations.get(id));
        match operation {
            None | Some(Operation::Running(None)) => {}
            Some(Operation::Running(message)) => member.message.clone_from(message),
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
}

/// Puts members that the run did not get to, and on a restart those that failed, back in line.
fn resume(run: &Run<'_>, status: &mut UpdateRunStatus) {
    let mut current = status.stages.iter_mut().find(|stage| !is_passed(stage.status.state));
    // After too many failures, a restart waits for the members that are still in flight.
    let ending = current.as_mut().is_some_and(|stage| {
        count_outcomes(stage);
        stage_failed(stage) && members(stage).any(|m| m.status.state == State::Running)
    });
    let restart = run.spec.restarts > status.observed_restarts && !ending;
    if let Some(stage) = current {
        for group in &mut stage.groups {
            for member in &mut group.members {
                let again = match member.status.state {
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
                    member.status = UpdateStatus::default();
                    member.message = None;
                }
            }
        }
        if restart {
            look_at_health_anew(stage);
        }
        count_outcomes(stage);
    }
    if restart {
        status.observed_restarts = run.spec.restarts;
    }
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

/// Ends members that left the fleet, or whose name stands for another cluster by now.
fn leave(status: &mut UpdateRunStatus, observed: &Observed, now: Timestamp) {
    let mut fleet = InOrder::of(observed);
    for member in each_member(&mut status.stages) {
        if is_final(member.status.state) {
            continue;
        }
        let stays = fleet.get(&member.name).is_some_and(|seen| {
            member.cluster_resource_id.as_ref().is_none_or(|id| *id == seen.cluster_resource_id)
        });
        if stays {
            continue;
        }
        member.reason = Some(code::MEMBER_LEFT.into());
        let message = "the member left the fleet".to_owned();
        member.message = Some(message.clone());
        member.status.error =
            Some(ErrorDetail { code: code::MEMBER_LEFT.into(), message, ..ErrorDetail::default() });
        enter(&mut member.status, State::Skipped, now);
    }
}

/// Looks members up that are asked for mostly in the order of their names, as groups list them: many times faster than
/// searching for each.
struct InOrder<'a> {
    observed: &'a Observed,
    next: Peekable<Range<'a, String, Member>>,
}

impl<'a> InOrder<'a> {
    /// How far the next member is looked for before it is searched.
    const NEAR: usize = 4;

    fn of(observed: &'a Observed) -> Self {
        Self { observed, next: observed.members.range::<String, _>(..).peekable() }
    }

    fn get(&mut self, name: &str) -> Option<&'a Member> {
        for _ in 0..Self::NEAR {
            let Some((near, member)) = self.next.peek().copied() else { break };
            match near.as_str().cmp(name) {
                Ordering::Equal => return Some(member),
                Ordering::Less => {
                    self.next.next();
                }
                Ordering::Greater => break,
            }
        }
        let from = (Bound::Included(name), Bound::Unbounded);
        self.next = self.observed.members.range::<str, _>(from).peekable();
        let (found, member) = self.next.peek().copied()?;
        (found == name).then_some(member)
    }
}

fn advance(
    run: &Run<'_>,
    status: &mut UpdateRunStatus,
    observed: &Observed,
    goal: &Goal,
    sequence: &Sequence,
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
    let windows_count = observed.members.values().any(|member| goal.window(member).is_some());
    let mut step = Step { run, observed, goal, images, windows_count, stop, now, wake_at: None };
    for (stage, sequence) in status.stages.iter_mut().zip(&sequence.stages) {
        if is_passed(stage.status.state) {
            continue;
        }
        step.advance(stage, sequence);
        if !is_passed(stage.status.state) {
            break;
        }
    }
    // Groups that nobody is in end with the start, also those of later stages.
    for stage in status.stages.iter_mut().filter(|stage| !is_final(stage.status.state)) {
        derive_skipped(stage, true, now);
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
fn to_start(status: &UpdateRunStatus, observed: &Observed) -> Vec<Start> {
    let running = (status.stages.iter().flat_map(members))
        .filter(|member| member.status.state == State::Running);
    running
        .filter_map(|member| {
            let operation_id = member.operation_id.clone()?;
            let target = member.target.clone()?;
            (!observed.operations.contains_key(&operation_id)).then(|| Start {
                member: member.name.clone(),
                operation_id,
                target,
            })
        })
        .collect()
}

/// Members whose lease the run holds without need.
fn release(run: &Run<'_>, observed: &Observed, status: &UpdateRunStatus) -> Vec<String> {
    let in_flight: BTreeSet<&str> = (status.stages.iter().flat_map(members))
        .filter(|member| member.status.state == State::Running)
        .map(|member| member.name.as_str())
        .collect();
    (observed.members.iter())
        .filter(|(_, member)| member.holder.as_ref().is_some_and(|h| h.uid == run.uid))
        .filter(|(name, _)| !in_flight.contains(name.as_str()))
        .map(|(name, _)| name.clone())
        .collect()
}

fn each_member(stages: &mut [StageStatus]) -> impl Iterator<Item = &mut MemberStatus> {
    stages.iter_mut().flat_map(|stage| &mut stage.groups).flat_map(|group| &mut group.members)
}
