//! ResourcePlacements: the same way as a ClusterResourcePlacement goes, inside one namespace.

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use stolos_api::placement::{
    ResourceBinding, ResourcePlacement, ResourceSnapshot, SchedulingPolicySnapshot, Work,
};

use crate::fleet::{Cluster, Fleet, create, delete, eventually, exists, gone, merge, told};

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}}, "data": {"key": value},
    }))
    .unwrap()
}

/// Starts a fleet with namespace `app` and two ConfigMaps in it; the members have the namespace too, because a
/// ResourcePlacement cannot bring it.
async fn fleet() -> Fleet {
    let fleet = Fleet::start(&["a", "b"]).await;
    create(&fleet.hub.all(), &namespace("app")).await;
    for name in ["settings", "other"] {
        create(&fleet.hub.inside("app"), &config_map(name, "one")).await;
    }
    for member in fleet.members() {
        create(&member.all(), &namespace("app")).await;
    }
    fleet
}

fn placements(fleet: &Fleet) -> Api<ResourcePlacement> {
    fleet.hub.inside("app")
}

async fn place(fleet: &Fleet, name: &str, spec: Value) {
    let placement = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}));
    create(&placements(fleet), &placement.unwrap()).await;
}

fn one(kind: &str, name: &str) -> Value {
    json!([{"group": "", "version": "v1", "kind": kind, "name": name}])
}

async fn has(cluster: &Cluster, name: &str, value: &str) {
    eventually(&cluster.inside::<ConfigMap>("app"), name, "has the value", |found| {
        let data = found.and_then(|found| found.data.as_ref());
        data.is_some_and(|data| data.get("key").is_some_and(|got| got == value))
    })
    .await;
}

/// Waits until a placement says of its present generation, in order, what these lines say.
async fn says(fleet: &Fleet, name: &str, want: &[&str]) {
    let what = format!("says {want:?}");
    eventually(&placements(fleet), name, &what, |placement| {
        placement.is_some_and(|placement| {
            let conditions = placement.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let current =
                conditions.iter().all(|c| c.observed_generation == placement.metadata.generation);
            let lines: Vec<_> = conditions
                .iter()
                .map(|c| {
                    format!(
                        "{} {} {}",
                        c.type_.trim_start_matches("ResourcePlacement"),
                        c.status,
                        c.reason
                    )
                })
                .collect();
            current && lines == want
        })
    })
    .await;
}

const DONE: &[&str] = &[
    "Scheduled True SchedulingPolicyFulfilled",
    "RolloutStarted True RolloutStarted",
    "Overridden True NoOverrideSpecified",
    "WorkSynchronized True WorkSynchronized",
    "Applied True ApplySucceeded",
    "Available True ResourceAvailable",
];

async fn names<K>(api: Api<K>) -> Vec<String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(start_paused = true)]
async fn a_resource_placement_goes_the_whole_way_and_back() {
    let fleet = fleet().await;
    place(&fleet, "rp", json!({"resourceSelectors": one("ConfigMap", "settings")})).await;
    says(&fleet, "rp", DONE).await;
    for member in fleet.members() {
        has(member, "settings", "one").await;
        let placed = member.inside::<ConfigMap>("app").get("settings").await.unwrap();
        let owners: Vec<_> = placed.owner_references().iter().map(|o| o.name.clone()).collect();
        assert_eq!(owners, ["app.rp-work"]);
        assert_eq!(names(member.inside::<ConfigMap>("app")).await, ["settings"]);
    }
    assert_eq!(names(fleet.hub.inside::<ResourceSnapshot>("app")).await, ["rp-0-snapshot"]);
    assert_eq!(names(fleet.hub.inside::<SchedulingPolicySnapshot>("app")).await, ["rp-0"]);
    let bindings = fleet.hub.inside::<ResourceBinding>("app").list(&ListParams::default()).await;
    for binding in bindings.unwrap() {
        assert_eq!(binding.labels()["kubernetes-fleet.io/parent-CRP"], "rp");
        let work =
            fleet.hub.inside::<Work>(&format!("fleet-member-{}", binding.spec.target_cluster));
        let work = work.get("app.rp-work").await.unwrap();
        assert_eq!(work.labels()["kubernetes-fleet.io/parent-placement-namespace"], "app");
    }

    // What it selects changes, and what is selected changes.
    merge(&fleet.hub.inside::<ConfigMap>("app"), "settings", json!({"data": {"key": "two"}})).await;
    for member in fleet.members() {
        has(member, "settings", "two").await;
    }
    merge(
        &placements(&fleet),
        "rp",
        json!({"spec": {"resourceSelectors": one("ConfigMap", "other")}}),
    )
    .await;
    for member in fleet.members() {
        has(member, "other", "one").await;
        gone(&member.inside::<ConfigMap>("app"), "settings").await;
    }
    says(&fleet, "rp", DONE).await;

    delete(&placements(&fleet), "rp").await;
    gone(&placements(&fleet), "rp").await;
    for member in fleet.members() {
        gone(&member.inside::<ConfigMap>("app"), "other").await;
        member.all::<Namespace>().get("app").await.unwrap();
    }
    for binding in names(fleet.hub.inside::<ResourceBinding>("app")).await {
        gone(&fleet.hub.inside::<ResourceBinding>("app"), &binding).await;
    }
    assert_eq!(names(fleet.hub.inside::<ResourceSnapshot>("app")).await, Vec::<String>::new());
    assert_eq!(names(fleet.hub.all::<Work>()).await, Vec::<String>::new());
    fleet.hub.inside::<ConfigMap>("app").get("other").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn placements_of_one_name_in_two_scopes_do_not_meet() {
    let fleet = fleet().await;
    place(&fleet, "same", json!({"resourceSelectors": one("ConfigMap", "settings")})).await;
    let role = json!([{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole", "name": "view"}]);
    let report = json!({"applyStrategy": {"type": "ReportDiff", "whenToTakeOver": "Never"}});
    fleet.place("same", json!({"resourceSelectors": role, "strategy": report})).await;
    says(&fleet, "same", DONE).await;
    eventually(&fleet.placements(), "same", "is scheduled", |placement| {
        let status = placement.and_then(|placement| placement.status.as_ref());
        status.is_some_and(|status| status.per_cluster_placement_statuses.len() == 2)
    })
    .await;
    delete(&fleet.placements(), "same").await;
    gone(&fleet.placements(), "same").await;
    for member in fleet.members() {
        has(member, "settings", "one").await;
    }
    says(&fleet, "same", DONE).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_outside_its_namespace_cannot_be_selected() {
    let fleet = fleet().await;
    place(&fleet, "rp", json!({"resourceSelectors": one("Namespace", "app")})).await;
    says(&fleet, "rp", &["Scheduled False InvalidResourceSelectors"]).await;
    merge(
        &placements(&fleet),
        "rp",
        json!({"spec": {"resourceSelectors": one("ConfigMap", "settings")}}),
    )
    .await;
    says(&fleet, "rp", DONE).await;
}

#[tokio::test(start_paused = true)]
async fn steps_that_are_done_are_told_once_as_events() {
    let fleet = fleet().await;
    place(&fleet, "rp", json!({"resourceSelectors": one("ConfigMap", "settings")})).await;
    says(&fleet, "rp", DONE).await;
    let events = fleet.hub.inside::<Event>("app");
    let all = [
        "PlacementApplied",
        "PlacementAvailable",
        "PlacementOverriddenSucceeded",
        "PlacementRolloutCompleted",
        "PlacementRolloutStarted",
        "PlacementWorkSynchronized",
    ];
    assert_eq!(told(&events, "rp", &all).await, all, "each of them once");
    delete(&placements(&fleet), "rp").await;
    told(&events, "rp", &["PlacementCleanupFinalizerRemoved"]).await;
    exists(&fleet.hub.inside::<ConfigMap>("app"), "settings").await;
}
