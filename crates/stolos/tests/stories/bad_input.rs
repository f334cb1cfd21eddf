//! Mistakes get an answer that names them, and change nothing.

use crate::backend::Up;

#[test]
fn an_invalid_placement_is_refused_by_field() {
    let Some(up) = Up::start(1) else { return };
    let hub = up.kubectl("hub");
    let wrong = r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata:
  name: wrong
spec:
  resourceSelectors:
  - group: ""
    version: v1
    kind: Namespace
    name: web
  policy:
    placementType: PickSome
"#;
    let output = hub.with_input(&["create", "-f", "-"], wrong);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        stderr.contains("spec.policy.placementType") && stderr.contains("Unsupported value"),
        "{stderr}"
    );
    assert!(hub.get(&["clusterresourceplacement", "wrong"]).is_none());
}

#[test]
fn rules_of_a_placement_hold_across_fields_and_updates() {
    let Some(up) = Up::start(1) else { return };
    let hub = up.kubectl("hub");
    let placement = |policy: &str| {
        format!(
            "apiVersion: placement.kubernetes-fleet.io/v1beta1\nkind: ClusterResourcePlacement\nmetadata:\n  name: web\nspec:\n  resourceSelectors:\n  - group: \"\"\n    version: v1\n    kind: Namespace\n    name: web\n  policy: {policy}\n"
        )
    };
    let refused = hub.with_input(&["create", "-f", "-"], &placement("{placementType: PickN}"));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        stderr.contains("numberOfClusters must be set when placementType is PickN"),
        "{stderr}"
    );
    hub.apply(&placement("{placementType: PickN, numberOfClusters: 1}"));
    let changed = hub.with_input(&["apply", "-f", "-"], &placement("{placementType: PickAll}"));
    let stderr = String::from_utf8_lossy(&changed.stderr);
    assert!(stderr.contains("placement type is immutable"), "{stderr}");
    let kept = hub.get(&["crp", "web"]).expect("the placement is there");
    assert_eq!(kept["spec"]["policy"]["placementType"], "PickN");
}

#[test]
fn an_invalid_update_run_is_refused_by_field() {
    let Some(up) = Up::start(1) else { return };
    let hub = up.kubectl("hub");
    let wrong = r"
apiVersion: fleet.stolos.dev/v1alpha1
kind: UpdateRun
metadata:
  name: local.wrong
  namespace: default
spec:
  fleetName: local
  managedClusterUpdate:
    upgrade:
      type: Full
";
    let output = hub.with_input(&["create", "-f", "-"], wrong);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("kubernetesVersion is required for the types Full and ControlPlaneOnly"),
        "{stderr}"
    );
    assert!(stderr.contains("spec.managedClusterUpdate.upgrade"), "{stderr}");
}

#[test]
fn an_invalid_definition_and_an_unknown_kind_are_refused() {
    let Some(up) = Up::start(1) else { return };
    let hub = up.kubectl("hub");
    let wrong = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {properties: {size: {type: integer}}}
";
    let output = hub.with_input(&["create", "-f", "-"], wrong);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("openAPIV3Schema.properties[spec].type"), "{stderr}");
    let unknown = hub.with_input(
        &["create", "-f", "-"],
        "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n",
    );
    let stderr = String::from_utf8_lossy(&unknown.stderr);
    assert!(stderr.contains("no matches for kind \"Nothing\""), "{stderr}");
}
