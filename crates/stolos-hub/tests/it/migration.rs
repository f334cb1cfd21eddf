//! Stolos in the place of KubeFleet: it finds KubeFleet's objects, takes them over as they are, and changes nothing on any
//! member.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stolos_api::placement::{
    AppliedWork, ClusterResourceBinding, ClusterResourceSnapshot, ClusterSchedulingPolicySnapshot,
    Work,
};

use crate::fleet::{Fleet, create, delete, eventually, gone, merge};

/// Places the namespace `app` on both members and makes what is on hub and members look as if KubeFleet had done it; nothing
/// of Stolos runs afterwards.
async fn kubefleet() -> Fleet {
    let mut fleet = Fleet::start(&["a", "b"]).await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "app"}})).unwrap();
    create(&fleet.hub.all(), &namespace).await;
    let settings: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "settings"}, "data": {"key": "<1>"}}))
            .unwrap();
    create(&fleet.hub.inside("app"), &settings).await;
    let policy = json!({"placementType": "PickFixed", "clusterNames": ["a", "b"]});
    let selector = json!({"group": "", "version": "v1", "kind": "Namespace", "name": "app"});
    fleet.place("crp", json!({"resourceSelectors": [selector], "policy": policy})).await;
    fleet.available("crp", &["a", "b"]).await;
    fleet.stop_hub().await;
    fleet.stop_agents().await;

    // Hashes are of Go's JSON, which keeps the order of a struct's fields: others than ours.
    let hash = "YSBoYXNoIG9mIEdv";
    let policies = fleet.hub.all::<ClusterSchedulingPolicySnapshot>();
    merge(&policies, "crp-0", json!({"spec": {"policyHash": hash}})).await;
    let hash = json!({"kubernetes-fleet.io/resource-hash": "a hash of Go"});
    let snapshots = fleet.hub.all::<ClusterResourceSnapshot>();
    merge(&snapshots, "crp-0-snapshot", json!({"metadata": {"annotations": hash}})).await;
    for member in ["a", "b"] {
        rename_binding(&fleet, member).await;
        age_member(&fleet, member).await;
    }
    fleet
}

/// Gives the binding of a member a name as KubeFleet's scheduler makes them, with eight random characters.
async fn rename_binding(fleet: &Fleet, member: &str) {
    let api = fleet.hub.all::<ClusterResourceBinding>();
    let bindings = api.list(&ListParams::default()).await.unwrap();
    let ours = bindings.into_iter().find(|binding| binding.spec.target_cluster == member).unwrap();
    let name = format!("crp-{member}-0a1b2c3d");
    let mut theirs = ours.clone();
    theirs.metadata.name = Some(name.clone());
    theirs.metadata.uid = None;
    theirs.metadata.resource_version = None;
    let mut created = api.create(&PostParams::default(), &theirs).await.unwrap();
    created.status = ours.status.clone();
    for condition in &mut created.status.as_mut().unwrap().conditions {
        condition.observed_generation = created.metadata.generation;
    }
    api.replace_status(&name, &PostParams::default(), &created).await.unwrap();
    merge(&api, &ours.name_any(), json!({"metadata": {"finalizers": null}})).await;
    delete(&api, &ours.name_any()).await;

    let works = fleet.hub.inside::<Work>(&format!("fleet-member-{member}"));
    let labels = json!({"kubernetes-fleet.io/parent-resource-binding": name});
    merge(&works, "crp-work", json!({"metadata": {"labels": labels}})).await;
}

/// Takes off the member what only Stolos' agent notes.
async fn age_member(fleet: &Fleet, member: &str) {
    let records = fleet.member(member).all::<AppliedWork>();
    let notes =
        json!({"fleet.stolos.dev/work-uid": null, "fleet.stolos.dev/work-generation": null});
    merge(&records, "crp-work", json!({"metadata": {"annotations": notes}})).await;
    // KubeFleet notes the owner too in what it applied last.
    let api = fleet.member(member).inside::<ConfigMap>("app");
    let placed = api.get("settings").await.unwrap();
    let key = "kubernetes-fleet.io/last-applied-configuration";
    let mut noted: Value = serde_json::from_str(&placed.annotations()[key]).unwrap();
    noted["metadata"]["ownerReferences"] = json!(placed.owner_references());
    let patch = json!({"metadata": {"annotations": {key: noted.to_string()}}});
    let params =
        PatchParams { field_manager: Some("work-api-agent".into()), ..PatchParams::default() };
    api.patch("settings", &params, &Patch::Merge(patch)).await.unwrap();
}

/// Returns the versions of everything placed on the members.
async fn versions(fleet: &Fleet) -> Vec<(Option<String>, Option<String>, Option<i64>)> {
    let mut versions = Vec::new();
    for member in ["a", "b"] {
        let namespace = fleet.member(member).all::<Namespace>().get("app").await.unwrap();
        let settings =
            fleet.member(member).inside::<ConfigMap>("app").get("settings").await.unwrap();
        for meta in [namespace.metadata, settings.metadata] {
            versions.push((meta.uid, meta.resource_version, meta.generation));
        }
    }
    versions
}

async fn names<K>(api: Api<K>) -> Vec<String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hub_of_kubefleet_is_taken_over_in_place_and_no_member_changes() {
    let mut fleet = kubefleet().await;
    let before = versions(&fleet).await;
    let manifests = async |fleet: &Fleet| {
        let works = fleet.hub.inside::<Work>("fleet-member-a");
        works.get("crp-work").await.unwrap().metadata.generation
    };
    let generation = manifests(&fleet).await;
    fleet.start_hub();
    fleet.start_agents();
    // The record carries our notes once the agent has gone through the Work.
    for member in ["a", "b"] {
        let records = fleet.member(member).all::<AppliedWork>();
        eventually(&records, "crp-work", "is taken over", |record| {
            record.is_some_and(|record| {
                record.annotations().contains_key("fleet.stolos.dev/work-generation")
            })
        })
        .await;
    }
    fleet.available("crp", &["a", "b"]).await;
    assert_eq!(versions(&fleet).await, before, "no object on a member was written");
    assert_eq!(manifests(&fleet).await, generation);
    let bindings = names(fleet.hub.all::<ClusterResourceBinding>()).await;
    assert_eq!(bindings, ["crp-a-0a1b2c3d", "crp-b-0a1b2c3d"]);

    // From here on it is a placement like any other.
    let change = json!({"data": {"key": "2"}});
    merge(&fleet.hub.inside::<ConfigMap>("app"), "settings", change).await;
    for member in ["a", "b"] {
        eventually(
            &fleet.member(member).inside::<ConfigMap>("app"),
            "settings",
            "follows the hub",
            |found| found.is_some_and(|found| found.data.as_ref().unwrap()["key"] == "2"),
        )
        .await;
    }
    delete(&fleet.placements(), "crp").await;
    gone(&fleet.placements(), "crp").await;
    for member in ["a", "b"] {
        gone(&fleet.member(member).all::<Namespace>(), "app").await;
    }
}
