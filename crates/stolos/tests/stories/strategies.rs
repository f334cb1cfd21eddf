//! The parts of an apply strategy one by one, as they are seen on a member and in the status, on both backends.

use serde_json::{Value, json};

use crate::apply;
use crate::backend::Fleet;
use crate::kubectl::Kubectl;
use crate::look::{complete_on, says, says_on};

#[test]
fn fields_of_others_stay_and_conflicts_are_told_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    conflicts(&fleet);
}

#[test]
fn what_was_there_before_is_taken_over_as_the_strategy_says_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    take_over(&fleet);
}

#[test]
fn two_placements_never_share_an_object_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    one_owner(&fleet);
}

#[test]
fn differences_are_reported_and_nothing_is_written_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    report_only(&fleet);
}

#[test]
fn an_object_too_large_for_its_annotation_is_applied_all_the_same_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    large(&fleet);
}

/// A fleet of real API servers takes long to start, so one is for all.
#[test]
fn members_are_written_as_the_strategy_says_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(1) else { return };
    conflicts(&fleet);
    take_over(&fleet);
    one_owner(&fleet);
    report_only(&fleet);
    large(&fleet);
    apply::drift_and_differences(&fleet);
    let hub = fleet.kubectl("hub");
    hub.run(&["delete", "crp", "shop", "--timeout=60s"]);
    hub.run(&["delete", "namespace", "shop", "--timeout=60s"]);
    fleet.kubectl("member-1").wait_gone(&["namespace", "shop"]);
    apply::envelopes(&fleet);
}

/// Places a namespace and what is in it, under the name of the namespace.
fn place(hub: &Kubectl, name: &str, strategy: &str) {
    place_as(hub, name, name, strategy);
}

fn place_as(hub: &Kubectl, name: &str, namespace: &str, strategy: &str) {
    hub.apply(&format!(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {{name: {name}}}
spec:
  resourceSelectors:
  - {{group: "", version: v1, kind: Namespace, name: {namespace}}}
  strategy:
    rollingUpdate: {{maxUnavailable: 100%, unavailablePeriodSeconds: 1}}
    applyStrategy: {strategy}
"#
    ));
}

/// Creates a namespace with a ConfigMap `settings`.
fn source(cluster: &Kubectl, namespace: &str, colour: &str) {
    cluster.run(&["create", "namespace", namespace]);
    let literal = format!("--from-literal=colour={colour}");
    cluster.run(&["-n", namespace, "create", "configmap", "settings", &literal]);
}

fn paint(cluster: &Kubectl, namespace: &str, data: &Value) {
    let patch = json!({ "data": data }).to_string();
    cluster.run(&["-n", namespace, "patch", "configmap", "settings", "--type=merge", "-p", &patch]);
}

fn settings(namespace: &str) -> [&str; 4] {
    ["-n", namespace, "configmap", "settings"]
}

fn has_data(cluster: &Kubectl, namespace: &str, data: &Value) {
    cluster
        .wait_for(&format!("the data is {data}"), &settings(namespace), |map| &map["data"] == data);
}

const COMPLETE: &str = "Available=True/AllWorkAreAvailable";
const FAILED: &str = "Applied=False/NotAllWorkHaveBeenApplied";

fn conflicts(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    let placement = ["crp", "fields"];
    source(&hub, "fields", "blue");
    place(&hub, "fields", "{type: ServerSideApply}");
    complete_on(&hub, &placement, &["member-1"]);

    // Somebody else's field stays; compared in full it is a drift, and still nobody's business to undo.
    paint(&member, "fields", &json!({"note": "mine"}));
    place(&hub, "fields", "{type: ServerSideApply, comparisonOption: FullComparison}");
    let mut said = says_on(&hub, &placement, "member-1", COMPLETE);
    if said["driftedPlacements"].is_null() {
        said = hub.wait_for("the drift is told", &placement, |found| {
            !found["status"]["placementStatuses"][0]["driftedPlacements"].is_null()
        })["status"]["placementStatuses"][0]
            .clone();
    }
    let drifts = &said["driftedPlacements"][0]["observedDrifts"];
    assert_eq!(drifts, &json!([{"path": "/data/note", "valueInMember": "mine"}]));
    paint(&hub, "fields", &json!({"colour": "green"}));
    has_data(&member, "fields", &json!({"colour": "green", "note": "mine"}));

    // A field that another manager took with force is a conflict, until the placement may use force too.
    let taken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: fields}\ndata: {colour: red}\n";
    let force = ["apply", "--server-side", "--force-conflicts", "--field-manager=me", "-f", "-"];
    let output = member.with_input(&force, taken);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = says_on(&hub, &placement, "member-1", FAILED);
    assert_eq!(said["failedPlacements"][0]["condition"]["reason"], "ManifestApplyFailed");
    assert_eq!(
        said["failedPlacements"][0]["condition"]["message"],
        "Apply failed with 1 conflict: conflict with \"me\": .data.colour"
    );
    has_data(&member, "fields", &json!({"colour": "red", "note": "mine"}));
    place(&hub, "fields", "{type: ServerSideApply, serverSideApplyConfig: {force: true}}");
    says_on(&hub, &placement, "member-1", COMPLETE);
    has_data(&member, "fields", &json!({"colour": "green", "note": "mine"}));

    // Client-side apply has no conflicts, and keeps the fields of others as well.
    place(&hub, "fields", "{type: ClientSideApply}");
    paint(&hub, "fields", &json!({"colour": "white", "size": "big"}));
    has_data(&member, "fields", &json!({"colour": "white", "size": "big", "note": "mine"}));
    paint(&hub, "fields", &json!({"size": null}));
    has_data(&member, "fields", &json!({"colour": "white", "note": "mine"}));
    says_on(&hub, &placement, "member-1", COMPLETE);
}

fn take_over(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    let placement = ["crp", "theirs"];
    source(&hub, "theirs", "blue");
    source(&member, "theirs", "red");
    hub.run(&["-n", "theirs", "create", "configmap", "fresh", "--from-literal=k=v"]);
    let owned = |kind: &str| {
        let found = member.get(&settings("theirs")).expect("it is there");
        let owners = found["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.iter().any(|owner| owner["kind"] == kind)
    };

    // Never: what is there stays as it is, what is not there is made.
    place(&hub, "theirs", "{whenToTakeOver: Never}");
    let said = says_on(&hub, &placement, "member-1", FAILED);
    let reasons: Vec<_> = said["failedPlacements"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|failed| (&failed["kind"], &failed["condition"]["reason"]))
        .collect();
    let (namespace, map, reason) = (json!("Namespace"), json!("ConfigMap"), json!("NotTakenOver"));
    assert_eq!(reasons, [(&namespace, &reason), (&map, &reason)]);
    assert!(!owned("AppliedWork"));
    has_data(&member, "theirs", &json!({"colour": "red"}));
    assert!(member.get(&["-n", "theirs", "configmap", "fresh"]).is_some());

    // An object that has an owner on the member is shared only if the strategy allows it.
    let owner = member.get(&["-n", "theirs", "configmap", "fresh"]).expect("it is there");
    let reference = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "fresh", "uid": owner["metadata"]["uid"],
    });
    let patch = json!({ "metadata": { "ownerReferences": [reference] } }).to_string();
    member.run(&["-n", "theirs", "patch", "configmap", "settings", "--type=merge", "-p", &patch]);
    place(&hub, "theirs", "{whenToTakeOver: Always}");
    let said = says_on(&hub, &placement, "member-1", FAILED);
    assert_eq!(said["failedPlacements"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(said["failedPlacements"][0]["condition"]["reason"], "FailedToTakeOver");
    has_data(&member, "theirs", &json!({"colour": "red"}));
    place(&hub, "theirs", "{whenToTakeOver: Always, allowCoOwnership: true}");
    says_on(&hub, &placement, "member-1", COMPLETE);
    has_data(&member, "theirs", &json!({"colour": "blue"}));
    assert!(owned("AppliedWork") && owned("ConfigMap"));

    // The placement goes without what it shared.
    hub.run(&["label", "configmap", "-n", "theirs", "settings", "some=label"]);
    hub.run(&["-n", "theirs", "delete", "configmap", "settings"]);
    member.wait_for("the placement lets go", &settings("theirs"), |map| {
        let owners = map["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.len() == 1 && owners[0]["kind"] == "ConfigMap"
    });
}

fn one_owner(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    source(&hub, "both", "blue");
    place_as(&hub, "first", "both", "{type: ClientSideApply}");
    complete_on(&hub, &["crp", "first"], &["member-1"]);
    let before = member.get(&settings("both")).expect("it is placed");
    // Not even with co-ownership.
    place_as(&hub, "second", "both", "{type: ServerSideApply, allowCoOwnership: true}");
    let said = says_on(&hub, &["crp", "second"], "member-1", FAILED);
    let failed = said["failedPlacements"].as_array().cloned().unwrap_or_default();
    assert!(
        failed.len() >= 2
            && failed.iter().all(|failed| failed["condition"]["reason"] == "FailedToTakeOver"),
        "{said}"
    );
    let after = member.get(&settings("both")).expect("it is placed");
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    says(&hub, &["crp", "first"], "Available=True/ResourceAvailable");

    // A placement of the namespace alone leaves the content to one of the namespace's own.
    hub.run(&["delete", "crp", "second", "--timeout=60s"]);
    assert!(member.get(&settings("both")).is_some(), "the other placement keeps it");
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: content, namespace: both}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: ConfigMap, name: settings}
"#,
    );
    let content = ["-n", "both", "rp", "content"];
    says_on(&hub, &content, "member-1", FAILED);
    let patch = r#"[{"op":"replace","path":"/spec/resourceSelectors/0/selectionScope","value":"NamespaceOnly"}]"#;
    hub.run(&["patch", "crp", "first", "--type=json", "-p", patch]);
    complete_on(&hub, &content, &["member-1"]);
    let owned = member.get(&settings("both")).expect("it is placed");
    assert_eq!(owned["metadata"]["ownerReferences"][0]["name"], "both.content-work");
}

fn report_only(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    let placement = ["crp", "compared"];
    source(&hub, "compared", "blue");
    hub.run(&["-n", "compared", "create", "secret", "generic", "key", "--from-literal=k=hub"]);
    hub.run(&["-n", "compared", "create", "configmap", "missing", "--from-literal=k=v"]);
    source(&member, "compared", "red");
    member.run(&[
        "-n",
        "compared",
        "create",
        "secret",
        "generic",
        "key",
        "--from-literal=k=member",
    ]);
    place(&hub, "compared", "{type: ReportDiff, whenToTakeOver: Never}");
    let told = "DiffReported=True/AllWorkHaveDiffReported";
    let said = says_on(&hub, &placement, "member-1", told);
    let differs = |said: &Value, name: &str| {
        let all = said["diffedPlacements"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|diffed| diffed["name"] == name).unwrap_or_default()
    };
    assert_eq!(
        differs(&said, "missing")["observedDiffs"],
        json!([{"path": "/", "valueInHub": "(the whole object)"}])
    );
    assert!(differs(&said, "missing")["targetClusterObservedGeneration"].is_null());
    let secret = differs(&said, "key")["observedDiffs"].to_string();
    assert!(secret.contains("redacted") && !secret.contains("aHVi"), "{secret}");
    let first = differs(&said, "settings");
    assert_eq!(
        first["observedDiffs"],
        json!([{"path": "/data/colour", "valueInHub": "blue", "valueInMember": "red"}])
    );
    assert!(member.get(&["-n", "compared", "configmap", "missing"]).is_none(), "nothing is made");
    let whole = says(&hub, &placement, "DiffReported=True/DiffReportingCompleted");
    assert!(!whole["status"]["conditions"].to_string().contains("PlacementApplied"));

    // Another difference of the same object is told anew, and the first time of it is kept.
    paint(&member, "compared", &json!({"colour": "green"}));
    let found = hub.wait_for("the other difference is told", &placement, |found| {
        let diffed = differs(&found["status"]["placementStatuses"][0], "settings");
        diffed["observedDiffs"][0]["valueInMember"] == "green"
    });
    let second = differs(&found["status"]["placementStatuses"][0], "settings");
    assert_eq!(second["firstDiffedObservedTime"], first["firstDiffedObservedTime"]);
    paint(&member, "compared", &json!({"colour": "blue"}));
    hub.wait_for("the difference is gone", &placement, |found| {
        differs(&found["status"]["placementStatuses"][0], "settings").is_null()
    });

    // Then it is to be applied after all.
    place(&hub, "compared", "{type: ServerSideApply, serverSideApplyConfig: {force: true}}");
    complete_on(&hub, &placement, &["member-1"]);
    assert!(member.get(&["-n", "compared", "configmap", "missing"]).is_some());
    // And compared again: from here on, changes of the hub stay there.
    place(&hub, "compared", "{type: ReportDiff}");
    says_on(&hub, &placement, "member-1", told);
    paint(&hub, "compared", &json!({"colour": "white"}));
    hub.wait_for("the difference to the hub is told", &placement, |found| {
        let diffed = differs(&found["status"]["placementStatuses"][0], "settings");
        diffed["observedDiffs"][0]["valueInHub"] == "white"
    });
    has_data(&member, "compared", &json!({"colour": "blue"}));
}

fn large(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    let note = |map: &Value| {
        map["metadata"]["annotations"]["kubernetes-fleet.io/last-applied-configuration"]
            .as_str()
            .map(str::len)
    };
    hub.run(&["create", "namespace", "large"]);
    let map = |size: usize| {
        let data = json!({ "text": "x".repeat(size) });
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "large"}, "data": data})
    };
    let write = |size: usize| {
        let apply = ["apply", "--server-side", "-f", "-"];
        let output = hub.with_input(&apply, &map(size).to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    write(10);
    place(&hub, "large", "{type: ClientSideApply}");
    complete_on(&hub, &["crp", "large"], &["member-1"]);
    for size in [300_000, 20] {
        write(size);
        let placed = member.wait_for("the new size is there", &settings("large"), |map| {
            map["data"]["text"].as_str().map(str::len) == Some(size)
        });
        let length = note(&placed).unwrap_or_default();
        assert_eq!(length == 0, size > 262_144, "{length} bytes are noted of {size}");
    }
    complete_on(&hub, &["crp", "large"], &["member-1"]);
}
