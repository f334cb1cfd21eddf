//! ResourcePlacements go where their namespace is, and follow it, on both backends.

use serde_json::{Value, json};

use crate::backend::{Backend, Processes, stolos};
use crate::kubectl::Kubectl;
use crate::look::complete_on;

#[test]
fn a_placement_in_a_namespace_follows_the_namespace_embedded() {
    story(Backend::Embedded);
}

#[test]
fn a_placement_in_a_namespace_follows_the_namespace_kubernetes() {
    story(Backend::Kubernetes);
}

const MEMBERS: [&str; 3] = ["member-1", "member-2", "member-3"];

/// The version v1 does not show namespaces.
const MEMBER_CLUSTER: &str = "memberclusters.v1beta1.cluster.kubernetes-fleet.io";

const TEAM: [&str; 2] = ["crp", "team"];
const SETTINGS: [&str; 4] = ["-n", "team", "rp", "settings"];

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 3) else { return };
    fleet.install(3);
    fleet.start_hub(&[]);
    let hub = fleet.kubectl("hub");
    for name in MEMBERS {
        fleet.announce(name);
        // What a member has is told with its heartbeat.
        let often = r#"{"spec":{"heartbeatPeriodSeconds":1}}"#;
        hub.run(&["patch", "membercluster", name, "--type=merge", "-p", often]);
        fleet.start_agent_with(name, &["--enable-namespace-collection-in-property-provider"]);
    }
    for name in MEMBERS {
        hub.wait_for("the member tells its namespaces", &[MEMBER_CLUSTER, name], |member| {
            let conditions = member["status"]["conditions"].as_array().cloned().unwrap_or_default();
            member["status"]["namespaces"]["fleet-system"] == ""
                && conditions
                    .iter()
                    .any(|c| c["type"] == "NamespaceCollectionSucceeded" && c["status"] == "True")
        });
    }
    for namespace in ["team", "late"] {
        hub.run(&["create", "namespace", namespace]);
        let settings = ["create", "configmap", "settings", "--from-literal=colour=blue"];
        hub.run(&[&["-n", namespace][..], &settings].concat());
    }
    follows(&fleet, &hub);
    waits(&fleet, &hub);
}

fn place(hub: &Kubectl, namespace: &str, on: &Value, policy: &Value) {
    let selector = json!({
        "group": "", "version": "v1", "kind": "Namespace", "name": namespace, "selectionScope": "NamespaceOnly",
    });
    let bare = json!({
        "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ClusterResourcePlacement",
        "metadata": { "name": namespace }, "spec": { "resourceSelectors": [selector], "policy": on },
    });
    let selector = json!({ "group": "", "version": "v1", "kind": "ConfigMap", "name": "settings" });
    let content = json!({
        "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourcePlacement",
        "metadata": { "name": "settings", "namespace": namespace },
        "spec": { "resourceSelectors": [selector], "policy": policy },
    });
    if !on.is_null() {
        hub.apply(&bare.to_string());
    }
    hub.apply(&content.to_string());
}

/// Returns why members were not picked, by name, as the latest policy snapshot of the placement `settings` says.
fn not_picked(hub: &Kubectl, namespace: &str) -> Vec<(String, String)> {
    let snapshots = hub.get(&["-n", namespace, "schedulingpolicysnapshots"]).expect("a list");
    let snapshots = snapshots["items"].as_array().expect("a list").clone();
    let latest = snapshots
        .iter()
        .find(|found| {
            found["metadata"]["labels"]["kubernetes-fleet.io/is-latest-snapshot"] == "true"
        })
        .expect("one is the latest");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let decisions = latest["status"]["targetClusters"].as_array().into_iter().flatten();
    let mut why: Vec<_> = decisions
        .filter(|decision| decision["selected"] == false)
        .map(|decision| (text(&decision["clusterName"]), text(&decision["reason"])))
        .collect();
    why.sort();
    why
}

/// The namespace spreads, through another placement or by a member's own people, and the content comes after it.
fn follows(fleet: &Processes, hub: &Kubectl) {
    let fixed = |names: &[&str]| json!({ "placementType": "PickFixed", "clusterNames": names });
    place(hub, "team", &fixed(&["member-1"]), &json!({ "placementType": "PickAll" }));
    complete_on(hub, &TEAM, &MEMBERS[..1]);
    complete_on(hub, &SETTINGS, &MEMBERS[..1]);
    let missing = "ClusterUnschedulable, target namespace does not exist on cluster".to_owned();
    let want = MEMBERS[1..].iter().map(|name| ((*name).to_owned(), missing.clone()));
    assert_eq!(not_picked(hub, "team"), want.collect::<Vec<_>>());
    let told =
        stolos(&["explain", "placement", "settings", "-n", "team"], Some(fleet.kubeconfig()));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("target namespace does not exist on cluster"), "{told}");
    for name in &MEMBERS[1..] {
        let namespace = format!("fleet-member-{name}");
        let works = hub.get(&["-n", &namespace, "works"]).expect("they can be listed");
        assert!(works["items"].as_array().is_some_and(Vec::is_empty), "{name}: {works}");
    }

    let wider = json!({ "spec": { "policy": fixed(&MEMBERS[..2]) } }).to_string();
    hub.run(&["patch", "crp", "team", "--type=merge", "-p", &wider]);
    complete_on(hub, &SETTINGS, &MEMBERS[..2]);
    fleet.kubectl("member-3").run(&["create", "namespace", "team"]);
    complete_on(hub, &SETTINGS, &MEMBERS);
    for (name, owner) in MEMBERS.into_iter().zip(["team-work", "team-work", ""]) {
        let map = ["-n", "team", "configmap", "settings"];
        let placed = fleet.kubectl(name).get(&map).expect("it is placed");
        assert_eq!(placed["data"]["colour"], "blue");
        let member = hub.get(&[MEMBER_CLUSTER, name]).expect("it is there");
        assert_eq!(member["status"]["namespaces"]["team"], owner, "whose the namespace is");
    }
}

/// A placement of a number of clusters waits until there are as many with its namespace.
fn waits(fleet: &Processes, hub: &Kubectl) {
    let two = json!({ "placementType": "PickN", "numberOfClusters": 2 });
    let late = ["-n", "late", "rp", "settings"];
    fleet.kubectl("member-2").run(&["create", "namespace", "late"]);
    place(hub, "late", &Value::Null, &two);
    complete_on(hub, &late, &["member-2"]);
    let unfulfilled = hub.get(&late).expect("it is there");
    assert_eq!(unfulfilled["status"]["conditions"][0]["reason"], "SchedulingPolicyUnfulfilled");
    place(hub, "late", &json!({ "placementType": "PickAll" }), &two);
    let full =
        hub.wait_for("two are picked", &late, |found| crate::look::clusters(found).len() == 2);
    // Who was picked before stays; the other one is whose namespace was told of first.
    let picked = crate::look::clusters(&full);
    assert!(picked.contains(&"member-2"), "{picked:?}");
    complete_on(hub, &late, &picked);
    for name in MEMBERS {
        let map = fleet.kubectl(name).get(&["-n", "late", "configmap", "settings"]);
        assert_eq!(map.is_some(), picked.contains(&name), "{name} of {picked:?}");
    }
}
