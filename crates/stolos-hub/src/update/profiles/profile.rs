//! One step of a profile: gather what the engine reads, turn its plan into writes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use stolos_api::cluster::fleet::{FLEET_LABEL, object_name, short_name};
use stolos_api::update::{
    AUTO_UPGRADE_PROFILE_LABEL, AutoUpgradeProfile, AutoUpgradeProfileStatus, CONDITION_READY,
    LEFT_OUT_ANNOTATION, RunState, SkipTarget, SkipTargetType, UpdateRun,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::auto_upgrade::{self, ATTEMPT_ANNOTATION, Action, NewRun, Observed, Profile};
use stolos_core::cluster::fleet::was_refused;
use stolos_core::condition;

use super::controller::{Profiles, strategy_of};
use super::effect::{Effect, Object};
use crate::event::Report;
use crate::update::controller::fleet_of;
use crate::update::runs::observe_cluster;

/// Name that events are reported under.
const COMPONENT: &str = "auto-upgrade-controller";

impl Profiles {
    pub(super) fn plan_profile(&self, key: &Key, now: Timestamp) -> Plan<Effect> {
        let Some(profile) = self.profiles.get(key) else { return Plan::default() };
        if profile.metadata.deletion_timestamp.is_some() {
            return Plan::default();
        }
        let Some(name) = short_name(&profile.spec.fleet_name, &key.name) else {
            return Plan::default();
        };
        let Some(observed) = self.observe(key, profile) else { return Plan::default() };
        let plan = auto_upgrade::plan(
            &Profile {
                name,
                generation: profile.metadata.generation,
                spec: &profile.spec,
                status: profile.status.as_ref(),
            },
            &observed,
            now,
        );
        self.carry_out(key, profile, name, plan, now)
    }

    /// Returns what the engine reads; `None` while a cluster of the fleet has not been looked at for the first time.
    fn observe(&self, key: &Key, profile: &AutoUpgradeProfile) -> Option<Observed> {
        let fleet = &profile.spec.fleet_name;
        let mut members = BTreeMap::new();
        for member in self.members.indexed(&fleet_of(&key.namespace, fleet)) {
            if member.metadata.deletion_timestamp.is_some() || was_refused(member) {
                continue;
            }
            let cluster = self.clusters.get(&Key::of(&member.metadata))?;
            let name = short_name(fleet, member.metadata.name.as_deref()?)?;
            members
                .insert(name.to_owned(), observe_cluster(&key.namespace, member, cluster.clone()));
        }
        let runs = self.runs.indexed(&fleet_of(&key.namespace, fleet)).filter_map(|run| {
            let name = short_name(fleet, run.metadata.name.as_deref()?)?;
            Some((name.to_owned(), run.clone()))
        });
        let strategy = strategy_of(profile).and_then(|key| self.strategies.get(&key));
        let catalogues = self.catalogues.in_namespace(&key.namespace);
        Some(Observed {
            members,
            catalogues: catalogues.map(|catalogue| catalogue.spec.clone()).collect(),
            strategy: strategy.map(|strategy| strategy.spec.strategy.clone()),
            strategy_is_deleting: strategy
                .is_some_and(|strategy| strategy.metadata.deletion_timestamp.is_some()),
            limits: self.config.strategy_limits,
            runs: runs.collect(),
        })
    }

    fn carry_out(
        &self,
        key: &Key,
        profile: &AutoUpgradeProfile,
        name: &str,
        plan: auto_upgrade::Plan,
        now: Timestamp,
    ) -> Plan<Effect> {
        let auto_upgrade::Plan { status, actions, wake_at } = plan;
        let mut steps = Plan::default();
        for action in actions {
            let told = told(&action);
            let Some(write) = self.act(key, profile, name, action) else { continue };
            steps = steps.then(vec![Effect(write)]);
            if let Some((reason, message)) = told {
                steps = steps.then(vec![report(profile, "Normal", reason, message, now)]);
            }
        }
        let before = profile.status.clone().unwrap_or_default();
        if let Some((reason, message)) = trouble(&before, &status) {
            steps = steps.then(vec![report(profile, "Warning", &reason, message, now)]);
        }
        if before != status {
            let reported = AutoUpgradeProfile { status: Some(status), ..profile.clone() };
            steps = steps.then(vec![Effect(Write::ReplaceStatus(reported.into()))]);
        }
        steps.waking_at(wake_at)
    }

    fn act(
        &self,
        key: &Key,
        profile: &AutoUpgradeProfile,
        name: &str,
        action: Action,
    ) -> Option<Write<Object>> {
        let known = |run: &str| {
            let name = object_name(&profile.spec.fleet_name, run);
            self.runs.get(&Key::namespaced(&key.namespace, &name)).map(|run| UpdateRun::clone(run))
        };
        Some(match action {
            Action::Create(run) => Write::Create(new_run(&key.namespace, name, *run).into()),
            Action::Start { run, left_out } => {
                let mut run = known(&run)?;
                run.spec.state = RunState::Run;
                leave_out(&mut run, &left_out);
                Write::Replace(run.into())
            }
            Action::Restart { run, restarts, left_out } => {
                let mut run = known(&run)?;
                run.spec.restarts = restarts;
                leave_out(&mut run, &left_out);
                Write::Replace(run.into())
            }
            Action::Delete { run } => Write::Delete(known(&run)?.into()),
        })
    }
}

/// The run belongs to the fleet and not to the profile, which it outlives; a label tells where it is from.
fn new_run(namespace: &str, profile: &str, new: NewRun) -> UpdateRun {
    let fleet = new.spec.fleet_name.clone();
    let labels = [
        (FLEET_LABEL.to_owned(), fleet.clone()),
        (AUTO_UPGRADE_PROFILE_LABEL.to_owned(), profile.to_owned()),
    ];
    let mut annotations =
        BTreeMap::from([(ATTEMPT_ANNOTATION.to_owned(), new.attempt.to_string())]);
    if !new.left_out.is_empty() {
        annotations.insert(LEFT_OUT_ANNOTATION.to_owned(), new.left_out.join(","));
    }
    let metadata = ObjectMeta {
        name: Some(object_name(&fleet, &new.name)),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.into()),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    UpdateRun { metadata, spec: new.spec, status: None }
}

fn leave_out(run: &mut UpdateRun, members: &[String]) {
    if members.is_empty() {
        return;
    }
    let skips = members
        .iter()
        .map(|name| SkipTarget { target_type: SkipTargetType::Member, name: name.clone() });
    run.spec.skip.extend(skips);
    let annotations = run.metadata.annotations.get_or_insert_default();
    let known = annotations.entry(LEFT_OUT_ANNOTATION.to_owned()).or_default();
    let separator = if known.is_empty() { "" } else { "," };
    *known = format!("{known}{separator}{}", members.join(","));
}

/// What an action is for people; tidying up is nobody's news.
fn told(action: &Action) -> Option<(&'static str, String)> {
    match action {
        Action::Create(new) if new.spec.state == RunState::Initialize => Some((
            "UpdateRunGenerated",
            format!("created update run `{}`: {}", new.name, new.reason),
        )),
        Action::Create(new) => Some((
            "UpdateRunTriggered",
            format!("started update run `{}`: {}", new.name, new.reason),
        )),
        Action::Start { run, .. } => {
            Some(("UpdateRunTriggered", format!("started update run `{run}`")))
        }
        Action::Restart { run, .. } => {
            Some(("UpdateRunRestarted", format!("started failed update run `{run}` again")))
        }
        Action::Delete { .. } => None,
    }
}

/// Returns why a profile needs a person, if that is new.
fn trouble(
    before: &AutoUpgradeProfileStatus,
    after: &AutoUpgradeProfileStatus,
) -> Option<(String, String)> {
    let ready = |status: &AutoUpgradeProfileStatus| -> Option<Condition> {
        condition::find(&status.conditions, CONDITION_READY)
            .filter(|ready| ready.status == "False" && ready.reason != "Disabled")
            .cloned()
    };
    let now = ready(after)?;
    let known = ready(before).is_some_and(|before| before.reason == now.reason);
    (!known).then_some((now.reason, now.message))
}

fn report(
    profile: &AutoUpgradeProfile,
    type_: &'static str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> Effect {
    let report = Report { component: COMPONENT, type_, reason: reason.to_owned(), message };
    Effect(Write::Create(crate::event::event(profile, report, 0, now).into()))
}
