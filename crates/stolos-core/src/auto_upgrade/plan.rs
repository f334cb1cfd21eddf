//! The engine's frame: find the target, answer requests, decide what is due, report, tidy up.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stolos_api::update::{
    AutoUpgradeProfileStatus, DEFAULT_HISTORY_LIMIT, Generated, ManagedClusterUpdate, Reconcile,
    RunState,
};

use super::catalogue::Published;
use super::channel::{self, Blocked, Target};
use super::code;
use super::due::{self, Due, World};
use super::goal::{self, Goal, Phase};
use super::history::{self, History};
use super::name;
use super::report;
use super::standing::Standing;
use super::{Action, NewRun, Observed, Plan, Profile};
use crate::update::cluster::{Cluster, Inspection, Member};
use crate::update::outlook;

/// Decides what a profile does. Asking twice with the same input gives the same answer, and asking again after the answer
/// was carried out asks for nothing.
#[must_use]
pub fn plan(profile: &Profile<'_>, observed: &Observed, now: Timestamp) -> Plan {
    let published = Published::at(now, &observed.catalogues, known(observed.members.values()));
    let history = History::of(profile.name, &observed.runs);
    let mut status = profile.status.cloned().unwrap_or_default();
    status.observed_generation = profile.generation;
    report::last_run(&mut status, &history);
    let mut plan = Plan { status, actions: Vec::new(), wake_at: published.next };
    let steps = Steps { profile, observed, published: &published, history: &history, now };
    if let Err(blocked) = steps.take(&mut plan) {
        steps.report_blocked(&mut plan.status, &blocked);
    }
    plan
}

fn known<'a>(members: impl Iterator<Item = &'a Member>) -> impl Iterator<Item = &'a Cluster> {
    members.filter_map(|member| match &member.cluster {
        Inspection::Known(cluster) => Some(cluster),
        Inspection::Unknown(_) => None,
    })
}

struct Steps<'a> {
    profile: &'a Profile<'a>,
    observed: &'a Observed,
    published: &'a Published,
    history: &'a History<'a>,
    now: Timestamp,
}

impl Steps<'_> {
    fn take(&self, plan: &mut Plan) -> Result<(), Blocked> {
        let covered = self.covered()?;
        let members = (self.observed.members.iter())
            .filter(|(name, _)| covered.contains(*name))
            .map(|(name, member)| (name.as_str(), member));
        let world = World {
            profile: self.profile,
            published: self.published,
            members: members.collect(),
            history: self.history,
            now: self.now,
        };
        let target = self.target(&world)?;
        plan.status.target = target.texts();
        if let Some(action) = self.answer_request(&mut plan.status, &world, &target)? {
            plan.actions.push(action);
            return Ok(());
        }
        self.decide(plan, &world, &target)?;
        let standings = world.standings(&world.goal(&target, Phase::Whole));
        report::up_to_date(&mut plan.status, &standings, self.now);
        if !self.profile.spec.disabled {
            plan.actions.extend(self.tidy(&world, &target));
        }
        Ok(())
    }

    /// Returns the members that a run of the profile would take.
    fn covered(&self) -> Result<BTreeSet<String>, Blocked> {
        let name = self.profile.spec.strategy_name.as_deref();
        if let Some(name) = name
            && self.observed.strategy.is_none()
        {
            let message = format!("there is no UpdateStrategy `{name}` in the fleet");
            return Err(Blocked::failure(code::STRATEGY_NOT_FOUND, message));
        }
        let strategy = self.observed.strategy.as_ref().filter(|_| name.is_some());
        outlook::covered(strategy, self.observed.limits, &self.observed.members).map_err(
            |problems| {
                let problems = problems.iter().map(|p| format!("{} {}", p.field, p.message));
                let message = format!(
                    "UpdateStrategy `{}` cannot be used: {}",
                    name.unwrap_or_default(),
                    problems.collect::<Vec<_>>().join("; ")
                );
                Blocked::failure(code::INVALID_STRATEGY, message)
            },
        )
    }

    fn target(&self, world: &World<'_>) -> Result<Target, Blocked> {
        let clusters = world.members.iter().filter_map(|(name, member)| match &member.cluster {
            Inspection::Known(cluster) => Some((*name, cluster)),
            Inspection::Unknown(_) => None,
        });
        channel::target(self.profile.spec, self.published, &clusters.collect())
    }

    /// Answers `spec.generate`: with a run that is there, or by creating one.
    fn answer_request(
        &self,
        status: &mut AutoUpgradeProfileStatus,
        world: &World<'_>,
        target: &Target,
    ) -> Result<Option<Action>, Blocked> {
        let Some(request) = self.open_request(status) else { return Ok(None) };
        let mut goals: Vec<Goal> = goal::phases(self.profile.spec)
            .iter()
            .map(|phase| world.goal(target, *phase))
            .collect();
        let has_work = |goal: &Goal| world.standings(goal).values().any(|s| *s == Standing::Behind);
        let goal = goals.swap_remove(goals.iter().position(has_work).unwrap_or(0));
        let runs = self.history.for_goal(&goal.update);
        // A finished run is the answer unless members have fallen behind since.
        let answer = runs.last().filter(|(_, run)| {
            !history::is_finished(run)
                || history::state(run) == stolos_api::update::State::Failed
                || !has_work(&goal)
        });
        if let Some((name, _)) = answer {
            let update_run = Some((*name).to_owned());
            status.generated = Some(Generated { request, update_run, error: None });
            return Ok(None);
        }
        let reason = "somebody asked for it".to_owned();
        self.create(world, &goal, RunState::Initialize, reason).map(Some)
    }

    fn open_request(&self, status: &AutoUpgradeProfileStatus) -> Option<i32> {
        let request = self.profile.spec.generate;
        let answered = status.generated.as_ref().map_or(0, |answer| answer.request);
        (request != answered).then_some(request)
    }

    fn decide(&self, plan: &mut Plan, world: &World<'_>, target: &Target) -> Result<(), Blocked> {
        let due = match self.profile.spec.reconcile {
            Reconcile::Drift => due::by_drift(world, target),
            Reconcile::Published => {
                let (due, acted_on) = due::by_publication(world, target);
                if acted_on.is_some() {
                    plan.status.published = acted_on;
                }
                due
            }
        };
        if self.profile.spec.disabled {
            let text = "the profile is disabled; raise spec.generate to have a run made";
            report::ready(&mut plan.status, false, (code::DISABLED, text), self.now);
            return Ok(());
        }
        let (reason, message) = match due {
            Due::Nothing => (code::WATCHING, "no run is due".to_owned()),
            Due::Wait(wait) => {
                plan.wake_at = earliest(plan.wake_at, wait.until);
                (wait.code, wait.message)
            }
            Due::Run(goal, why) => {
                let action = self.start(world, &goal, &why)?;
                let message = format!("a run is started: {why}");
                plan.actions.push(action);
                (code::RUN_OPEN, message)
            }
            Due::Restart { run, restarts, goal } => {
                let message = format!("update run `{run}` is started again");
                let left_out = self.left_out(world, &goal, &run)?;
                plan.actions.push(Action::Restart { run, restarts, left_out });
                (code::RUN_OPEN, message)
            }
        };
        if self.observed.strategy_is_deleting {
            let name = self.profile.spec.strategy_name.as_deref().unwrap_or_default();
            let text = format!(
                "UpdateStrategy `{name}` is being deleted, and stays until this profile names another one or goes"
            );
            report::ready(&mut plan.status, false, (code::STRATEGY_DELETING, &text), self.now);
            return Ok(());
        }
        let is_ready = reason != code::RUN_FAILED;
        report::ready(&mut plan.status, is_ready, (reason, &message), self.now);
        Ok(())
    }

    /// Starts the run for a goal that somebody had generated, or a new one.
    fn start(&self, world: &World<'_>, goal: &Goal, why: &str) -> Result<Action, Blocked> {
        let runs = self.history.for_goal(&goal.update);
        match runs.last().filter(|(_, run)| history::is_prepared(run)) {
            Some((name, _)) => {
                let left_out = self.left_out(world, goal, name)?;
                Ok(Action::Start { run: (*name).to_owned(), left_out })
            }
            None => self.create(world, goal, RunState::Run, why.to_owned()),
        }
    }

    /// What a run that is there leaves out may have been found long ago.
    fn left_out(&self, world: &World<'_>, goal: &Goal, run: &str) -> Result<Vec<String>, Blocked> {
        let already = self.observed.runs.get(run).map_or(&[][..], |run| &run.spec.skip);
        goal::left_out(&world.standings(goal), already)
    }

    fn create(
        &self,
        world: &World<'_>,
        goal: &Goal,
        state: RunState,
        reason: String,
    ) -> Result<Action, Blocked> {
        let Profile { name: profile, spec, .. } = *self.profile;
        let strategy = self.observed.strategy.as_ref().filter(|_| spec.strategy_name.is_some());
        let (mut run, left_out) = goal::run(spec, strategy, goal, &world.standings(goal))?;
        let before = self.history.for_goal(&goal.update);
        let mut attempt =
            before.iter().map(|(_, run)| history::attempt(run) + 1).max().unwrap_or(0);
        let mut name = name::of_run(profile, spec, &goal.target, &run, attempt);
        // Somebody else's run may have the name. There are finitely many runs, so this ends.
        while self.observed.runs.contains_key(&name) {
            attempt += 1;
            name = name::of_run(profile, spec, &goal.target, &run, attempt);
        }
        run.state = state;
        Ok(Action::Create(Box::new(NewRun { name, spec: run, left_out, attempt, reason })))
    }

    /// Deletes the oldest finished runs beyond the limit. Those for the present target are the profile's memory.
    fn tidy(&self, world: &World<'_>, target: &Target) -> Vec<Action> {
        let limit = self.profile.spec.history_limit.unwrap_or(DEFAULT_HISTORY_LIMIT);
        let phases = [Phase::Whole, Phase::ControlPlanes, Phase::Nodes];
        let present: Vec<ManagedClusterUpdate> =
            phases.iter().map(|phase| world.goal(target, *phase).update).collect();
        let newest = self.history.newest_started().map(|(name, _)| name);
        let old: Vec<&str> = self
            .history
            .iter()
            .filter(|(name, run)| {
                history::is_finished(run)
                    && Some(*name) != newest
                    && !present.contains(&run.spec.managed_cluster_update)
            })
            .map(|(name, _)| name)
            .collect();
        let n_too_many = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old[..n_too_many].iter().map(|run| Action::Delete { run: (*run).to_owned() }).collect()
    }

    fn report_blocked(&self, status: &mut AutoUpgradeProfileStatus, blocked: &Blocked) {
        let spec = self.profile.spec;
        if let Some(request) = self.open_request(status) {
            let error = Some(report::error(blocked));
            status.generated = Some(Generated { request, update_run: None, error });
        }
        if blocked.is_failure && !spec.disabled {
            report::failed_trigger(status, blocked, self.now);
        }
        if spec.disabled {
            let text = format!("the profile is disabled; besides, {}", blocked.message);
            report::ready(status, false, (code::DISABLED, &text), self.now);
        } else {
            report::ready(status, false, (blocked.code, &blocked.message), self.now);
        }
        report::target_unknown(status, &blocked.message, self.now);
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}
