//! Whether a run is due.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stolos_api::update::{Published as ActedOn, State, UpdateRun};

use super::Profile;
use super::catalogue::Published;
use super::channel::Target;
use super::code;
use super::goal::{self, Goal, Phase};
use super::history::{self, History, Treatment};
use super::standing::{self, Standing};
use crate::update::cluster::Member;

/// Pause before what failed is tried again; it doubles with each further time. Long enough for a person to look.
const FIRST_RETRY: SignedDuration = SignedDuration::from_mins(10);

/// Longest pause.
const LAST_RETRY: SignedDuration = SignedDuration::from_hours(6);

/// What a profile is decided on, once its target can be known.
pub(super) struct World<'a> {
    pub(super) profile: &'a Profile<'a>,
    pub(super) published: &'a Published,
    /// Members that a run of the profile would take.
    pub(super) members: BTreeMap<&'a str, &'a Member>,
    pub(super) history: &'a History<'a>,
    pub(super) now: Timestamp,
}

/// What is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// Something, but not yet.
    Wait(Wait),
    /// A run, created or started.
    Run(Box<Goal>, String),
    /// A failed run, once more.
    Restart { run: String, restarts: i32, goal: Box<Goal> },
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) until: Option<Timestamp>,
    /// Whether later phases wait as well.
    blocks: bool,
}

impl World<'_> {
    pub(super) fn goal(&self, target: &Target, phase: Phase) -> Goal {
        Goal::new(self.profile.spec, target, phase)
    }

    pub(super) fn standings(&self, goal: &Goal) -> BTreeMap<&str, Standing> {
        standing::of_all(self.profile.spec, self.published, goal, &self.members)
    }
}

/// Decides by comparing members with the target.
pub(super) fn by_drift(world: &World<'_>, target: &Target) -> Due {
    if let Some(wait) = open_run(world) {
        return Due::Wait(wait);
    }
    // Nodes do not fall behind by a minor version because the next one came out meanwhile.
    let owed = nodes_owed(world)
        .filter(|owed| !same_minor(owed, target))
        .map(|owed| world.goal(&owed, Phase::Nodes));
    let phases = goal::phases(world.profile.spec).iter().map(|phase| world.goal(target, *phase));
    let mut pause = None;
    for goal in owed.into_iter().chain(phases) {
        match for_goal(world, &goal) {
            Due::Nothing => {}
            Due::Wait(wait) if !wait.blocks => pause = pause.or(Some(wait)),
            due => return due,
        }
    }
    pause.map_or(Due::Nothing, Due::Wait)
}

/// Decides by what is newly published. Returns also the publication that is dealt with.
pub(super) fn by_publication(world: &World<'_>, target: &Target) -> (Due, Option<ActedOn>) {
    let spec = world.profile.spec;
    let present = ActedOn {
        channel: spec.channel,
        target_kubernetes_version: spec.target_kubernetes_version.clone(),
        versions: target.texts(),
    };
    let before = world.profile.status.and_then(|status| status.published.as_ref()).filter(|seen| {
        seen.channel == present.channel
            && seen.target_kubernetes_version == present.target_kubernetes_version
    });
    let Some(before) = before else { return (Due::Nothing, Some(present)) };
    if let Some(wait) = open_run(world) {
        let dealt_with = is_dealt_with(world, target).then_some(present);
        return (Due::Wait(wait), dealt_with);
    }
    if let Some(owed) = nodes_owed(world) {
        let goal = world.goal(&owed, Phase::Nodes);
        if world.standings(&goal).values().any(|standing| *standing == Standing::Behind) {
            return (nodes_due(world, goal), None);
        }
    }
    if !target.is_newer_than(&before.versions) {
        return (Due::Nothing, None);
    }
    if is_dealt_with(world, target) || spec.disabled {
        return (Due::Nothing, Some(present));
    }
    let phases = goal::phases(spec).iter().map(|phase| world.goal(target, *phase));
    for goal in phases {
        let standings = world.standings(&goal);
        let behind = behind(&standings);
        if !behind.is_empty() {
            let reason = format!("{} is published", target.texts().join(", "));
            return (Due::Run(Box::new(goal), reason), None);
        }
    }
    (Due::Nothing, Some(present))
}

/// Whether a run for a target was started.
fn is_dealt_with(world: &World<'_>, target: &Target) -> bool {
    goal::phases(world.profile.spec).iter().any(|phase| {
        let runs = world.history.for_goal(&world.goal(target, *phase).update);
        runs.iter().any(|(_, run)| !history::is_prepared(run))
    })
}

fn open_run(world: &World<'_>) -> Option<Wait> {
    let (name, run) = world.history.open()?;
    let error = run.status.as_ref().and_then(|status| status.status.error.as_ref());
    let why = error.map_or_else(String::new, |error| format!(": {}", error.message));
    Some(Wait {
        code: code::RUN_OPEN,
        message: format!("update run `{name}` is {:?}{why}", history::state(run)),
        until: None,
        blocks: true,
    })
}

/// Returns the version that control planes have come to, and that nodes shall follow to.
fn nodes_owed(world: &World<'_>) -> Option<Target> {
    world.profile.spec.split.as_ref()?;
    Some(Target::Version(world.history.control_planes_done()?.0))
}

fn same_minor(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::Version(a), Target::Version(b)) => (a.major, a.minor) == (b.major, b.minor),
        _ => false,
    }
}

/// A nodes' run is due when the pause after the control planes is over.
fn nodes_due(world: &World<'_>, goal: Goal) -> Due {
    let wait = world.profile.spec.split.as_ref().map_or(0, |split| split.wait_in_seconds);
    let done = world.history.control_planes_done().map(|(_, at)| at);
    let from = done.map(|at| later(at, SignedDuration::from_secs(i64::from(wait))));
    match from.filter(|from| *from > world.now) {
        Some(until) => Due::Wait(Wait {
            code: code::PAUSING,
            message: format!("nodes follow their control planes at {until}"),
            until: Some(until),
            blocks: true,
        }),
        None => Due::Run(Box::new(goal), "control planes are done, nodes follow".to_owned()),
    }
}

fn behind<'a>(standings: &BTreeMap<&'a str, Standing>) -> Vec<&'a str> {
    let behind = standings.iter().filter(|(_, standing)| **standing == Standing::Behind);
    behind.map(|(name, _)| *name).collect()
}

/// Says whether a run for a goal is due, from what earlier runs for it did.
fn for_goal(world: &World<'_>, goal: &Goal) -> Due {
    let standings = world.standings(goal);
    let behind = behind(&standings);
    if behind.is_empty() {
        return Due::Nothing;
    }
    let runs: Vec<_> = world
        .history
        .for_goal(&goal.update)
        .into_iter()
        .filter(|(_, run)| history::is_finished(run))
        .collect();
    if let Some((name, run)) = runs.last()
        && history::state(run) == State::Failed
    {
        return after_failure(world, goal, name, run);
    }
    let mut due = Vec::new();
    let mut pause: Option<Timestamp> = None;
    for member in behind {
        match member_due(world, &runs, member) {
            MemberDue::At(at) if at <= world.now => due.push(member),
            MemberDue::At(at) => pause = Some(pause.map_or(at, |pause| pause.min(at))),
            MemberDue::Never => {}
        }
    }
    if !due.is_empty() {
        if goal.phase == Phase::Nodes {
            return nodes_due(world, goal.clone());
        }
        let reason = format!(
            "{} of {} members are behind {}: {}",
            due.len(),
            standings.len(),
            goal.target.texts().join(", "),
            due.join(", ")
        );
        return Due::Run(Box::new(goal.clone()), reason);
    }
    pause.map_or(Due::Nothing, |until| {
        let message = format!("members that earlier runs left behind are tried again at {until}");
        Due::Wait(Wait { code: code::PAUSING, message, until: Some(until), blocks: false })
    })
}

enum MemberDue {
    At(Timestamp),
    Never,
}

/// A member that no run has tried is due at once, one that was tried after a pause, one that a person left out never.
fn member_due(world: &World<'_>, runs: &[history::Named<'_>], member: &str) -> MemberDue {
    let mut n_tried = 0;
    let mut last = None;
    for (_, run) in runs {
        match history::treatment(run, member) {
            Treatment::None => {}
            Treatment::SkippedByPerson => return MemberDue::Never,
            Treatment::Tried => {
                n_tried += 1;
                last = history::completed(run);
            }
        }
    }
    match last {
        _ if n_tried == 0 => MemberDue::At(Timestamp::MIN),
        _ if n_tried > world.profile.spec.retries() => MemberDue::Never,
        Some(at) => MemberDue::At(later(at, pause_after(n_tried - 1))),
        None => MemberDue::Never,
    }
}

fn after_failure(world: &World<'_>, goal: &Goal, name: &str, run: &UpdateRun) -> Due {
    let restarts = run.spec.restarts;
    if restarts >= world.profile.spec.retries() {
        let message = format!(
            "update run `{name}` failed, and was started again {restarts} times; raise its spec.restarts to try once more, or delete it to begin anew"
        );
        let wait = Wait { code: code::RUN_FAILED, message, until: None, blocks: true };
        return Due::Wait(wait);
    }
    let until = later(history::completed(run).unwrap_or(world.now), pause_after(restarts));
    if until > world.now {
        let message = format!("update run `{name}` failed; it is started again at {until}");
        let wait = Wait { code: code::PAUSING, message, until: Some(until), blocks: true };
        return Due::Wait(wait);
    }
    let restarts = restarts.saturating_add(1);
    Due::Restart { run: name.to_owned(), restarts, goal: Box::new(goal.clone()) }
}

fn pause_after(n_before: i32) -> SignedDuration {
    let doubled = FIRST_RETRY.checked_mul(1 << n_before.clamp(0, 16));
    doubled.map_or(LAST_RETRY, |pause| pause.min(LAST_RETRY))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
