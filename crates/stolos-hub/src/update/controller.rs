//! What the controller knows, and whom a change concerns.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stolos_api::cluster::fleet::{FleetMember, object_name};
use stolos_api::update::{Gate, State, UpdateRun, UpdateStrategy};
use stolos_controller::{Change, Controller, Key, Plan, Round, Table};
use stolos_core::update::cluster::{Finding, Operation};
use stolos_upgrade::{Observation, SharedProvider};

use super::Config;
use super::effect::{Effect, Fact, Object};
use super::views::View;

/// Something to plan for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// An update run.
    Run(Key),
    /// What this controller reports about a member, and a lease that nobody needs any more.
    Member(Key),
}

/// What is known of the cluster of a member.
pub(super) struct KnownCluster {
    pub(super) provider: Option<SharedProvider>,
    pub(super) observation: Observation,
    /// Upgrades that were started, or refused, and that the provider does not show (yet).
    pub(super) answers: BTreeMap<String, Operation>,
}

impl KnownCluster {
    /// Returns an upgrade as the provider shows it, or as it answered to the start.
    pub(super) fn operation(&self, id: &str) -> Option<&Operation> {
        self.observation.operations.get(id).or_else(|| self.answers.get(id))
    }
}

/// The world of the controller.
pub(super) struct Updates {
    pub(super) config: Config,
    pub(super) runs: Table<UpdateRun>,
    pub(super) strategies: Table<UpdateStrategy>,
    pub(super) gates: Table<Gate>,
    pub(super) members: Table<FleetMember>,
    pub(super) clusters: BTreeMap<Key, KnownCluster>,
    /// What pre-flight checks find on the members of runs that ask for them.
    pub(super) preflight: BTreeMap<Key, Vec<Finding>>,
    /// Members that were looked for by name, or whose end was seen, since the last list: what is known of them is no doing
    /// of a list.
    pub(super) confirmed: BTreeSet<Key>,
    /// How many of them there may be before those are forgotten that no run is about.
    max_confirmed: usize,
    /// The members of each fleet as runs read them, by [`fleet_of`].
    pub(super) views: BTreeMap<String, View>,
}

/// Members that may be remembered as looked for although no run is about them.
const MAX_UNUSED: usize = 4096;

impl Updates {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            runs: Table::indexed_by(|run| {
                Some(fleet_of(run.metadata.namespace.as_deref()?, &run.spec.fleet_name))
            }),
            strategies: Table::default(),
            gates: Table::indexed_by(|gate| {
                let namespace = gate.metadata.namespace.as_deref()?;
                Some(run_of(namespace, &gate.spec.fleet_name, &gate.spec.target.update_run))
            }),
            members: Table::indexed_by(|member| {
                Some(fleet_of(member.metadata.namespace.as_deref()?, &member.spec.fleet_name))
            }),
            clusters: BTreeMap::new(),
            preflight: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            max_confirmed: MAX_UNUSED,
            views: BTreeMap::new(),
        }
    }
}

/// Names a fleet in indexes.
pub(super) fn fleet_of(namespace: &str, fleet: &str) -> String {
    format!("{namespace}/{fleet}")
}

/// Names a run in indexes.
pub(super) fn run_of(namespace: &str, fleet: &str, run: &str) -> String {
    format!("{namespace}/{fleet}.{run}")
}

impl Controller for Updates {
    type Item = Item;
    type Object = Fact;
    type Effect = Effect;

    fn learn(&mut self, change: Change<Fact>) -> Vec<Item> {
        match change {
            Change::Applied(Fact::Object(object)) => self.learn_object(object),
            Change::Applied(Fact::Cluster(news)) => {
                let known = KnownCluster {
                    provider: news.provider,
                    observation: news.observation,
                    answers: BTreeMap::new(),
                };
                if let Some(before) = self.clusters.insert(news.member.clone(), known)
                    && let Some(known) = self.clusters.get_mut(&news.member)
                {
                    known.answers = before.answers;
                    let shown = &known.observation.operations;
                    known.answers.retain(|id, _| !shown.contains_key(id));
                }
                self.look_at(&news.member);
                self.cluster_changed(&news.member)
            }
            Change::Applied(Fact::Operation { member, id, operation }) => {
                let Some(known) = self.clusters.get_mut(&member) else { return Vec::new() };
                known.answers.insert(id, operation);
                self.cluster_changed(&member)
            }
            Change::Applied(Fact::Preflight { member, findings }) => {
                if findings.is_empty() {
                    self.preflight.remove(&member);
                } else {
                    self.preflight.insert(member.clone(), findings);
                }
                self.look_at(&member);
                self.cluster_changed(&member)
            }
            Change::Applied(Fact::Sought { member, found }) => {
                let fleet = member.name.split('.').next().unwrap_or_default();
                let mut items = self.open_runs(&fleet_of(&member.namespace, fleet));
                if let Some(found) = found {
                    items.extend(self.learn_object((*found).into()));
                }
                self.confirm(member);
                items
            }
            Change::Deleted(Fact::Object(object)) => self.forget_object(&object),
            Change::Deleted(
                Fact::Cluster(_)
                | Fact::Operation { .. }
                | Fact::Sought { .. }
                | Fact::Preflight { .. },
            ) => Vec::new(),
            Change::Listed { kind, keys } => {
                match kind {
                    "UpdateRun" => {
                        for gone in self.runs.retain(&keys) {
                            self.config.metrics.forget_update_run(&gone);
                        }
                    }
                    "UpdateStrategy" => drop(self.strategies.retain(&keys)),
                    "Gate" => {
                        for gone in self.gates.retain(&keys) {
                            self.config.metrics.forget_gate(&gone);
                        }
                    }
                    _ => {
                        drop(self.members.retain(&keys));
                        self.confirmed.clear();
                        self.clusters.retain(|key, _| keys.contains(key));
                        self.look_at_all();
                    }
                }
                self.everything()
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Effect> {
        match item {
            Item::Run(key) => self.plan_run(key, now),
            Item::Member(key) => self.plan_member(key).into(),
        }
    }

    fn hear_of(&self, round: &Round<'_, Item>) {
        self.config.metrics.round("update-run", round);
    }
}

impl Updates {
    fn learn_object(&mut self, object: Object) -> Vec<Item> {
        match object {
            Object::UpdateRun(run) => {
                let key = Key::of(&run.metadata);
                let Ok(before) = self.runs.insert(*run) else { return Vec::new() };
                if let Some(run) = self.runs.get(&key) {
                    self.config.metrics.update_run(before.as_deref(), run);
                }
                self.forget_answers(&key);
                vec![Item::Run(key)]
            }
            Object::UpdateStrategy(strategy) => {
                let fleet = strategy_fleet(&strategy);
                let news = self.strategies.insert(*strategy).is_ok();
                if news { self.open_runs(&fleet) } else { Vec::new() }
            }
            Object::Gate(gate) => {
                let key = Key::of(&gate.metadata);
                let run = gate_run(&gate);
                let Ok(before) = self.gates.insert(*gate) else { return Vec::new() };
                if let Some(gate) = self.gates.get(&key) {
                    self.config.metrics.gate(before.as_deref(), gate);
                }
                run.into_iter().collect()
            }
            Object::FleetMember(member) => {
                let key = Key::of(&member.metadata);
                let fleet = fleet_of(&key.namespace, &member.spec.fleet_name);
                if self.members.insert(*member).is_err() {
                    return Vec::new();
                }
                self.confirmed.remove(&key);
                self.look_at(&key);
                let mut items = self.open_runs(&fleet);
                items.push(Item::Member(key));
                items
            }
            Object::Event(_) => Vec::new(),
        }
    }

    fn forget_object(&mut self, object: &Object) -> Vec<Item> {
        match object {
            Object::UpdateRun(run) => {
                if let Some(gone) = self.runs.remove(&run.metadata) {
                    self.config.metrics.forget_update_run(&gone);
                }
                let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
                // Its leases are nobody's.
                let fleet = fleet_of(namespace, &run.spec.fleet_name);
                let members = self.members.indexed(&fleet);
                members.map(|member| Item::Member(Key::of(&member.metadata))).collect()
            }
            Object::UpdateStrategy(strategy) => {
                self.strategies.remove(&strategy.metadata);
                self.open_runs(&strategy_fleet(strategy))
            }
            Object::Gate(gate) => {
                if let Some(gone) = self.gates.remove(&gate.metadata) {
                    self.config.metrics.forget_gate(&gone);
                }
                gate_run(gate).into_iter().collect()
            }
            Object::FleetMember(member) => {
                let key = Key::of(&member.metadata);
                self.members.remove(&member.metadata);
                self.clusters.remove(&key);
                self.look_at(&key);
                if self.members.get(&key).is_none() {
                    self.confirm(key.clone());
                }
                self.open_runs(&fleet_of(&key.namespace, &member.spec.fleet_name))
            }
            Object::Event(_) => Vec::new(),
        }
    }

    fn confirm(&mut self, member: Key) {
        self.confirmed.insert(member);
        if self.confirmed.len() > self.max_confirmed {
            let needed = self.members_of_open_runs();
            self.confirmed.retain(|member| needed.contains(member));
            self.max_confirmed = 2 * self.confirmed.len() + MAX_UNUSED;
        }
    }

    fn members_of_open_runs(&self) -> BTreeSet<Key> {
        let mut all = BTreeSet::new();
        for run in self.runs.iter().filter(|run| is_open(run)) {
            let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
            let stages = run.status.iter().flat_map(|status| &status.stages);
            let members = stages.flat_map(|stage| &stage.groups).flat_map(|group| &group.members);
            let key =
                |name: &str| Key::namespaced(namespace, &object_name(&run.spec.fleet_name, name));
            all.extend(members.map(|member| key(&member.name)));
        }
        all
    }

    /// Runs of a fleet that a change around them may move.
    fn open_runs(&self, fleet: &str) -> Vec<Item> {
        let open = self.runs.indexed(fleet).filter(|run| is_open(run));
        open.map(|run| Item::Run(Key::of(&run.metadata))).collect()
    }

    fn cluster_changed(&self, key: &Key) -> Vec<Item> {
        let Some(member) = self.members.get(key) else { return Vec::new() };
        let mut items = self.open_runs(&fleet_of(&key.namespace, &member.spec.fleet_name));
        items.push(Item::Member(key.clone()));
        items
    }

    fn everything(&self) -> Vec<Item> {
        let runs = self.runs.iter().map(|run| Item::Run(Key::of(&run.metadata)));
        let members = self.members.iter().map(|member| Item::Member(Key::of(&member.metadata)));
        runs.chain(members).collect()
    }

    /// Answers to starts are of use only while the run waits for the upgrade.
    fn forget_answers(&mut self, run: &Key) {
        let Some(run) = self.runs.get(run) else { return };
        let Some(status) = &run.status else { return };
        let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
        let groups = status.stages.iter().flat_map(|stage| &stage.groups);
        for member in groups.flat_map(|group| &group.members) {
            if member.status.state == State::Running {
                continue;
            }
            let Some(id) = &member.operation_id else { continue };
            let name = object_name(&run.spec.fleet_name, &member.name);
            if let Some(known) = self.clusters.get_mut(&Key::namespaced(namespace, &name)) {
                known.answers.remove(id);
            }
        }
    }
}

/// Whether a change may still move a run.
fn is_open(run: &UpdateRun) -> bool {
    let state = run.status.as_ref().map(|status| status.status.state);
    !matches!(state, Some(State::Completed | State::Skipped))
}

fn strategy_fleet(strategy: &UpdateStrategy) -> String {
    let namespace = strategy.metadata.namespace.as_deref().unwrap_or_default();
    fleet_of(namespace, &strategy.spec.fleet_name)
}

fn gate_run(gate: &Gate) -> Option<Item> {
    let namespace = gate.metadata.namespace.as_deref()?;
    let name = object_name(&gate.spec.fleet_name, &gate.spec.target.update_run);
    Some(Item::Run(Key::namespaced(namespace, &name)))
}
