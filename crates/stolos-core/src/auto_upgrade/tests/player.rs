//! A fleet with one profile, in which runs are carried out by the simplest rule: a run that is started upgrades, one tick
//! later, whom it names and can; members that are told to fail, fail.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};
use stolos_api::update::{
    AUTO_UPGRADE_PROFILE_LABEL, AutoUpgradeProfileSpec, AutoUpgradeProfileStatus,
    LEFT_OUT_ANNOTATION, RunState, SkipTarget, SkipTargetType, State, UpdateRun, UpdateRunSpec,
    UpgradeType, VersionCatalogueSpec,
};

use crate::auto_upgrade::{ATTEMPT_ANNOTATION, Action, NewRun, Observed, Plan, Profile, plan};
use crate::update::cluster::{Cluster, Inspection, Member, Offer, Pool};
use crate::update::version::Version;

/// Name of the profile.
pub(super) const NAME: &str = "nightly";

/// Rounds after which a profile must have come to rest at a moment.
const ROUNDS: usize = 20;

pub(super) struct Player {
    pub(super) spec: AutoUpgradeProfileSpec,
    pub(super) status: Option<AutoUpgradeProfileStatus>,
    pub(super) observed: Observed,
    pub(super) now: Timestamp,
    /// Members whose upgrades fail.
    pub(super) failing: BTreeSet<String>,
    /// Everything that happened, one line each.
    pub(super) history: String,
    begin: Timestamp,
}

pub(super) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

pub(super) fn cluster(text: &str) -> Cluster {
    let pool =
        Pool { name: "pool".into(), version: version(text), image: None, from_snapshot: false };
    Cluster { pools: vec![pool], ..Cluster::running(version(text)) }
}

pub(super) fn member(group: &str, cluster: Cluster) -> Member {
    Member { group: Some(group.into()), ..Member::new("x", Inspection::Known(cluster)) }
}

pub(super) fn catalogue(versions: &[&str]) -> VersionCatalogueSpec {
    let versions: Vec<Value> = versions.iter().map(|text| json!({"version": text})).collect();
    serde_json::from_value(json!({ "kubernetesVersions": versions })).unwrap()
}

impl Player {
    pub(super) fn new(spec: Value, members: &[(&str, &str)]) -> Self {
        let mut all = json!({"fleetName": "local"});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let mut observed = Observed::default();
        for (name, version) in members {
            observed.members.insert((*name).into(), member("all", cluster(version)));
        }
        let begin = "2026-11-02T00:00:00Z".parse().unwrap();
        Self {
            spec: serde_json::from_value(all).unwrap(),
            status: None,
            observed,
            now: begin,
            failing: BTreeSet::new(),
            history: String::new(),
            begin,
        }
    }

    pub(super) fn publish(&mut self, versions: &[&str]) {
        self.observed.catalogues = vec![catalogue(versions)];
    }

    pub(super) fn plan(&self) -> Plan {
        let profile = Profile {
            name: NAME,
            generation: Some(1),
            spec: &self.spec,
            status: self.status.as_ref(),
        };
        plan(&profile, &self.observed, self.now)
    }

    fn tell(&mut self, text: &str) {
        let minutes = self.now.duration_since(self.begin).as_mins();
        writeln!(self.history, "{minutes} {text}").unwrap();
    }

    /// Carries plans out, without any run going on, until there is nothing to do; returns what was done.
    pub(super) fn settle(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        for _ in 0..ROUNDS {
            let plan = self.plan();
            let rests = plan.actions.is_empty() && self.status.as_ref() == Some(&plan.status);
            self.status = Some(plan.status);
            for action in &plan.actions {
                self.carry_out(action);
            }
            done.extend(plan.actions);
            if rests {
                return done;
            }
        }
        panic!("does not come to rest: {done:#?}\n{}", self.history);
    }

    pub(super) fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Create(run) => {
                let what = describe(&run.spec);
                let state = run.spec.state;
                let left_out = if run.left_out.is_empty() {
                    String::new()
                } else {
                    format!(", without {}", run.left_out.join(" "))
                };
                self.tell(&format!("create {what} {state:?}{left_out}"));
                let known = self.observed.runs.insert(run.name.clone(), Arc::new(self.stored(run)));
                assert!(known.is_none(), "`{}` was there before", run.name);
            }
            Action::Start { run, left_out } => {
                self.change(run, |run| {
                    run.spec.state = RunState::Run;
                    leave_out(run, left_out);
                });
                self.tell(&format!("start {}", describe(&self.observed.runs[run].spec)));
            }
            Action::Restart { run, restarts, left_out } => {
                self.change(run, |run| {
                    run.spec.restarts = *restarts;
                    leave_out(run, left_out);
                });
                self.tell(&format!("restart {}", describe(&self.observed.runs[run].spec)));
            }
            Action::Delete { run } => {
                let deleted = self.observed.runs.remove(run).unwrap();
                self.tell(&format!("delete {}", describe(&deleted.spec)));
            }
        }
    }

    fn stored(&self, new: &NewRun) -> UpdateRun {
        let mut run = UpdateRun::new("x", new.spec.clone());
        let meta = &mut run.metadata;
        meta.creation_timestamp = Some(Time(self.now));
        meta.labels = Some([(AUTO_UPGRADE_PROFILE_LABEL.into(), NAME.into())].into());
        meta.annotations = Some(
            [
                (ATTEMPT_ANNOTATION.into(), new.attempt.to_string()),
                (LEFT_OUT_ANNOTATION.into(), new.left_out.join(",")),
            ]
            .into(),
        );
        run
    }

    pub(super) fn change(&mut self, name: &str, how: impl FnOnce(&mut UpdateRun)) {
        how(Arc::make_mut(self.observed.runs.get_mut(name).unwrap()));
    }

    /// Ends every run that is started.
    pub(super) fn finish_runs(&mut self) {
        let names: Vec<String> = self.observed.runs.keys().cloned().collect();
        for name in names {
            let run = UpdateRun::clone(&self.observed.runs[&name]);
            let is_new =
                run.status.as_ref().is_none_or(|s| run.spec.restarts > s.observed_restarts);
            if run.spec.state == RunState::Run && is_new {
                let state = self.finish(&name, &run);
                self.tell(&format!("{state:?} {}", describe(&run.spec)));
            }
        }
    }

    fn finish(&mut self, name: &str, run: &UpdateRun) -> State {
        let mut statuses = Vec::new();
        let mut failed = false;
        for (member, known) in &mut self.observed.members {
            let skipped = run.spec.skip.iter().any(|skip| skip.name == *member);
            let state = match &mut known.cluster {
                Inspection::Known(cluster) if !skipped => {
                    if self.failing.contains(member) {
                        "Failed"
                    } else {
                        upgrade(cluster, run);
                        "Completed"
                    }
                }
                _ => "Skipped",
            };
            failed |= state == "Failed";
            statuses.push(json!({"name": member, "status": {"state": state}}));
        }
        let state = if failed { State::Failed } else { State::Completed };
        let status = json!({
            "status": {"state": state, "completedTime": MicroTime(self.now)},
            "observedRestarts": run.spec.restarts,
            "stages": [{"name": "s", "groups": [{"name": "g", "members": statuses}]}],
        });
        self.change(name, |run| run.status = Some(serde_json::from_value(status).unwrap()));
        state
    }

    /// Lets a minute pass for each tick: profiles act, runs end.
    pub(super) fn play(&mut self, minutes: i64) {
        for _ in 0..minutes {
            self.settle();
            self.finish_runs();
            self.now += SignedDuration::from_mins(1);
        }
        self.settle();
    }

    pub(super) fn condition(&self, type_: &str) -> String {
        let status = self.status.as_ref().unwrap();
        let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        format!("{} {}: {}", found.status, found.reason, found.message)
    }
}

fn leave_out(run: &mut UpdateRun, members: &[String]) {
    let annotations = run.metadata.annotations.get_or_insert_default();
    let known = annotations.entry(LEFT_OUT_ANNOTATION.into()).or_default();
    *known = format!("{known},{}", members.join(","));
    let target_type = SkipTargetType::Member;
    let skips = members.iter().map(|name| SkipTarget { target_type, name: name.clone() });
    run.spec.skip.extend(skips);
}

/// Brings a cluster where a run says, and insists that it is never back and never two minors on.
fn upgrade(cluster: &mut Cluster, run: &UpdateRun) {
    let update = &run.spec.managed_cluster_update;
    if let Some(target) = &update.upgrade.kubernetes_version {
        let target = version(target);
        if cluster.control_plane < target {
            assert!(
                cluster.control_plane.reaches_in_one_step(target) || cluster.long_term_support,
                "{} to {target}",
                cluster.control_plane
            );
            cluster.control_plane = target;
        }
        if update.upgrade.upgrade_type == UpgradeType::Full {
            for pool in &mut cluster.pools {
                pool.version = pool.version.max(target);
            }
        }
    }
    let pinned = update.node_image_selection.iter();
    for pinned in pinned.flat_map(|selection| &selection.custom_node_image_versions) {
        let image: crate::update::image::NodeImage = pinned.version.parse().unwrap();
        for current in cluster.pools.iter_mut().filter_map(|pool| pool.image.as_mut()) {
            if current.family == image.family && current.cmp_version(&image).is_lt() {
                assert!(cluster.images == Offer::Anything || cluster.images.has(&image));
                *current = image.clone();
            }
        }
    }
}

fn describe(run: &UpdateRunSpec) -> String {
    let update = &run.managed_cluster_update;
    let images = update.node_image_selection.iter();
    let images = images.flat_map(|selection| &selection.custom_node_image_versions);
    let version = update.upgrade.kubernetes_version.iter().cloned();
    let what: Vec<String> = version.chain(images.map(|image| image.version.clone())).collect();
    format!("{:?} {}", update.upgrade.upgrade_type, what.join(" "))
}
