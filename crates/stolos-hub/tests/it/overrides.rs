//! Overrides, from the hub to what members hold.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ListParams;
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    ClusterResourceOverride, ClusterResourceOverrideSnapshot, ClusterResourcePlacement,
    ResourceOverride, ResourceOverrideSnapshot, ResourcePlacement, Work,
};

use crate::fleet::{Cluster, Fleet, create, delete, eventually, exists, gone, merge};

async fn create_app(hub: &Cluster) {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "app"}})).unwrap();
    create(&hub.all(), &namespace).await;
    let settings = json!({"metadata": {"name": "settings"}, "data": {"colour": "blue"}});
    let settings: ConfigMap = serde_json::from_value(settings).unwrap();
    create(&hub.inside("app"), &settings).await;
}

fn place_app() -> Value {
    json!({
        "resourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}],
        "strategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
    })
}

/// Returns a ResourceOverride of ConfigMap `app/settings`.
fn of_settings(name: &str, placement: Value, rules: Value) -> ResourceOverride {
    let selector = json!({"group": "", "version": "v1", "kind": "ConfigMap", "name": "settings"});
    let mut spec = json!({"resourceSelectors": [selector], "policy": {"overrideRules": rules}});
    if !placement.is_null() {
        spec["placement"] = placement;
    }
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

fn rule(members: &[&str], change: Value) -> Value {
    let terms: Vec<_> = members
        .iter()
        .map(|name| json!({"labelSelector": {"matchLabels": {"name": name}}}))
        .collect();
    json!({"clusterSelector": {"clusterSelectorTerms": terms}, "jsonPatchOverrides": [change]})
}

fn colour(value: &str) -> Value {
    json!({"op": "replace", "path": "/data/colour", "value": value})
}

async fn has(member: &Cluster, key: &str, value: &str) {
    let what = format!("has {key} {value}");
    eventually(&member.inside::<ConfigMap>("app"), "settings", &what, |found| {
        let data = found.and_then(|found| found.data.as_ref());
        data.is_some_and(|data| data.get(key).is_some_and(|found| found == value))
    })
    .await;
}

/// Returns the condition of a member in the status of a placement.
fn condition(placement: Option<&ClusterResourcePlacement>, member: &str, type_: &str) -> String {
    let status = placement.and_then(|placement| placement.status.as_ref());
    let statuses = status.map(|status| status.per_cluster_placement_statuses.as_slice());
    let cluster = statuses.unwrap_or_default().iter().find(|c| c.cluster_name == member);
    let conditions = cluster.map(|cluster| cluster.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map_or_else(String::new, |found| format!("{} {}", found.reason, found.message))
}

#[tokio::test(start_paused = true)]
async fn each_member_gets_its_own_variant_and_the_source_stays() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    let all: ClusterResourceOverride = serde_json::from_value(json!({
        "metadata": {"name": "labels"},
        "spec": {
            "clusterResourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}],
            "policy": {"overrideRules": [rule(&[], json!(
                {"op": "add", "path": "/metadata/labels", "value": {"on": "${MEMBER-CLUSTER-NAME}"}}
            ))]},
        },
    }))
    .unwrap();
    create(&fleet.hub.all(), &all).await;
    let rules = json!([
        rule(&["a"], colour("green")),
        rule(
            &[],
            json!({"op": "add", "path": "/data/label", "value": "${MEMBER-CLUSTER-LABEL-KEY-name}"})
        ),
    ]);
    let own = of_settings("own", json!({"name": "crp"}), rules);
    create(&fleet.hub.inside("app"), &own).await;
    fleet.place("crp", place_app()).await;
    fleet.available("crp", &["a", "b"]).await;

    for (name, colour) in [("a", "green"), ("b", "blue")] {
        let member = fleet.member(name);
        has(member, "colour", colour).await;
        has(member, "label", name).await;
        let settings = member.inside::<ConfigMap>("app").get("settings").await.unwrap();
        assert_eq!(settings.metadata.labels.unwrap()["on"], name);
        let namespace = member.all::<Namespace>().get("app").await.unwrap();
        assert_eq!(namespace.metadata.labels.unwrap()["on"], name);
    }
    let source = fleet.hub.inside::<ConfigMap>("app").get("settings").await.unwrap();
    assert_eq!((source.metadata.labels, source.data.unwrap().len()), (None, 1));

    for name in ["a", "b"] {
        let works = fleet.hub.inside::<Work>(&format!("fleet-member-{name}"));
        let work = works.get("crp-work").await.unwrap();
        assert_eq!(work.metadata.generation, Some(1), "never written without its overrides");
    }

    let placement = fleet.placements().get("crp").await.unwrap();
    let status = placement.status.unwrap();
    for cluster in &status.per_cluster_placement_statuses {
        assert_eq!(cluster.applicable_cluster_resource_overrides, ["labels-0"]);
        let names: Vec<_> = cluster
            .applicable_resource_overrides
            .iter()
            .map(|o| (&*o.namespace, &*o.name))
            .collect();
        assert_eq!(names, [("app", "own-0")]);
    }
    let overridden = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "ClusterResourcePlacementOverridden")
        .unwrap();
    assert_eq!((&*overridden.status, &*overridden.reason), ("True", "OverriddenSucceeded"));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_override_rolls_out_and_its_end_takes_it_back() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", place_app()).await;
    fleet.available("crp", &["a", "b"]).await;

    let overrides = fleet.hub.inside::<ResourceOverride>("app");
    let snapshots = fleet.hub.inside::<ResourceOverrideSnapshot>("app");
    let rules = json!([rule(&["a"], colour("green"))]);
    create(&overrides, &of_settings("own", json!({"name": "crp"}), rules)).await;
    has(fleet.member("a"), "colour", "green").await;
    has(fleet.member("b"), "colour", "blue").await;

    let rules = json!([rule(&["b"], colour("red"))]);
    merge(&overrides, "own", json!({"spec": {"policy": {"overrideRules": rules}}})).await;
    has(fleet.member("a"), "colour", "blue").await;
    has(fleet.member("b"), "colour", "red").await;
    exists(&snapshots, "own-1").await;
    let old = snapshots.get("own-0").await.unwrap();
    assert_eq!(old.metadata.labels.unwrap()["kubernetes-fleet.io/is-latest-snapshot"], "false");

    delete(&overrides, "own").await;
    gone(&overrides, "own").await;
    gone(&snapshots, "own-1").await;
    has(fleet.member("b"), "colour", "blue").await;
    fleet.available("crp", &["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_override_that_does_not_fit_is_told_where_it_fails_and_nowhere_else() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    let bad = json!({"op": "replace", "path": "/data/size/x", "value": "1"});
    let rules = json!([rule(&["a"], bad), rule(&["b"], colour("green"))]);
    let overrides = fleet.hub.inside::<ResourceOverride>("app");
    create(&overrides, &of_settings("own", json!({"name": "crp"}), rules)).await;
    fleet.place("crp", place_app()).await;

    has(fleet.member("b"), "colour", "green").await;
    let want = "OverriddenFailed Failed to apply the override rules on the resources: \
                ResourceOverrideSnapshot `app/own-0` cannot change ConfigMap `app/settings`: \
                cannot replace `/data/size/x`: `/data/size` does not exist";
    eventually(&fleet.placements(), "crp", "tells what fails", |placement| {
        condition(placement, "a", "Overridden") == want
            && condition(placement, "b", "Available").starts_with("AllWorkAreAvailable")
    })
    .await;
    assert!(fleet.member("a").all::<Namespace>().get_opt("app").await.unwrap().is_none());

    let rules = json!([rule(&[], colour("red"))]);
    merge(&overrides, "own", json!({"spec": {"policy": {"overrideRules": rules}}})).await;
    fleet.available("crp", &["a", "b"]).await;
    has(fleet.member("a"), "colour", "red").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_override_was_to_change_stays_as_it_is() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", place_app()).await;
    fleet.available("crp", &["a"]).await;
    let wrong = json!({"op": "add", "path": "/metadata/labels", "value": {"a": 1}});
    let own = of_settings("own", json!({"name": "crp"}), json!([rule(&[], wrong)]));
    create(&fleet.hub.inside("app"), &own).await;
    eventually(&fleet.placements(), "crp", "tells what fails", |placement| {
        condition(placement, "a", "WorkSynchronized").starts_with("SyncWorkFailed overrides make")
            && condition(placement, "a", "Overridden").starts_with("OverriddenSucceeded")
    })
    .await;
    has(fleet.member("a"), "colour", "blue").await;
}

#[tokio::test(start_paused = true)]
async fn a_label_that_a_variable_lacks_can_come_later() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    let region = "${MEMBER-CLUSTER-LABEL-KEY-region}";
    let rules = json!([rule(&[], json!({"op": "add", "path": "/data/region", "value": region}))]);
    create(&fleet.hub.inside("app"), &of_settings("own", Value::Null, rules)).await;
    fleet.place("crp", place_app()).await;
    eventually(&fleet.placements(), "crp", "misses the label", |placement| {
        condition(placement, "a", "Overridden").contains("member cluster `a` has no label `region`")
    })
    .await;
    let members = fleet.hub.all::<MemberCluster>();
    merge(&members, "a", json!({"metadata": {"labels": {"region": "north"}}})).await;
    fleet.available("crp", &["a"]).await;
    has(fleet.member("a"), "region", "north").await;
}

#[tokio::test(start_paused = true)]
async fn an_object_is_left_out_where_a_rule_says_so_and_comes_back_after_it() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", place_app()).await;
    fleet.available("crp", &["a", "b"]).await;
    let only = json!({"clusterSelectorTerms": [{"labelSelector": {"matchLabels": {"name": "a"}}}]});
    let rules = json!([{"clusterSelector": only, "overrideType": "Delete"}]);
    let overrides = fleet.hub.inside::<ResourceOverride>("app");
    create(&overrides, &of_settings("own", json!({"name": "crp"}), rules)).await;
    gone(&fleet.member("a").inside::<ConfigMap>("app"), "settings").await;
    fleet.available("crp", &["a", "b"]).await;
    has(fleet.member("b"), "colour", "blue").await;
    fleet.member("a").all::<Namespace>().get("app").await.unwrap();

    delete(&overrides, "own").await;
    has(fleet.member("a"), "colour", "blue").await;
}

#[tokio::test(start_paused = true)]
async fn an_override_for_every_placement_goes_with_the_next_rollout() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", place_app()).await;
    fleet.available("crp", &["a"]).await;
    let rules = json!([rule(&[], json!({"op": "add", "path": "/data/size", "value": "big"}))]);
    create(&fleet.hub.inside("app"), &of_settings("own", Value::Null, rules)).await;
    exists(&fleet.hub.inside::<ResourceOverrideSnapshot>("app"), "own-0").await;
    let settings = fleet.member("a").inside::<ConfigMap>("app").get("settings").await.unwrap();
    assert_eq!(settings.data.unwrap().len(), 1, "no rollout is under way");

    let source = fleet.hub.inside::<ConfigMap>("app");
    merge(&source, "settings", json!({"data": {"colour": "red"}})).await;
    has(fleet.member("a"), "colour", "red").await;
    has(fleet.member("a"), "size", "big").await;
}

#[tokio::test(start_paused = true)]
async fn a_placement_in_a_namespace_has_overrides_of_its_own() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    let mut only_namespace = place_app();
    only_namespace["resourceSelectors"][0]["selectionScope"] = json!("NamespaceOnly");
    fleet.place("crp", only_namespace).await;
    fleet.available("crp", &["a"]).await;
    let selector = json!({"group": "", "version": "v1", "kind": "ConfigMap", "name": "settings"});
    let placement: ResourcePlacement = serde_json::from_value(json!({
        "metadata": {"name": "rp"}, "spec": {"resourceSelectors": [selector]},
    }))
    .unwrap();
    create(&fleet.hub.inside("app"), &placement).await;
    has(fleet.member("a"), "colour", "blue").await;

    let overrides = fleet.hub.inside::<ResourceOverride>("app");
    let red = json!([rule(&[], colour("red"))]);
    create(&overrides, &of_settings("crp-only", json!({"name": "rp"}), red)).await;
    exists(&fleet.hub.inside::<ResourceOverrideSnapshot>("app"), "crp-only-0").await;
    // One object has one override.
    delete(&overrides, "crp-only").await;
    gone(&overrides, "crp-only").await;
    let reference = json!({"name": "rp", "scope": "Namespaced"});
    let own = of_settings("own", reference, json!([rule(&[], colour("green"))]));
    create(&overrides, &own).await;
    has(fleet.member("a"), "colour", "green").await;
    let found = fleet.hub.inside::<ResourcePlacement>("app").get("rp").await.unwrap();
    let clusters = found.status.unwrap().per_cluster_placement_statuses;
    let names: Vec<_> =
        clusters.iter().flat_map(|c| &c.applicable_resource_overrides).map(|o| &o.name).collect();
    assert_eq!(names, ["own-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_was_away_makes_good_what_it_missed() {
    let mut fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub).await;
    fleet.place("crp", place_app()).await;
    let overrides = fleet.hub.inside::<ResourceOverride>("app");
    let rules = json!([rule(&[], colour("green"))]);
    create(&overrides, &of_settings("own", json!({"name": "crp"}), rules)).await;
    fleet.available("crp", &["a"]).await;
    has(fleet.member("a"), "colour", "green").await;
    fleet.stop_hub().await;
    delete(&overrides, "own").await;
    fleet.start_hub();
    gone(&overrides, "own").await;
    let snapshots = fleet.hub.inside::<ResourceOverrideSnapshot>("app");
    gone(&snapshots, "own-0").await;
    has(fleet.member("a"), "colour", "blue").await;
    let none =
        fleet.hub.all::<ClusterResourceOverrideSnapshot>().list(&ListParams::default()).await;
    assert!(none.unwrap().items.is_empty());
}
