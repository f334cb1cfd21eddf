//! Hub and members as KubeFleet leaves them when its agents are stopped.

use serde_json::{Value, json};

use crate::kubectl::Kubectl;

mod overrides;

pub(crate) use overrides::{Envelope, Overrides, put_override};

/// When KubeFleet wrote everything: long ago.
const THEN: &str = "2026-01-05T08:00:00Z";

/// Hashes are of Go's JSON, which keeps the order of a struct's fields: nobody else's are like them.
const HASH: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// What a placement selects, in the words of a test.
pub(crate) struct Placement<'a> {
    /// Nothing for a ClusterResourcePlacement.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) selectors: Value,
    pub(crate) policy: Value,
    /// Where it is.
    pub(crate) members: &'a [&'a str],
    /// What is selected, as arguments of `kubectl get`, in the order of the snapshot.
    pub(crate) objects: &'a [&'a [&'a str]],
    /// Those of them that are envelopes.
    pub(crate) envelopes: &'a [Envelope<'a>],
    /// What makes members different.
    pub(crate) overrides: Overrides<'a>,
}

/// What one Work of a placement carries to a member.
struct Part {
    name: String,
    /// Those of an envelope.
    labels: Value,
    manifests: Vec<Value>,
}

/// Creates an object with a status as the hub agent or the member agent of KubeFleet writes it; returns it.
pub(crate) fn put(cluster: &Kubectl, mut object: Value) -> Value {
    let status = object.as_object_mut().and_then(|object| object.remove("status"));
    let manager = "--field-manager=work-api-agent";
    let output =
        cluster.with_input(&["create", manager, "-f", "-", "-o", "json"], &object.to_string());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}\n{object}");
    let created: Value = serde_json::from_slice(&output.stdout).expect("kubectl prints JSON");
    if let Some(status) = status {
        let patch = json!({ "status": status }).to_string();
        let kind = created["kind"].as_str().expect("a kind").to_lowercase();
        let name = created["metadata"]["name"].as_str().expect("a name");
        let namespace = created["metadata"]["namespace"].as_str().unwrap_or("default");
        let args =
            ["-n", namespace, "patch", &kind, name, "--subresource=status", "--type=merge", "-p"];
        cluster.run(&[&args[..], &[&patch]].concat());
    }
    created
}

/// A condition of an object of generation 1.
fn condition(type_: &str, reason: &str) -> Value {
    json!({
        "type": type_, "status": "True", "reason": reason, "message": "written by another program",
        "observedGeneration": 1, "lastTransitionTime": THEN,
    })
}

fn conditions(all: &[(&str, &str)]) -> Value {
    all.iter().map(|(type_, reason)| condition(type_, reason)).collect()
}

/// Makes a member known to the hub: it joined, and has not been heard of since.
pub(crate) fn joined(hub: &Kubectl, name: &str) {
    let agent = json!([{
        "type": "MemberAgent", "lastReceivedHeartbeat": THEN,
        "conditions": conditions(&[("Joined", "InternalMemberClusterJoined"), ("Healthy", "InternalMemberClusterHealthy")]),
    }]);
    let properties =
        json!({ "kubernetes-fleet.io/node-count": { "value": "2", "observationTime": THEN } });
    let member = put(
        hub,
        json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "MemberCluster",
            "metadata": {
                "name": name,
                "labels": { "kubernetes-fleet.io/member-name": name },
                "finalizers": ["kubernetes-fleet.io/membercluster-finalizer"],
            },
            "spec": {
                "identity": { "kind": "ServiceAccount", "name": name, "namespace": "fleet-system", "apiGroup": "" },
                "heartbeatPeriodSeconds": 15,
            },
            "status": {
                "agentStatus": agent, "properties": properties,
                "conditions": conditions(&[("ReadyToJoin", "MemberClusterReadyToJoin"), ("Joined", "MemberClusterJoined")]),
            },
        }),
    );
    let owners = json!([owner(&member)]);
    let namespace = format!("fleet-member-{name}");
    put(
        hub,
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": namespace, "ownerReferences": owners,
                "labels": { "kubernetes-fleet.io/is-fleet-resource": "true" },
            },
        }),
    );
    let rule = |group: &str| json!({ "apiGroups": [group], "resources": ["*"], "verbs": ["*"] });
    let events = json!({
        "apiGroups": [""], "resources": ["events"],
        "verbs": ["get", "list", "update", "patch", "watch", "create"],
    });
    let role = format!("fleet-role-{name}");
    let groups = [
        "cluster.kubernetes-fleet.io",
        "placement.kubernetes-fleet.io",
        "networking.fleet.azure.com",
    ];
    let rules: Vec<Value> = groups.map(rule).into_iter().chain([events]).collect();
    put(
        hub,
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": role, "namespace": namespace, "ownerReferences": owners }, "rules": rules,
        }),
    );
    put(
        hub,
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": format!("fleet-rolebinding-{name}"), "namespace": namespace, "ownerReferences": owners },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": "fleet-system" }],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role },
        }),
    );
    put(
        hub,
        json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "InternalMemberCluster",
            "metadata": { "name": name, "namespace": namespace, "ownerReferences": owners },
            "spec": { "state": "Join", "heartbeatPeriodSeconds": 15 },
            "status": { "agentStatus": agent, "properties": properties },
        }),
    );
}

fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// Returns an object of the hub as it goes into a snapshot.
fn sanitised(hub: &Kubectl, args: &[&str]) -> Value {
    let mut object = hub.get(args).unwrap_or_else(|| panic!("{args:?} is on the hub"));
    let fields = object.as_object_mut().expect("an object");
    fields.remove("status");
    for key in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
        object["metadata"].as_object_mut().expect("an object").remove(key);
    }
    let annotations = object["metadata"]["annotations"].as_object_mut();
    if let Some(annotations) = annotations {
        // Where the hub runs workloads, its own controllers write this.
        annotations.remove("deployment.kubernetes.io/revision");
        if annotations.is_empty() {
            object["metadata"].as_object_mut().expect("an object").remove("annotations");
        }
    }
    if object["kind"] == "Service" {
        let spec = object["spec"].as_object_mut().expect("an object");
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    object
}

fn identifier(object: &Value) -> Value {
    let version = object["apiVersion"].as_str().expect("a version");
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let mut identifier = json!({
        "group": group, "version": version, "kind": object["kind"], "name": object["metadata"]["name"],
    });
    if let Some(namespace) = object["metadata"]["namespace"].as_str() {
        identifier["namespace"] = json!(namespace);
    }
    identifier
}

fn work_identifier(ordinal: usize, object: &Value) -> Value {
    let mut identifier = identifier(object);
    let kind = object["kind"].as_str().expect("a kind").to_lowercase();
    identifier["resource"] = json!(format!("{kind}s"));
    identifier["ordinal"] = json!(ordinal);
    identifier
}

impl Placement<'_> {
    /// Writes a kind without its `Cluster` for a ResourcePlacement.
    fn kind(&self, kind: &str) -> String {
        let prefix = if self.namespace.is_some() { "" } else { "Cluster" };
        format!("{prefix}{kind}")
    }

    fn metadata(&self, name: &str, labels: Value, annotations: Value) -> Value {
        let mut metadata = json!({ "name": name, "labels": labels, "annotations": annotations });
        if let Some(namespace) = self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        metadata
    }

    fn work_name(&self) -> String {
        let namespace = self.namespace.map(|found| format!("{found}.")).unwrap_or_default();
        format!("{namespace}{}-work", self.name)
    }

    fn object(kind: &str, metadata: &Value, spec: &Value) -> Value {
        json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1",
            "kind": kind, "metadata": metadata, "spec": spec,
        })
    }

    /// Writes everything that there is of a placement which is available on its members, on the hub and on them.
    pub(crate) fn put(&self, hub: &Kubectl, member: impl Fn(&str) -> Kubectl) {
        self.put_decisions(hub);
        for name in self.members {
            self.put_on(hub, name, &member(name));
        }
    }

    fn manifests(&self, hub: &Kubectl) -> Vec<Value> {
        self.objects.iter().map(|args| sanitised(hub, args)).collect()
    }

    /// Writes the placement and its snapshots.
    pub(crate) fn put_decisions(&self, hub: &Kubectl) {
        let manifests = self.manifests(hub);
        let placement = put(hub, self.placement(&manifests));
        let owners = json!([owner(&placement)]);
        put(hub, self.policy_snapshot(&owners));
        put(hub, self.resource_snapshot(&owners, &manifests));
    }

    /// Writes what there is for one member, and on it.
    pub(crate) fn put_on(&self, hub: &Kubectl, name: &str, member: &Kubectl) {
        let binding = format!("{}-{name}-0a1b2c3d", self.name);
        put(hub, self.binding(&binding, name));
        for mut part in self.parts(&self.manifests(hub)) {
            part.manifests.iter_mut().for_each(|manifest| (self.overrides.vary)(name, manifest));
            let placed = self.place(member, name, &part);
            put(hub, self.work(&binding, name, &part, &placed));
        }
    }

    fn placement(&self, manifests: &[Value]) -> Value {
        let steps = [
            ("Scheduled", "SchedulingPolicyFulfilled"),
            ("RolloutStarted", "RolloutStarted"),
            ("Overridden", self.overrides.reason()),
            ("WorkSynchronized", "WorkSynchronized"),
            ("Applied", "ApplySucceeded"),
            ("Available", "ResourceAvailable"),
        ];
        let prefix = self.kind("ResourcePlacement");
        let own: Value = steps
            .iter()
            .map(|(step, reason)| condition(&format!("{prefix}{step}"), reason))
            .collect();
        let on_member = conditions(&[
            ("Scheduled", "Scheduled"),
            ("RolloutStarted", "RolloutStarted"),
            ("Overridden", self.overrides.reason()),
            ("WorkSynchronized", "AllWorkSynced"),
            ("Applied", "AllWorkHaveBeenApplied"),
            ("Available", "AllWorkAreAvailable"),
        ]);
        let statuses: Vec<Value> = self
            .members
            .iter()
            .map(|name| json!({ "clusterName": name, "observedResourceIndex": "0", "conditions": on_member }))
            .collect();
        let mut metadata = self.metadata(self.name, json!({}), json!({}));
        metadata["finalizers"] =
            json!(["kubernetes-fleet.io/crp-cleanup", "kubernetes-fleet.io/scheduler-cleanup"]);
        let spec = json!({
            "resourceSelectors": self.selectors, "policy": self.policy, "revisionHistoryLimit": 10,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%", "unavailablePeriodSeconds": 60 },
                "applyStrategy": apply_strategy(),
            },
        });
        let mut object = Self::object(&self.kind("ResourcePlacement"), &metadata, &spec);
        object["status"] = json!({
            "conditions": own, "placementStatuses": statuses, "observedResourceIndex": "0",
            "selectedResources": manifests.iter().map(identifier).collect::<Vec<_>>(),
        });
        object
    }

    fn policy_snapshot(&self, owners: &Value) -> Value {
        let labels = json!({
            "kubernetes-fleet.io/parent-CRP": self.name,
            "kubernetes-fleet.io/is-latest-snapshot": "true",
            "kubernetes-fleet.io/policy-index": "0",
        });
        let mut annotations = json!({ "kubernetes-fleet.io/CRP-generation": "1" });
        if let Some(n) = self.policy["numberOfClusters"].as_i64() {
            annotations["kubernetes-fleet.io/number-of-clusters"] = json!(n.to_string());
        }
        let mut metadata = self.metadata(&format!("{}-0", self.name), labels, annotations);
        metadata["ownerReferences"] = owners.clone();
        // The bytes of a hash.
        let spec =
            json!({ "policy": self.policy, "policyHash": "MGYxZTJkM2M0YjVhNjk3ODg3OTZhNWI0" });
        let mut object = Self::object(&self.kind("SchedulingPolicySnapshot"), &metadata, &spec);
        object["status"] = json!({
            "observedCRPGeneration": 1,
            "conditions": conditions(&[("Scheduled", "SchedulingPolicyFulfilled")]),
            "targetClusters": self.members.iter().map(|name| decision(name)).collect::<Vec<_>>(),
        });
        object
    }

    fn resource_snapshot(&self, owners: &Value, manifests: &[Value]) -> Value {
        let labels = json!({
            "kubernetes-fleet.io/parent-CRP": self.name,
            "kubernetes-fleet.io/is-latest-snapshot": "true",
            "kubernetes-fleet.io/resource-index": "0",
        });
        let annotations = json!({
            "kubernetes-fleet.io/resource-hash": HASH,
            "kubernetes-fleet.io/number-of-resource-snapshots": "1",
            "kubernetes-fleet.io/number-of-enveloped-object": self.envelopes.len().to_string(),
        });
        let mut metadata = self.metadata(&format!("{}-0-snapshot", self.name), labels, annotations);
        metadata["ownerReferences"] = owners.clone();
        let spec = json!({ "selectedResources": manifests });
        Self::object(&self.kind("ResourceSnapshot"), &metadata, &spec)
    }

    fn binding(&self, binding: &str, member: &str) -> Value {
        let labels = json!({ "kubernetes-fleet.io/parent-CRP": self.name });
        let mut metadata = self.metadata(binding, labels, json!({}));
        metadata["finalizers"] = json!([
            "kubernetes-fleet.io/scheduler-crb-cleanup",
            "kubernetes-fleet.io/work-cleanup"
        ]);
        let mut spec = json!({
            "state": "Bound", "targetCluster": member,
            "resourceSnapshotName": format!("{}-0-snapshot", self.name),
            "schedulingPolicySnapshotName": format!("{}-0", self.name),
            "clusterDecision": decision(member), "applyStrategy": apply_strategy(),
        });
        self.overrides.note_on_binding(&mut spec);
        let mut object = Self::object(&self.kind("ResourceBinding"), &metadata, &spec);
        object["status"] = json!({ "conditions": conditions(&[
            ("RolloutStarted", "RolloutStarted"),
            ("Overridden", self.overrides.reason()),
            ("WorkSynchronized", "AllWorkSynced"),
            ("Applied", "AllWorkHaveBeenApplied"),
            ("Available", "AllWorkAreAvailable"),
        ]) });
        object
    }

    /// Returns what the Works carry: one all that is bare, and one each envelope.
    fn parts(&self, manifests: &[Value]) -> Vec<Part> {
        let is_bare = |manifest: &&Value| !self.envelopes.iter().any(|found| found.is(manifest));
        let bare = Part {
            name: self.work_name(),
            labels: json!({}),
            manifests: manifests.iter().filter(is_bare).cloned().collect(),
        };
        let opened = self.envelopes.iter().map(|envelope| Part {
            name: format!("{}-envelope-{}", self.work_name(), envelope.digest),
            labels: envelope.labels(),
            manifests: envelope.opened(manifests),
        });
        [bare].into_iter().chain(opened).collect()
    }

    /// Places the manifests with the marks of KubeFleet's member agent; returns them as they are on the member.
    fn place(&self, member: &Kubectl, name: &str, part: &Part) -> Vec<Value> {
        let Part { name: work_name, manifests, .. } = part;
        let metadata = json!({ "name": work_name });
        let spec = json!({
            "workName": work_name, "workNamespace": format!("fleet-member-{name}"),
        });
        let record = put(member, Self::object("AppliedWork", &metadata, &spec));
        let owners = json!([{
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "AppliedWork",
            "name": work_name, "uid": record["metadata"]["uid"], "blockOwnerDeletion": true,
        }]);
        let placed: Vec<Value> = manifests
            .iter()
            .map(|manifest| {
                let mut object = manifest.clone();
                object["metadata"]["ownerReferences"] = owners.clone();
                let annotations = &mut object["metadata"]["annotations"];
                annotations["kubernetes-fleet.io/spec-hash"] = json!(HASH);
                let noted = object.to_string();
                let annotations = &mut object["metadata"]["annotations"];
                annotations["kubernetes-fleet.io/last-applied-configuration"] = json!(noted);
                put(member, object)
            })
            .collect();
        let applied: Vec<Value> = placed
            .iter()
            .enumerate()
            .map(|(ordinal, object)| {
                let mut identifier = work_identifier(ordinal, object);
                identifier["uid"] = object["metadata"]["uid"].clone();
                identifier
            })
            .collect();
        let patch = json!({ "status": { "appliedResources": applied } }).to_string();
        let args = ["patch", "appliedwork", work_name, "--subresource=status"];
        member.run(&[&args[..], &["--type=merge", "-p", &patch]].concat());
        placed
    }

    fn work(&self, binding: &str, member: &str, part: &Part, placed: &[Value]) -> Value {
        let mut labels = part.labels.clone();
        labels["kubernetes-fleet.io/parent-resource-binding"] = json!(binding);
        labels["kubernetes-fleet.io/parent-CRP"] = json!(self.name);
        labels["kubernetes-fleet.io/parent-resource-snapshot-index"] = json!("0");
        if let Some(namespace) = self.namespace {
            labels["kubernetes-fleet.io/parent-placement-namespace"] = json!(namespace);
        }
        let metadata = json!({
            "name": part.name, "namespace": format!("fleet-member-{member}"), "labels": labels,
            "annotations": {
                "kubernetes-fleet.io/parent-resource-snapshot-name": format!("{}-0-snapshot", self.name),
                "kubernetes-fleet.io/parent-resource-override-snapshot-hash": self.overrides.own_hash,
                "kubernetes-fleet.io/parent-cluster-resource-override-snapshot-hash": self.overrides.cluster_hash,
            },
            "finalizers": ["kubernetes-fleet.io/work-cleanup"],
        });
        let spec = json!({ "workload": { "manifests": part.manifests }, "applyStrategy": apply_strategy() });
        let each: Vec<Value> = placed
            .iter()
            .enumerate()
            .map(|(ordinal, object)| {
                let mut both = conditions(&[("Applied", "Applied"), ("Available", "Available")]);
                for condition in both.as_array_mut().expect("a list") {
                    condition["observedGeneration"] =
                        json!(object["metadata"]["generation"].as_i64().unwrap_or(0));
                }
                json!({ "identifier": work_identifier(ordinal, object), "conditions": both })
            })
            .collect();
        let mut object = Self::object("Work", &metadata, &spec);
        object["status"] = json!({
            "conditions": conditions(&[("Applied", "AllManifestsApplied"), ("Available", "AllManifestsAvailable")]),
            "manifestConditions": each,
        });
        object
    }
}

fn apply_strategy() -> Value {
    json!({
        "type": "ClientSideApply", "comparisonOption": "PartialComparison", "whenToApply": "Always",
        "whenToTakeOver": "Always", "allowCoOwnership": false,
    })
}

fn decision(member: &str) -> Value {
    json!({
        "clusterName": member, "selected": true, "reason": "picked by scheduling policy",
        "clusterScore": { "affinityScore": 0, "priorityScore": 0 },
    })
}
