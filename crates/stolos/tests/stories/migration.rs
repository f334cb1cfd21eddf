//! Stolos in the place of KubeFleet: it is started on the hub and beside the members that KubeFleet left, and nothing on any
//! member changes. On both backends.

use serde_json::{Value, json};

use crate::backend::{Backend, Processes};
use crate::kubectl::Kubectl;
use crate::kubefleet::{self, Overrides, Placement};
use crate::look::{complete_on, conditions};

#[test]
fn a_hub_of_kubefleet_is_taken_over_in_place_embedded() {
    story(Backend::Embedded);
}

#[test]
fn a_hub_of_kubefleet_is_taken_over_in_place_kubernetes() {
    story(Backend::Kubernetes);
}

const MEMBERS: [&str; 2] = ["member-1", "member-2"];

/// What the placement of the cluster selects.
const SHOP: [&[&str]; 5] = [
    &["namespace", "shop"],
    &["-n", "shop", "configmap", "settings"],
    &["clusterrole", "shop-reader"],
    &["-n", "shop", "service", "web"],
    &["-n", "shop", "deployment", "web"],
];

/// What the placement of a namespace selects.
const TEAM: [&[&str]; 1] = [&["-n", "team", "configmap", "settings"]];

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 2) else { return };
    fleet.install(2);
    let hub = fleet.kubectl("hub");
    sources(&hub);
    for name in MEMBERS {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "fleet-system" },
        });
        hub.apply(&account.to_string());
        kubefleet::joined(&hub, name);
    }
    let selector = |kind: &str, name: &str| json!({ "group": "", "version": "v1", "kind": kind, "name": name });
    let role = json!({
        "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole", "name": "shop-reader",
    });
    let shop = Placement {
        namespace: None,
        name: "shop",
        selectors: json!([selector("Namespace", "shop"), role]),
        policy: json!({ "placementType": "PickAll" }),
        members: &MEMBERS,
        objects: &SHOP,
        envelopes: &[],
        overrides: Overrides::NONE,
    };
    shop.put(&hub, |name| fleet.kubectl(name));
    let team = Placement {
        namespace: Some("team"),
        name: "content",
        selectors: json!([selector("ConfigMap", "settings")]),
        policy: json!({ "placementType": "PickN", "numberOfClusters": 1 }),
        members: &MEMBERS[1..],
        objects: &TEAM,
        envelopes: &[],
        overrides: Overrides::NONE,
    };
    fleet.kubectl("member-2").run(&["create", "namespace", "team"]);
    team.put(&hub, |name| fleet.kubectl(name));
    for name in MEMBERS {
        fleet.kubectl(name).wait_for("the Deployment serves", SHOP[4], |found| {
            found["status"]["availableReplicas"] == 1
        });
    }
    let before = (on_members(&fleet), on_hub(&hub));

    // Stolos starts in KubeFleet's place, first on the hub; the members have been silent for long.
    fleet.start_hub(&[]);
    for name in MEMBERS {
        fleet.start_agent(name);
    }
    for (member, record) in
        [("member-1", "shop-work"), ("member-2", "shop-work"), ("member-2", "team.content-work")]
    {
        fleet.kubectl(member).wait_for(
            "the record is taken over",
            &["appliedwork", record],
            |found| found["metadata"]["annotations"]["fleet.stolos.dev/work-generation"] == "1",
        );
    }
    // Whatever is made after that is everywhere, so everything before was looked at.
    hub.run(&["create", "clusterrole", "later", "--verb=get", "--resource=secrets"]);
    hub.apply(
        r"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata: {name: later}
spec:
  resourceSelectors:
  - {group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: later}
",
    );
    complete_on(&hub, &["crp", "later"], &MEMBERS);
    hub.run(&["delete", "crp", "later", "--timeout=60s"]);
    complete_on(&hub, &["crp", "shop"], &MEMBERS);
    complete_on(&hub, &["-n", "team", "rp", "content"], &MEMBERS[1..]);
    let after = (on_members(&fleet), on_hub(&hub));
    same("nothing on any member is written", &before.0, &after.0);
    same("nothing is decided anew", &before.1, &after.1);

    works_on(&fleet, &hub);
}

pub(crate) fn same(what: &str, before: &[(String, Value)], after: &[(String, Value)]) {
    let names =
        |seen: &[(String, Value)]| seen.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(after), names(before), "{what}");
    for (after, before) in after.iter().zip(before) {
        assert_eq!(after, before, "{what}");
    }
}

/// From here on they are placements like any other.
fn works_on(fleet: &Processes, hub: &Kubectl) {
    let green = r#"{"data":{"colour":"green"}}"#;
    for namespace in ["shop", "team"] {
        hub.run(&["-n", namespace, "patch", "configmap", "settings", "--type=merge", "-p", green]);
    }
    hub.run(&["-n", "shop", "delete", "service", "web"]);
    for name in MEMBERS {
        let member = fleet.kubectl(name);
        member.wait_for("the change arrives", SHOP[1], |map| map["data"]["colour"] == "green");
        member.wait_gone(SHOP[3]);
    }
    fleet
        .kubectl("member-2")
        .wait_for("the change arrives", TEAM[0], |map| map["data"]["colour"] == "green");
    let patch = r#"{"spec":{"policy":{"numberOfClusters":2}}}"#;
    hub.run(&["-n", "team", "patch", "rp", "content", "--type=merge", "-p", patch]);
    fleet.kubectl("member-1").run(&["create", "namespace", "team"]);
    complete_on(hub, &["-n", "team", "rp", "content"], &MEMBERS);
    complete_on(hub, &["crp", "shop"], &MEMBERS);
    hub.run(&["-n", "team", "delete", "rp", "content", "--timeout=60s"]);
    hub.run(&["delete", "crp", "shop", "--timeout=60s"]);
    for name in MEMBERS {
        let member = fleet.kubectl(name);
        for object in [SHOP[0], SHOP[2], TEAM[0]] {
            member.wait_gone(object);
        }
        assert!(member.get(&["namespace", "team"]).is_some(), "nobody placed it");
    }
    // A member that KubeFleet joined leaves like any other.
    hub.run(&["delete", "membercluster", "member-1", "--timeout=60s"]);
    hub.wait_gone(&["namespace", "fleet-member-member-1"]);
}

fn sources(hub: &Kubectl) {
    for namespace in ["shop", "team"] {
        hub.run(&["create", "namespace", namespace]);
        let settings = ["create", "configmap", "settings", "--from-literal=colour=<blue>"];
        hub.run(&[&["-n", namespace][..], &settings].concat());
    }
    hub.run(&["-n", "shop", "create", "deployment", "web", "--image=web:1"]);
    hub.run(&["-n", "shop", "create", "service", "clusterip", "web", "--tcp=80"]);
    hub.run(&["create", "clusterrole", "shop-reader", "--verb=get", "--resource=configmaps"]);
}

/// Returns what tells of a write: name, uid and resource version of everything placed on the members.
fn on_members(fleet: &Processes) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    for name in MEMBERS {
        let member = fleet.kubectl(name);
        let team = if name == "member-2" { &TEAM[..] } else { &[] };
        for object in SHOP.iter().chain(team) {
            let found = member.get(object).unwrap_or_else(|| panic!("{object:?} is on {name}"));
            let metadata = &found["metadata"];
            let version =
                json!([metadata["uid"], metadata["resourceVersion"], metadata["annotations"]]);
            seen.push((format!("{name}: {}", object.join(" ")), version));
        }
    }
    seen
}

/// Returns what was decided: name, uid and generation of snapshots, bindings and Works, and the conditions of the placements
/// with the time of their last change.
fn on_hub(hub: &Kubectl) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    for kind in [
        "clusterschedulingpolicysnapshots",
        "clusterresourcesnapshots",
        "clusterresourcebindings",
        "schedulingpolicysnapshots",
        "resourcesnapshots",
        "resourcebindings",
        "works",
    ] {
        let list = hub.get(&[kind, "-A"]).expect("they can be listed");
        for object in list["items"].as_array().into_iter().flatten() {
            let metadata = &object["metadata"];
            if metadata["deletionTimestamp"].is_null() {
                let state = json!([metadata["uid"], metadata["generation"]]);
                seen.push((
                    format!("{kind} {} {}", metadata["namespace"], metadata["name"]),
                    state,
                ));
            }
        }
    }
    for placement in [&["crp", "shop"][..], &["-n", "team", "rp", "content"]] {
        let found = hub.get(placement).expect("it is there");
        let status = &found["status"];
        let times: Vec<_> = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| condition["lastTransitionTime"].clone())
            .collect();
        let told = json!([conditions(&found), times, status["observedResourceIndex"]]);
        seen.push((placement.join(" "), told));
    }
    seen
}
