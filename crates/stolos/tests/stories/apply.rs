//! How placements write to members, as their authors see it with kubectl. On real API servers these run with those of `strategies.rs`.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::kubectl::Kubectl;

#[test]
fn drift_differences_and_take_over_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    drift_and_differences(&fleet);
}

#[test]
fn envelopes_and_what_stays_behind_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    envelopes(&fleet);
}

fn placement(strategy: &str) -> String {
    format!(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {{name: shop}}
spec:
  resourceSelectors:
  - {{group: "", version: v1, kind: Namespace, name: shop}}
  strategy:
    rollingUpdate: {{maxUnavailable: 100%, unavailablePeriodSeconds: 1}}
{strategy}
"#
    )
}

const SETTINGS: [&str; 4] = ["-n", "shop", "configmap", "settings"];

pub(crate) fn drift_and_differences(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    for cluster in [&hub, &member] {
        cluster.run(&["create", "namespace", "shop"]);
    }
    hub.run(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=blue"]);
    member.run(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=red"]);

    // Somebody else's object that differs is not taken over, and it is said how it differs.
    hub.apply(&placement("    applyStrategy: {whenToTakeOver: IfNoDiff}"));
    let placed = says(&hub, "Applied", "False", "NotAllWorkHaveBeenApplied");
    assert_eq!(placed["failedPlacements"][0]["condition"]["reason"], "FailedToTakeOver");
    assert_eq!(
        placed["diffedPlacements"][0]["observedDiffs"],
        json!([{"path": "/data/colour", "valueInHub": "blue", "valueInMember": "red"}])
    );
    assert!(member.get(&SETTINGS).expect("it is there")["metadata"]["ownerReferences"].is_null());

    // Comparing alone says the same, and nothing is written.
    hub.apply(&placement("    applyStrategy: {type: ReportDiff, whenToTakeOver: Never}"));
    let placed = says(&hub, "DiffReported", "True", "AllWorkHaveDiffReported");
    assert_eq!(placed["diffedPlacements"][0]["observedDiffs"][0]["valueInMember"], "red");

    hub.apply(&placement("    applyStrategy: {type: ClientSideApply, whenToApply: IfNotDrifted}"));
    says(&hub, "Available", "True", "AllWorkAreAvailable");
    let taken = member.get(&SETTINGS).expect("it is there");
    assert_eq!(taken["data"]["colour"], "blue");
    assert_eq!(taken["metadata"]["ownerReferences"][0]["name"], "shop-work");
    let annotations = &taken["metadata"]["annotations"];
    assert!(annotations["kubernetes-fleet.io/last-applied-configuration"].is_string());

    // A change on the member stays, and is reported until somebody decides.
    let patch = r#"{"data":{"colour":"green"}}"#;
    member.run(&["-n", "shop", "patch", "configmap", "settings", "--type=merge", "-p", patch]);
    let placed = says(&hub, "Applied", "False", "NotAllWorkHaveBeenApplied");
    assert_eq!(placed["failedPlacements"][0]["condition"]["reason"], "FoundDrifts");
    assert_eq!(
        placed["driftedPlacements"][0]["observedDrifts"],
        json!([{"path": "/data/colour", "valueInHub": "blue", "valueInMember": "green"}])
    );
    hub.apply(&placement("    applyStrategy: {type: ServerSideApply, serverSideApplyConfig: {force: true}, whenToApply: Always}"));
    says(&hub, "Available", "True", "AllWorkAreAvailable");
    member.wait_for("the change is put right", &SETTINGS, |map| map["data"]["colour"] == "blue");
}

pub(crate) fn envelopes(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    hub.run(&["create", "namespace", "shop"]);
    // On the hub a quota in an envelope binds nobody.
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourceEnvelope
metadata: {name: limits, namespace: shop}
data:
  quota.yaml:
    apiVersion: v1
    kind: ResourceQuota
    metadata: {name: small, namespace: shop}
    spec: {hard: {pods: "3"}}
  odd.yaml:
    apiVersion: example.com/v1
    kind: Odd
    metadata: {name: odd, namespace: shop}
"#,
    );
    hub.apply(&placement("    deleteStrategy: {propagationPolicy: Abandon}"));
    // The quota may have come before its namespace, which another Work brings; it is tried again.
    let placed = hub.wait_for("only the odd one fails", &["crp", "shop"], |placement| {
        let failed = &placement["status"]["placementStatuses"][0]["failedPlacements"];
        failed.as_array().is_some_and(|failed| failed.len() == 1 && failed[0]["kind"] == "Odd")
    });
    let failed = &placed["status"]["placementStatuses"][0]["failedPlacements"][0];
    assert_eq!(failed["condition"]["reason"], "DecodingErred");
    assert_eq!(
        failed["envelope"],
        json!({"name": "limits", "namespace": "shop", "type": "ResourceEnvelope"})
    );
    let quota = ["-n", "shop", "resourcequota", "small"];
    member.wait_for("the quota is there", &quota, |quota| quota["spec"]["hard"]["pods"] == "3");
    assert!(hub.get(&quota).is_none());
    assert!(member.get(&["-n", "shop", "resourceenvelope", "limits"]).is_none());

    let patch = r#"[{"op":"remove","path":"/data/odd.yaml"}]"#;
    hub.run(&["-n", "shop", "patch", "resourceenvelope", "limits", "--type=json", "-p", patch]);
    says(&hub, "Available", "True", "AllWorkAreAvailable");

    // The placement goes; what it placed stays, and is nobody's.
    hub.run(&["delete", "crp", "shop", "--timeout=60s"]);
    member.wait_gone(&["appliedwork", "shop-work"]);
    let kept = member.get(&quota).expect("it stays");
    assert!(kept["metadata"]["ownerReferences"].is_null(), "{kept}");
}

/// Waits until the placement says this last of its only member, at its present generation; returns what it says of it.
fn says(hub: &Kubectl, type_: &str, status: &str, reason: &str) -> Value {
    let what = format!("the placement says {type_} {status} {reason}");
    let placement = hub.wait_for(&what, &["crp", "shop"], |placement| {
        let generation = &placement["metadata"]["generation"];
        let last = placement["status"]["placementStatuses"][0]["conditions"]
            .as_array()
            .and_then(|conditions| conditions.last());
        last.is_some_and(|last| {
            last["type"] == type_
                && last["status"] == status
                && last["reason"] == reason
                && &last["observedGeneration"] == generation
        })
    });
    placement["status"]["placementStatuses"][0].clone()
}
