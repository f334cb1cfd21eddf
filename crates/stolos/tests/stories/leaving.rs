//! Members that leave the fleet and come back: what is placed on them stays and is taken up again, on both backends.

use jiff::SignedDuration;
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

#[test]
fn a_member_whose_agent_is_gone_leaves_by_force_and_keeps_everything_embedded() {
    forced(Backend::Embedded);
}

#[test]
fn a_member_whose_agent_is_gone_leaves_by_force_and_keeps_everything_kubernetes() {
    forced(Backend::Kubernetes);
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

/// Least time that the agent of a leaving member may be given.
const FORCED_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// The agent of a member is gone for good, so nobody can say that it left.
fn forced(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 2) else { return };
    fleet.install(2);
    fleet.start_hub(&["--force-delete-wait-time=30s"]);
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
    fleet.kill("member-2");
    let before = (placed(&leaves), records(&leaves));

    // Until the time is over the hub asks it to leave, and keeps everything that it would need for that.
    hub.run(&["delete", "membercluster", "member-2", "--wait=false"]);
    let internal = ["-n", "fleet-member-member-2", "internalmembercluster", "member-2"];
    hub.wait_for("it is asked to leave", &internal, |found| found["spec"]["state"] == "Leave");
    colour(&hub, "green");
    has_colour(&stays, "green");
    let leaving = hub.get(&["membercluster", "member-2"]).expect("the agent is waited for");
    assert_eq!(works_of(&hub, "member-2"), ["shop-work", "shop.content-work"]);
    assert!(hub.get(&["namespace", "fleet-member-member-2"]).is_some());

    // Then it goes without a word of the agent, and the hub reaches for nothing on the member.
    hub.wait_gone(&["membercluster", "member-2"]);
    let deleted = leaving["metadata"]["deletionTimestamp"].as_str().expect("it is being deleted");
    let deleted: jiff::Timestamp = deleted.parse().expect("a time");
    assert!(jiff::Timestamp::now().duration_since(deleted) >= FORCED_AFTER);
    hub.wait_gone(&["namespace", "fleet-member-member-2"]);
    hub.wait_gone(&profile());
    available(&hub, 1);
    assert_eq!(works_of(&hub, "member-2"), Vec::<String>::new());
    for kind in ["clusterresourcebindings", "resourcebindings"] {
        let bindings = hub.get(&[kind, "-A"]).expect("they can be listed");
        let mut targets = bindings["items"].as_array().into_iter().flatten();
        assert!(targets.all(|binding| binding["spec"]["targetCluster"] == "member-1"), "{kind}");
    }
    assert_eq!((placed(&leaves), records(&leaves)), before, "nothing on the member was touched");

    // The agent comes back to a hub that has forgotten it; announced again, the member takes up what it has.
    hub.run(&["-n", "shop", "delete", "configmap", "extra"]);
    stays.wait_gone(&EXTRA);
    fleet.start_agent("member-2");
    fleet.announce("member-2");
    available(&hub, 2);
    has_colour(&leaves, "green");
    assert_eq!(uids(&placed(&leaves)), uids(&before.0), "adopted, not made again");
    hub.run(&["delete", "crp", "shop", "--timeout=60s"]);
    stays.wait_gone(&READER);
    leaves.wait_gone(&READER);
}

/// Returns name, uid and resource version of what the agent noted on its member.
fn records(member: &Kubectl) -> Vec<Value> {
    let records = member.get(&["appliedworks"]).expect("they can be listed");
    let records =
        records["items"].as_array().into_iter().flatten().map(|record| &record["metadata"]);
    records.map(|meta| json!([meta["name"], meta["uid"], meta["resourceVersion"]])).collect()
}

/// Returns the names of the Works for a member, in order.
fn works_of(hub: &Kubectl, member: &str) -> Vec<String> {
    let works = hub.get(&["-n", &format!("fleet-member-{member}"), "works"]).expect("a list");
    let works = works["items"].as_array().into_iter().flatten();
    works.filter_map(|work| work["metadata"]["name"].as_str().map(str::to_owned)).collect()
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
