//! From a placement on the hub to objects on members, and back.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use stolos_api::placement::{
    AppliedWork, ClusterResourceBinding, ClusterResourceSnapshot, ClusterSchedulingPolicySnapshot,
    Work,
};

use crate::fleet::{Cluster, Fleet, create, delete, eventually, exists, gone, merge};

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": value}})).unwrap()
}

fn deployment(name: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }))
    .unwrap()
}

fn selector() -> Value {
    json!({"group": "", "version": "v1", "kind": "Namespace", "name": "app"})
}

/// Creates the namespace `app` with content.
async fn create_app(cluster: &Cluster) {
    create(&cluster.all(), &namespace("app")).await;
    create(&cluster.inside("app"), &config_map("settings", "one")).await;
}

async fn value_of(cluster: &Cluster, value: &str) {
    eventually(&cluster.inside::<ConfigMap>("app"), "settings", "has the value", |found| {
        found.is_some_and(|found| {
            found.data.as_ref().is_some_and(|data| data.get("key").is_some_and(|got| got == value))
        })
    })
    .await;
}

async fn names<K>(api: kube::Api<K>) -> Vec<String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

/// Waits until nothing of a placement is left on the hub, but perhaps the placement.
async fn nothing_left_on_hub(fleet: &Fleet) {
    for binding in names(fleet.hub.all::<ClusterResourceBinding>()).await {
        gone(&fleet.hub.all::<ClusterResourceBinding>(), &binding).await;
    }
    for snapshot in names(fleet.hub.all::<ClusterResourceSnapshot>()).await {
        gone(&fleet.hub.all::<ClusterResourceSnapshot>(), &snapshot).await;
    }
    for policy in names(fleet.hub.all::<ClusterSchedulingPolicySnapshot>()).await {
        gone(&fleet.hub.all::<ClusterSchedulingPolicySnapshot>(), &policy).await;
    }
    assert_eq!(names(fleet.hub.all::<Work>()).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_reaches_all_members_and_leaves_with_its_placement() {
    let fleet = Fleet::start(&["a", "b", "c"]).await;
    create_app(&fleet.hub).await;
    let role: ClusterRole =
        serde_json::from_value(json!({"metadata": {"name": "reader"}, "rules": []})).unwrap();
    create(&fleet.hub.all(), &role).await;
    for member in fleet.members() {
        create(&member.inside("default"), &config_map("settings", "foreign")).await;
    }
    let role = json!({
        "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole", "name": "reader",
    });
    fleet.place("crp", json!({"resourceSelectors": [selector(), role]})).await;
    fleet.available("crp", &["a", "b", "c"]).await;

    let placement = fleet.placements().get("crp").await.unwrap();
    let status = placement.status.unwrap();
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c.type_.trim_start_matches("ClusterResourcePlacement"),
                c.status,
                c.reason
            )
        })
        .collect();
    assert_eq!(
        conditions,
        [
            "Scheduled True SchedulingPolicyFulfilled",
            "RolloutStarted True RolloutStarted",
            "Overridden True NoOverrideSpecified",
            "WorkSynchronized True WorkSynchronized",
            "Applied True ApplySucceeded",
            "Available True ResourceAvailable",
        ]
    );
    let selected: Vec<_> =
        status.selected_resources.iter().map(|r| format!("{} {}", r.kind, r.name)).collect();
    assert_eq!(selected, ["Namespace app", "ConfigMap settings", "ClusterRole reader"]);
    for member in fleet.members() {
        value_of(member, "one").await;
        let placed = member.inside::<ConfigMap>("app").get("settings").await.unwrap();
        let owners: Vec<_> =
            placed.owner_references().iter().map(|o| format!("{} {}", o.kind, o.name)).collect();
        assert_eq!(owners, ["AppliedWork crp-work"]);
    }

    delete(&fleet.placements(), "crp").await;
    gone(&fleet.placements(), "crp").await;
    nothing_left_on_hub(&fleet).await;
    for member in fleet.members() {
        gone(&member.all::<Namespace>(), "app").await;
        gone(&member.all::<ClusterRole>(), "reader").await;
        assert_eq!(names(member.all::<AppliedWork>()).await, Vec::<String>::new());
        member.inside::<ConfigMap>("default").get("settings").await.unwrap();
    }
    fleet.hub.inside::<ConfigMap>("app").get("settings").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_source_reach_members_and_nothing_else_is_removed() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    create(&fleet.hub.inside("app"), &config_map("extra", "one")).await;
    fleet.place("crp", json!({"resourceSelectors": [selector()]})).await;
    fleet.available("crp", &["a", "b"]).await;
    for member in fleet.members() {
        create(&member.inside("app"), &config_map("foreign", "mine")).await;
    }

    merge(&fleet.hub.inside::<ConfigMap>("app"), "settings", json!({"data": {"key": "two"}})).await;
    create(&fleet.hub.inside("app"), &deployment("web")).await;
    for member in fleet.members() {
        value_of(member, "two").await;
        exists(&member.inside::<Deployment>("app"), "web").await;
    }
    delete(&fleet.hub.inside::<ConfigMap>("app"), "extra").await;
    for member in fleet.members() {
        gone(&member.inside::<ConfigMap>("app"), "extra").await;
        assert_eq!(names(member.inside::<ConfigMap>("app")).await, ["foreign", "settings"]);
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_members_keep_what_they_have_and_the_others_lose_it() {
    let fleet = Fleet::start(&["a", "b", "c"]).await;
    create_app(&fleet.hub).await;
    let policy = |n: i32| json!({"placementType": "PickN", "numberOfClusters": n});
    fleet.place("crp", json!({"resourceSelectors": [selector()], "policy": policy(3)})).await;
    fleet.available("crp", &["a", "b", "c"]).await;
    merge(&fleet.placements(), "crp", json!({"spec": {"policy": policy(1)}})).await;
    fleet.available("crp", &["c"]).await;
    gone(&fleet.member("a").all::<Namespace>(), "app").await;
    gone(&fleet.member("b").all::<Namespace>(), "app").await;
    value_of(fleet.member("c"), "one").await;
    assert_eq!(names(fleet.hub.all::<ClusterSchedulingPolicySnapshot>()).await, ["crp-0"]);

    merge(&fleet.placements(), "crp", json!({"spec": {"policy": policy(2)}})).await;
    fleet.available("crp", &["b", "c"]).await;
    value_of(fleet.member("b"), "one").await;
}

#[tokio::test(start_paused = true)]
async fn fixed_names_go_where_they_say() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    let policy = |names: &[&str]| json!({"placementType": "PickFixed", "clusterNames": names});
    fleet.place("crp", json!({"resourceSelectors": [selector()], "policy": policy(&["a"])})).await;
    fleet.available("crp", &["a"]).await;
    merge(&fleet.placements(), "crp", json!({"spec": {"policy": policy(&["b"])}})).await;
    fleet.available("crp", &["b"]).await;
    value_of(fleet.member("b"), "one").await;
    gone(&fleet.member("a").all::<Namespace>(), "app").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_member_gets_what_goes_to_all() {
    let mut fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", json!({"resourceSelectors": [selector()]})).await;
    fleet.available("crp", &["a"]).await;
    fleet.join("b").await;
    fleet.available("crp", &["a", "b"]).await;
    value_of(fleet.member("b"), "one").await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_hub_goes_on_where_it_stopped() {
    let mut fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", json!({"resourceSelectors": [selector()]})).await;
    exists(&fleet.hub.all::<ClusterResourceSnapshot>(), "crp-0-snapshot").await;
    fleet.stop_hub().await;
    merge(&fleet.hub.inside::<ConfigMap>("app"), "settings", json!({"data": {"key": "two"}})).await;
    fleet.start_hub();
    fleet.available("crp", &["a", "b"]).await;
    for member in fleet.members() {
        value_of(member, "two").await;
    }

    delete(&fleet.placements(), "crp").await;
    fleet.stop_hub().await;
    for member in fleet.members() {
        value_of(member, "two").await;
    }
    fleet.start_hub();
    gone(&fleet.placements(), "crp").await;
    nothing_left_on_hub(&fleet).await;
    for member in fleet.members() {
        gone(&member.all::<Namespace>(), "app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn selectors_that_cannot_be_used_are_reported_and_withdraw_nothing() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", json!({"resourceSelectors": [selector()]})).await;
    fleet.available("crp", &["a"]).await;
    let bad = json!({"group": "", "version": "v1", "kind": "Secret"});
    merge(&fleet.placements(), "crp", json!({"spec": {"resourceSelectors": [bad]}})).await;
    eventually(&fleet.placements(), "crp", "says that its selectors are no good", |placement| {
        let status = placement.and_then(|placement| placement.status.as_ref());
        status.is_some_and(|status| {
            status.conditions.iter().any(|c| c.reason == "InvalidResourceSelectors")
        })
    })
    .await;
    value_of(fleet.member("a"), "one").await;
    merge(&fleet.placements(), "crp", json!({"spec": {"resourceSelectors": [selector()]}})).await;
    fleet.available("crp", &["a"]).await;
    value_of(fleet.member("a"), "one").await;
    assert_eq!(names(fleet.member("a").inside::<Secret>("app")).await, Vec::<String>::new());
}

/// Returns a definition of a namespaced kind without a schema to speak of.
fn widgets() -> CustomResourceDefinition {
    let schema = json!({"openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    }});
    serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_comes_later_is_placed_and_its_definition_can_follow() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    // Nothing tells when a widget is available; the default wait of a minute is longer than tests wait.
    let strategy = json!({"rollingUpdate": {"unavailablePeriodSeconds": 1}});
    fleet.place("crp", json!({"resourceSelectors": [selector()], "strategy": strategy})).await;
    fleet.available("crp", &["a", "b"]).await;

    create(&fleet.hub.all(), &widgets()).await;
    let gvk = GroupVersionKind::gvk("example.com", "v1", "Widget");
    let resource = ApiResource::from_gvk(&gvk);
    let widget = DynamicObject::new("w", &resource).within("app");
    let on = |cluster: &Cluster| -> Api<DynamicObject> {
        Api::namespaced_with(cluster.client.clone(), "app", &resource)
    };
    eventually(
        &fleet.hub.all::<CustomResourceDefinition>(),
        "widgets.example.com",
        "is served",
        |crd| {
            let status = crd.and_then(|crd| crd.status.as_ref());
            let conditions =
                status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
            conditions.iter().any(|c| c.type_ == "Established" && c.status == "True")
        },
    )
    .await;
    create(&on(&fleet.hub), &widget).await;
    eventually(&fleet.placements(), "crp", "shows what failed", |placement| {
        let status = placement.and_then(|placement| placement.status.as_ref());
        status.is_some_and(|status| {
            status.per_cluster_placement_statuses.iter().any(|cluster| {
                cluster.failed_placements.iter().any(|failed| failed.resource.kind == "Widget")
            })
        })
    })
    .await;

    let definition = json!({
        "group": "apiextensions.k8s.io", "version": "v1", "kind": "CustomResourceDefinition",
        "name": "widgets.example.com",
    });
    fleet.place("definitions", json!({"resourceSelectors": [definition]})).await;
    fleet.available("definitions", &["a", "b"]).await;
    fleet.available("crp", &["a", "b"]).await;
    for member in fleet.members() {
        on(member).get("w").await.unwrap();
    }
    delete(&on(&fleet.hub), "w").await;
    for member in fleet.members() {
        gone(&on(member), "w").await;
    }
}
