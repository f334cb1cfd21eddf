//! What the controller knows, and whom a change of it concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::{MEMBER_NAMESPACE_PREFIX, member_namespace};
use stolos_api::placement::names::{condition, label};
use stolos_api::placement::{
    ClusterResourceBinding, ClusterResourcePlacement, ClusterResourcePlacementStatus,
    ClusterResourceSnapshot, ClusterSchedulingPolicySnapshot, PlacementSpec, ResourceIdentifier,
    Work,
};
use stolos_controller::{Change, Clock, Controller, Key, Plan, Round, Table, Tracked, revision};
use stolos_core::placement::condition::{Status, find};
use stolos_core::placement::select::Reach;
use stolos_core::placement::snapshot::{Snapshot, resources};
use stolos_core::placement::{status, wake};

use super::Config;
use super::catalogue::{Catalogue, Changed, News};
use super::doubt::Proofs;
use super::object::{Act, Job, Object, Seen};
use super::overrides::{self, Overrides};

/// Something to plan for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// What a placement selects, and its snapshots.
    Select(Key),
    /// Where a placement goes.
    Schedule(Key),
    /// Which bindings of a placement move.
    Rollout(Key),
    /// How far a placement got.
    Report(Key),
    /// The Works of a binding, and how far it got.
    Generate(Key),
    /// The snapshots of an override; one without a namespace is a ClusterResourceOverride.
    Override(Key),
}

/// Everything known.
pub(crate) struct World {
    pub(super) config: Config,
    clock: Clock,
    pub(super) placements: Table<ClusterResourcePlacement>,
    pub(super) policies: Table<ClusterSchedulingPolicySnapshot>,
    pub(super) snapshots: Table<ClusterResourceSnapshot>,
    pub(super) bindings: Table<ClusterResourceBinding>,
    /// Bindings up to this revision may be known from the last list alone, which may show one that is gone.
    pub(super) listed_bindings: u64,
    pub(super) works: Table<Work>,
    /// Copies of status in the namespaces that placements select.
    pub(super) copies: Table<ClusterResourcePlacementStatus>,
    pub(super) members: Table<MemberCluster>,
    pub(super) overrides: Overrides,
    pub(super) catalogue: Catalogue,
    pub(super) proofs: Proofs,
}

impl World {
    pub(crate) fn new(config: Config, clock: Clock) -> Self {
        Self {
            config,
            clock,
            placements: Table::default(),
            policies: Table::indexed_by(|object| parent_index(&object.metadata)),
            snapshots: Table::indexed_by(|object| parent_index(&object.metadata)),
            bindings: Table::indexed_by(|object| parent_index(&object.metadata)),
            listed_bindings: 0,
            works: Table::indexed_by(|work| binding_of(work).map(|key| index(&key))),
            copies: Table::default(),
            members: Table::default(),
            overrides: Overrides::default(),
            catalogue: Catalogue::default(),
            proofs: Proofs::default(),
        }
    }

    /// Returns the kind of a placement, whose condition types begin with it.
    pub(super) fn kind_of(placement: &ClusterResourcePlacement) -> &'static str {
        match placement.metadata.namespace {
            None => "ClusterResourcePlacement",
            Some(_) => "ResourcePlacement",
        }
    }

    pub(super) fn reach_of(placement: &ClusterResourcePlacement) -> Reach<'_> {
        placement.metadata.namespace.as_deref().map_or(Reach::Cluster, Reach::Namespace)
    }

    pub(super) fn bindings_of(
        &self,
        placement: &Key,
    ) -> impl Iterator<Item = &Arc<ClusterResourceBinding>> {
        self.bindings.indexed(&index(placement))
    }

    /// Returns the policy snapshots of a placement; see [`belongs`].
    pub(super) fn policies_of<'a>(
        &'a self,
        placement: &'a ClusterResourcePlacement,
    ) -> impl Iterator<Item = &'a Arc<ClusterSchedulingPolicySnapshot>> {
        let all = self.policies.indexed(&index(&Key::of(&placement.metadata)));
        all.filter(|policy| belongs(&policy.metadata, placement))
    }

    /// Returns the resource snapshots of a placement; see [`belongs`].
    pub(super) fn snapshots_of<'a>(
        &'a self,
        placement: &'a ClusterResourcePlacement,
    ) -> impl Iterator<Item = &'a Arc<ClusterResourceSnapshot>> {
        let all = self.snapshots.indexed(&index(&Key::of(&placement.metadata)));
        all.filter(|snapshot| belongs(&snapshot.metadata, placement))
    }

    /// Returns the Works of a binding on its own member. A Work elsewhere that carries its label is somebody's mistake.
    pub(super) fn works_of<'a>(
        &'a self,
        binding: &'a ClusterResourceBinding,
    ) -> impl Iterator<Item = &'a Arc<Work>> {
        let namespace = member_namespace(&binding.spec.target_cluster);
        let all = self.works.indexed(&index(&Key::of(&binding.metadata)));
        all.filter(move |work| work.metadata.namespace.as_deref() == Some(namespace.as_str()))
    }

    /// Returns the objects of the latest resource snapshots of a placement.
    pub(super) fn snapshots_in_force(
        &self,
        placement: &ClusterResourcePlacement,
    ) -> impl Iterator<Item = ResourceIdentifier> + use<> {
        let snapshots: Vec<_> = self
            .snapshots_of(placement)
            .map(|snapshot| Snapshot { metadata: &snapshot.metadata, spec: &snapshot.spec })
            .collect();
        let latest = resources::groups(&snapshots).pop_last();
        latest.map(|(_, group)| group.identifiers()).unwrap_or_default().into_iter()
    }

    fn all_placements(&self, item: fn(Key) -> Item) -> impl Iterator<Item = Item> {
        self.placements.iter().map(move |placement| item(Key::of(&placement.metadata)))
    }

    fn apply(&mut self, object: Object) -> Vec<Item> {
        match object {
            Object::Placement(object) => {
                let key = Key::of(&object.metadata);
                let after = Stamp::of(&object.metadata);
                let inserted = self.placements.insert(*object);
                self.measure(&key);
                match inserted {
                    Err(()) => Vec::new(),
                    // Our own report is no news.
                    Ok(Some(before)) if Stamp::of(&before.metadata) == after => Vec::new(),
                    Ok(_) => everything(&key),
                }
            }
            Object::Policy(object) => {
                let Some(parent) = parent_of(&object.metadata) else { return Vec::new() };
                let after = (object.metadata.labels.clone(), object.metadata.annotations.clone());
                match self.policies.insert(*object) {
                    Err(()) => Vec::new(),
                    Ok(before) => {
                        let before = before.map(|old| {
                            (old.metadata.labels.clone(), old.metadata.annotations.clone())
                        });
                        // The mark and the notes are the placement's; the rest is the scheduler's answer.
                        match before {
                            None => vec![Item::Schedule(parent)],
                            Some(before) if before == after => vec![Item::Report(parent)],
                            Some(_) => vec![Item::Select(parent.clone()), Item::Schedule(parent)],
                        }
                    }
                }
            }
            Object::Snapshot(object) => {
                let Some(parent) = parent_of(&object.metadata) else { return Vec::new() };
                match self.snapshots.insert(*object) {
                    Err(()) => Vec::new(),
                    Ok(before) => {
                        if before.is_none() {
                            self.proofs.settle();
                        }
                        let mut items =
                            vec![Item::Rollout(parent.clone()), Item::Report(parent.clone())];
                        if before.is_some() {
                            items.push(Item::Select(parent));
                        } else {
                            // It may complete a group that bindings wait for.
                            items.extend(self.generate_all(&parent));
                        }
                        items
                    }
                }
            }
            Object::Binding(object) => self.apply_binding(*object),
            Object::Copy(object) => {
                let parent = Key::cluster(object.metadata.name.as_deref().unwrap_or_default());
                let news = self.copies.insert(*object).is_ok();
                news.then_some(Item::Report(parent)).into_iter().collect()
            }
            Object::Event(_) => Vec::new(),
            Object::Work(object) => {
                let binding = binding_of(&object);
                let news = self.works.insert(*object).is_ok();
                binding.filter(|_| news).map(Item::Generate).into_iter().collect()
            }
            Object::Override(object) => {
                let news = self.overrides.apply(*object);
                self.hear_of_overrides(news)
            }
        }
    }

    fn apply_binding(&mut self, object: ClusterResourceBinding) -> Vec<Item> {
        let key = Key::of(&object.metadata);
        let parent = parent_of(&object.metadata);
        let after = Stamp::of(&object.metadata);
        let before = match self.bindings.insert(object) {
            Err(()) => return Vec::new(),
            Ok(before) => before.map(|before| Stamp::of(&before.metadata)),
        };
        let mut items = vec![Item::Generate(key)];
        let Some(parent) = parent else { return items };
        items.extend([Item::Rollout(parent.clone()), Item::Report(parent.clone())]);
        if before.is_none_or(|before| before.deleting != after.deleting) {
            items.push(Item::Schedule(parent));
        }
        items
    }

    fn hear_of_overrides(&self, news: Vec<overrides::News>) -> Vec<Item> {
        let items = news.into_iter().flat_map(|news| match news {
            overrides::News::Override(key) => vec![Item::Override(key)],
            overrides::News::Placement(key) => vec![Item::Rollout(key)],
            overrides::News::Rollouts => self.rolling_out().map(Item::Rollout).collect(),
        });
        items.collect()
    }

    /// Returns the placements whose latest resources are not released to every member.
    fn rolling_out(&self) -> impl Iterator<Item = Key> {
        let placements = self.placements.iter().filter(|placement| {
            let Some((latest, _)) = self.latest_snapshot(placement) else { return false };
            let key = Key::of(&placement.metadata);
            let mut bindings = self.bindings_of(&key);
            bindings.any(|binding| binding.spec.resource_snapshot_name != latest)
        });
        placements.map(|placement| Key::of(&placement.metadata))
    }

    fn generate_all(&self, placement: &Key) -> Vec<Item> {
        let keys = self.bindings_of(placement).map(|binding| Key::of(&binding.metadata));
        keys.map(Item::Generate).collect()
    }

    /// A watch says that an object is gone.
    fn remove(&mut self, object: Object) -> Vec<Item> {
        match &object {
            Object::Placement(object) => {
                self.placements.remove(&object.metadata);
                self.measure(&Key::of(&object.metadata));
            }
            Object::Policy(object) => drop(self.policies.remove(&object.metadata)),
            Object::Snapshot(object) => drop(self.snapshots.remove(&object.metadata)),
            Object::Binding(object) => drop(self.bindings.remove(&object.metadata)),
            Object::Work(object) => drop(self.works.remove(&object.metadata)),
            Object::Override(object) => {
                let news = self.overrides.remove(object);
                return self.hear_of_overrides(news);
            }
            Object::Copy(object) => drop(self.copies.remove(&object.metadata)),
            Object::Event(_) => {}
        }
        self.concerned_by_end(&object)
    }

    /// Whom it concerns that an object is no longer known.
    fn concerned_by_end(&self, object: &Object) -> Vec<Item> {
        let parent = match object {
            Object::Policy(object) => parent_of(&object.metadata),
            Object::Snapshot(object) => parent_of(&object.metadata),
            Object::Binding(object) => parent_of(&object.metadata),
            Object::Work(object) => return self.freed(object),
            Object::Copy(object) => {
                let parent = Key::cluster(object.metadata.name.as_deref().unwrap_or_default());
                return vec![Item::Report(parent)];
            }
            // What is left of a placement is on its way out already, or belongs to nobody and stays.
            Object::Placement(_) | Object::Override(_) | Object::Event(_) => None,
        };
        parent.as_ref().map(everything).unwrap_or_default()
    }

    /// Whom the end of a Work concerns: its binding, and one that waits to use its name.
    fn freed(&self, work: &Work) -> Vec<Item> {
        let mut items: Vec<Item> = binding_of(work).map(Item::Generate).into_iter().collect();
        let label = |key: &str| work.metadata.labels.as_ref()?.get(key).cloned();
        if let Some(name) = label(label::PARENT_PLACEMENT) {
            let namespace = label(label::PARENT_PLACEMENT_NAMESPACE).unwrap_or_default();
            items.extend(self.generate_all(&Key { namespace, name }));
        }
        items
    }

    fn apply_member(&mut self, member: MemberCluster) -> Vec<Item> {
        let key = Key::of(&member.metadata);
        let Ok(before) = self.members.insert(member) else { return Vec::new() };
        let Some(after) = self.members.get(&key) else { return Vec::new() };
        let mut items = Vec::new();
        let news = wake::news(before.as_deref(), after, (self.clock)());
        items.extend(self.placements_that_want(&news));
        if before.is_none() {
            items.extend(self.generate_for(&key.name));
        } else if before.is_some_and(|before| before.metadata.labels != after.metadata.labels) {
            items.extend(self.generate_failed_overrides(&key.name));
        }
        items
    }

    /// Notes how far a placement got, or that it is gone.
    fn measure(&self, key: &Key) {
        let name = (key.namespace.as_str(), key.name.as_str());
        let Some(placement) = self.placements.get(key) else {
            return self.config.metrics.forget_placement(name);
        };
        let generation = placement.metadata.generation.unwrap_or_default();
        let conditions = placement.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let kind = Self::kind_of(placement);
        let progress = status::progress(kind, generation, &placement.spec, conditions);
        self.config.metrics.placement(name, generation, progress, (self.clock)());
    }

    fn placements_that_want(&self, news: &wake::News) -> Vec<Item> {
        let wanting = self.placements.iter().filter(|placement| {
            let placement = wake::Placement {
                kind: Self::kind_of(placement),
                namespaced: placement.metadata.namespace.is_some(),
                generation: placement.metadata.generation.unwrap_or_default(),
                spec: &placement.spec,
                status: placement.status.as_ref(),
            };
            placement.wants(news)
        });
        wanting.map(|placement| Item::Schedule(Key::of(&placement.metadata))).collect()
    }

    fn generate_for(&self, member: &str) -> Vec<Item> {
        let targeting =
            self.bindings.iter().filter(|binding| binding.spec.target_cluster == member);
        targeting.map(|binding| Item::Generate(Key::of(&binding.metadata))).collect()
    }

    /// Returns the bindings of a member whose overrides could not be applied; its labels may be what they lacked.
    fn generate_failed_overrides(&self, member: &str) -> Vec<Item> {
        let failed = self.bindings.iter().filter(|binding| {
            let conditions = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
            binding.spec.target_cluster == member
                && find(conditions, condition::OVERRIDDEN)
                    .is_some_and(|overridden| Status::of(overridden) == Status::False)
        });
        failed.map(|binding| Item::Generate(Key::of(&binding.metadata))).collect()
    }

    fn member_gone(&self, members: impl IntoIterator<Item = Arc<MemberCluster>>) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for member in members {
            items.extend(self.generate_for(member.metadata.name.as_deref().unwrap_or_default()));
            items.extend(self.all_placements(Item::Schedule));
        }
        items
    }

    fn hear(&mut self, news: News) -> Vec<Item> {
        match news {
            News::Everything => self.all_placements(Item::Select).collect(),
            News::Objects(changes) => {
                changes.iter().flat_map(|change| self.concerned(change)).collect()
            }
        }
    }

    fn concerned(&self, changed: &Changed) -> Vec<Item> {
        let either = changed.before.as_ref().or(changed.after.as_ref());
        let home = either.map(|object| stolos_core::placement::object::namespace(object));
        let change = wake::Change {
            before: changed.before.as_deref(),
            after: changed.after.as_deref(),
            namespace: home.and_then(|home| self.catalogue.namespace(home)),
        };
        if !change.is_of_interest(&self.config.eligibility) {
            return Vec::new();
        }
        let concerned = self.placements.iter().filter(|placement| {
            let PlacementSpec { resource_selectors, .. } = &placement.spec;
            change.concerns(resource_selectors, Self::reach_of(placement))
        });
        concerned.map(|placement| Item::Select(Key::of(&placement.metadata))).collect()
    }

    /// Plans the writes of an item, from a world without doubts.
    pub(super) fn plan(&self, item: &Item, now: Timestamp) -> Plan<Job> {
        match item {
            Item::Select(key) => self.plan_select(key, now),
            Item::Schedule(key) => self.plan_schedule(key, now),
            Item::Rollout(key) => self.plan_rollout(key, now),
            Item::Report(key) => self.plan_report(key, now),
            Item::Generate(key) => self.plan_generate(key, now),
            Item::Override(key) => self.overrides.plan(key),
        }
    }

    /// A complete list was seen: what it does not show is gone.
    fn relist(&mut self, kind: &str, keys: BTreeSet<Key>) -> Vec<Item> {
        let gone: Vec<Object> = match kind {
            "ClusterResourcePlacement" | "ResourcePlacement" => {
                objects(retain(&mut self.placements, kind, keys))
            }
            "ClusterSchedulingPolicySnapshot" | "SchedulingPolicySnapshot" => {
                objects(retain(&mut self.policies, kind, keys))
            }
            "ClusterResourceSnapshot" | "ResourceSnapshot" => {
                objects(retain(&mut self.snapshots, kind, keys))
            }
            "ClusterResourceBinding" | "ResourceBinding" => {
                let gone = retain(&mut self.bindings, kind, keys);
                let known = self.bindings.iter().map(|binding| revision(&binding.metadata));
                self.listed_bindings = known.max().unwrap_or_default();
                objects(gone)
            }
            "ClusterResourcePlacementStatus" => objects(self.copies.retain(&keys)),
            "Work" => objects(self.works.retain(&keys)),
            _ => {
                if let Some(news) = self.overrides.relist(kind, &keys) {
                    return self.hear_of_overrides(news);
                }
                let gone = self.members.retain(&keys);
                return self.member_gone(gone);
            }
        };
        for object in &gone {
            if let Object::Placement(placement) = object {
                self.measure(&Key::of(&placement.metadata));
            }
        }
        // A list may be behind: what it does not show is not remembered as removed, so that a closer look can bring it back.
        gone.iter().flat_map(|object| self.concerned_by_end(object)).collect()
    }
}

fn everything(placement: &Key) -> Vec<Item> {
    [Item::Select, Item::Schedule, Item::Rollout, Item::Report]
        .map(|item| item(placement.clone()))
        .into()
}

/// Forgets what a list of one scope does not show; the other scope has a list of its own.
fn retain<K: Tracked>(table: &mut Table<K>, kind: &str, mut keys: BTreeSet<Key>) -> Vec<Arc<K>> {
    let is_cluster_scoped = kind.starts_with("Cluster");
    let of_other_scope = |key: &Key| key.namespace.is_empty() != is_cluster_scoped;
    keys.extend(table.iter().map(|object| Key::of(object.meta())).filter(of_other_scope));
    table.retain(&keys)
}

fn objects<K: Clone + Into<Object>>(gone: Vec<Arc<K>>) -> Vec<Object> {
    gone.into_iter().map(|object| Arc::unwrap_or_clone(object).into()).collect()
}

impl Controller for World {
    type Item = Item;
    type Object = Seen;
    type Effect = Act;

    fn learn(&mut self, change: Change<Seen>) -> Vec<Item> {
        self.proofs.question(&change);
        match change {
            Change::Applied(Seen::Proof(proof)) | Change::Deleted(Seen::Proof(proof)) => {
                self.proofs.add(proof.subject);
                vec![proof.item]
            }
            Change::Applied(Seen::Object(object)) => self.apply(object),
            Change::Applied(Seen::Member(member)) => self.apply_member(*member),
            Change::Applied(Seen::Source(fed)) | Change::Deleted(Seen::Source(fed)) => {
                let news = self.catalogue.learn(fed);
                self.hear(news)
            }
            Change::Deleted(Seen::Object(object)) => self.remove(object),
            Change::Deleted(Seen::Member(member)) => {
                let gone = self.members.remove(&member.metadata);
                self.member_gone(gone)
            }
            Change::Listed { kind, keys } => self.relist(kind, keys),
        }
    }

    fn can_wait(item: &Item) -> bool {
        matches!(item, Item::Report(_))
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Act> {
        let doubts = self.doubts(item);
        if !doubts.is_empty() {
            return Plan::default()
                .then(doubts.into_iter().map(|doubt| Act::Ask(Box::new(doubt))).collect());
        }
        let Plan { steps, wake_at } = self.plan(item, now);
        let act = |step: Vec<Job>| step.into_iter().map(Act::Write).collect();
        Plan { steps: steps.into_iter().map(act).collect(), wake_at }
    }

    fn hear_of_begin(&self, item: &Item) {
        if matches!(item, Item::Schedule(_)) {
            self.config.metrics.scheduling();
        }
    }

    fn hear_of(&self, round: &Round<'_, Item>) {
        let metrics = &self.config.metrics;
        metrics.round("placement", round);
        if matches!(round.item, Item::Schedule(_)) {
            metrics.scheduled(round.result, round.took);
        }
    }
}

/// The metadata that only somebody's wish changes, not a report.
#[derive(PartialEq)]
struct Stamp {
    uid: Option<String>,
    generation: Option<i64>,
    deleting: bool,
    finalizers: Option<Vec<String>>,
}

impl Stamp {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            uid: meta.uid.clone(),
            generation: meta.generation,
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone(),
        }
    }
}

/// Returns the placement that a snapshot or binding names.
pub(super) fn parent_of(meta: &ObjectMeta) -> Option<Key> {
    let name = meta.labels.as_ref()?.get(label::PARENT_PLACEMENT)?.clone();
    Some(Key { namespace: meta.namespace.clone().unwrap_or_default(), name })
}

/// Returns the binding that a Work in a member namespace names.
fn binding_of(work: &Work) -> Option<Key> {
    let labels = work.metadata.labels.as_ref()?;
    if !work.metadata.namespace.as_deref()?.starts_with(MEMBER_NAMESPACE_PREFIX) {
        return None;
    }
    let namespace = labels.get(label::PARENT_PLACEMENT_NAMESPACE).cloned().unwrap_or_default();
    Some(Key { namespace, name: labels.get(label::PARENT_BINDING)?.clone() })
}

fn parent_index(meta: &ObjectMeta) -> Option<String> {
    parent_of(meta).map(|key| index(&key))
}

fn index(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

/// Tells whether a snapshot belongs to this very placement, not to an earlier one of its name.
fn belongs(snapshot: &ObjectMeta, placement: &ClusterResourcePlacement) -> bool {
    let owners = snapshot.owner_references.as_deref().unwrap_or_default();
    owners.is_empty()
        || owners.iter().any(|owner| Some(&owner.uid) == placement.metadata.uid.as_ref())
}
