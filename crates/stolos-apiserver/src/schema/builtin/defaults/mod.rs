//! Defaults of the built-in kinds.

mod pod;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::normal::normalise;
use super::presence;
use crate::names::GroupVersion;

/// Brings an object of a built-in kind into the form that clients read: defaults, and what is never left out.
pub fn complete_object(group_version: &GroupVersion, kind: &str, object: &mut Value) {
    let schema = super::kind(&group_version.group, &group_version.version, kind);
    if let Some(schema) = &schema {
        presence::fill_structures(schema, object);
    }
    default_object(group_version, kind, object);
    if let Some(schema) = &schema {
        presence::fill(schema, object);
    }
}

/// Brings a built-in object into canonical form and fills in what kube-apiserver fills in. Doing it twice changes nothing.
///
/// What the server allocates (cluster IPs, tokens) or admission adds is not done here.
pub fn default_object(group_version: &GroupVersion, kind: &str, object: &mut Value) {
    let (group, version) = (group_version.group.as_str(), group_version.version.as_str());
    if let Some(schema) = super::kind(group, version, kind) {
        normalise(&schema, object);
    }
    match (group, kind) {
        ("", "Pod") => pod::default_pod(object),
        ("", "PodTemplate") => {
            if let Some(template) = object.get_mut("template") {
                pod::default_template(template);
            }
        }
        ("", "ReplicationController") => replication_controller(object),
        ("", "Service") => service(object),
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("", "Endpoints") => {
            for subset in items(object, "subsets") {
                items(subset, "ports").for_each(|port| fill(port, "protocol", "TCP"));
            }
        }
        ("", "Node") => node(object),
        ("", "PersistentVolume") => {
            let spec = object_in(object, "spec");
            fill(spec, "persistentVolumeReclaimPolicy", "Retain");
            fill(spec, "volumeMode", "Filesystem");
            pod::default_source(spec);
            fill(object_in(object, "status"), "phase", "Pending");
        }
        ("", "PersistentVolumeClaim") => claim(object),
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") => {
            workload(kind, object)
        }
        ("batch", "Job") => job(object),
        ("batch", "CronJob") => cron_job(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(version, object),
        ("admissionregistration.k8s.io", _) => admission(kind, object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("networking.k8s.io", "IngressClass") => {
            if let Some(parameters) = object.pointer_mut("/spec/parameters") {
                fill(parameters, "scope", "Cluster");
            }
        }
        _ => small_kinds(group, kind, object),
    }
}

fn small_kinds(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in items(object, "ports") {
                fill_absent(port, "name", "");
                fill(port, "protocol", "TCP");
            }
        }
        ("", "LimitRange") => {
            items(object_in(object, "spec"), "limits").for_each(limits_of_containers);
        }
        ("storage.k8s.io", "StorageClass") => {
            fill(object, "reclaimPolicy", "Delete");
            fill(object, "volumeBindingMode", "Immediate");
        }
        ("storage.k8s.io", "CSIDriver") => csi_driver(object),
        ("scheduling.k8s.io", "PriorityClass") => {
            fill(object, "preemptionPolicy", "PreemptLowerPriority")
        }
        ("apiregistration.k8s.io", "APIService") => {
            if let Some(service) = object.pointer_mut("/spec/service") {
                fill(service, "port", 443);
            }
        }
        ("authentication.k8s.io", "TokenRequest") => {
            fill(object_in(object, "spec"), "expirationSeconds", 3600);
        }
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => {
            fill(object_in(object, "spec"), "matchingPrecedence", 1000);
        }
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => priority_level(object),
        _ => {}
    }
}

/// Sets a field that is absent or an empty string.
pub(super) fn fill(object: &mut Value, field: &str, default: impl Into<Value>) {
    if object[field] == "" {
        object[field] = Value::Null;
    }
    fill_absent(object, field, default);
}

/// Sets a field that is absent.
fn fill_absent(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), default.into());
    }
}

/// Returns an object-valued field, creating it.
pub(super) fn object_in<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    fill_absent(object, field, Map::new());
    match object.get_mut(field) {
        Some(_) => &mut object[field],
        None => object, // Not an object at all; validation says so.
    }
}

/// Returns the objects of a list-valued field.
pub(super) fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
    list.filter(|item| item.is_object())
}

/// What a container gets by default follows from what it may have.
fn limits_of_containers(limit: &mut Value) {
    if limit["type"] != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
    {
        for (resource, quantity) in limit[from].as_object().cloned().unwrap_or_default() {
            fill(object_in(limit, to), &resource, quantity);
        }
    }
}

fn replication_controller(object: &mut Value) {
    let spec = object_in(object, "spec");
    fill(spec, "replicas", 1);
    if spec.get("template").is_some() {
        let labels = spec["template"]["metadata"]["labels"].clone();
        if labels.is_object() {
            fill(spec, "selector", labels);
        }
        pod::default_template(&mut spec["template"]);
        take_labels_of_template(object);
    }
}

/// An object of an old kind without labels takes those of its pods.
fn take_labels_of_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        fill(object_in(object, "metadata"), "labels", labels);
    }
}

fn service(object: &mut Value) {
    let spec = object_in(object, "spec");
    fill(spec, "type", "ClusterIP");
    fill(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        let client = object_in(object_in(spec, "sessionAffinityConfig"), "clientIP");
        fill(client, "timeoutSeconds", 10800);
    }
    for port in items(spec, "ports") {
        fill(port, "protocol", "TCP");
        let number = port["port"].clone();
        if port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = Value::Null;
        }
        if number.is_number() {
            fill(port, "targetPort", number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let reaches_out = kind == "NodePort" || kind == "LoadBalancer";
    if reaches_out {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if reaches_out || kind == "ClusterIP" {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn secret(object: &mut Value) {
    fill(object, "type", "Opaque");
    let Some(fields) = object.as_object_mut() else { return };
    if let Some(Value::Object(texts)) = fields.remove("stringData") {
        let Value::Object(data) = fields.entry("data").or_insert_with(|| json!({})) else { return };
        for (key, text) in texts {
            let text = text.as_str().unwrap_or_default();
            data.insert(key, base64::engine::general_purpose::STANDARD.encode(text).into());
        }
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        let labels = object_in(object_in(object, "metadata"), "labels");
        fill(labels, "kubernetes.io/metadata.name", name);
    }
    fill(object_in(object, "status"), "phase", "Active");
}

fn node(object: &mut Value) {
    let capacity = object["status"]["capacity"].clone();
    if capacity.is_object() {
        fill(&mut object["status"], "allocatable", capacity);
    }
}

fn claim(object: &mut Value) {
    let spec = object_in(object, "spec");
    fill(spec, "volumeMode", "Filesystem");
    // The older name of the same field; only the newer one reaches into other namespaces.
    let (old, new) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if old.is_object() {
        fill(spec, "dataSourceRef", old);
    } else if new.is_object() && new.get("namespace").is_none() {
        fill(spec, "dataSource", new);
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    fill(object_in(object, "status"), "phase", "Pending");
}

fn workload(kind: &str, object: &mut Value) {
    let spec = object_in(object, "spec");
    match kind {
        "Deployment" => {
            fill(spec, "replicas", 1);
            fill(spec, "revisionHistoryLimit", 10);
            fill(spec, "progressDeadlineSeconds", 600);
            let strategy = object_in(spec, "strategy");
            fill(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = object_in(strategy, "rollingUpdate");
                fill(rolling, "maxUnavailable", "25%");
                fill(rolling, "maxSurge", "25%");
            }
        }
        "ReplicaSet" => fill(spec, "replicas", 1),
        "StatefulSet" => stateful_set(spec),
        _ => {
            fill(spec, "revisionHistoryLimit", 10);
            let strategy = object_in(spec, "updateStrategy");
            fill(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = object_in(strategy, "rollingUpdate");
                fill(rolling, "maxUnavailable", 1);
                fill(rolling, "maxSurge", 0);
            }
        }
    }
    if spec.get("template").is_some() {
        pod::default_template(&mut spec["template"]);
    }
}

fn stateful_set(spec: &mut Value) {
    fill(spec, "podManagementPolicy", "OrderedReady");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    let strategy = object_in(spec, "updateStrategy");
    fill(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        fill(object_in(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = object_in(spec, "persistentVolumeClaimRetentionPolicy");
    fill(retention, "whenDeleted", "Retain");
    fill(retention, "whenScaled", "Retain");
    for template in items(spec, "volumeClaimTemplates") {
        fill(template, "apiVersion", "v1");
        fill(template, "kind", "PersistentVolumeClaim");
        claim(template);
    }
}

fn job(object: &mut Value) {
    let spec = object_in(object, "spec");
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let per_index = spec.get("backoffLimitPerIndex").is_some();
    fill(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let policy =
        if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, "podReplacementPolicy", policy);
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in items(policy, "rules") {
            items(rule, "onPodConditions").for_each(|pattern| fill(pattern, "status", "True"));
        }
    }
    let Some(template) = spec.get_mut("template") else { return };
    pod::default_template(template);
    take_labels_of_template(object);
}

fn cron_job(object: &mut Value) {
    let spec = object_in(object, "spec");
    fill(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = spec.pointer_mut("/jobTemplate/spec/template") {
        pod::default_template(template);
    }
}

fn autoscaler(version: &str, object: &mut Value) {
    let spec = object_in(object, "spec");
    fill(spec, "minReplicas", 1);
    if version == "v2" {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        fill(spec, "metrics", cpu);
    }
    if let Some(behavior) = spec.get_mut("behavior").filter(|behavior| behavior.is_object()) {
        let policy =
            |type_: &str, value: i64| json!({"type": type_, "value": value, "periodSeconds": 15});
        let up = object_in(behavior, "scaleUp");
        fill(up, "stabilizationWindowSeconds", 0);
        fill(up, "selectPolicy", "Max");
        fill(up, "policies", json!([policy("Pods", 4), policy("Percent", 100)]));
        let down = object_in(behavior, "scaleDown");
        fill(down, "selectPolicy", "Max");
        fill(down, "policies", json!([policy("Percent", 100)]));
    }
}

fn priority_level(object: &mut Value) {
    let spec = object_in(object, "spec");
    if spec["exempt"].is_object() {
        fill(&mut spec["exempt"], "nominalConcurrencyShares", 0);
        fill(&mut spec["exempt"], "lendablePercent", 0);
    }
    if spec["limited"].is_object() {
        let limited = &mut spec["limited"];
        fill(limited, "nominalConcurrencyShares", 30);
        fill(limited, "lendablePercent", 0);
        let queuing = limited.pointer_mut("/limitResponse/queuing");
        if let Some(queuing) = queuing.filter(|queuing| queuing.is_object()) {
            for (field, default) in [("handSize", 8), ("queueLengthLimit", 50), ("queues", 64)] {
                if queuing[field] == 0 {
                    queuing[field] = Value::Null;
                }
                fill(queuing, field, default);
            }
        }
    }
}

fn admission(kind: &str, object: &mut Value) {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            for webhook in items(object, "webhooks") {
                fill(webhook, "failurePolicy", "Fail");
                fill(webhook, "timeoutSeconds", 10);
                match_resources(webhook, "rules");
                if kind == "MutatingWebhookConfiguration" {
                    fill(webhook, "reinvocationPolicy", "Never");
                }
                if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
                    fill(service, "port", 443);
                }
            }
        }
        "ValidatingAdmissionPolicy" => {
            let spec = object_in(object, "spec");
            fill(spec, "failurePolicy", "Fail");
            if let Some(constraints) = spec.get_mut("matchConstraints") {
                match_resources(constraints, "resourceRules");
            }
        }
        _ => {
            if let Some(resources) = object.pointer_mut("/spec/matchResources") {
                match_resources(resources, "resourceRules");
            }
        }
    }
}

fn match_resources(object: &mut Value, rules: &str) {
    fill(object, "matchPolicy", "Equivalent");
    fill(object, "namespaceSelector", json!({}));
    fill(object, "objectSelector", json!({}));
    items(object, rules).for_each(|rule| fill(rule, "scope", "*"));
}

fn definition(object: &mut Value) {
    let spec = object_in(object, "spec");
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    if !kind.is_empty() {
        fill(&mut spec["names"], "singular", kind.to_lowercase());
        fill(&mut spec["names"], "listKind", format!("{kind}List"));
    }
    let conversion = object_in(spec, "conversion");
    fill(conversion, "strategy", "None");
    if let Some(service) = conversion.pointer_mut("/webhook/clientConfig/service") {
        fill(service, "port", 443);
    }
}

fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if let Some(role) = object.get_mut("roleRef") {
        fill(role, "apiGroup", GROUP);
    }
    for subject in items(object, "subjects") {
        if subject["kind"] == "User" || subject["kind"] == "Group" {
            fill(subject, "apiGroup", GROUP);
        }
    }
}

fn network_policy(object: &mut Value) {
    let spec = object_in(object, "spec");
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            items(rule, "ports").for_each(|port| fill(port, "protocol", "TCP"));
        }
    }
    let has_egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    fill(
        spec,
        "policyTypes",
        if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
    );
}

fn csi_driver(object: &mut Value) {
    let spec = object_in(object, "spec");
    fill(spec, "attachRequired", true);
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        fill(spec, field, false);
    }
    fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    fill(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

#[cfg(test)]
mod tests;
