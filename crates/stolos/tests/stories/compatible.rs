//! What users of KubeFleet bring: their manifests, and what they expect to be refused or shown.

use serde_json::Value;

use crate::backend::Fleet;
use crate::kubectl::{Kubectl, wait_until};

#[test]
fn a_namespace_is_placed_object_by_object_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    resource_placement(&fleet);
}

/// A fleet of real API servers takes long to start, so one is for all.
#[test]
fn what_users_of_kubefleet_bring_works_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    resource_placement(&fleet);
    refusals(&fleet);
    inventory(&fleet);
}

/// The namespace goes out bare; its owner then places what is in it, on as many members as it takes.
fn resource_placement(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "team"]);
    hub.run(&["-n", "team", "create", "configmap", "settings", "--from-literal=colour=blue"]);
    hub.run(&["-n", "team", "create", "configmap", "private", "--from-literal=k=v"]);
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {name: team}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: Namespace, name: team, selectionScope: NamespaceOnly}
  statusReportingScope: NamespaceAccessible
"#,
    );
    completes(&hub, &["crp", "team"], 2);
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: settings, namespace: team}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: ConfigMap, name: settings}
  policy: {placementType: PickN, numberOfClusters: 1}
"#,
    );
    completes(&hub, &["-n", "team", "rp", "settings"], 1);
    let (first, second) = (fleet.kubectl("member-1"), fleet.kubectl("member-2"));
    let settings = ["-n", "team", "configmap", "settings"];
    second.wait_for("the object arrives", &settings, |map| map["data"]["colour"] == "blue");
    assert!(first.get(&settings).is_none(), "of equal scores the greater name wins");
    assert!(first.get(&["namespace", "team"]).is_some());
    for member in [&first, &second] {
        assert!(member.get(&["-n", "team", "configmap", "private"]).is_none());
    }

    // Whoever may look into the namespace sees how far the placement got.
    let copy =
        hub.wait_for("the status is in the namespace", &["-n", "team", "crps", "team"], |copy| {
            copy["sourceStatus"]["placementStatuses"].as_array().is_some_and(|all| all.len() == 2)
        });
    assert_eq!(copy["sourceStatus"]["observedResourceIndex"], "0");
    let told = hub.wait_for("the namespace's events tell", &["-n", "team", "events"], |events| {
        let events = events["items"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event["reason"] == "PlacementRolloutCompleted")
    });
    assert!(told["items"].as_array().is_some_and(|events| !events.is_empty()));

    hub.run(&["-n", "team", "delete", "rp", "settings", "--timeout=60s"]);
    second.wait_gone(&settings);
    assert!(second.get(&["namespace", "team"]).is_some(), "the other placement keeps it");
    assert!(hub.get(&settings).is_some(), "the source stays");
}

fn completes(hub: &Kubectl, placement: &[&str], n: usize) {
    hub.wait_for(&format!("{placement:?} is available on {n} members"), placement, |placement| {
        let generation = &placement["metadata"]["generation"];
        let conditions = placement["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_available = conditions.iter().any(|c| {
            c["type"].as_str().is_some_and(|type_| type_.ends_with("PlacementAvailable"))
                && c["status"] == "True"
                && &c["observedGeneration"] == generation
        });
        let members = placement["status"]["placementStatuses"].as_array().map_or(0, Vec::len);
        is_available && members == n
    });
}

#[test]
fn what_webhooks_refused_is_refused_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    refusals(&fleet);
}

fn refusals(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    for (manifest, want) in [
        (
            placement("{placementType: PickFixed, clusterNames: [a, a]}"),
            "deny create/update v1beta1 CRP has invalid fields: the placement policy field is invalid: clusterNames must be unique",
        ),
        (
            placement(
                "{affinity: {clusterAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {clusterSelectorTerms: [{propertySelector: {matchExpressions: [{name: a, operator: Gt, values: [\"2\"]}, {name: a, operator: Lt, values: [\"1\"]}]}}]}}}}",
            ),
            "no value of a property can meet all of its requirements",
        ),
        (
            placement("{tolerations: [{key: a/b/c}]}"),
            "the key of a toleration must be a qualified name",
        ),
        (
            changes("first", "{op: add, path: /metadata/name, value: x}"),
            "a JSON patch must not touch metadata other than annotations and labels",
        ),
    ] {
        refused(&hub, &manifest, want);
    }
    hub.apply(&changes("first", "{op: add, path: /rules/0/verbs/0, value: list}"));
    let second = changes("second", "{op: add, path: /rules/0/verbs/0, value: watch}");
    refused(&hub, &second, "has been selected by both second and first, which is not supported");
    hub.apply(&placement("{placementType: PickFixed, clusterNames: [member-1]}"));
    let eviction = "apiVersion: placement.kubernetes-fleet.io/v1beta1\nkind: ClusterResourcePlacementEviction\nmetadata: {name: e}\nspec: {placementName: web, clusterName: member-1}\n";
    refused(&hub, eviction, "policy type PickFixed is not supported");
    // What leaves the spec alone is never refused.
    hub.run(&["label", "crp", "web", "some=label"]);
}

/// Waits until a manifest is refused with these words: a kube-apiserver takes a moment to heed a policy, or the objects
/// that it is held against.
fn refused(hub: &Kubectl, manifest: &str, want: &str) {
    wait_until(&format!("it is refused with `{want}`"), || {
        let output = hub.with_input(&["create", "--dry-run=server", "-f", "-"], manifest);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && stderr.contains(want) {
            Ok(())
        } else {
            Err(Value::from(stderr))
        }
    });
}

fn placement(policy: &str) -> String {
    format!(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {{name: web}}
spec:
  resourceSelectors:
  - {{group: "", version: v1, kind: Namespace, name: web}}
  policy: {policy}
"#
    )
}

fn changes(name: &str, patch: &str) -> String {
    format!(
        r"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourceOverride
metadata: {{name: {name}}}
spec:
  clusterResourceSelectors:
  - {{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: reader}}
  policy:
    overrideRules:
    - clusterSelector: {{clusterSelectorTerms: []}}
      jsonPatchOverrides: [{patch}]
"
    )
}

#[test]
fn members_can_be_read_from_the_cluster_inventory_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    inventory(&fleet);
}

fn inventory(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    for name in ["member-1", "member-2"] {
        let profile = ["-n", "fleet-system", "clusterprofile", name];
        let profile = hub.wait_for("the member is healthy", &profile, |profile| {
            let conditions =
                profile["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "ControlPlaneHealthy" && c["status"] == "True")
        });
        assert_eq!(profile["spec"]["clusterManager"]["name"], "KubeFleet");
        assert!(profile["status"]["version"]["kubernetes"].is_string(), "{profile}");
    }
}
