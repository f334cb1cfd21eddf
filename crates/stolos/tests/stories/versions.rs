//! Clients of the version v1, beside those of v1beta1 which is stored: create, read, apply, watch and explain every kind that
//! v1 serves. On both backends.

use std::io::BufReader;
use std::process::{Child, ChildStdout};

use serde_json::{Value, json};

use crate::backend::{Backend, Processes};
use crate::kubectl::Kubectl;
use crate::look::complete_on;

#[test]
fn clients_of_v1_see_every_kind_embedded() {
    story(Backend::Embedded);
}

#[test]
fn clients_of_v1_see_every_kind_kubernetes() {
    story(Backend::Kubernetes);
}

fn story(backend: Backend) {
    let Some(mut fleet) = Processes::servers(backend, 1) else { return };
    fleet.install(1);
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    hub.run(&["create", "namespace", "team"]);
    for sample in samples() {
        let cluster = if sample.kind == "AppliedWork" { &member } else { &hub };
        sample.lives_in_both_versions(cluster);
    }
    every_served_kind_has_a_sample(&hub);
    what_only_v1beta1_has(&hub);
    fleet.start_hub(&[]);
    works_by_v1_alone(&mut fleet);
}

const CLUSTER: &str = "cluster.kubernetes-fleet.io";
const PLACEMENT: &str = "placement.kubernetes-fleet.io";

/// An object of a kind in the version v1.
struct Sample {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    /// All but `apiVersion`, `kind` and `metadata`.
    body: Value,
    /// A field that is explained.
    explained: &'static str,
}

fn samples() -> Vec<Sample> {
    let namespace = json!({ "group": "", "version": "v1", "kind": "Namespace", "name": "team" });
    let map = json!({ "group": "", "version": "v1", "kind": "ConfigMap", "name": "settings" });
    let rules = json!({ "overrideRules": [{
        "clusterSelector": { "clusterSelectorTerms": [] },
        "jsonPatchOverrides": [{ "op": "add", "path": "/metadata/labels", "value": { "a": "b" } }],
    }] });
    let cluster_override = json!({ "clusterResourceSelectors": [namespace], "policy": rules });
    let own_override = json!({ "resourceSelectors": [map], "policy": rules });
    let snapshot = |of: &Value| json!({ "spec": { "overrideHash": "YQ==", "overrideSpec": of } });
    let binding = json!({ "spec": {
        "state": "Scheduled", "targetCluster": "member-1", "resourceSnapshotName": "sample-0-snapshot",
        "schedulingPolicySnapshotName": "sample-0",
        "clusterDecision": { "clusterName": "member-1", "selected": true, "reason": "picked" },
    } });
    let stages = json!({ "spec": { "stages": [{ "name": "canary", "labelSelector": {} }] } });
    let run = json!({ "spec": {
        "placementName": "sample", "resourceSnapshotIndex": "0", "stagedRolloutStrategyName": "sample",
    } });
    let request = json!({ "spec": { "parentStageRollout": "sample", "targetStage": "canary" } });
    let work = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "team" } });
    let identity =
        json!({ "kind": "ServiceAccount", "name": "sample", "namespace": "fleet-system" });
    let sample = |kind, plural, namespaced, body, explained| Sample {
        group: PLACEMENT,
        kind,
        plural,
        namespaced,
        body,
        explained,
    };
    let member = |kind, plural, namespaced, spec| Sample {
        group: CLUSTER,
        ..sample(kind, plural, namespaced, json!({ "spec": spec }), "spec.heartbeatPeriodSeconds")
    };
    vec![
        member("MemberCluster", "memberclusters", false, json!({ "identity": identity })),
        member("InternalMemberCluster", "internalmemberclusters", true, json!({ "state": "Join" })),
        sample(
            "ClusterResourcePlacement",
            "clusterresourceplacements",
            false,
            json!({ "spec": { "resourceSelectors": [namespace] } }),
            "spec.resourceSelectors.selectionScope",
        ),
        sample(
            "ResourcePlacement",
            "resourceplacements",
            true,
            json!({ "spec": { "resourceSelectors": [map] } }),
            "spec.policy.placementType",
        ),
        sample(
            "ClusterResourcePlacementStatus",
            "clusterresourceplacementstatuses",
            true,
            json!({ "sourceStatus": { "observedResourceIndex": "0" }, "lastUpdatedTime": "2026-01-05T08:00:00Z" }),
            "sourceStatus.observedResourceIndex",
        ),
        sample(
            "ClusterSchedulingPolicySnapshot",
            "clusterschedulingpolicysnapshots",
            false,
            json!({ "spec": { "policyHash": "YQ==" } }),
            "spec.policyHash",
        ),
        sample(
            "ClusterResourceSnapshot",
            "clusterresourcesnapshots",
            false,
            json!({ "spec": { "selectedResources": [work] } }),
            "spec.selectedResources",
        ),
        sample(
            "ClusterResourceBinding",
            "clusterresourcebindings",
            false,
            binding,
            "spec.targetCluster",
        ),
        sample(
            "ClusterResourceOverride",
            "clusterresourceoverrides",
            false,
            json!({ "spec": cluster_override }),
            "spec.policy",
        ),
        sample(
            "ResourceOverride",
            "resourceoverrides",
            true,
            json!({ "spec": own_override }),
            "spec.policy",
        ),
        sample(
            "ClusterResourceOverrideSnapshot",
            "clusterresourceoverridesnapshots",
            false,
            snapshot(&cluster_override),
            "spec.overrideHash",
        ),
        sample(
            "ResourceOverrideSnapshot",
            "resourceoverridesnapshots",
            true,
            snapshot(&own_override),
            "spec.overrideHash",
        ),
        sample(
            "Work",
            "works",
            true,
            json!({ "spec": { "workload": { "manifests": [work] } } }),
            "spec.workload",
        ),
        sample(
            "AppliedWork",
            "appliedworks",
            false,
            json!({ "spec": { "workName": "sample", "workNamespace": "team" } }),
            "spec.workName",
        ),
        sample(
            "ClusterStagedUpdateStrategy",
            "clusterstagedupdatestrategies",
            false,
            stages.clone(),
            "spec.stages.labelSelector",
        ),
        sample(
            "StagedUpdateStrategy",
            "stagedupdatestrategies",
            true,
            stages,
            "spec.stages.labelSelector",
        ),
        sample(
            "ClusterStagedUpdateRun",
            "clusterstagedupdateruns",
            false,
            run.clone(),
            "spec.placementName",
        ),
        sample("StagedUpdateRun", "stagedupdateruns", true, run, "spec.placementName"),
        sample(
            "ClusterApprovalRequest",
            "clusterapprovalrequests",
            false,
            request.clone(),
            "spec.targetStage",
        ),
        sample("ApprovalRequest", "approvalrequests", true, request, "spec.targetStage"),
    ]
}

impl Sample {
    fn manifest(&self, version: &str, colour: &str) -> String {
        let mut object = self.body.clone();
        object["apiVersion"] = json!(format!("{}/{version}", self.group));
        object["kind"] = json!(self.kind);
        object["metadata"] = json!({ "name": "sample", "labels": { "colour": colour } });
        if self.namespaced {
            object["metadata"]["namespace"] = json!("team");
        }
        object.to_string()
    }

    /// The arguments that name the object in a version.
    fn named(&self, version: &str) -> Vec<String> {
        let kind = format!("{}.{version}.{}", self.plural, self.group);
        let namespace = if self.namespaced { "-n=team" } else { "-n=default" };
        vec![namespace.to_owned(), kind, "sample".to_owned()]
    }

    fn get(&self, cluster: &Kubectl, version: &str) -> Value {
        let args = self.named(version);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cluster.get(&args).unwrap_or_else(|| panic!("{args:?} is there"))
    }

    fn lives_in_both_versions(&self, cluster: &Kubectl) {
        let kind = self.kind;
        cluster.apply(&self.manifest("v1", "red"));
        let (new, old) = (self.get(cluster, "v1"), self.get(cluster, "v1beta1"));
        for (found, version) in [(&new, "v1"), (&old, "v1beta1")] {
            assert_eq!(found["apiVersion"], format!("{}/{version}", self.group), "{kind}");
            assert_eq!(found["metadata"]["labels"]["colour"], "red", "{kind}");
        }
        assert_eq!(new["metadata"]["uid"], old["metadata"]["uid"], "{kind}");
        for (field, value) in self.body.as_object().expect("an object") {
            assert!(contains(&new[field], value), "{kind}: {value} in {}", new[field]);
            assert!(contains(&old[field], value), "{kind}: {value} in {}", old[field]);
        }

        // Who watches one version sees what is written in the other.
        let mut watch = Watch::start(cluster, &self.named("v1"));
        assert_eq!(watch.next(), ("ADDED".to_owned(), "red".to_owned(), new["apiVersion"].clone()));
        cluster.apply(&self.manifest("v1beta1", "green"));
        let (change, colour, version) = watch.next();
        assert_eq!((change.as_str(), colour.as_str()), ("MODIFIED", "green"), "{kind}");
        assert_eq!(version, new["apiVersion"], "{kind}");
        assert_eq!(self.get(cluster, "v1")["metadata"]["uid"], new["metadata"]["uid"], "{kind}");

        // Applying the same in the other version is no change.
        let before = self.get(cluster, "v1")["metadata"]["generation"].clone();
        cluster.apply(&self.manifest("v1", "green"));
        assert_eq!(self.get(cluster, "v1")["metadata"]["generation"], before, "{kind}");

        let version = format!("--api-version={}/v1", self.group);
        let field = format!("{}.{}", self.plural, self.explained);
        let explained = cluster.run(&["explain", &field, &version]);
        assert!(explained.contains("VERSION:    v1\n"), "{kind}: {explained}");
        let name = self.explained.rsplit('.').next().expect("it has a name");
        assert!(explained.contains(&format!("FIELD: {name} ")), "{kind}: {explained}");
        let delete: Vec<String> = self.named("v1");
        let args: Vec<&str> = delete.iter().map(String::as_str).collect();
        cluster.run(&[&["delete", "--timeout=30s"], &args[..]].concat());
        // The note of kubectl, what it applied last, changed with the version.
        while watch.next().0 != "DELETED" {}
    }
}

/// Tells whether a value has everything of another; defaults may have been added.
fn contains(found: &Value, want: &Value) -> bool {
    match (found, want) {
        (Value::Object(found), Value::Object(want)) => {
            want.iter().all(|(key, want)| found.get(key).is_some_and(|found| contains(found, want)))
        }
        (Value::Array(found), Value::Array(want)) => {
            found.len() == want.len()
                && found.iter().zip(want).all(|(found, want)| contains(found, want))
        }
        _ => found == want,
    }
}

/// `kubectl get --watch`.
struct Watch {
    child: Child,
    events: serde_json::StreamDeserializer<
        'static,
        serde_json::de::IoRead<BufReader<ChildStdout>>,
        Value,
    >,
}

impl Watch {
    fn start(cluster: &Kubectl, named: &[String]) -> Self {
        let mut args = vec!["get", "--watch", "--output-watch-events", "-o", "json"];
        // A watch that shows nothing ends by itself, and the story with it.
        args.push("--request-timeout=60s");
        args.extend(named.iter().map(String::as_str));
        let mut child = cluster.spawn(&args);
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, events: serde_json::Deserializer::from_reader(output).into_iter() }
    }

    /// Waits for the next event; returns what happened, the colour of the object and its version.
    fn next(&mut self) -> (String, String, Value) {
        let event = self.events.next().expect("something happens").expect("kubectl prints JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["object"];
        let colour = text(&object["metadata"]["labels"]["colour"]);
        (text(&event["type"]), colour, object["apiVersion"].clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A kind that v1 serves, or comes to serve, is not forgotten.
fn every_served_kind_has_a_sample(hub: &Kubectl) {
    let mut served = Vec::new();
    for group in [CLUSTER, PLACEMENT] {
        let list = hub.run(&["get", "--raw", &format!("/apis/{group}/v1")]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let resources = list["resources"].as_array().expect("a list").iter();
        let names = resources.filter_map(|resource| resource["name"].as_str());
        served.extend(names.filter(|name| !name.contains('/')).map(str::to_owned));
    }
    let mut sampled: Vec<_> = samples().iter().map(|sample| sample.plural.to_owned()).collect();
    // It lives on members.
    sampled.retain(|plural| plural != "appliedworks" || served.contains(plural));
    served.sort();
    sampled.sort();
    assert_eq!(served, sampled);
}

/// Fields that v1 lacks are not shown to its clients, and go when these write the whole object.
fn what_only_v1beta1_has(hub: &Kubectl) {
    for (kind, plural, group, body, path) in [
        (
            "MemberCluster",
            "memberclusters",
            CLUSTER,
            json!({ "identity": { "kind": "User", "name": "x" }, "deleteOptions": { "validationMode": "Skip" } }),
            "/spec/deleteOptions",
        ),
        (
            "ClusterResourcePlacement",
            "clusterresourceplacements",
            PLACEMENT,
            json!({
                "resourceSelectors": [{ "group": "", "version": "v1", "kind": "Namespace", "name": "team" }],
                "strategy": { "deleteStrategy": { "propagationPolicy": "Abandon" } },
            }),
            "/spec/strategy/deleteStrategy",
        ),
        (
            "Work",
            "works",
            PLACEMENT,
            json!({ "workload": { "manifests": [] }, "reportBackStrategy": { "type": "Mirror", "destination": "WorkAPI" } }),
            "/spec/reportBackStrategy",
        ),
    ] {
        let object = json!({
            "apiVersion": format!("{group}/v1beta1"), "kind": kind, "metadata": { "name": "both" }, "spec": body,
        });
        hub.apply(&object.to_string());
        let (new, old) = (format!("{plural}.v1.{group}"), format!("{plural}.v1beta1.{group}"));
        let has = |version: &str| {
            let found = hub.get(&[version, "both"]).expect("it is there");
            found.pointer(path).is_some_and(|value| !value.is_null())
        };
        assert!(has(&old) && !has(&new), "{kind}");
        hub.run(&["label", &old, "both", "touched=yes"]);
        assert!(has(&old), "{kind}: it is stored");
        let seen = hub.get(&[&new, "both"]).expect("it is there");
        let replaced = hub.with_input(&["replace", "-f", "-"], &seen.to_string());
        assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
        assert!(!has(&old), "{kind}: a whole object of v1 does not have it");
        hub.run(&["delete", &new, "both", "--timeout=30s"]);
    }
}

/// A fleet whose users write and read v1 alone.
fn works_by_v1_alone(fleet: &mut Processes) {
    let hub = fleet.kubectl("hub");
    hub.run(&["-n", "team", "create", "configmap", "settings", "--from-literal=colour=blue"]);
    hub.run(&["-n", "fleet-system", "create", "serviceaccount", "member-1"]);
    hub.apply(
        r#"
apiVersion: cluster.kubernetes-fleet.io/v1
kind: MemberCluster
metadata: {name: member-1}
spec:
  identity: {kind: ServiceAccount, name: member-1, namespace: fleet-system, apiGroup: ""}
  heartbeatPeriodSeconds: 15
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata: {name: team}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: Namespace, name: team, selectionScope: NamespaceOnly}
  statusReportingScope: NamespaceAccessible
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourcePlacement
metadata: {name: settings, namespace: team}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: ConfigMap, name: settings}
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourceOverride
metadata: {name: settings, namespace: team}
spec:
  placement: {name: settings, scope: Namespaced}
  resourceSelectors:
  - {group: "", version: v1, kind: ConfigMap, name: settings}
  policy:
    overrideRules:
    - clusterSelector: {clusterSelectorTerms: []}
      jsonPatchOverrides: [{op: replace, path: /data/colour, value: green}]
"#,
    );
    fleet.start_agent("member-1");
    fleet.wait_until_joined("member-1");
    let v1 = |plural: &str| format!("{plural}.v1.{PLACEMENT}");
    complete_on(&hub, &[&v1("clusterresourceplacements"), "team"], &["member-1"]);
    complete_on(&hub, &["-n", "team", &v1("resourceplacements"), "settings"], &["member-1"]);
    let map = ["-n", "team", "configmap", "settings"];
    let placed = fleet.kubectl("member-1").get(&map).expect("it is placed");
    assert_eq!(placed["data"]["colour"], "green");
    hub.wait_for(
        "the copy of the status is complete",
        &["-n", "team", &v1("clusterresourceplacementstatuses"), "team"],
        |copy| {
            let all = copy["sourceStatus"]["conditions"].as_array().cloned().unwrap_or_default();
            all.iter()
                .any(|c| c["type"] == "ClusterResourcePlacementAvailable" && c["status"] == "True")
        },
    );
    let works = hub.get(&["-n", "fleet-member-member-1", &v1("works")]).expect("a list");
    let items = works["items"].as_array().expect("a list");
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|work| work["apiVersion"] == format!("{PLACEMENT}/v1")));
    let rows = hub.run(&["get", &format!("memberclusters.v1.{CLUSTER}")]);
    assert!(rows.contains("JOINED") && rows.contains("True"), "{rows}");
    hub.run(&["delete", &v1("clusterresourceplacements"), "team", "--timeout=60s"]);
    hub.run(&["-n", "team", "delete", &v1("resourceplacements"), "settings", "--timeout=60s"]);
    fleet.kubectl("member-1").wait_gone(&["namespace", "team"]);
}
