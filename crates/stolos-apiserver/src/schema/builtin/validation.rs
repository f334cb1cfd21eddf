//! Validation of the built-in kinds: types, required fields, allowed values, and what clients commonly get wrong.
//!
//! It is deliberately thin beside kube-apiserver's. Names and labels in `metadata` are checked where requests are handled.

mod autoscaler;
mod budget;
mod event;
mod flow;
mod limits;
mod network;
mod priority;
mod resources;
mod schedule;
mod selector;
mod service;
mod volume;

pub(crate) use selector::selector;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{immutable, signing_request};
use crate::name_rules::label_problems;
use crate::names::GroupVersion;
use crate::schema::causes::{duplicate, invalid, not_found, not_supported, required};
use crate::schema::validate::{is_unset, walk};
use crate::status::Cause;

/// Checks a defaulted object of a built-in kind; `old` is the state that an update replaces.
#[must_use]
pub fn validate(
    group_version: &GroupVersion,
    kind: &str,
    new: &Value,
    old: Option<&Value>,
) -> Vec<Cause> {
    let group = group_version.group.as_str();
    let shape = check_shape(group_version, kind, new, old);
    if shape.iter().any(|cause| cause.reason == WRONG_TYPE) {
        return shape; // What follows assumes values of the right types.
    }
    if kind == "CustomResourceDefinition" {
        return Vec::new(); // They have validation of their own.
    }
    let mut causes = Vec::new();
    check_meaning(group, kind, new, &mut causes);
    match (group, kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => {
            autoscaler::check(&group_version.version, new, old, &mut causes);
        }
        ("", "ResourceQuota") => limits::check_quota(new, old, &mut causes),
        ("" | "events.k8s.io", "Event") => event::check(group, new, old, &mut causes),
        _ => {}
    }
    // Where both find something, the rule of the kind says it better than its schema.
    let said: BTreeSet<String> = causes.iter().map(|cause| cause.field.clone()).collect();
    let forbidden: Vec<String> = causes
        .iter()
        .filter(|cause| cause.reason == "FieldValueForbidden")
        .map(|cause| format!("{}.", cause.field))
        .collect();
    let is_new = |cause: &Cause| {
        let inside = |whole: &String| cause.field.starts_with(whole.as_str());
        !said.contains(&cause.field) && !forbidden.iter().any(inside)
    };
    causes.extend(shape.into_iter().filter(is_new));
    if let Some(old) = old {
        immutable::check(group, kind, new, old, &mut causes);
    }
    causes
}

/// Reason of values whose type does not fit the field.
const WRONG_TYPE: &str = "FieldValueTypeInvalid";

/// Finds a value whose type does not fit its field. Decoders of upstream stumble over such a value, so it is an error
/// of the request and not one of the object.
#[must_use]
pub fn wrong_type(group_version: &GroupVersion, kind: &str, object: &Value) -> Option<Cause> {
    let find = |object: &Value| {
        let causes = check_shape(group_version, kind, object, None);
        causes.into_iter().find(|cause| cause.reason == WRONG_TYPE)
    };
    find(object)?;
    // Nulls fit every field; only objects that look wrong are worth a copy without them.
    let schema = super::kind(&group_version.group, &group_version.version, kind)?;
    let mut object = object.clone();
    super::normal::normalise(&schema, &mut object);
    find(&object)
}

fn check_shape(
    group_version: &GroupVersion,
    kind: &str,
    new: &Value,
    old: Option<&Value>,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Some(schema) = super::kind(&group_version.group, &group_version.version, kind) else {
        return causes;
    };
    let Some(fields) = new.as_object() else { return causes };
    let missing = |field: &&String| fields.get(*field).is_some_and(|value| value == "");
    causes.extend(schema.required.iter().filter(missing).map(|field| required(field, "")));
    for (name, value) in fields.iter().filter(|(name, _)| *name != "metadata") {
        let Some(known) = schema.properties.get(name) else { continue };
        if is_unset(&schema, name, value) {
            continue;
        }
        let mut found = Vec::new();
        walk(known, name, value, old.and_then(|old| old.get(name)), &mut found);
        // Controllers report what they know; only the shape of a status matters.
        found.retain(|cause| name != "status" || cause.reason == WRONG_TYPE);
        causes.extend(found);
    }
    causes
}

fn check_meaning(group: &str, kind: &str, new: &Value, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    match (group, kind) {
        ("", "Pod") => check_pod(spec, "spec", BTreeSet::new(), causes),
        ("", "ReplicationController") => {
            if spec["selector"].as_object().is_none_or(Map::is_empty) {
                causes.push(required("spec.selector", ""));
            }
            check_replicas(spec, causes);
            if spec["template"].is_object() {
                check_template(spec, "spec", causes);
            } else {
                causes.push(required("spec.template", ""));
            }
        }
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") => {
            check_replicas(spec, causes);
            check_selector(kind, spec, causes);
            check_template(spec, "spec", causes);
        }
        ("batch", "Job") => check_job(spec, "spec", causes),
        ("batch", "CronJob") => {
            schedule::check(new, causes);
            check_job(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", causes);
        }
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::check_schema(new, causes),
        ("flowcontrol.apiserver.k8s.io", _) => flow::check_level(new, causes),
        ("", "PersistentVolume") => volume::check(spec, causes),
        ("storage.k8s.io", "VolumeAttachment") => volume::check_attachment(spec, causes),
        ("storage.k8s.io", "CSIStorageCapacity") => volume::check_storage_capacity(new, causes),
        ("", "LimitRange") => limits::check_range(spec, causes),
        ("apps", "ControllerRevision") if new["data"].is_null() => {
            causes.push(required("data", "data is mandatory"));
        }
        ("", "PodTemplate") => {
            check_pod(&new["template"]["spec"], "template.spec", BTreeSet::new(), causes);
        }
        ("networking.k8s.io", "Ingress") => network::check_ingress(spec, causes),
        ("networking.k8s.io", "NetworkPolicy") => network::check_policy(spec, causes),
        ("networking.k8s.io", "IngressClass") => {
            check_text(spec, "controller", "spec.controller", causes);
        }
        ("scheduling.k8s.io", "PriorityClass") => priority::check(new, causes),
        ("node.k8s.io", "RuntimeClass") => check_handler(new, causes),
        ("", "Service") => service::check(spec, causes),
        ("", "ConfigMap") => check_data(new, &["data", "binaryData"], causes),
        ("", "Secret") => check_secret(new, causes),
        ("", "PersistentVolumeClaim") => check_claim(spec, causes),
        ("policy", "PodDisruptionBudget") => budget::check(spec, causes),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => check_rules(kind, new, causes),
        ("rbac.authorization.k8s.io", _) => check_binding(kind, new, causes),
        ("certificates.k8s.io", "CertificateSigningRequest") => signing_request::check(new, causes),
        ("coordination.k8s.io", "Lease") => check_lease(spec, causes),
        ("apiregistration.k8s.io", "APIService") => check_api_service(new, causes),
        _ => {}
    }
}

fn check_handler(class: &Value, causes: &mut Vec<Cause>) {
    let handler = class["handler"].as_str().unwrap_or_default();
    let problems = label_problems(handler);
    causes.extend(problems.iter().map(|why| invalid("handler", &handler.into(), why)));
}

fn check_lease(spec: &Value, causes: &mut Vec<Cause>) {
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"));
    }
}

fn check_api_service(service: &Value, causes: &mut Vec<Cause>) {
    let spec = &service["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    let named = format!("{}.{}", text("version"), text("group"));
    let name = &service["metadata"]["name"];
    if *name != named {
        let why = format!("must be `spec.version+\".\"+spec.group`: {named:?}");
        causes.push(invalid("metadata.name", name, &why));
    }
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = &spec[field];
        if priority.as_i64().is_none_or(|priority| priority <= 0 || priority > most) {
            let why = format!("must be positive and less than {most}");
            causes.push(invalid(&format!("spec.{field}"), priority, &why));
        }
    }
}

fn check_replicas(spec: &Value, causes: &mut Vec<Cause>) {
    if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        causes.push(invalid(
            "spec.replicas",
            &spec["replicas"],
            "must be greater than or equal to 0",
        ));
    }
}

fn check_selector(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let selector = &spec["selector"];
    let empty = |field: &str| selector[field].as_object().is_none_or(Map::is_empty);
    let absent = selector.is_null();
    if absent && kind != "DaemonSet" {
        causes.push(required("spec.selector", ""));
    }
    if !absent
        && empty("matchLabels")
        && selector["matchExpressions"].as_array().is_none_or(Vec::is_empty)
    {
        let why = format!("empty selector is invalid for {}", kind.to_lowercase());
        causes.push(invalid("spec.selector", selector, &why));
    } else if absent || !selects(selector, &spec["template"]["metadata"]["labels"]) {
        let labels = &spec["template"]["metadata"]["labels"];
        let why = "`selector` does not match template `labels`";
        causes.push(invalid("spec.template.metadata.labels", labels, why));
    }
}

/// Reports whether a label selector matches labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let mut wanted = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    wanted.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let value = expression["key"].as_str().and_then(|key| labels.get(key));
            let listed = || {
                let mut values = expression["values"].as_array().into_iter().flatten();
                value.is_some_and(|value| values.any(|listed| listed == value))
            };
            match expression["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
}

/// Checks the spec of a Job; its pods end, so they cannot always be started again.
fn check_job(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let pod = &spec["template"]["spec"];
    check_pod(pod, &format!("{path}.template.spec"), BTreeSet::new(), causes);
    let policy = pod["restartPolicy"].as_str().unwrap_or("Always");
    let field = format!("{path}.template.spec.restartPolicy");
    match policy {
        "OnFailure" | "Never" => {}
        "Always" => {
            causes.push(required(&field, "valid values: \"OnFailure\", \"Never\""));
        }
        other => {
            let allowed = ["OnFailure", "Never"].map(Value::from);
            causes.push(not_supported(&field, &other.into(), &allowed));
        }
    }
}

/// Checks `template` of a workload's spec.
fn check_template(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let pod = &spec["template"]["spec"];
    // Pods of a StatefulSet get a volume for each of its claims.
    let claims = list(spec, "volumeClaimTemplates");
    let claims = claims.filter_map(|claim| claim["metadata"]["name"].as_str()).collect();
    check_pod(pod, &format!("{path}.template.spec"), claims, causes);
    let policy = &pod["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        let field = format!("{path}.template.spec.restartPolicy");
        causes.push(not_supported(&field, policy, &["Always".into()]));
    }
}

/// Checks a pod's spec; `claimed` names volumes that exist without being listed.
fn check_pod<'a>(spec: &'a Value, path: &str, claimed: BTreeSet<&'a str>, causes: &mut Vec<Cause>) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        causes.push(required(&format!("{path}.containers"), ""));
    }
    let mut volumes = claimed;
    for (index, volume) in list(spec, "volumes").enumerate() {
        let field = format!("{path}.volumes[{index}].name");
        check_label(&volume["name"], &field, causes);
        if !volumes.insert(volume["name"].as_str().unwrap_or_default()) {
            causes.push(duplicate(&field, &volume["name"]));
        }
    }
    let mut names = BTreeSet::new();
    for field in ["containers", "initContainers"] {
        for (index, container) in list(spec, field).enumerate() {
            let path = format!("{path}.{field}[{index}]");
            check_label(&container["name"], &format!("{path}.name"), causes);
            if !names.insert(container["name"].as_str().unwrap_or_default()) {
                causes.push(duplicate(&format!("{path}.name"), &container["name"]));
            }
            check_text(container, "image", &format!("{path}.image"), causes);
            check_container(container, &path, &volumes, causes);
        }
    }
}

fn check_container(
    container: &Value,
    path: &str,
    volumes: &BTreeSet<&str>,
    causes: &mut Vec<Cause>,
) {
    for (index, mount) in list(container, "volumeMounts").enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        if !volumes.contains(mount["name"].as_str().unwrap_or_default()) {
            causes.push(not_found(&format!("{path}.name"), &mount["name"]));
        }
        check_text(mount, "mountPath", &format!("{path}.mountPath"), causes);
    }
    for (index, port) in list(container, "ports").enumerate() {
        check_port(&port["containerPort"], &format!("{path}.ports[{index}].containerPort"), causes);
    }
    for (index, variable) in list(container, "env").enumerate() {
        check_text(variable, "name", &format!("{path}.env[{index}].name"), causes);
    }
}

fn check_secret(secret: &Value, causes: &mut Vec<Cause>) {
    check_data(secret, &["data"], causes);
    let needed: &[&str] = match secret["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" => {
            // Either will do.
            let keys = ["username", "password"];
            if keys.iter().any(|key| secret["data"].get(key).is_some()) {
                &[]
            } else {
                &["username", "password"]
            }
        }
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if secret["metadata"]["annotations"][ACCOUNT].as_str().is_none_or(str::is_empty) {
                causes.push(required(&format!("metadata.annotations[{ACCOUNT}]"), ""));
            }
            &[]
        }
        _ => &[],
    };
    for key in needed.iter().filter(|key| secret["data"].get(key).is_none()) {
        causes.push(required(&format!("data[{key}]"), ""));
    }
}

/// Checks the keys and the total size of ConfigMap and Secret data.
fn check_data(object: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    const MAX_BYTES: usize = 1 << 20;
    const MAX_KEY: usize = 253;
    static KEY: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^[-._a-zA-Z0-9]+$").expect("a fixed pattern compiles"));
    let mut n_bytes = 0;
    for field in fields {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            n_bytes += value.as_str().map_or(0, str::len);
            if key == "." || key == ".." {
                let why = format!("must not be '{key}'");
                causes.push(invalid(&format!("{field}[{key}]"), &key.as_str().into(), &why));
            } else if key.len() > MAX_KEY {
                let why = format!("must be no more than {MAX_KEY} characters");
                causes.push(invalid(&format!("{field}[{key}]"), &key.as_str().into(), &why));
            } else if *field == "data" && object["binaryData"].get(key).is_some() {
                let why = "duplicate of key present in binaryData";
                causes.push(invalid(&format!("{field}[{key}]"), &key.as_str().into(), why));
            } else if !KEY.is_match(key) {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                           'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(invalid(&format!("{field}[{key}]"), &key.as_str().into(), why));
            }
        }
    }
    // Base64 makes four characters of three bytes.
    let (most, field) = if fields.contains(&"binaryData") {
        (MAX_BYTES, "[]") // Upstream has no name for the whole of a ConfigMap.
    } else {
        (MAX_BYTES / 3 * 4 + 4, "data")
    };
    if n_bytes > most {
        causes.push(crate::schema::causes::too_long(field, MAX_BYTES as u64));
    }
}

fn check_claim(spec: &Value, causes: &mut Vec<Cause>) {
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        causes.push(required("spec.accessModes", "at least 1 access mode is required"));
    }
    if spec["resources"]["requests"].get("storage").is_none() {
        causes.push(required("spec.resources[storage]", ""));
    }
}

fn check_rules(kind: &str, role: &Value, causes: &mut Vec<Cause>) {
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    for (index, rule) in list(role, "rules").enumerate() {
        let path = format!("rules[{index}]");
        if empty(&rule["verbs"]) {
            causes
                .push(required(&format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if !empty(&rule["nonResourceURLs"]) {
            if kind == "Role" {
                let why = "namespaced rules cannot apply to non-resource URLs";
                causes.push(invalid(
                    &format!("{path}.nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    why,
                ));
            } else if !empty(&rule["apiGroups"]) || !empty(&rule["resources"]) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                causes.push(invalid(
                    &format!("{path}.nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    why,
                ));
            }
            continue;
        }
        if empty(&rule["apiGroups"]) {
            let why = "resource rules must supply at least one api group";
            causes.push(required(&format!("{path}.apiGroups"), why));
        }
        if empty(&rule["resources"]) {
            let why = "resource rules must supply at least one resource";
            causes.push(required(&format!("{path}.resources"), why));
        }
    }
}

fn check_binding(kind: &str, binding: &Value, causes: &mut Vec<Cause>) {
    let allowed: &[&str] =
        if kind == "RoleBinding" { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let role = &binding["roleRef"];
    check_choice(role, "apiGroup", "roleRef", &[RBAC], causes);
    check_choice(role, "kind", "roleRef", allowed, causes);
    check_text(role, "name", "roleRef.name", causes);
    for (index, subject) in list(binding, "subjects").enumerate() {
        let path = format!("subjects[{index}]");
        check_text(subject, "name", &format!("{path}.name"), causes);
        match subject["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" => {
                check_choice(subject, "apiGroup", &path, &[""], causes);
                if kind == "ClusterRoleBinding" {
                    check_text(subject, "namespace", &format!("{path}.namespace"), causes);
                }
            }
            "User" | "Group" => check_choice(subject, "apiGroup", &path, &[RBAC], causes),
            _ => {
                let kinds = ["ServiceAccount", "User", "Group"];
                check_choice(subject, "kind", &path, &kinds, causes);
            }
        }
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// Asks for one of several texts.
fn check_choice(
    object: &Value,
    field: &str,
    path: &str,
    choices: &[&str],
    causes: &mut Vec<Cause>,
) {
    let found = object[field].as_str().unwrap_or_default();
    if !choices.contains(&found) {
        let choices: Vec<Value> = choices.iter().map(|choice| (*choice).into()).collect();
        let path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        causes.push(not_supported(&path, &found.into(), &choices));
    }
}

fn list<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

/// Asks for a text that is not empty.
fn check_text(object: &Value, field: &str, path: &str, causes: &mut Vec<Cause>) {
    if object[field].as_str().is_none_or(str::is_empty) {
        causes.push(required(path, ""));
    }
}

fn check_label(name: &Value, path: &str, causes: &mut Vec<Cause>) {
    let text = name.as_str().unwrap_or_default();
    if text.is_empty() {
        causes.push(required(path, ""));
    } else {
        causes.extend(label_problems(text).iter().map(|why| invalid(path, name, why)));
    }
}

fn check_port(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    if !port.as_i64().is_some_and(|port| (1..=65535).contains(&port)) {
        causes.push(invalid(path, port, "must be between 1 and 65535, inclusive"));
    }
}

#[cfg(test)]
mod tests;
