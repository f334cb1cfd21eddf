//! What the controller knows, and whom a change concerns.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::cluster::fleet::{FleetMember, object_name};
use stolos_api::update::{AutoUpgradeProfile, UpdateRun, UpdateStrategy, VersionCatalogue};
use stolos_controller::{Change, Controller, Key, Plan, Round, Table};
use stolos_core::update::cluster::Inspection;

use super::Sighting;
use super::effect::{Effect, Fact, Object};
use crate::update::Config;
use crate::update::controller::fleet_of;

/// Something to plan for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// An auto-upgrade profile.
    Profile(Key),
    /// Whether a strategy may be deleted.
    Strategy(Key),
}

/// The world of the controller; all but catalogues by `<namespace>/<fleet>`.
pub(super) struct Profiles {
    pub(super) config: Config,
    pub(super) profiles: Table<AutoUpgradeProfile>,
    pub(super) members: Table<FleetMember>,
    pub(super) runs: Table<UpdateRun>,
    pub(super) strategies: Table<UpdateStrategy>,
    pub(super) catalogues: Table<VersionCatalogue>,
    pub(super) clusters: BTreeMap<Key, Inspection>,
}

impl Profiles {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            profiles: Table::indexed_by(|profile: &AutoUpgradeProfile| {
                Some(index(&profile.metadata, &profile.spec.fleet_name))
            }),
            members: Table::indexed_by(|member: &FleetMember| {
                Some(index(&member.metadata, &member.spec.fleet_name))
            }),
            runs: Table::indexed_by(|run: &UpdateRun| {
                Some(index(&run.metadata, &run.spec.fleet_name))
            }),
            strategies: Table::default(),
            catalogues: Table::default(),
            clusters: BTreeMap::new(),
        }
    }
}

fn index(meta: &ObjectMeta, fleet: &str) -> String {
    fleet_of(meta.namespace.as_deref().unwrap_or_default(), fleet)
}

impl Controller for Profiles {
    type Item = Item;
    type Object = Fact;
    type Effect = Effect;

    fn learn(&mut self, change: Change<Fact>) -> Vec<Item> {
        match change {
            Change::Applied(Fact::Cluster(seen)) => {
                let concerned = self.members.get(&seen.member).map_or_else(Vec::new, |member| {
                    self.profiles_of(&index(&member.metadata, &member.spec.fleet_name))
                });
                let Sighting { member, cluster } = *seen;
                self.clusters.insert(member, cluster);
                concerned
            }
            Change::Applied(Fact::Object(object)) => {
                let before = self.concerned(&object);
                if self.insert(&object) {
                    joined(before, self.concerned(&object))
                } else {
                    Vec::new()
                }
            }
            Change::Deleted(Fact::Object(object)) => {
                let concerned = self.concerned(&object);
                self.remove(&object);
                concerned
            }
            Change::Deleted(Fact::Cluster(_)) => Vec::new(),
            Change::Listed { kind, keys } => {
                match kind {
                    "AutoUpgradeProfile" => drop(self.profiles.retain(&keys)),
                    "UpdateRun" => drop(self.runs.retain(&keys)),
                    "UpdateStrategy" => drop(self.strategies.retain(&keys)),
                    "VersionCatalogue" => drop(self.catalogues.retain(&keys)),
                    _ => {
                        drop(self.members.retain(&keys));
                        self.clusters.retain(|key, _| keys.contains(key));
                    }
                }
                self.everything()
            }
        }
    }

    /// One plan of a profile answers many changes of runs and clusters.
    fn can_wait(item: &Item) -> bool {
        matches!(item, Item::Profile(_))
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Effect> {
        match item {
            Item::Profile(key) => self.plan_profile(key, now),
            Item::Strategy(key) => self.plan_strategy(key).into(),
        }
    }

    fn hear_of(&self, round: &Round<'_, Item>) {
        self.config.metrics.round("auto-upgrade", round);
    }
}

/// What a change concerned before and concerns after it: a profile may name another strategy.
fn joined(mut before: Vec<Item>, after: Vec<Item>) -> Vec<Item> {
    before.extend(after);
    before.sort_unstable();
    before.dedup();
    before
}

impl Profiles {
    fn insert(&mut self, object: &Object) -> bool {
        match object.clone() {
            Object::AutoUpgradeProfile(profile) => self.profiles.insert(*profile).is_ok(),
            Object::FleetMember(member) => self.members.insert(*member).is_ok(),
            Object::UpdateRun(run) => self.runs.insert(*run).is_ok(),
            Object::UpdateStrategy(strategy) => self.strategies.insert(*strategy).is_ok(),
            Object::VersionCatalogue(catalogue) => self.catalogues.insert(*catalogue).is_ok(),
            Object::Event(_) => false,
        }
    }

    fn remove(&mut self, object: &Object) {
        match object {
            Object::AutoUpgradeProfile(profile) => drop(self.profiles.remove(&profile.metadata)),
            Object::FleetMember(member) => {
                self.clusters.remove(&Key::of(&member.metadata));
                self.members.remove(&member.metadata);
            }
            Object::UpdateRun(run) => drop(self.runs.remove(&run.metadata)),
            Object::UpdateStrategy(strategy) => drop(self.strategies.remove(&strategy.metadata)),
            Object::VersionCatalogue(catalogue) => {
                drop(self.catalogues.remove(&catalogue.metadata));
            }
            Object::Event(_) => {}
        }
    }

    fn concerned(&self, object: &Object) -> Vec<Item> {
        match object {
            Object::AutoUpgradeProfile(profile) => {
                let key = Key::of(&profile.metadata);
                let known = self.profiles.get(&key).map(AsRef::as_ref);
                let strategies =
                    known.into_iter().chain([profile.as_ref()]).filter_map(strategy_of);
                let mut items: Vec<Item> = strategies.map(Item::Strategy).collect();
                items.push(Item::Profile(key));
                items
            }
            Object::FleetMember(member) => {
                self.profiles_of(&index(&member.metadata, &member.spec.fleet_name))
            }
            Object::UpdateRun(run) => self.profiles_of(&index(&run.metadata, &run.spec.fleet_name)),
            Object::UpdateStrategy(strategy) => {
                let mut items =
                    self.profiles_of(&index(&strategy.metadata, &strategy.spec.fleet_name));
                items.push(Item::Strategy(Key::of(&strategy.metadata)));
                items
            }
            Object::VersionCatalogue(catalogue) => {
                let namespace = catalogue.metadata.namespace.as_deref().unwrap_or_default();
                let profiles = self.profiles.in_namespace(namespace);
                profiles.map(|profile| Item::Profile(Key::of(&profile.metadata))).collect()
            }
            Object::Event(_) => Vec::new(),
        }
    }

    fn profiles_of(&self, fleet: &str) -> Vec<Item> {
        let profiles = self.profiles.indexed(fleet);
        profiles.map(|profile| Item::Profile(Key::of(&profile.metadata))).collect()
    }

    fn everything(&self) -> Vec<Item> {
        let profiles = self.profiles.iter().map(|p| Item::Profile(Key::of(&p.metadata)));
        let strategies = self.strategies.iter().map(|s| Item::Strategy(Key::of(&s.metadata)));
        profiles.chain(strategies).collect()
    }
}

/// Returns the strategy that a profile names.
pub(super) fn strategy_of(profile: &AutoUpgradeProfile) -> Option<Key> {
    let name = object_name(&profile.spec.fleet_name, profile.spec.strategy_name.as_ref()?);
    Some(Key::namespaced(profile.metadata.namespace.as_deref().unwrap_or_default(), &name))
}
