//! A placement from the user's manifests to the members and back, on both backends.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::kubectl::Kubectl;

#[test]
fn a_placement_goes_out_follows_its_source_and_is_withdrawn_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    story(&fleet);
}

#[test]
fn a_placement_goes_out_follows_its_source_and_is_withdrawn_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    story(&fleet);
}

const MEMBERS: [&str; 3] = ["member-1", "member-2", "member-3"];

fn story(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let members = MEMBERS.map(|name| fleet.kubectl(name));
    sources(&hub);
    // A foreign object in a namespace of the same name, which no placement may touch.
    members[0].run(&["create", "namespace", "shop"]);
    members[0].run(&["-n", "shop", "create", "configmap", "foreign", "--from-literal=of=member"]);

    hub.apply(&placement("{placementType: PickAll}"));
    for member in &members {
        arrives(member);
    }
    completes(&hub, 3);

    // A change of the source reaches every member.
    hub.run(&[
        "-n",
        "shop",
        "patch",
        "configmap",
        "settings",
        "--type=merge",
        "-p",
        r#"{"data":{"colour":"green"}}"#,
    ]);
    for member in &members {
        member.wait_for("the change arrives", &["-n", "shop", "configmap", "settings"], |map| {
            map["data"]["colour"] == "green"
        });
    }

    // Drift is put right.
    members[1].run(&["-n", "shop", "delete", "configmap", "settings"]);
    members[1].wait_for(
        "the deleted object is back",
        &["-n", "shop", "configmap", "settings"],
        |map| map["data"]["colour"] == "green",
    );

    // An object that leaves the source leaves the members, and nothing else does.
    hub.run(&["-n", "shop", "delete", "configmap", "extra"]);
    for member in &members {
        member.wait_gone(&["-n", "shop", "configmap", "extra"]);
        assert!(member.get(&["-n", "shop", "configmap", "settings"]).is_some());
    }

    // The placement goes, and takes what it placed.
    hub.run(&["delete", "clusterresourceplacement", "shop", "--timeout=60s"]);
    for member in &members {
        member.wait_gone(&["-n", "shop", "configmap", "settings"]);
        member.wait_gone(&["clusterrole", "shop-reader"]);
    }
    assert!(hub.get(&["-n", "shop", "configmap", "settings"]).is_some(), "the source stays");
}

#[test]
fn narrowing_a_placement_withdraws_from_the_others_only_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    narrowing(&fleet);
}

fn narrowing(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    sources(&hub);
    hub.apply(&placement("{placementType: PickN, numberOfClusters: 3}"));
    for name in MEMBERS {
        arrives(&fleet.kubectl(name));
    }
    completes(&hub, 3);
    hub.apply(&placement("{placementType: PickN, numberOfClusters: 2}"));
    // Of equal scores the smaller name goes first.
    fleet.kubectl("member-1").wait_gone(&["-n", "shop", "configmap", "settings"]);
    completes(&hub, 2);
    for name in ["member-2", "member-3"] {
        assert!(
            fleet.kubectl(name).get(&["-n", "shop", "configmap", "settings"]).is_some(),
            "{name} keeps it"
        );
    }
}

#[test]
fn preferred_and_required_labels_decide_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    let hub = fleet.kubectl("hub");
    sources(&hub);
    hub.apply(&placement(
        r"
    placementType: PickN
    numberOfClusters: 1
    affinity:
      clusterAffinity:
        preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 50
          preference: {labelSelector: {matchLabels: {fleet.azure.com/member-name: member-2}}}",
    ));
    arrives(&fleet.kubectl("member-2"));
    let placed = completes(&hub, 1);
    assert_eq!(placed["status"]["placementStatuses"][0]["clusterName"], "member-2");
    for name in ["member-1", "member-3"] {
        assert!(fleet.kubectl(name).get(&["namespace", "shop"]).is_none(), "{name} was not picked");
    }
}

#[test]
fn members_keep_what_they_run_while_the_hub_is_down_embedded() {
    let Some(Fleet::Embedded(mut up)) = Fleet::embedded(1) else { return };
    let hub = up.kubectl("hub");
    sources(&hub);
    hub.apply(&placement("{placementType: PickAll}"));
    arrives(&up.kubectl("member-1"));
    completes(&hub, 1);
    let before =
        up.kubectl("member-1").get(&["-n", "shop", "deployment", "web"]).expect("it is there");
    up.kill();
    up.restart();
    completes(&up.kubectl("hub"), 1);
    let after =
        up.kubectl("member-1").get(&["-n", "shop", "deployment", "web"]).expect("it is there");
    assert_eq!(
        before["metadata"]["uid"], after["metadata"]["uid"],
        "the same object, never removed"
    );
    assert_eq!(
        before["metadata"]["generation"], after["metadata"]["generation"],
        "and never changed"
    );
}

fn sources(hub: &Kubectl) {
    hub.run(&["create", "namespace", "shop"]);
    hub.run(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=blue"]);
    hub.run(&["-n", "shop", "create", "configmap", "extra", "--from-literal=k=v"]);
    hub.run(&["-n", "shop", "create", "deployment", "web", "--image=nginx", "--replicas=2"]);
    hub.run(&["create", "clusterrole", "shop-reader", "--verb=get", "--resource=configmaps"]);
}

fn placement(policy: &str) -> String {
    format!(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata:
  name: shop
spec:
  resourceSelectors:
  - {{group: "", version: v1, kind: Namespace, name: shop}}
  - {{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: shop-reader}}
  policy: {policy}
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxUnavailable: 100%, unavailablePeriodSeconds: 1}}}}
"#
    )
}

/// Waits until everything is on a member, serves, and names its owner.
fn arrives(member: &Kubectl) {
    let deployment = member.wait_for(
        "the Deployment serves",
        &["-n", "shop", "deployment", "web"],
        |deployment| deployment["status"]["availableReplicas"] == 2,
    );
    let owners = deployment["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    assert!(owners.iter().any(|owner| owner["kind"] == "AppliedWork"), "{owners:?}");
    member.wait_for("the ConfigMap arrives", &["-n", "shop", "configmap", "settings"], |map| {
        map["data"]["colour"] == "blue"
    });
    member.wait_for("the ClusterRole arrives", &["clusterrole", "shop-reader"], |role| {
        !role.is_null()
    });
}

/// Waits until the placement says that it is available on so many members at its present generation.
fn completes(hub: &Kubectl, n: usize) -> Value {
    hub.wait_for(
        &format!("the placement is available on {n} members"),
        &["crp", "shop"],
        |placement| {
            let generation = &placement["metadata"]["generation"];
            let conditions =
                placement["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let holds = |kind: &str| {
                let name = json!(format!("ClusterResourcePlacement{kind}"));
                conditions.iter().any(|c| {
                    c["type"] == name
                        && c["status"] == "True"
                        && &c["observedGeneration"] == generation
                })
            };
            let members = placement["status"]["placementStatuses"].as_array().map_or(0, Vec::len);
            members == n
                && ["Scheduled", "RolloutStarted", "WorkSynchronized", "Applied", "Available"]
                    .into_iter()
                    .all(holds)
        },
    )
}
