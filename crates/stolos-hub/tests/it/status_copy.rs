//! The status of a placement in the namespace that it places.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::Api;
use serde_json::{Value, json};
use stolos_api::placement::ClusterResourcePlacementStatus;

use crate::fleet::{Fleet, create, delete, eventually, exists, gone, merge};

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn spec(namespace: &str) -> Value {
    json!({
        "resourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": namespace}],
        "statusReportingScope": "NamespaceAccessible",
    })
}

fn copies(fleet: &Fleet, namespace: &str) -> Api<ClusterResourcePlacementStatus> {
    fleet.hub.inside(namespace)
}

/// Waits until the copy says what the placement says, and the placement says so.
async fn synced(fleet: &Fleet) {
    let is_synced = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        c.type_ == "ClusterResourcePlacementStatusSynced"
    };
    eventually(&fleet.placements(), "crp", "says that its status is copied", |placement| {
        placement.is_some_and(|placement| {
            let conditions = placement.status.as_ref().map_or(&[][..], |status| &status.conditions);
            conditions.iter().any(|c| {
                is_synced(c)
                    && (c.status.as_str(), c.reason.as_str()) == ("True", "StatusSyncSucceeded")
                    && c.observed_generation == placement.metadata.generation
            })
        })
    })
    .await;
    let mut original = fleet.placements().get("crp").await.unwrap().status.unwrap();
    original.conditions.retain(|c| !is_synced(c));
    let what = "is what the placement says";
    eventually(&copies(fleet, "app"), "crp", what, |copy| {
        copy.is_some_and(|copy| copy.source_status == original)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_status_can_be_read_in_the_selected_namespace() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create(&fleet.hub.all(), &namespace("app")).await;
    create(&fleet.hub.all(), &namespace("other")).await;
    fleet.place("crp", spec("app")).await;
    fleet.available("crp", &["a", "b"]).await;
    synced(&fleet).await;
    let copy = copies(&fleet, "app").get("crp").await.unwrap();
    let owner = &copy.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.controller), ("ClusterResourcePlacement", Some(true)));
    assert_eq!(copy.source_status.per_cluster_placement_statuses.len(), 2);

    // It follows, and it comes back when somebody deletes it.
    let settings: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "settings"}})).unwrap();
    create(&fleet.hub.inside("app"), &settings).await;
    eventually(&copies(&fleet, "app"), "crp", "shows the new object", |copy| {
        copy.is_some_and(|copy| copy.source_status.selected_resources.len() == 2)
    })
    .await;
    let uid = copy.uid();
    delete(&copies(&fleet, "app"), "crp").await;
    eventually(&copies(&fleet, "app"), "crp", "is there again", |copy| {
        copy.is_some_and(|copy| copy.uid() != uid)
    })
    .await;
    synced(&fleet).await;
    // It is never placed.
    for member in fleet.members() {
        exists(&member.inside::<ConfigMap>("app"), "settings").await;
    }

    // Another namespace would move the status to other readers.
    let moved = json!({"spec": {"resourceSelectors": spec("other")["resourceSelectors"]}});
    merge(&fleet.placements(), "crp", moved).await;
    eventually(&fleet.placements(), "crp", "refuses the other namespace", |placement| {
        let status = placement.and_then(|placement| placement.status.as_ref());
        status.is_some_and(|status| {
            status.conditions.iter().any(|c| {
                c.reason == "InvalidResourceSelectors"
                    && c.message.contains("`other`")
                    && c.message.contains("`app`")
            })
        })
    })
    .await;
    assert!(copies(&fleet, "other").get_opt("crp").await.unwrap().is_none());
    exists(&copies(&fleet, "app"), "crp").await;
    let back = json!({"spec": {"resourceSelectors": spec("app")["resourceSelectors"]}});
    merge(&fleet.placements(), "crp", back).await;
    fleet.available("crp", &["a", "b"]).await;
    synced(&fleet).await;

    delete(&fleet.placements(), "crp").await;
    gone(&fleet.placements(), "crp").await;
    gone(&copies(&fleet, "app"), "crp").await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_missing_is_reported_until_it_comes() {
    let fleet = Fleet::start(&["a"]).await;
    fleet.place("crp", spec("app")).await;
    eventually(&fleet.placements(), "crp", "says that nothing can be copied", |placement| {
        let status = placement.and_then(|placement| placement.status.as_ref());
        status.is_some_and(|status| {
            status.conditions.iter().any(|c| c.status == "False" && c.reason == "StatusSyncFailed")
        })
    })
    .await;
    create(&fleet.hub.all(), &namespace("app")).await;
    synced(&fleet).await;
}
