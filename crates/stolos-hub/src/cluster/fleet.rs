//! Fleets: a FleetMember of a fleet with a hub gets a MemberCluster there; status goes back to member and fleet. A fleet
//! that is deleted takes along what belongs to it: members leave, runs and strategies go.
//!
//! Owner references would do the same, and would also delete the members of a fleet that was restored from a backup under
//! a new uid. Here the proof is the deletion of the fleet itself.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::Subject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::fleet::{Fleet, FleetKind, FleetMember, FleetStatus, short_name};
use stolos_api::cluster::names::{condition as type_, finalizer, member_user};
use stolos_api::cluster::{DeleteValidationMode, MemberCluster};
use stolos_api::network::names::EXPORTS_ANNOTATION;
use stolos_api::update::{
    AutoUpgradeProfile, EventSubscription, NAMED_BY_PROFILE_FINALIZER, UpdateRun, UpdateStrategy,
};
use stolos_controller::{Change, Controller, Key, Options, Plan, Table, Watches, Write};
use stolos_core::cluster::fleet::{self, MemberLimits, Refusal};
use stolos_core::condition;

stolos_controller::kinds! {
    "fleet-controller";
    AutoUpgradeProfile, EventSubscription, Fleet, FleetMember, MemberCluster, UpdateRun, UpdateStrategy,
}

/// Runs the controller of Fleets and FleetMembers until the future is dropped.
pub async fn run(client: Client, limits: MemberLimits, options: Options) {
    let watches = Watches::default()
        .add("AutoUpgradeProfile", Api::<AutoUpgradeProfile>::all(client.clone()))
        .add("EventSubscription", Api::<EventSubscription>::all(client.clone()))
        .add("Fleet", Api::<Fleet>::all(client.clone()))
        .add("FleetMember", Api::<FleetMember>::all(client.clone()))
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()))
        .add("UpdateRun", Api::<UpdateRun>::all(client.clone()))
        .add("UpdateStrategy", Api::<UpdateStrategy>::all(client.clone()));
    let options = Options { name: "fleet", ..options };
    stolos_controller::run(Fleets::new(limits), client, watches, options).await;
}

struct Fleets {
    limits: MemberLimits,
    fleets: Table<Fleet>,
    /// By `<namespace>/<fleet>`, as runs and strategies are; by the cluster; by the name within the fleet.
    members: Table<FleetMember>,
    clusters: Table<MemberCluster>,
    runs: Table<UpdateRun>,
    strategies: Table<UpdateStrategy>,
    profiles: Table<AutoUpgradeProfile>,
    subscriptions: Table<EventSubscription>,
}

/// What is planned for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Fleet(Key),
    Member(Key),
}

/// Names the fleet of an object in indexes.
fn index(child: &ObjectMeta, fleet: &str) -> String {
    format!("{}/{fleet}", child.namespace.as_deref().unwrap_or_default())
}

impl Fleets {
    fn new(limits: MemberLimits) -> Self {
        Self {
            limits,
            fleets: Table::default(),
            members: Table::indexed_by(|member: &FleetMember| {
                Some(index(&member.metadata, &member.spec.fleet_name))
            })
            .and_by(|member| Some(of_cluster(member)))
            .and_by(|member| Some(of_name(name_of(member)?))),
            clusters: Table::default(),
            runs: Table::indexed_by(|run: &UpdateRun| {
                Some(index(&run.metadata, &run.spec.fleet_name))
            }),
            strategies: Table::indexed_by(|strategy: &UpdateStrategy| {
                Some(index(&strategy.metadata, &strategy.spec.fleet_name))
            }),
            profiles: Table::indexed_by(|profile: &AutoUpgradeProfile| {
                Some(index(&profile.metadata, &profile.spec.fleet_name))
            }),
            subscriptions: Table::indexed_by(|subscription: &EventSubscription| {
                Some(index(&subscription.metadata, &subscription.spec.fleet_name))
            }),
        }
    }

    fn touched(&self, object: &Object) -> Vec<Item> {
        match object {
            Object::Fleet(fleet) => {
                let key = Key::of(&fleet.metadata);
                let members = self.members.indexed(&format!("{}/{}", key.namespace, key.name));
                let members = members.map(|member| Item::Member(Key::of(&member.metadata)));
                members.chain([Item::Fleet(key.clone())]).collect()
            }
            Object::FleetMember(member) => self.touched_by_member(member),
            Object::UpdateRun(run) => self.ending(&run.metadata, &run.spec.fleet_name),
            Object::UpdateStrategy(strategy) => {
                self.ending(&strategy.metadata, &strategy.spec.fleet_name)
            }
            Object::AutoUpgradeProfile(profile) => {
                self.ending(&profile.metadata, &profile.spec.fleet_name)
            }
            Object::EventSubscription(subscription) => {
                self.ending(&subscription.metadata, &subscription.spec.fleet_name)
            }
            Object::MemberCluster(cluster) => {
                let name = cluster.metadata.name.as_deref().unwrap_or_default();
                let members = self.members.indexed(&of_name(name));
                members.map(|member| Item::Member(Key::of(&member.metadata))).collect()
            }
        }
    }

    /// Runs, strategies, profiles and subscriptions matter only to a fleet that is being deleted.
    fn ending(&self, child: &ObjectMeta, fleet: &str) -> Vec<Item> {
        let key = Key::namespaced(child.namespace.as_deref().unwrap_or_default(), fleet);
        let ending = self.fleets.get(&key).is_some_and(|fleet| is_ending(fleet));
        ending.then_some(Item::Fleet(key)).into_iter().collect()
    }

    /// A member concerns its fleet, and whoever waits for the same cluster.
    fn touched_by_member(&self, member: &FleetMember) -> Vec<Item> {
        let key = Key::of(&member.metadata);
        let fleet = Key::namespaced(&key.namespace, &member.spec.fleet_name);
        let rivals = self.members.indexed(&of_cluster(member));
        // A place that gets free is one for whom the fleet was full.
        let fellows = self.members.indexed(&format!("{}/{}", fleet.namespace, fleet.name));
        let refused = fellows.filter(|fellow| fleet::was_refused(fellow));
        let others = rivals.chain(refused).map(|other| Item::Member(Key::of(&other.metadata)));
        others.chain([Item::Fleet(fleet), Item::Member(key.clone())]).collect()
    }
}

/// Returns the name of a member within its fleet.
fn name_of(member: &FleetMember) -> Option<&str> {
    short_name(&member.spec.fleet_name, member.metadata.name.as_deref()?)
}

/// Names the cluster of a member in the index.
fn of_cluster(member: &FleetMember) -> String {
    let namespace = member.metadata.namespace.as_deref().unwrap_or_default();
    format!("cluster {}", member.spec.cluster.id(namespace))
}

/// Names a member in the index, whatever its fleet.
fn of_name(name: &str) -> String {
    format!("name {name}")
}

impl Controller for Fleets {
    type Item = Item;
    type Object = Object;
    type Effect = Write<Object>;

    fn learn(&mut self, change: Change<Object>) -> Vec<Item> {
        match change {
            Change::Applied(object) => {
                let news = match object.clone() {
                    Object::Fleet(fleet) => self.fleets.insert(*fleet).is_ok(),
                    Object::FleetMember(member) => self.members.insert(*member).is_ok(),
                    Object::MemberCluster(cluster) => self.clusters.insert(*cluster).is_ok(),
                    Object::UpdateRun(run) => self.runs.insert(*run).is_ok(),
                    Object::UpdateStrategy(strategy) => self.strategies.insert(*strategy).is_ok(),
                    Object::AutoUpgradeProfile(profile) => self.profiles.insert(*profile).is_ok(),
                    Object::EventSubscription(subscription) => {
                        self.subscriptions.insert(*subscription).is_ok()
                    }
                };
                if news { self.touched(&object) } else { Vec::new() }
            }
            Change::Deleted(object) => {
                match &object {
                    Object::Fleet(fleet) => drop(self.fleets.remove(&fleet.metadata)),
                    Object::FleetMember(member) => drop(self.members.remove(&member.metadata)),
                    Object::MemberCluster(cluster) => drop(self.clusters.remove(&cluster.metadata)),
                    Object::UpdateRun(run) => drop(self.runs.remove(&run.metadata)),
                    Object::UpdateStrategy(strategy) => {
                        drop(self.strategies.remove(&strategy.metadata))
                    }
                    Object::AutoUpgradeProfile(profile) => {
                        drop(self.profiles.remove(&profile.metadata))
                    }
                    Object::EventSubscription(subscription) => {
                        drop(self.subscriptions.remove(&subscription.metadata))
                    }
                }
                self.touched(&object)
            }
            Change::Listed { kind, keys } => {
                match kind {
                    "Fleet" => drop(self.fleets.retain(&keys)),
                    "FleetMember" => drop(self.members.retain(&keys)),
                    "UpdateRun" => drop(self.runs.retain(&keys)),
                    "UpdateStrategy" => drop(self.strategies.retain(&keys)),
                    "AutoUpgradeProfile" => drop(self.profiles.retain(&keys)),
                    "EventSubscription" => drop(self.subscriptions.retain(&keys)),
                    _ => drop(self.clusters.retain(&keys)),
                }
                let fleets = self.fleets.iter().map(|fleet| Item::Fleet(Key::of(&fleet.metadata)));
                let members =
                    self.members.iter().map(|member| Item::Member(Key::of(&member.metadata)));
                fleets.chain(members).collect()
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Write<Object>> {
        match item {
            Item::Fleet(key) => {
                let Some(fleet) = self.fleets.get(key) else { return Plan::default() };
                if is_ending(fleet) { self.end(fleet) } else { self.keep(fleet) }.into()
            }
            Item::Member(key) => {
                let Some(member) = self.members.get(key) else { return Plan::default() };
                let Some(name) = name_of(member) else { return Plan::default() };
                match member.metadata.deletion_timestamp {
                    None => self.join(member, name, now).into(),
                    Some(_) => self.leave(member, name).into(),
                }
            }
        }
    }
}

impl Fleets {
    fn join(&self, member: &Arc<FleetMember>, name: &str, now: Timestamp) -> Vec<Write<Object>> {
        let namespace = member.metadata.namespace.as_deref().unwrap_or_default();
        // A member whose fleet is not there waits for it.
        let Some(fleet) = self.fleets.get(&Key::namespaced(namespace, &member.spec.fleet_name))
        else {
            return Vec::new();
        };
        if !has_finalizer(member) {
            let mut marked = FleetMember::clone(member);
            marked
                .metadata
                .finalizers
                .get_or_insert_default()
                .push(finalizer::FLEET_MEMBER.to_owned());
            return vec![Write::Replace(marked.into())];
        }
        let owner = fleet::owner(self.members.indexed(&of_cluster(member)).map(AsRef::as_ref));
        let taken_by = owner.filter(|owner| owner.metadata.uid != member.metadata.uid);
        let has_hub = fleet.spec.hub.is_some();
        let refusal = match taken_by {
            Some(other) => other.metadata.name.as_deref().map(Refusal::ClusterTaken),
            None => self.full(fleet, member).map(Refusal::FleetIsFull),
        };
        let location = member.status.as_ref().and_then(|status| status.location.as_deref());
        let labels = fleet::labels(name, member, location);
        let cluster = self.clusters.get(&Key::cluster(name));
        let mut writes = Vec::new();
        if has_hub && refusal.is_none() {
            writes.extend(ensure_cluster(member, name, &labels, cluster));
        }
        let mut status = member.status.clone().unwrap_or_default();
        status.observed_generation = member.metadata.generation;
        let joined = fleet::joined(member, refusal, has_hub, cluster.map(AsRef::as_ref), now);
        condition::set(&mut status.conditions, joined);
        status.labels = labels;
        if member.status.as_ref() != Some(&status) {
            let reported = FleetMember { status: Some(status), ..FleetMember::clone(member) };
            writes.push(Write::ReplaceStatus(reported.into()));
        }
        writes
    }

    /// Returns how many members a fleet may have that is too full for this one.
    fn full(&self, fleet: &Fleet, member: &FleetMember) -> Option<usize> {
        let limit = self.limits.of(fleet.spec.hub.is_some())?;
        let members = self.members.indexed(&index_of(fleet)).map(AsRef::as_ref);
        fleet::is_beyond(limit, member, members).then_some(limit)
    }

    /// A member that leaves takes the MemberCluster along that was made for it, and only that one.
    fn leave(&self, member: &Arc<FleetMember>, name: &str) -> Vec<Write<Object>> {
        if !has_finalizer(member) {
            return Vec::new();
        }
        let cluster = self.clusters.get(&Key::cluster(name));
        match cluster.filter(|cluster| fleet::made_for(cluster) == member.metadata.uid.as_deref()) {
            Some(cluster) if cluster.metadata.deletion_timestamp.is_some() => Vec::new(),
            // Who lets a member leave its fleet has decided; what guards the MemberCluster would only keep both for ever.
            Some(cluster) if is_guarded(cluster) => {
                let mut free = MemberCluster::clone(cluster);
                let options = free.spec.delete_options.get_or_insert_default();
                options.validation_mode = DeleteValidationMode::Skip;
                vec![Write::Replace(free.into())]
            }
            Some(cluster) => vec![Write::Delete(MemberCluster::clone(cluster).into())],
            None => {
                let mut released = FleetMember::clone(member);
                if let Some(finalizers) = &mut released.metadata.finalizers {
                    finalizers.retain(|finalizer| finalizer != finalizer::FLEET_MEMBER);
                }
                vec![Write::Replace(released.into())]
            }
        }
    }

    /// Holds a fleet until what belongs to it is gone, and reports its members.
    fn keep(&self, fleet: &Arc<Fleet>) -> Vec<Write<Object>> {
        if !is_held(fleet) {
            let mut held = Fleet::clone(fleet);
            held.metadata.finalizers.get_or_insert_default().push(finalizer::FLEET.to_owned());
            return vec![Write::Replace(held.into())];
        }
        let index = index_of(fleet);
        let members: Vec<_> = self.members.indexed(&index).collect();
        let joined = members.iter().filter(|member| is_joined(member)).count();
        let status = FleetStatus {
            observed_generation: fleet.metadata.generation,
            kind: Some(if fleet.spec.hub.is_some() {
                FleetKind::Hubful
            } else {
                FleetKind::Hubless
            }),
            members: i32::try_from(members.len()).unwrap_or(i32::MAX),
            joined_members: i32::try_from(joined).unwrap_or(i32::MAX),
        };
        if fleet.status.as_ref() == Some(&status) {
            return Vec::new();
        }
        let reported = Fleet { status: Some(status), ..Fleet::clone(fleet) };
        vec![Write::ReplaceStatus(reported.into())]
    }

    /// Deletes what belongs to a fleet that is being deleted; the fleet goes last.
    fn end(&self, fleet: &Arc<Fleet>) -> Vec<Write<Object>> {
        if !is_held(fleet) {
            return Vec::new();
        }
        let index = index_of(fleet);
        let mut children: Vec<(bool, Object)> = Vec::new();
        let is_deleting = |meta: &ObjectMeta| meta.deletion_timestamp.is_some();
        // Profiles first: they hold strategies, and would make new runs.
        children.extend(self.profiles.indexed(&index).map(|profile| {
            (is_deleting(&profile.metadata), AutoUpgradeProfile::clone(profile).into())
        }));
        children.extend(
            self.runs
                .indexed(&index)
                .map(|run| (is_deleting(&run.metadata), UpdateRun::clone(run).into())),
        );
        children.extend(self.strategies.indexed(&index).map(|strategy| {
            let waits = is_deleting(&strategy.metadata) || is_named_by_profile(&strategy.metadata);
            (waits, UpdateStrategy::clone(strategy).into())
        }));
        children.extend(
            self.members
                .indexed(&index)
                .map(|member| (is_deleting(&member.metadata), FleetMember::clone(member).into())),
        );
        if children.is_empty() {
            // Last: receivers may still be told of runs and gates that go.
            children.extend(self.subscriptions.indexed(&index).map(|subscription| {
                let deleting = is_deleting(&subscription.metadata);
                (deleting, EventSubscription::clone(subscription).into())
            }));
        }
        if !children.is_empty() {
            let remaining = children.into_iter().filter(|(waits, _)| !waits);
            return remaining.map(|(_, child)| Write::Delete(child)).collect();
        }
        let mut released = Fleet::clone(fleet);
        if let Some(finalizers) = &mut released.metadata.finalizers {
            finalizers.retain(|finalizer| finalizer != finalizer::FLEET);
        }
        vec![Write::Replace(released.into())]
    }
}

fn index_of(fleet: &Fleet) -> String {
    index(&fleet.metadata, fleet.metadata.name.as_deref().unwrap_or_default())
}

fn is_ending(fleet: &Fleet) -> bool {
    fleet.metadata.deletion_timestamp.is_some()
}

fn is_held(fleet: &Fleet) -> bool {
    let finalizers = fleet.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == finalizer::FLEET)
}

/// A strategy that a profile names cannot be deleted; it changes when the profile is gone.
fn is_named_by_profile(strategy: &ObjectMeta) -> bool {
    let finalizers = strategy.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == NAMED_BY_PROFILE_FINALIZER)
}

/// Tells whether the deletion of a MemberCluster would be refused for what the member exports.
fn is_guarded(cluster: &MemberCluster) -> bool {
    let options = cluster.spec.delete_options.clone().unwrap_or_default();
    let annotations = cluster.metadata.annotations.as_ref();
    options.validation_mode == DeleteValidationMode::Strict
        && annotations.is_some_and(|annotations| annotations.contains_key(EXPORTS_ANNOTATION))
}

fn has_finalizer(member: &FleetMember) -> bool {
    let finalizers = member.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == finalizer::FLEET_MEMBER)
}

fn is_joined(member: &FleetMember) -> bool {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, type_::JOINED).is_some_and(|joined| joined.status == "True")
}

/// Creates the MemberCluster of a member, or brings its labels in line.
fn ensure_cluster(
    member: &FleetMember,
    name: &str,
    labels: &std::collections::BTreeMap<String, String>,
    live: Option<&Arc<MemberCluster>>,
) -> Option<Write<Object>> {
    let Some(live) = live else {
        let mut cluster = MemberCluster::default();
        cluster.metadata.name = Some(name.to_owned());
        cluster.metadata.labels = Some(labels.clone());
        let uid = member.metadata.uid.clone().unwrap_or_default();
        cluster.metadata.annotations = Some([(fleet::MADE_FOR.to_owned(), uid)].into());
        cluster.spec.identity = Subject {
            kind: "User".to_owned(),
            name: member_user(name),
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            namespace: None,
        };
        cluster.spec.heartbeat_period_seconds = HEARTBEAT_PERIOD_SECONDS;
        return Some(Write::Create(cluster.into()));
    };
    let has = |(key, value)| {
        live.metadata.labels.as_ref().is_some_and(|live| live.get(key) == Some(value))
    };
    let kept = live.metadata.deletion_timestamp.is_some() || fleet::is_of_another(live, member);
    if kept || labels.iter().all(has) {
        return None;
    }
    let mut labelled = MemberCluster::clone(live);
    labelled.metadata.labels.get_or_insert_default().extend(labels.clone());
    Some(Write::Replace(labelled.into()))
}

/// KubeFleet's default.
const HEARTBEAT_PERIOD_SECONDS: i32 = 60;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Object {
        let uid = format!("{namespace}-{name}");
        let metadata = json!({
            "name": name, "namespace": namespace, "uid": uid, "resourceVersion": "1",
            "finalizers": ["fleet.stolos.dev/fleet", "fleet.stolos.dev/member"],
        });
        let object = json!({ "metadata": metadata, "spec": spec });
        let read = "the object is valid";
        match kind {
            "Fleet" => serde_json::from_value::<Fleet>(object).expect(read).into(),
            "FleetMember" => serde_json::from_value::<FleetMember>(object).expect(read).into(),
            _ => serde_json::from_value::<UpdateStrategy>(object).expect(read).into(),
        }
    }

    /// Two fleets of one name in two namespaces, each with a member and a strategy.
    fn two_fleets() -> Fleets {
        let mut fleets = Fleets::new(MemberLimits::default());
        for namespace in ["a", "b"] {
            let cluster = json!({ "kubeconfigSecret": { "name": "s" } });
            let member = json!({ "fleetName": "f", "cluster": cluster });
            let strategy = json!({ "fleetName": "f", "strategy": { "stages": [{ "name": "s" }] } });
            for (kind, name, spec) in [
                ("Fleet", "f", json!({})),
                ("FleetMember", "f.m", member),
                ("UpdateStrategy", "f.s", strategy),
            ] {
                fleets.learn(Change::Applied(object(kind, namespace, name, &spec)));
            }
        }
        fleets
    }

    fn delete_fleet(fleets: &mut Fleets) {
        let Object::Fleet(mut fleet) = object("Fleet", "a", "f", &json!({})) else { return };
        fleet.metadata.resource_version = Some("2".to_owned());
        fleet.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        fleets.learn(Change::Applied((*fleet).into()));
    }

    /// Everything that is planned to be deleted, by uid.
    fn deleted(fleets: &Fleets) -> BTreeSet<String> {
        let key = |namespace| Key::namespaced(namespace, "f");
        let member = |namespace| Item::Member(Key::namespaced(namespace, "f.m"));
        let items = ["a", "b"].map(|namespace| [Item::Fleet(key(namespace)), member(namespace)]);
        let plans =
            items.as_flattened().iter().map(|item| fleets.plan(item, Timestamp::UNIX_EPOCH));
        let writes = plans.flat_map(|plan| plan.steps).flatten();
        let uids = writes.filter_map(|write| match write {
            Write::Delete(object) => stolos_controller::Stored::meta(&object).uid.clone(),
            _ => None,
        });
        uids.collect()
    }

    #[test]
    fn a_fleet_that_is_deleted_takes_its_own_children_along_and_no_others() {
        let mut fleets = two_fleets();
        assert!(deleted(&fleets).is_empty());
        delete_fleet(&mut fleets);
        assert_eq!(deleted(&fleets), ["a-f.m".to_owned(), "a-f.s".to_owned()].into());
    }

    #[test]
    fn a_fleet_that_is_only_missing_is_no_reason_to_delete_anything() {
        let mut fleets = two_fleets();
        fleets.learn(Change::Listed { kind: "Fleet", keys: BTreeSet::new() });
        assert!(deleted(&fleets).is_empty());
    }

    #[test]
    fn a_member_that_leaves_its_fleet_is_not_kept_by_what_it_exports() {
        let mut fleets = two_fleets();
        let cluster = json!({ "kubeconfigSecret": { "name": "s" } });
        let spec = json!({ "fleetName": "f", "cluster": cluster });
        let Object::FleetMember(mut member) = object("FleetMember", "a", "f.m", &spec) else {
            panic!("it is a member")
        };
        member.metadata.resource_version = Some("2".to_owned());
        member.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        fleets.learn(Change::Applied((*member).into()));
        let mut exporting = MemberCluster::default();
        exporting.metadata.name = Some("m".to_owned());
        exporting.metadata.uid = Some("m".to_owned());
        let annotations = [(fleet::MADE_FOR, "a-f.m"), (EXPORTS_ANNOTATION, "app/web")];
        let annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned()));
        exporting.metadata.annotations = Some(annotations.into());
        fleets.learn(Change::Applied(exporting.into()));
        let planned = |fleets: &Fleets| {
            let item = Item::Member(Key::namespaced("a", "f.m"));
            fleets.plan(&item, Timestamp::UNIX_EPOCH).steps.into_iter().flatten().next()
        };
        let Some(Write::Replace(Object::MemberCluster(mut free))) = planned(&fleets) else {
            panic!("the deletion would be refused")
        };
        assert_eq!(
            free.spec.delete_options.as_ref().unwrap().validation_mode,
            DeleteValidationMode::Skip
        );
        free.metadata.resource_version = Some("3".to_owned());
        fleets.learn(Change::Applied((*free).into()));
        assert_eq!(deleted(&fleets), ["m".to_owned()].into());
    }

    #[test]
    fn a_fleet_goes_after_its_last_child() {
        let mut fleets = two_fleets();
        delete_fleet(&mut fleets);
        let released = |fleets: &Fleets| {
            let plan = fleets.plan(&Item::Fleet(Key::namespaced("a", "f")), Timestamp::UNIX_EPOCH);
            plan.steps.iter().flatten().any(|write| matches!(write, Write::Replace(_)))
        };
        assert!(!released(&fleets));
        let strategy = json!({ "fleetName": "f", "strategy": { "stages": [{ "name": "s" }] } });
        fleets.learn(Change::Deleted(object("UpdateStrategy", "a", "f.s", &strategy)));
        assert!(!released(&fleets), "the member is there");
        let cluster = json!({ "kubeconfigSecret": { "name": "s" } });
        let member = json!({ "fleetName": "f", "cluster": cluster });
        fleets.learn(Change::Deleted(object("FleetMember", "a", "f.m", &member)));
        assert!(released(&fleets));
    }
}
