//! Fleets as such: without a hub, one fleet per cluster, the end of a fleet. On both backends.

use serde_json::{Value, json};

use crate::backend::Fleet;

#[test]
fn a_fleet_without_a_hub_is_a_grouping_that_can_be_updated_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    story(&fleet);
}

#[test]
fn a_fleet_without_a_hub_is_a_grouping_that_can_be_updated_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    story(&fleet);
}

/// The second member, as a member of a fleet without a hub.
fn manifests() -> [Value; 2] {
    let cluster = json!({ "simulated": { "kubeconfigSecret": { "name": "member-2-kubeconfig" } } });
    let fleet = json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "Fleet",
        "metadata": { "name": "edge", "namespace": "default" }, "spec": {},
    });
    let member = json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "FleetMember",
        "metadata": { "name": "edge.shop", "namespace": "default" },
        "spec": { "fleetName": "edge", "group": "shops", "cluster": cluster },
    });
    [fleet, member]
}

fn joined(member: &Value) -> (String, String) {
    let conditions = member["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let joined = conditions.iter().find(|condition| condition["type"] == "Joined");
    let text =
        |key: &str| joined.and_then(|joined| joined[key].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn kubelets(fleet: &Fleet, member: &str) -> Vec<String> {
    let nodes = fleet.kubectl(member).get(&["nodes"]).expect("nodes can be listed");
    let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
    let version =
        |node: &Value| node["status"]["nodeInfo"]["kubeletVersion"].as_str().map(str::to_owned);
    nodes.iter().filter_map(version).collect()
}

fn story(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    for manifest in manifests() {
        hub.apply(&manifest.to_string());
    }
    // A cluster is in at most one fleet.
    hub.wait_for("the cluster is taken", &["fleetmember", "edge.shop"], |member| {
        joined(member) == ("False".to_owned(), "ClusterAlreadyJoinedAnotherFleet".to_owned())
    });
    hub.run(&["delete", "fleetmember", "local.member-2", "--timeout=60s"]);
    // Members of real clusters were announced by hand; a MemberCluster of the user's own is the user's to delete.
    let announced = matches!(fleet, Fleet::Processes(_));
    assert_eq!(hub.get(&["membercluster", "member-2"]).is_some(), announced);
    hub.wait_for("the cluster has moved", &["fleetmember", "edge.shop"], |member| {
        joined(member).0 == "True"
    });
    assert!(hub.get(&["membercluster", "shop"]).is_none(), "a grouping has nothing on the hub");

    // The hub of a fleet neither goes nor comes unasked.
    let refusal =
        hub.fail(&["patch", "fleets", "local", "--type=merge", "-p", r#"{"spec":{"hub":null}}"#]);
    assert!(refusal.contains("spec.hub: Forbidden: hub cannot be removed"), "{refusal}");
    let refusal =
        hub.fail(&["patch", "fleets", "edge", "--type=merge", "-p", r#"{"spec":{"hub":{}}}"#]);
    assert!(refusal.contains("spec.hub: Forbidden: a hub cannot be added"), "{refusal}");

    let before = kubelets(fleet, "member-1");
    let run = ["updaterun", "create", "july", "--fleet", "edge", "--kubernetes-version", "1.35.0"];
    let output = fleet.stolos(&[&run[..], &["--start", "--wait"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(kubelets(fleet, "member-2").iter().all(|version| version == "v1.35.0"));
    assert_eq!(kubelets(fleet, "member-1"), before, "the other fleet is left alone");

    // A fleet takes along what belongs to it, and nothing else.
    hub.run(&["delete", "fleets", "edge", "--timeout=60s"]);
    for gone in [["fleetmember", "edge.shop"], ["updaterun", "edge.july"]] {
        assert!(hub.get(&gone).is_none(), "{gone:?} went with its fleet");
    }
    for there in
        [["fleets", "local"], ["fleetmember", "local.member-1"], ["membercluster", "member-1"]]
    {
        assert!(hub.get(&there).is_some(), "{there:?} belongs to the other fleet");
    }
    assert_eq!(kubelets(fleet, "member-2").len(), before.len(), "the cluster lives on");
}
