//! A world in which runs are played: clusters that take their time, a clock, and a person who acts now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use stolos_api::update::{
    Gate, GateStatus, MemberTarget, RequestedGateState, RunState, SkipTarget, SkipTargetType,
    State, UpdateRunSpec, UpdateRunStatus, UpdateRunStrategy, UpgradeType,
};

use crate::update::cluster::{Cluster, Hold, Holder, Inspection, Member, Offer, Operation, Pool};
use crate::update::image::NodeImage;
use crate::update::plan::{Known, plan_knowing};
use crate::update::states::members;
use crate::update::{GateAction, Observed, Plan, Run, Start, StrategyLimits, plan};

/// Something that happens at a second of the play.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Stop,
    Run,
    Restart,
    Skip(SkipTargetType, &'static str),
    Approve,
    Leave(&'static str),
    Busy(&'static str),
    Free(&'static str),
    /// Says that something else is done to the cluster, or not any more.
    Hold(&'static str, bool),
    /// Changes the world.
    Change(fn(&mut Observed, Timestamp)),
}

pub(super) struct Player {
    pub(super) spec: UpdateRunSpec,
    pub(super) strategy: Option<UpdateRunStrategy>,
    pub(super) status: Option<UpdateRunStatus>,
    pub(super) observed: Observed,
    pub(super) now: Timestamp,
    /// Seconds that the upgrade of a member takes; one when absent.
    pub(super) durations: BTreeMap<String, i64>,
    /// Members whose upgrade fails this often before it works.
    pub(super) failures: BTreeMap<String, i32>,
    /// Seconds at which somebody acts.
    pub(super) script: Vec<(i64, Act)>,
    pub(super) history: String,
    /// How often the upgrade of a member was begun.
    pub(super) begun: BTreeMap<String, usize>,
    /// Members that were put back, by what they were put back to.
    pub(super) put_back: Vec<(String, MemberTarget)>,
    ends: BTreeMap<String, (Timestamp, Start)>,
    start: Timestamp,
    known: Known,
}

/// Versions in the world: everybody begins at 1.33.0.
const VERSIONS: [&str; 3] = ["1.33.0", "1.33.4", "1.34.1"];

impl Player {
    /// `groups` lists `(group, members)`; `stages` is the strategy in JSON, or null for one by one.
    pub(super) fn new(groups: &[(&str, &[&str])], stages: &Value) -> Self {
        let start: Timestamp = "2026-03-04T10:00:00Z".parse().unwrap();
        let mut spec = json!({
            "fleetName": "fleet",
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
            "state": "Run",
        });
        if !stages.is_null() {
            spec["strategy"] = json!({ "stages": stages });
        }
        let members = groups.iter().flat_map(|(group, names)| {
            names.iter().map(move |name| ((*name).to_owned(), member(group, name)))
        });
        Self {
            spec: serde_json::from_value(spec).unwrap(),
            strategy: None,
            status: None,
            observed: Observed { members: members.collect(), ..Observed::default() },
            now: start,
            durations: BTreeMap::new(),
            failures: BTreeMap::new(),
            script: Vec::new(),
            history: String::new(),
            begun: BTreeMap::new(),
            put_back: Vec::new(),
            ends: BTreeMap::new(),
            start,
            known: Known::default(),
        }
    }

    pub(super) fn at(mut self, second: i64, act: Act) -> Self {
        self.script.push((second, act));
        self
    }

    pub(super) fn takes(mut self, member: &str, seconds: i64) -> Self {
        self.durations.insert(member.into(), seconds);
        self
    }

    pub(super) fn fails(mut self, member: &str, times: i32) -> Self {
        self.failures.insert(member.into(), times);
        self
    }

    /// Plays until nothing happens by itself any more and returns the history.
    pub(super) fn play(mut self) -> String {
        while self.step(|_, _, _| ()) {}
        self.history
    }

    pub(super) fn run(&self) -> Run<'_> {
        Run {
            name: "run",
            uid: "uid",
            generation: Some(1),
            spec: &self.spec,
            status: self.status.as_ref(),
            strategy: self.strategy.as_ref(),
            limits: StrategyLimits::default(),
            deleting: false,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.run(), &self.observed, self.now)
    }

    /// Plans with what the plan before has found out.
    fn plan_on(&mut self) -> Plan {
        let mut known = std::mem::take(&mut self.known);
        let status = self.status.clone().unwrap_or_default();
        let plan = plan_knowing(&self.run(), status, &mut known, &self.observed, self.now);
        self.known = known;
        plan
    }

    /// As [`Player::step_and`], with nothing to check afterwards.
    pub(super) fn step(
        &mut self,
        check: impl FnMut(&Self, Option<&UpdateRunStatus>, &Plan),
    ) -> bool {
        self.step_and(check, |_| ())
    }

    /// Plans, carries the plan out and goes to the next moment at which something happens. Returns whether there is
    /// one. `check` sees the world before the plan is carried out, `settled` after it.
    pub(super) fn step_and(
        &mut self,
        mut check: impl FnMut(&Self, Option<&UpdateRunStatus>, &Plan),
        settled: impl FnOnce(&Self),
    ) -> bool {
        let plan = self.plan();
        assert_eq!(self.plan_on(), plan, "whoever plans step by step decides the same");
        check(self, self.status.as_ref(), &plan);
        let before = self.status.take();
        self.carry_out(&plan);
        settled(self);
        self.record(before.as_ref());
        let next_end = self.ends.values().map(|(at, _)| *at).min();
        let next_act = self.script.iter().map(|(second, _)| self.moment(*second)).min();
        let Some(next) = next_end.into_iter().chain(next_act).chain(plan.wake_at).min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.finish_upgrades();
        self.act();
        true
    }

    fn moment(&self, second: i64) -> Timestamp {
        self.start + SignedDuration::from_secs(second)
    }

    fn carry_out(&mut self, plan: &Plan) {
        self.status = Some(plan.status.clone());
        for start in &plan.start {
            let running = Operation::Running(None);
            let before = self.observed.operations.insert(start.operation_id.clone(), running);
            assert!(before.is_none(), "{} was started twice", start.member);
            let seconds = self.durations.get(&start.member).copied().unwrap_or(1);
            let end = self.now + SignedDuration::from_secs(seconds);
            self.ends.insert(start.operation_id.clone(), (end, start.clone()));
            if start.target.rollback {
                self.put_back.push((start.member.clone(), start.target.clone()));
            } else {
                *self.begun.entry(start.member.clone()).or_default() += 1;
            }
            let holder = Holder { update_run: "run".into(), uid: "uid".into() };
            if let Some(member) = self.observed.members.get_mut(&start.member) {
                member.holder = Some(holder);
            }
        }
        for name in &plan.release {
            self.observed.members.get_mut(name).unwrap().holder = None;
        }
        for action in &plan.gates {
            match action {
                GateAction::Create { id, spec } => {
                    let metadata = ObjectMeta { name: Some(id.clone()), ..ObjectMeta::default() };
                    let gate = Gate { metadata, spec: (**spec).clone(), status: None };
                    let before = self.observed.gates.insert(id.clone(), gate);
                    assert!(before.is_none(), "gate {id} was created twice");
                }
                GateAction::SetState { id, state } => {
                    let gate = self.observed.gates.get_mut(id).unwrap();
                    let checks = gate.status.take().map(|status| status.checks).unwrap_or_default();
                    gate.status = Some(GateStatus { state: *state, completed_time: None, checks });
                }
            }
        }
    }

    fn finish_upgrades(&mut self) {
        let (done, rest) =
            std::mem::take(&mut self.ends).into_iter().partition(|(_, (at, _))| *at <= self.now);
        self.ends = rest;
        let done: BTreeMap<String, (Timestamp, Start)> = done;
        for (id, (_, Start { member: name, target, .. })) in done {
            let failures = self.failures.entry(name.clone()).or_default();
            let operation = if *failures > 0 {
                *failures -= 1;
                Operation::Failed { code: "Boom".into(), message: "it broke".into() }
            } else {
                Operation::Done(None)
            };
            if operation == Operation::Done(None)
                && let Some(Member { cluster: Inspection::Known(cluster), .. }) =
                    self.observed.members.get_mut(&name)
            {
                bring(cluster, &target);
            }
            self.observed.operations.insert(id, operation);
        }
    }

    fn act(&mut self) {
        let due = |second: i64| self.moment(second) <= self.now;
        let (acts, rest): (Vec<_>, Vec<_>) =
            self.script.clone().into_iter().partition(|(second, _)| due(*second));
        self.script = rest;
        for (_, act) in acts {
            match act {
                Act::Stop => self.spec.state = RunState::Stop,
                Act::Run => self.spec.state = RunState::Run,
                Act::Restart => self.spec.restarts += 1,
                Act::Skip(target_type, name) => {
                    self.spec.skip.push(SkipTarget { target_type, name: name.into() });
                }
                Act::Approve => {
                    for gate in self.observed.gates.values_mut() {
                        gate.spec.state = RequestedGateState::Completed;
                    }
                }
                Act::Leave(name) => {
                    self.observed.members.remove(name);
                }
                Act::Busy(name) => {
                    let holder = Holder { update_run: "other".into(), uid: "other".into() };
                    self.observed.members.get_mut(name).unwrap().holder = Some(holder);
                }
                Act::Free(name) => {
                    self.observed.members.get_mut(name).unwrap().holder = None;
                }
                Act::Hold(name, hold) => {
                    if let Some(Member { cluster: Inspection::Known(cluster), .. }) =
                        self.observed.members.get_mut(name)
                    {
                        cluster.hold = hold.then(|| Hold::busy("somebody scales it"));
                    }
                }
                Act::Change(change) => change(&mut self.observed, self.now),
            }
        }
    }

    fn record(&mut self, before: Option<&UpdateRunStatus>) {
        let (mut was, mut after) = (Vec::new(), Vec::new());
        states(before, |_, state| was.push(state));
        states(self.status.as_ref(), |_, state| after.push(state));
        if was == after {
            return;
        }
        let second = self.now.duration_since(self.start).as_secs();
        let mut index = 0;
        states(self.status.as_ref(), |what, state| {
            // Until the start there are no stages, or all that is in them is `NotStarted`.
            if was.get(index).copied().unwrap_or_default() != state {
                writeln!(self.history, "{second:>3} {what} {state:?}").unwrap();
            }
            index += 1;
        });
    }
}

/// Something in a run that has a state.
struct Named<'a>(&'static str, &'a str);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(kind, name) = self;
        if name.is_empty() { f.write_str(kind) } else { write!(f, "{kind} {name}") }
    }
}

/// Tells of everything in a run with its state: the run first, then stages, waits and gates, then members.
fn states(status: Option<&UpdateRunStatus>, mut tell: impl FnMut(Named<'_>, State)) {
    let Some(status) = status else { return };
    tell(Named("run", ""), status.status.state);
    for stage in &status.stages {
        tell(Named("stage", &stage.name), stage.status.state);
        if let Some(wait) = &stage.after_stage_wait_status {
            tell(Named("wait", &stage.name), wait.status.state);
        }
        let groups = stage.groups.iter().flat_map(|g| g.before_gates.iter().chain(&g.after_gates));
        for gate in stage.before_gates.iter().chain(&stage.after_gates).chain(groups) {
            tell(Named("gate", gate.display_name.as_deref().unwrap_or("?")), gate.status.state);
        }
        for group in &stage.groups {
            tell(Named("group", &group.name), group.status.state);
        }
        for member in members(stage) {
            tell(Named("member", &member.name), member.status.state);
        }
    }
}

fn member(group: &str, name: &str) -> Member {
    Member {
        group: Some(group.into()),
        ..Member::new(format!("simulated://{name}"), Inspection::Known(cluster("1.33.0")))
    }
}

pub(super) fn cluster(version: &str) -> Cluster {
    let version = version.parse().unwrap();
    Cluster {
        pools: vec![Pool { name: "pool".into(), version, image: None, from_snapshot: false }],
        versions: Offer::These(VERSIONS.iter().map(|v| v.parse().unwrap()).collect()),
        ..Cluster::running(version)
    }
}

/// Brings a cluster to the target of an upgrade.
fn bring(cluster: &mut Cluster, target: &MemberTarget) {
    let version = target.kubernetes_version.as_ref().map(|version| version.parse().unwrap());
    cluster.control_plane = version.unwrap_or(cluster.control_plane);
    if target.upgrade_type == UpgradeType::ControlPlaneOnly {
        return;
    }
    for pool in &mut cluster.pools {
        pool.version = version.unwrap_or(pool.version);
        let images = target.node_images.iter().map(|image| image.parse::<NodeImage>().unwrap());
        let mut of_family = images.filter(|image| {
            pool.image.as_ref().is_some_and(|current| current.family == image.family)
        });
        if let Some(image) = of_family.next() {
            pool.image = Some(image);
        }
    }
}

/// Names of everything that is in a state.
pub(super) fn named(status: &UpdateRunStatus, state: State) -> BTreeSet<String> {
    (status.stages.iter().flat_map(members))
        .filter(|member| member.status.state == state)
        .map(|member| member.name.clone())
        .collect()
}
