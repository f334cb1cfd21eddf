//! Members that leave the fleet and come back: what is placed on them stays and is taken up again, on both backends.

use serde_json::{Value, json};

use crate::backend::{Backend, Processes};
use crate::kubectl::Kubectl;

#[test]
fn a_member_that_leaves_keeps_everything_and_is_taken_up_again_embedded() {
    story(Backend::Embedded);
}

#[test]
fn a_member_that_leaves_keeps_everything_and_is_taken_up_again_kubernetes() {
    story(Backend::Kubernetes);
}

const PLACEMENTS: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {name: shop}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: Namespace, name: shop, selectionScope: NamespaceOnly}
  - {group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, labelSelector: {matchLabels: {app: shop}}}
---
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: content, namespace: shop}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: ConfigMap, labelSelector: {matchLabels: {app: shop}}}
  policy: {placementType: PickAll}
"#;

const SETTINGS: [&str; 4] = ["-n", "shop", "configmap", "settings"];
const EXTRA: [&str; 4] = ["-n", "shop", "configmap", "extra"];
const READER: [&str; 2] = ["clusterrole", "reader"];

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 2) else { return };
    fleet.install(2);
    fleet.start_hub(&[]);
    for name in ["member-1", "member-2"] {
        fleet.announce(name);
        fleet.start_agent(name);
    }
    let hub = fleet.kubectl("hub");
    let (stays, leaves) = (fleet.kubectl("member-1"), fleet.kubectl("member-2"));
    sources(&hub);
    hub.apply(PLACEMENTS);
    available(&hub, 2);
    hub.wait_for("the member is in the inventory", &profile(), |profile| !profile.is_null());

    // It leaves: nothing on it changes, and the placements are complete without it.
    let before = placed(&leaves);
    hub.run(&["delete", "membercluster", "member-2", "--timeout=60s"]);
    available(&hub, 1);
    hub.wait_gone(&profile());
    hub.wait_gone(&["namespace", "fleet-member-member-2"]);
    colour(&hub, "green");
    hub.run(&["-n", "shop", "delete", "configmap", "extra"]);
    has_colour(&stays, "green");
    stays.wait_gone(&EXTRA);
    assert_eq!(placed(&leaves), before, "a cluster outside the fleet is left alone");

    // It comes back: the same objects are taken up; what the hub does not name any more is nobody's and stays.
    fleet.announce("member-2");
    available(&hub, 2);
    has_colour(&leaves, "green");
    assert_eq!(uids(&placed(&leaves)), uids(&before), "adopted, not made again");

    // While it leaves, and its agent does not hear of it, the placements are edited: still nothing on it changes.
    fleet.kill("member-2");
    let before = placed(&leaves);
    hub.run(&["delete", "membercluster", "member-2", "--wait=false"]);
    hub.run(&["label", "clusterrole", "reader", "app-"]);
    colour(&hub, "red");
    has_colour(&stays, "red");
    stays.wait_gone(&READER);
    fleet.start_agent("member-2");
    hub.wait_gone(&["membercluster", "member-2"]);
    available(&hub, 1);
    assert_eq!(placed(&leaves), before, "nothing was withdrawn on the way out");

    // Back once more, it follows the hub; a placement that goes takes along only what it placed.
    fleet.announce("member-2");
    available(&hub, 2);
    has_colour(&leaves, "red");
    hub.run(&["-n", "shop", "delete", "rp", "content", "--timeout=60s"]);
    for member in [&stays, &leaves] {
        member.wait_gone(&SETTINGS);
        assert!(member.get(&["namespace", "shop"]).is_some(), "the other placement keeps it");
    }
    assert!(leaves.get(&EXTRA).is_some(), "it was never withdrawn from here");
    assert!(leaves.get(&READER).is_some(), "nor was this");

    // A placement can be deleted while a member is away, which withdraws when it is back.
    fleet.kill("member-2");
    hub.run(&["delete", "crp", "shop", "--timeout=60s"]);
    stays.wait_gone(&["namespace", "shop"]);
    assert!(leaves.get(&["namespace", "shop"]).is_some());
    fleet.start_agent("member-2");
    leaves.wait_gone(&["namespace", "shop"]);
}

fn profile() -> [&'static str; 4] {
    ["-n", "fleet-system", "clusterprofile", "member-2"]
}

fn sources(hub: &Kubectl) {
    hub.run(&["create", "namespace", "shop"]);
    for (name, colour) in [("settings", "colour=blue"), ("extra", "k=v")] {
        let literal = format!("--from-literal={colour}");
        hub.run(&["-n", "shop", "create", "configmap", name, &literal]);
        hub.run(&["-n", "shop", "label", "configmap", name, "app=shop"]);
    }
    hub.run(&["create", "clusterrole", "reader", "--verb=get", "--resource=configmaps"]);
    hub.run(&["label", "clusterrole", "reader", "app=shop"]);
}

fn colour(hub: &Kubectl, colour: &str) {
    let patch = json!({ "data": { "colour": colour } }).to_string();
    hub.run(&["-n", "shop", "patch", "configmap", "settings", "--type=merge", "-p", &patch]);
}

fn has_colour(member: &Kubectl, colour: &str) {
    member.wait_for(&format!("the colour is {colour}"), &SETTINGS, |map| {
        map["data"]["colour"] == colour
    });
}

/// Returns uid and resource version of everything that is placed on a member.
fn placed(member: &Kubectl) -> Vec<(String, Value, Value)> {
    let objects: [&[&str]; 4] = [&["namespace", "shop"], &READER, &SETTINGS, &EXTRA];
    let version = |args: &&[&str]| {
        let found = member.get(args).unwrap_or_else(|| panic!("{args:?} is placed"));
        let metadata = &found["metadata"];
        (args.join(" "), metadata["uid"].clone(), metadata["resourceVersion"].clone())
    };
    objects.iter().map(version).collect()
}

fn uids(placed: &[(String, Value, Value)]) -> Vec<&Value> {
    placed.iter().map(|(_, uid, _)| uid).collect()
}

/// Waits until both placements are available on so many members at their present generations.
fn available(hub: &Kubectl, n: usize) {
    for placement in [&["crp", "shop"][..], &["-n", "shop", "rp", "content"]] {
        hub.wait_for(&format!("{placement:?} is available on {n} members"), placement, |found| {
            let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_available = conditions.iter().any(|condition| {
                condition["type"].as_str().is_some_and(|type_| type_.ends_with("Available"))
                    && condition["status"] == "True"
                    && condition["observedGeneration"] == found["metadata"]["generation"]
            });
            let clusters = found["status"]["placementStatuses"].as_array().map_or(0, Vec::len);
            is_available && clusters == n
        });
    }
}
