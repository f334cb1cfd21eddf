//! What the controller plans from a world, and above all what it does not delete.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::names::{annotation, finalizer};
use stolos_api::placement::{
    BindingState, ClusterResourceBinding, ClusterResourcePlacement, ClusterResourceSnapshot,
    ClusterSchedulingPolicySnapshot, Work, WorkSpec, WorkStatus,
};
use stolos_controller::{Change, Controller, Key, Plan, Stored, Write};
use stolos_core::placement::object::Gvk;

use super::Config;
use super::feed::Fed;
use super::object::{Job, Object, Seen};
use super::world::{Item, World};

mod doubts;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A world in memory that takes plans as an API server would.
struct Hub {
    world: World,
    revision: u64,
}

impl Hub {
    fn new() -> Self {
        let clock: stolos_controller::Clock = std::sync::Arc::new(|| NOW);
        Self { world: World::new(Config::default(), clock), revision: 0 }
    }

    /// A hub with a placement of nothing on members `a` and `b`, written as far as Works.
    fn placed() -> Self {
        let mut hub = Self::new();
        hub.know_kinds();
        hub.member("a");
        hub.member("b");
        hub.put(placement("crp"));
        hub.settle();
        hub
    }

    fn know_kinds(&mut self) {
        use super::catalogue::{GroupKind, Kind};
        use stolos_core::placement::select::KindScope;
        let resource = kube::api::ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&());
        let name = GroupKind { group: String::new(), kind: "Namespace".to_owned() };
        let kind = Kind {
            resource,
            scope: KindScope::Cluster,
            versions: ["v1".to_owned()].into(),
            watched: true,
            served: true,
        };
        self.hear(Fed::Kinds([(name.clone(), kind)].into()));
        self.hear(Fed::Listed(name, [].into()));
    }

    fn hear(&mut self, fed: Fed) {
        self.world.learn(Change::Applied(Seen::Source(fed)));
    }

    fn member(&mut self, name: &str) {
        self.revision += 1;
        let holds = |type_: &str| {
            json!({
                "type": type_, "status": "True", "reason": "x", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        };
        let member: MemberCluster = serde_json::from_value(json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "MemberCluster",
            "metadata": {"name": name, "resourceVersion": self.revision.to_string()},
            "spec": {"identity": {"kind": "User", "name": name}},
            "status": {"agentStatus": [{
                "type": "MemberAgent", "lastReceivedHeartbeat": "1970-01-01T00:00:00Z",
                "conditions": [holds("Joined"), holds("Healthy")],
            }]},
        }))
        .unwrap();
        self.world.learn(Change::Applied(Seen::Member(Box::new(member))));
    }

    fn remove_member(&mut self, name: &str) {
        let member = self.world.members.get(&Key::cluster(name)).unwrap();
        let member = MemberCluster::clone(member);
        self.world.learn(Change::Deleted(Seen::Member(Box::new(member))));
    }

    /// Stores an object as an API server would.
    fn put(&mut self, object: impl Into<Object>) {
        self.revision += 1;
        let revision = self.revision;
        let stored = with_meta(object.into(), |meta| {
            meta.resource_version = Some(revision.to_string());
            meta.uid.get_or_insert_with(|| format!("uid-{revision}"));
            meta.generation.get_or_insert(1);
        });
        self.world.learn(Change::Applied(Seen::Object(stored)));
    }

    fn remove(&mut self, object: impl Into<Object>) {
        self.world.learn(Change::Deleted(Seen::Object(object.into())));
    }

    /// Plans every item there is.
    fn plans(&self) -> Vec<Plan<Job>> {
        let placements: Vec<Key> = ["crp", "other"].iter().map(|name| Key::cluster(name)).collect();
        let per_placement = placements.iter().flat_map(|key| {
            [Item::Select, Item::Schedule, Item::Rollout, Item::Report]
                .map(|item| item(key.clone()))
        });
        let bindings =
            self.world.bindings.iter().map(|binding| Item::Generate(Key::of(&binding.metadata)));
        per_placement.chain(bindings).map(|item| self.world.plan(&item, NOW)).collect()
    }

    fn writes(&self) -> Vec<Write<Object>> {
        let steps = self.plans().into_iter().flat_map(|plan| plan.steps);
        steps.flatten().map(|job| job.0).collect()
    }

    /// What would be deleted now.
    fn deletions(&self) -> Vec<String> {
        let names = self.writes().into_iter().filter_map(|write| match write {
            Write::Delete(object) | Write::DeleteUnchanged(object) => {
                stolos_controller::Stored::meta(&object).name.clone()
            }
            _ => None,
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Carries out plans until there is nothing left to do. Members do not answer.
    fn settle(&mut self) {
        for _ in 0..40 {
            let Some(plan) = self.plans().into_iter().find(|plan| !plan.is_empty()) else { return };
            for job in plan.steps.into_iter().flatten() {
                self.carry_out(job.0);
            }
        }
        panic!("never comes to rest: {:?}", self.plans());
    }

    fn carry_out(&mut self, write: Write<Object>) {
        match write {
            Write::Create(object) | Write::ReplaceStatus(object) => self.put(object),
            Write::Replace(object) => self.replace(object),
            Write::Delete(object) | Write::DeleteUnchanged(object) => {
                let finalizers = Stored::meta(&object).finalizers.clone().unwrap_or_default();
                if finalizers.is_empty() {
                    self.remove(object);
                } else {
                    self.put(deleting(object));
                }
            }
            Write::DeleteForeground(_) => panic!("not here"),
        }
    }

    fn replace(&mut self, object: Object) {
        let meta = Stored::meta(&object);
        if meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().next().is_none() {
            return self.remove(object);
        }
        // Which fields count as spec is the server's business; a new generation too many does no harm here.
        let is_binding = matches!(object, Object::Binding(_));
        self.put(with_meta(object, |meta| {
            if is_binding {
                meta.generation = meta.generation.map(|generation| generation + 1);
            }
        }));
    }

    fn bindings(&self) -> Vec<ClusterResourceBinding> {
        self.world.bindings.iter().map(|binding| ClusterResourceBinding::clone(binding)).collect()
    }

    fn works(&self) -> Vec<Work> {
        self.world.works.iter().map(|work| Work::clone(work)).collect()
    }

    fn snapshots(&self) -> Vec<ClusterResourceSnapshot> {
        self.world.snapshots.iter().map(|found| ClusterResourceSnapshot::clone(found)).collect()
    }

    fn policies(&self) -> Vec<ClusterSchedulingPolicySnapshot> {
        self.world
            .policies
            .iter()
            .map(|found| ClusterSchedulingPolicySnapshot::clone(found))
            .collect()
    }

    fn placement(&self) -> ClusterResourcePlacement {
        let found = self.world.placements.get(&Key::cluster("crp")).unwrap();
        ClusterResourcePlacement::clone(found)
    }
}

fn with_meta(mut object: Object, change: impl FnOnce(&mut ObjectMeta)) -> Object {
    change(match &mut object {
        Object::Placement(object) => &mut object.metadata,
        Object::Policy(object) => &mut object.metadata,
        Object::Snapshot(object) => &mut object.metadata,
        Object::Binding(object) => &mut object.metadata,
        Object::Work(object) => &mut object.metadata,
        Object::Override(object) => object.meta_mut(),
        Object::Copy(object) => &mut object.metadata,
        Object::Event(object) => &mut object.metadata,
    });
    object
}

fn deleting(object: impl Into<Object>) -> Object {
    with_meta(object.into(), |meta| {
        meta.deletion_timestamp = Some(Time(NOW));
    })
}

fn placement(name: &str) -> ClusterResourcePlacement {
    let selector = json!({
        "group": "", "version": "v1", "kind": "Namespace", "name": "app", "selectionScope": "NamespaceOnly",
    });
    let spec: Value = json!({"resourceSelectors": [selector]});
    let mut placement = ClusterResourcePlacement::new(name, serde_json::from_value(spec).unwrap());
    placement.metadata.uid = Some(format!("uid-of-{name}"));
    placement
}

const NONE: [&str; 0] = [];

#[test]
fn a_placement_becomes_works_of_its_members() {
    let hub = Hub::placed();
    let works: Vec<_> =
        hub.works().iter().map(|work| work.metadata.namespace.clone().unwrap()).collect();
    assert_eq!(works, ["fleet-member-a", "fleet-member-b"]);
    assert!(hub.bindings().iter().all(|binding| binding.spec.state == BindingState::Bound));
    assert_eq!(hub.deletions(), NONE);
}

#[test]
fn a_placement_that_is_deleted_takes_its_children_along_in_order() {
    let mut hub = Hub::placed();
    hub.put(deleting(hub.placement()));
    let bindings: Vec<_> =
        hub.bindings().iter().map(|binding| binding.metadata.name.clone().unwrap()).collect();
    assert_eq!(hub.deletions(), bindings, "snapshots wait for bindings, Works for theirs");
    for work in hub.works() {
        hub.put(with_meta(work.into(), |meta| meta.finalizers = Some(vec!["agent".into()])));
    }
    hub.settle();
    assert!(hub.works().iter().all(|work| work.metadata.deletion_timestamp.is_some()));
    assert_eq!(hub.bindings().len(), 2, "bindings stay until the members have let go");
    assert_eq!((hub.snapshots().len(), hub.policies().len()), (0, 0));
    for work in hub.works() {
        hub.remove(work);
    }
    hub.settle();
    assert_eq!(hub.bindings(), []);
    assert!(hub.world.placements.is_empty());
}

#[test]
fn a_placement_goes_though_members_hold_what_they_have() {
    let mut hub = Hub::placed();
    hub.put(deleting(hub.placement()));
    for binding in hub.bindings() {
        hub.put(deleting(binding));
    }
    // The one plan must do: what it does to the bindings wakes nobody.
    let plan = hub.world.plan(&Item::Schedule(Key::cluster("crp")), NOW);
    for job in plan.steps.into_iter().flatten() {
        hub.carry_out(job.0);
    }
    let finalizers = |meta: &ObjectMeta| meta.finalizers.clone().unwrap_or_default();
    assert_eq!(finalizers(&hub.placement().metadata), [finalizer::PLACEMENT_CLEANUP]);
    assert_eq!(hub.bindings().len(), 2);
    for binding in hub.bindings() {
        assert_eq!(finalizers(&binding.metadata), [finalizer::WORK_CLEANUP]);
    }
}

#[test]
fn a_placement_that_is_only_missing_takes_nothing_along() {
    let mut hub = Hub::placed();
    hub.remove(hub.placement());
    assert_eq!(hub.deletions(), NONE);
    let mut hub = Hub::placed();
    hub.world.learn(Change::Listed { kind: "ClusterResourcePlacement", keys: [].into() });
    assert!(hub.world.placements.is_empty());
    assert_eq!(hub.deletions(), NONE);
}

#[test]
fn lost_snapshots_withdraw_nothing() {
    let mut hub = Hub::placed();
    for snapshot in hub.snapshots() {
        hub.remove(snapshot);
    }
    for policy in hub.policies() {
        hub.remove(policy);
    }
    assert_eq!(hub.deletions(), NONE);
    hub.settle();
    assert_eq!(hub.works().len(), 2);
    let names: Vec<_> =
        hub.snapshots().iter().map(|snapshot| snapshot.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["crp-1-snapshot"], "the lost index is not used again");
}

#[test]
fn works_that_an_incomplete_group_does_not_need_stay() {
    let mut hub = Hub::placed();
    let mut extra = hub.works()[0].clone();
    extra.metadata.name = Some("crp-0".to_owned());
    extra.metadata.uid = None;
    hub.put(extra);
    assert_eq!(hub.deletions(), ["crp-0"], "the complete group does not produce it");
    let mut master = hub.snapshots()[0].clone();
    let annotations = master.metadata.annotations.as_mut().unwrap();
    annotations.insert("kubernetes-fleet.io/number-of-resource-snapshots".into(), "2".into());
    hub.put(master);
    let generate: Vec<_> = hub
        .bindings()
        .iter()
        .map(|binding| hub.world.plan(&Item::Generate(Key::of(&binding.metadata)), NOW))
        .collect();
    assert!(generate.iter().all(Plan::is_empty));
}

#[test]
fn what_is_not_read_yet_is_not_gone() {
    let mut hub = Hub::placed();
    hub.world.catalogue = super::catalogue::Catalogue::default();
    assert!(hub.world.plan(&Item::Select(Key::cluster("crp")), NOW).is_empty());
    assert_eq!(hub.deletions(), NONE);
    // A kind that the hub no longer serves is an error to report, not an empty selection.
    hub.hear(Fed::Kinds([].into()));
    let error = stolos_core::placement::select::Error::UnknownKind(Gvk::new("", "v1", "Namespace"));
    let plan = hub.world.plan(&Item::Select(Key::cluster("crp")), NOW);
    let Some(Job(Write::ReplaceStatus(Object::Placement(reported)))) =
        plan.steps.into_iter().flatten().next()
    else {
        panic!("the refusal is reported")
    };
    let conditions = &reported.status.as_ref().unwrap().conditions;
    assert!(conditions.iter().any(|condition| condition.message.contains(&error.to_string())));
    assert_eq!(hub.deletions(), NONE);
}

#[test]
fn a_member_that_is_gone_unschedules_and_touches_no_work() {
    let mut hub = Hub::placed();
    hub.remove_member("a");
    assert_eq!(hub.deletions(), NONE);
    hub.settle();
    assert_eq!(
        hub.works().len(),
        2,
        "the other member is not ready, so nothing may be removed yet"
    );
}

#[test]
fn an_unscheduled_binding_is_removed_only_as_it_was_seen() {
    let mut hub = Hub::placed();
    hub.remove_member("a");
    hub.settle();
    let gone =
        hub.bindings().into_iter().find(|binding| binding.spec.target_cluster == "a").unwrap();
    assert_eq!(gone.spec.state, BindingState::Unscheduled);
    for binding in hub.bindings() {
        hub.put(available(binding));
    }
    let removals: Vec<_> = hub
        .writes()
        .into_iter()
        .filter_map(|write| match write {
            Write::DeleteUnchanged(object) => {
                Some(stolos_controller::Stored::meta(&object).resource_version.clone().unwrap())
            }
            Write::Delete(object) => panic!("{object:?} may have come back meanwhile"),
            _ => None,
        })
        .collect();
    assert_eq!(removals.len(), 1);
    let now =
        hub.bindings().into_iter().find(|binding| binding.spec.target_cluster == "a").unwrap();
    assert_eq!(Some(&removals[0]), now.metadata.resource_version.as_ref());
}

fn available(mut binding: ClusterResourceBinding) -> ClusterResourceBinding {
    let generation = binding.metadata.generation;
    let condition = |type_: &str, reason: &str| {
        serde_json::from_value(json!({
            "type": type_, "status": "True", "reason": reason, "message": "",
            "observedGeneration": generation, "lastTransitionTime": "1970-01-01T00:00:00Z",
        }))
        .unwrap()
    };
    let status = binding.status.get_or_insert_default();
    status.conditions.retain(|c| !["Applied", "Available"].contains(&c.type_.as_str()));
    status.conditions.push(condition("Applied", "AllWorkHaveBeenApplied"));
    status.conditions.push(condition("Available", "AllWorkAreAvailable"));
    binding
}

#[test]
fn works_of_others_are_neither_deleted_nor_overwritten() {
    let mut hub = Hub::placed();
    let ours = hub.works()[0].clone();
    // One that carries our label in a namespace that is not its member's, and one without labels under a name of ours.
    let mut astray = ours.clone();
    astray.metadata.namespace = Some("fleet-member-c".to_owned());
    hub.put(astray);
    let mut foreign = ours.clone();
    foreign.metadata.labels = None;
    hub.put(foreign);
    for binding in hub.bindings() {
        hub.put(deleting(binding));
    }
    let deleted = hub.writes().into_iter().filter_map(|write| match write {
        Write::Delete(Object::Work(work)) => work.metadata.namespace,
        _ => None,
    });
    assert_eq!(deleted.collect::<Vec<_>>(), ["fleet-member-b"]);
}

#[test]
fn a_work_in_the_way_is_reported_and_left_alone() {
    let mut hub = Hub::new();
    hub.know_kinds();
    hub.member("a");
    let mut foreign = Work::new("crp-work", WorkSpec::default());
    foreign.metadata.namespace = Some("fleet-member-a".to_owned());
    hub.put(foreign.clone());
    hub.put(placement("crp"));
    hub.settle();
    assert_eq!(hub.works().len(), 1);
    assert_eq!(hub.works()[0].metadata.labels, None);
    let status = hub.bindings()[0].status.clone().unwrap();
    let failed = status.conditions.iter().find(|c| c.type_ == "WorkSynchronized").unwrap();
    assert_eq!((failed.status.as_str(), failed.reason.as_str()), ("False", "SyncWorkFailed"));
    // Its end wakes the binding that waits for the name of an earlier one.
    let mut sibling = foreign;
    sibling.metadata.labels =
        Some([("kubernetes-fleet.io/parent-CRP".into(), "crp".into())].into());
    let woken = hub.world.learn(Change::Deleted(Seen::Object(sibling.into())));
    assert!(woken.contains(&Item::Generate(Key::of(&hub.bindings()[0].metadata))));
}

#[test]
fn snapshots_of_an_earlier_placement_of_the_same_name_are_not_ours() {
    let mut hub = Hub::placed();
    let mut old = hub.snapshots()[0].clone();
    old.metadata.name = Some("crp-7-snapshot".to_owned());
    old.metadata.uid = None;
    old.metadata.owner_references =
        Some(vec![OwnerReference { uid: "uid-of-another".into(), ..OwnerReference::default() }]);
    let labels = old.metadata.labels.as_mut().unwrap();
    labels.insert("kubernetes-fleet.io/resource-index".into(), "7".into());
    hub.put(old);
    assert!(hub.plans().iter().all(Plan::is_empty));
    hub.put(deleting(hub.placement()));
    hub.settle();
    assert_eq!(hub.snapshots().len(), 1);
}

#[test]
fn a_heartbeat_wakes_nobody() {
    let mut hub = Hub::placed();
    let member = hub.world.members.get(&Key::cluster("a")).unwrap();
    let mut beat = MemberCluster::clone(member);
    beat.metadata.resource_version = Some((hub.revision + 1).to_string());
    let agent = &mut beat.status.as_mut().unwrap().agent_status[0];
    agent.last_received_heartbeat = Some(Time(NOW + jiff::SignedDuration::from_secs(60)));
    assert_eq!(hub.world.learn(Change::Applied(Seen::Member(Box::new(beat)))), []);
}

#[test]
fn the_report_of_a_member_wakes_its_binding_alone() {
    let mut hub = Hub::placed();
    let mut work = hub.works()[0].clone();
    work.metadata.resource_version = Some((hub.revision + 1).to_string());
    work.status = Some(WorkStatus::default());
    let woken = hub.world.learn(Change::Applied(Seen::Object(work.into())));
    let binding = hub.bindings().into_iter().find(|b| b.spec.target_cluster == "a").unwrap();
    assert_eq!(woken, [Item::Generate(Key::of(&binding.metadata))]);
}

#[test]
fn a_binding_that_is_no_longer_picked_keeps_its_former_state_as_its_only_annotation() {
    let mut hub = Hub::placed();
    let mut binding = hub.bindings().into_iter().find(|b| b.spec.target_cluster == "a").unwrap();
    binding.metadata.annotations = Some([("somebody".to_owned(), "else".to_owned())].into());
    hub.put(binding);
    hub.remove_member("a");
    hub.settle();
    let binding = hub.bindings().into_iter().find(|b| b.spec.target_cluster == "a").unwrap();
    assert_eq!(binding.spec.state, BindingState::Unscheduled);
    let former = ("kubernetes-fleet.io/previous-binding-state".to_owned(), "Bound".to_owned());
    assert_eq!(binding.metadata.annotations, Some([former].into()));
    assert_eq!(hub.works().len(), 2, "its objects stay until the rollout removes it");
}

/// A hub with a placement of the namespace `app` on `a` and `b`.
fn hub_with_a_namespace() -> Hub {
    let mut hub = Hub::new();
    hub.know_kinds();
    hub.hear(Fed::Applied(namespaces(), namespace("app")));
    hub.member("a");
    hub.member("b");
    hub.put(placement("crp"));
    hub.settle();
    hub
}

fn namespaces() -> super::catalogue::GroupKind {
    super::catalogue::GroupKind { group: String::new(), kind: "Namespace".to_owned() }
}

fn namespace(name: &str) -> Box<kube::api::DynamicObject> {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[test]
fn while_changes_are_collected_the_status_is_about_the_snapshot_there_is() {
    let mut hub = hub_with_a_namespace();
    hub.world.config.snapshot_collection = std::time::Duration::from_secs(15);
    let mut changed = namespace("app");
    changed.metadata.labels = Some([("new".to_owned(), "yes".to_owned())].into());
    hub.hear(Fed::Applied(namespaces(), changed));
    hub.settle();
    let names: Vec<_> = hub.snapshots().iter().map(|s| s.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["crp-0-snapshot"]);
    let noted = "kubernetes-fleet.io/next-resource-snapshot-candidate-detection-time";
    assert!(hub.snapshots()[0].metadata.annotations.as_ref().unwrap().contains_key(noted));
    assert_eq!(hub.placement().status.unwrap().observed_resource_index, "0");

    let select = Item::Select(Key::cluster("crp"));
    let wake_at = hub.world.plan(&select, NOW).wake_at.unwrap();
    assert_eq!(wake_at, NOW + jiff::SignedDuration::from_secs(15));
    for job in hub.world.plan(&select, wake_at).steps.into_iter().flatten() {
        hub.carry_out(job.0);
    }
    hub.settle();
    assert_eq!(hub.snapshots().len(), 2);
    assert_eq!(hub.placement().status.unwrap().observed_resource_index, "1");
}

fn with_spec(change: &Value) -> ClusterResourcePlacement {
    let mut placement = placement("crp");
    let mut spec = json!(placement.spec);
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    placement.spec = serde_json::from_value(spec).unwrap();
    placement
}

#[test]
fn under_an_external_strategy_nothing_is_copied_and_nothing_goes_out() {
    let mut hub = Hub::new();
    hub.know_kinds();
    hub.hear(Fed::Applied(namespaces(), namespace("app")));
    hub.member("a");
    hub.put(with_spec(&json!({"strategy": {"type": "External"}})));
    hub.settle();
    assert_eq!((hub.policies().len(), hub.snapshots().len(), hub.works().len()), (1, 0, 0));
    assert_eq!(hub.bindings()[0].spec.state, BindingState::Scheduled);
    let status = hub.placement().status.unwrap();
    let last = status.conditions.last().unwrap();
    assert_eq!(last.reason, "RolloutControlledByExternalController");
    assert_eq!((status.observed_resource_index.as_str(), status.selected_resources.len()), ("", 0));
}

#[test]
fn under_an_external_strategy_a_binding_waits_until_its_release_is_told_for_it_as_it_is() {
    let mut hub = Hub::placed();
    let mut external = with_spec(&json!({"strategy": {"type": "External"}}));
    external.metadata.generation = Some(2);
    hub.put(external);
    hub.settle();
    let binding = hub.bindings().into_iter().find(|b| b.spec.target_cluster == "a").unwrap();
    let work = hub
        .works()
        .into_iter()
        .find(|work| work.metadata.namespace.as_deref() == Some("fleet-member-a"));
    hub.remove(work.unwrap());
    let generate = Item::Generate(Key::of(&binding.metadata));
    let created = |hub: &Hub| {
        let steps = hub.world.plan(&generate, NOW).steps;
        steps.into_iter().flatten().filter(|job| matches!(job.0, Write::Create(_))).count()
    };
    assert_eq!(created(&hub), 1, "it is released as it is");
    let mut newer = binding.clone();
    newer.metadata.generation = newer.metadata.generation.map(|generation| generation + 1);
    hub.put(newer.clone());
    assert_eq!(created(&hub), 0, "what was told is about an older generation");
    for condition in &mut newer.status.as_mut().unwrap().conditions {
        condition.observed_generation = newer.metadata.generation;
    }
    hub.put(newer);
    assert_eq!(created(&hub), 1);
}

#[test]
fn an_empty_list_of_names_is_never_decided() {
    let mut hub = Hub::new();
    hub.know_kinds();
    hub.member("a");
    hub.put(with_spec(&json!({"policy": {"placementType": "PickFixed", "clusterNames": []}})));
    hub.settle();
    assert_eq!(hub.bindings(), []);
    let status = hub.placement().status.unwrap();
    let scheduled: Vec<_> =
        status.conditions.iter().map(|c| (c.status.as_str(), c.reason.as_str())).collect();
    assert_eq!(scheduled, [("Unknown", "SchedulePending")]);
}

#[test]
fn the_usage_of_a_member_wakes_nobody_who_does_not_ask_for_it() {
    let mut hub = Hub::placed();
    let member = hub.world.members.get(&Key::cluster("a")).unwrap();
    let mut busy = MemberCluster::clone(member);
    busy.metadata.resource_version = Some((hub.revision + 1).to_string());
    let usage = json!({"available": {"cpu": "1"}, "allocatable": {}, "capacity": {}});
    busy.status.as_mut().unwrap().resource_usage = serde_json::from_value(usage).unwrap();
    assert_eq!(hub.world.learn(Change::Applied(Seen::Member(Box::new(busy)))), []);
}

#[test]
fn the_figures_say_how_far_each_placement_got() {
    let mut hub = Hub::placed();
    let shown = |hub: &Hub| {
        let text = hub.world.config.metrics.render();
        let name = "fleet_workload_placement_status_last_timestamp_seconds{";
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = shown(&hub);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("name=\"crp\"") && lines[0].contains("status=\"Unknown\""),
        "{lines:?}"
    );
    hub.remove(hub.placement());
    assert_eq!(shown(&hub), Vec::<String>::new());
}
