//! Stolos in the place of KubeFleet where overrides of both scopes and envelopes of both kinds are in force: nothing on any
//! member changes. On both backends.

use serde_json::{Value, json};

use crate::backend::{Backend, Processes};
use crate::kubectl::Kubectl;
use crate::kubefleet::{self, Envelope, Overrides, Placement, put, put_override};
use crate::look::{complete_on, conditions};
use crate::migration::same;

#[test]
fn overrides_and_envelopes_of_kubefleet_are_taken_over_in_place_embedded() {
    story(Backend::Embedded);
}

#[test]
fn overrides_and_envelopes_of_kubefleet_are_taken_over_in_place_kubernetes() {
    story(Backend::Kubernetes);
}

const MEMBERS: [&str; 2] = ["member-1", "member-2"];
const SHOP: [&str; 2] = ["crp", "shop"];

/// What is placed, by the Work that brings it.
const PLACED: [(&str, &[&[&str]]); 3] = [
    ("shop-work", &[&["namespace", "shop"], &["-n", "shop", "configmap", "settings"]]),
    ("shop-work-envelope-44a57edaa9bf59f8", &[WRAPPED]),
    ("shop-work-envelope-10e78d0b14ec8cfc", &[&["clusterrole", "wrapped-reader"]]),
];
const SETTINGS: &[&str] = &["-n", "shop", "configmap", "settings"];
const WRAPPED: &[&str] = &["-n", "shop", "configmap", "wrapped"];

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 2) else { return };
    fleet.install(2);
    let hub = fleet.kubectl("hub");
    for name in MEMBERS {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "fleet-system" },
        });
        hub.apply(&account.to_string());
        kubefleet::joined(&hub, name);
    }
    left_by_kubefleet(&fleet, &hub);
    let before = (on_members(&fleet), on_hub(&hub));

    fleet.start_hub(&[]);
    for name in MEMBERS {
        fleet.start_agent(name);
    }
    for name in MEMBERS {
        for (record, _) in PLACED {
            fleet.kubectl(name).wait_for(
                "the record is taken over",
                &["appliedwork", record],
                |found| found["metadata"]["annotations"]["fleet.stolos.dev/work-generation"] == "1",
            );
        }
    }
    // Whatever is made after that is everywhere, so everything before was looked at; an override of its own is in force too.
    later(&hub);
    complete_on(&hub, &SHOP, &MEMBERS);
    let after = (on_members(&fleet), on_hub(&hub));
    same("nothing on any member is written", &before.0, &after.0);
    same("nothing is decided anew", &before.1, &after.1);
    works_on(&fleet, &hub);
}

/// Changes an object as the overrides do: the nearer one comes last.
fn vary(member: &str, object: &mut Value) {
    if object["metadata"]["namespace"] == "shop" || object["kind"] == "Namespace" {
        object["metadata"]["annotations"] = json!({ "example.com/on": member });
    }
    if object["metadata"]["name"] == "settings" && member == "member-2" {
        object["data"]["colour"] = json!("green");
    }
    if object["metadata"]["name"] == "wrapped" {
        object["data"]["k"] = json!("changed");
    }
}

fn rule(terms: &Value, patch: &Value) -> Value {
    json!({ "clusterSelector": { "clusterSelectorTerms": terms }, "overrideType": "JSONPatch", "jsonPatchOverrides": [patch] })
}

fn of_map(name: &str, terms: &Value, patch: &Value) -> Value {
    json!({
        "placement": { "name": "shop", "scope": "Cluster" },
        "resourceSelectors": [{ "group": "", "version": "v1", "kind": "ConfigMap", "name": name }],
        "policy": { "overrideRules": [rule(terms, patch)] },
    })
}

fn left_by_kubefleet(fleet: &Processes, hub: &Kubectl) {
    hub.run(&["create", "namespace", "shop"]);
    hub.run(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=blue"]);
    let envelope = |kind: &str, name: &str, manifest: Value| {
        json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": kind,
            "metadata": { "name": name }, "data": { "one.yaml": manifest },
        })
    };
    let mut boxed = envelope(
        "ResourceEnvelope",
        "box",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "wrapped", "namespace": "shop" },
            "data": { "k": "v" },
        }),
    );
    boxed["metadata"]["namespace"] = json!("shop");
    put(hub, boxed);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "wrapped-reader" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }],
    });
    put(hub, envelope("ClusterResourceEnvelope", "roles", role));

    let everywhere = json!([]);
    let on = json!({
        "op": "add", "path": "/metadata/annotations", "value": { "example.com/on": "${MEMBER-CLUSTER-NAME}" },
    });
    let layers = json!({
        "placement": { "name": "shop", "scope": "Cluster" },
        "clusterResourceSelectors": [{ "group": "", "version": "v1", "kind": "Namespace", "name": "shop" }],
        "policy": { "overrideRules": [rule(&everywhere, &on)] },
    });
    put_override(hub, None, "layers", &layers);
    let second = json!([{ "labelSelector": { "matchLabels": { "kubernetes-fleet.io/member-name": "member-2" } } }]);
    let green = json!({ "op": "replace", "path": "/data/colour", "value": "green" });
    put_override(hub, Some("shop"), "colour", &of_map("settings", &second, &green));
    let changed = json!({ "op": "replace", "path": "/data/k", "value": "changed" });
    put_override(hub, Some("shop"), "wrapped", &of_map("wrapped", &everywhere, &changed));

    let group = "placement.kubernetes-fleet.io";
    // An override is in force for every member that one of its rules is for.
    let both = [("shop", "colour-0"), ("shop", "wrapped-0")];
    for (name, own, own_hash) in [
        (
            "member-1",
            &both[1..],
            "87a907bbb6bd857f348417318c4694a6d6f909093d87b66ba6db874fd2e1e1fa",
        ),
        ("member-2", &both[..], "6e7a1d118fe3f84b0c4a198fd6f7558b4ed97b97b27de1736ddb027c8e0fde3f"),
    ] {
        let placement = Placement {
            namespace: None,
            name: "shop",
            selectors: json!([
                { "group": "", "version": "v1", "kind": "Namespace", "name": "shop" },
                { "group": group, "version": "v1beta1", "kind": "ClusterResourceEnvelope", "name": "roles" },
            ]),
            policy: json!({ "placementType": "PickAll" }),
            members: &MEMBERS,
            objects: &[
                &["namespace", "shop"],
                SETTINGS,
                &["clusterresourceenvelope", "roles"],
                &["-n", "shop", "resourceenvelope", "box"],
            ],
            envelopes: &[
                Envelope {
                    kind: "ResourceEnvelope",
                    namespace: "shop",
                    name: "box",
                    digest: "44a57edaa9bf59f8",
                },
                Envelope {
                    kind: "ClusterResourceEnvelope",
                    namespace: "",
                    name: "roles",
                    digest: "10e78d0b14ec8cfc",
                },
            ],
            overrides: Overrides {
                cluster: &["layers-0"],
                cluster_hash: "5669b7a2949c1a26fa54f043903530812334913e0ac351473ebd41d9618f9257",
                own,
                own_hash,
                vary,
            },
        };
        if name == "member-1" {
            placement.put_decisions(hub);
        }
        placement.put_on(hub, name, &fleet.kubectl(name));
    }
}

/// Places something else, and waits until it is there.
fn later(hub: &Kubectl) {
    hub.run(&["create", "clusterrole", "later", "--verb=get", "--resource=secrets"]);
    hub.apply(
        r"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata: {name: later}
spec:
  resourceSelectors:
  - {group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: later}
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourceOverride
metadata: {name: later}
spec:
  placement: {name: later}
  clusterResourceSelectors: [{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: later}]
  policy:
    overrideRules:
    - clusterSelector: {clusterSelectorTerms: []}
      jsonPatchOverrides: [{op: add, path: /metadata/labels, value: {on: member}}]
",
    );
    complete_on(hub, &["crp", "later"], &MEMBERS);
    hub.run(&["delete", "crp", "later", "--timeout=60s"]);
    hub.run(&["delete", "clusterresourceoverride", "later", "--timeout=60s"]);
}

/// Returns what tells of a write: everything but the managers of everything that is placed.
fn on_members(fleet: &Processes) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    for name in MEMBERS {
        for object in PLACED.into_iter().flat_map(|(_, objects)| objects) {
            let found = fleet.kubectl(name).get(object);
            let found = found.unwrap_or_else(|| panic!("{object:?} is on {name}"));
            seen.push((format!("{name}: {}", object.join(" ")), found));
        }
    }
    seen
}

/// Returns what was decided: snapshots, bindings and Works by uid and generation, and what the placement tells.
fn on_hub(hub: &Kubectl) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    for kind in [
        "clusterresourcesnapshots",
        "clusterresourcebindings",
        "clusterresourceoverridesnapshots",
        "resourceoverridesnapshots",
        "works",
    ] {
        let list = hub.get(&[kind, "-A"]).expect("they can be listed");
        for object in list["items"].as_array().into_iter().flatten() {
            let metadata = &object["metadata"];
            let is_later = metadata["name"].as_str().is_some_and(|name| name.starts_with("later"));
            if metadata["deletionTimestamp"].is_null() && !is_later {
                let state = json!([metadata["uid"], metadata["generation"], metadata["labels"]]);
                seen.push((
                    format!("{kind} {} {}", metadata["namespace"], metadata["name"]),
                    state,
                ));
            }
        }
    }
    let found = hub.get(&SHOP).expect("it is there");
    seen.push((
        "crp shop".to_owned(),
        json!([conditions(&found), found["status"]["observedResourceIndex"]]),
    ));
    seen
}

/// From here on they are overrides and envelopes like any other.
fn works_on(fleet: &Processes, hub: &Kubectl) {
    let (first, second) = (fleet.kubectl("member-1"), fleet.kubectl("member-2"));
    let red = r#"[{"op":"replace","path":"/spec/policy/overrideRules/0/jsonPatchOverrides/0/value","value":"red"}]"#;
    hub.run(&["-n", "shop", "patch", "resourceoverride", "colour", "--type=json", "-p", red]);
    second.wait_for("the override follows", SETTINGS, |map| map["data"]["colour"] == "red");
    let wrapped = r#"{"data":{"one.yaml":{"data":{"more":"yes"}}}}"#;
    hub.run(&["-n", "shop", "patch", "resourceenvelope", "box", "--type=merge", "-p", wrapped]);
    for member in [&first, &second] {
        let found =
            member.wait_for("the envelope follows", WRAPPED, |map| map["data"]["more"] == "yes");
        assert_eq!(found["data"]["k"], "changed", "the override is still in force");
    }
    hub.run(&["-n", "shop", "delete", "resourceoverride", "colour", "wrapped", "--timeout=60s"]);
    hub.run(&["delete", "clusterresourceoverride", "layers", "--timeout=60s"]);
    for member in [&first, &second] {
        member.wait_for("the overrides are gone", SETTINGS, |map| {
            map["data"]["colour"] == "blue"
                && map["metadata"]["annotations"]["example.com/on"].is_null()
        });
        member.wait_for("the overrides are gone", WRAPPED, |map| map["data"]["k"] == "v");
    }
    complete_on(hub, &SHOP, &MEMBERS);
    hub.run(&["delete", "crp", "shop", "--timeout=60s"]);
    for member in [&first, &second] {
        for object in PLACED.into_iter().flat_map(|(_, objects)| objects) {
            member.wait_gone(object);
        }
    }
}
