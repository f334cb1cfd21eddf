//! What an update of a built-in object may not change.

use serde_json::Value;

use crate::schema::causes::{forbidden, invalid};
use crate::status::Cause;

const IMMUTABLE: &str = "field is immutable";

pub(super) fn check(group: &str, kind: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    match (group, kind) {
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet") => {
            keep(&["spec", "selector"], IMMUTABLE, new, old, causes);
        }
        ("apps", "StatefulSet") => stateful_set(new, old, causes),
        ("apps", "ControllerRevision") => keep(&["data"], IMMUTABLE, new, old, causes),
        ("batch", "Job") => job(new, old, causes),
        ("", "ConfigMap" | "Secret") => data(kind, new, old, causes),
        ("", "Service") => service(new, old, causes),
        ("", "Pod") => pod(new, old, causes),
        ("", "PersistentVolumeClaim") => claim(new, old, causes),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            keep(&["roleRef"], "cannot change roleRef", new, old, causes);
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            keep(&["addressType"], IMMUTABLE, new, old, causes)
        }
        ("storage.k8s.io", "CSIStorageCapacity") => {
            keep(&["nodeTopology"], IMMUTABLE, new, old, causes);
            keep(&["storageClassName"], IMMUTABLE, new, old, causes);
        }
        ("node.k8s.io", "RuntimeClass") => keep(&["handler"], IMMUTABLE, new, old, causes),
        ("scheduling.k8s.io", "PriorityClass") => {
            forbid_change(&["value"], "may not be changed in an update.", new, old, causes);
            keep(&["preemptionPolicy"], IMMUTABLE, new, old, causes);
        }
        ("storage.k8s.io", "StorageClass") => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                let why = format!("updates to {field} are forbidden.");
                forbid_change(&[field], &why, new, old, causes);
            }
        }
        _ => {}
    }
}

/// Refuses a change of one field.
fn keep(path: &[&str], why: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let at = |object: &Value| path.iter().fold(object.clone(), |value, field| value[field].clone());
    let new = at(new);
    if new != at(old) {
        causes.push(invalid(&path.join("."), &new, why));
    }
}

fn forbid_change(fields: &[&str], why: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for field in fields.iter().filter(|field| new[**field] != old[**field]) {
        causes.push(forbidden(field, why));
    }
}

fn stateful_set(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    const CHANGEABLE: &[&str] = &[
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    ];
    if without(&new["spec"], CHANGEABLE) != without(&old["spec"], CHANGEABLE) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        causes.push(forbidden("spec", why));
    }
}

fn job(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    keep(&["spec", "selector"], IMMUTABLE, new, old, causes);
    keep(&["spec", "completionMode"], IMMUTABLE, new, old, causes);
    if new["spec"]["completionMode"] != "Indexed" {
        keep(&["spec", "completions"], IMMUTABLE, new, old, causes);
    }
    // Schedulers may still steer the pods of a job that has not begun.
    let waits = old["spec"]["suspend"] == true && old["status"].get("startTime").is_none();
    if !waits {
        keep(&["spec", "template"], IMMUTABLE, new, old, causes);
    }
}

fn data(kind: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if kind == "Secret" {
        keep(&["type"], IMMUTABLE, new, old, causes);
    }
    if old["immutable"] != true {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        causes.push(forbidden("immutable", why));
    }
    forbid_change(&["data", "binaryData"], why, new, old, causes);
}

fn service(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let external = [old, new].iter().any(|service| service["spec"]["type"] == "ExternalName");
    let (before, after) = (&old["spec"]["clusterIPs"], &new["spec"]["clusterIPs"]);
    if !external && before[0].is_string() && before[0] != after[0] {
        causes.push(invalid("spec.clusterIPs[0]", after, "may not change once set"));
    }
    let health = |service: &Value| service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
    let local = |service: &Value| {
        service["spec"]["type"] == "LoadBalancer"
            && service["spec"]["externalTrafficPolicy"] == "Local"
    };
    if local(old) && local(new) && health(old) != 0 && health(old) != health(new) {
        causes.push(forbidden("spec.healthCheckNodePort", IMMUTABLE));
    }
}

fn pod(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    const CHANGEABLE: &[&str] = &[
        "activeDeadlineSeconds",
        "ephemeralContainers",
        "schedulingGates",
        "terminationGracePeriodSeconds",
        "tolerations",
    ];
    let fixed = |object: &Value| {
        let mut spec = without(&object["spec"], CHANGEABLE);
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
            {
                for field in ["image", "resources"] {
                    container.as_object_mut().and_then(|fields| fields.remove(field));
                }
            }
        }
        // The scheduler decides once; admission adds what the pod did not ask for.
        for field in ["nodeName", "nodeSelector", "affinity"] {
            if old["spec"].get(field).is_none() || field != "nodeName" {
                spec.as_object_mut().and_then(|fields| fields.remove(field));
            }
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,\
                   `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                   existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                   previously negative)";
        causes.push(forbidden("spec", why));
    }
}

fn claim(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let fixed = |object: &Value| {
        let mut spec = without(&object["spec"], &["resources", "volumeAttributesClassName"]);
        for field in ["storageClassName", "volumeName"] {
            if old["spec"].get(field).is_none() {
                spec.as_object_mut().and_then(|fields| fields.remove(field));
            }
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                   bound claims";
        causes.push(forbidden("spec", why));
    }
}

/// Returns a copy of an object without some fields.
fn without(object: &Value, fields: &[&str]) -> Value {
    let mut copy = object.clone();
    if let Some(map) = copy.as_object_mut() {
        map.retain(|name, _| !fields.contains(&name.as_str()));
    }
    copy
}
