//! Removes from a selected object what belongs to the hub alone.

use serde_json::{Map, Value};

use super::object::{self, Gvk};

const HUB_METADATA: &[&str] = &[
    "resourceVersion",
    "generation",
    "uid",
    "selfLink",
    "deletionTimestamp",
    "managedFields",
    "ownerReferences",
    "creationTimestamp",
];

const HUB_ANNOTATIONS: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"];

/// Labels by which the job controller finds the pods of one Job on one cluster.
const JOB_LABELS: &[&str] = &["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Returns the object as it goes to members: without its status, without what the hub's API server
/// and controllers put into it. Doing it again changes nothing.
pub fn sanitise(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object_at(&mut object, "/metadata") {
        remove_all(metadata, HUB_METADATA);
    }
    remove_annotations(&mut object);
    let gvk = Gvk::of(&object);
    if gvk.is("", "Service") {
        sanitise_service(&mut object);
    } else if gvk.is("batch", "Job") {
        sanitise_job(&mut object);
    }
    object
}

fn remove_annotations(object: &mut Value) {
    let Some(metadata) = object_at(object, "/metadata") else { return };
    let Some(annotations) = metadata.get_mut("annotations") else { return };
    let is_empty = match annotations {
        Value::Object(annotations) => {
            remove_all(annotations, HUB_ANNOTATIONS);
            annotations.is_empty()
        }
        other => other.is_null(),
    };
    if is_empty {
        metadata.remove("annotations");
    }
}

fn sanitise_service(service: &mut Value) {
    let is_headless = object::text(service, "/spec/clusterIP") == "None";
    let Some(spec) = object_at(service, "/spec") else { return };
    if !is_headless {
        remove_all(spec, &["clusterIP", "clusterIPs"]);
    }
    spec.remove("healthCheckNodePort");
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.remove("nodePort");
    }
}

fn sanitise_job(job: &mut Value) {
    if job.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    for pointer in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        if let Some(labels) = object_at(job, pointer) {
            remove_all(labels, JOB_LABELS);
        }
    }
    if let Some(metadata) = object_at(job, "/spec/template/metadata") {
        metadata.remove("creationTimestamp");
    }
}

fn object_at<'a>(value: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    value.pointer_mut(pointer).and_then(Value::as_object_mut)
}

fn remove_all(fields: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        fields.remove(*name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_user_wrote_remains() {
        let cases = [
            (
                json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {
                        "name": "a", "namespace": "b", "uid": "u", "resourceVersion": "1",
                        "generation": 2, "creationTimestamp": "2024-01-01T00:00:00Z",
                        "managedFields": [], "ownerReferences": [], "finalizers": ["f"],
                        "labels": {"l": "v"},
                        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                    },
                    "data": {"k": "v"}, "status": {},
                }),
                json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {
                        "name": "a", "namespace": "b", "finalizers": ["f"], "labels": {"l": "v"},
                    },
                    "data": {"k": "v"},
                }),
            ),
            (
                json!({
                    "apiVersion": "apps/v1", "kind": "Deployment",
                    "metadata": {"annotations": {
                        "deployment.kubernetes.io/revision": "3", "mine": "x",
                    }},
                }),
                json!({
                    "apiVersion": "apps/v1", "kind": "Deployment",
                    "metadata": {"annotations": {"mine": "x"}},
                }),
            ),
            (
                json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {},
                    "spec": {
                        "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                        "healthCheckNodePort": 30000, "ports": [{"port": 80, "nodePort": 30001}],
                    },
                }),
                json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {},
                    "spec": {"ports": [{"port": 80}]},
                }),
            ),
            (
                json!({
                    "apiVersion": "v1", "kind": "Service",
                    "spec": {"clusterIP": "None", "clusterIPs": ["None"]},
                }),
                json!({
                    "apiVersion": "v1", "kind": "Service",
                    "spec": {"clusterIP": "None", "clusterIPs": ["None"]},
                }),
            ),
            (
                json!({
                    "apiVersion": "batch/v1", "kind": "Job",
                    "spec": {
                        "selector": {"matchLabels": {"controller-uid": "u"}},
                        "template": {"metadata": {
                            "creationTimestamp": null,
                            "labels": {"batch.kubernetes.io/controller-uid": "u", "app": "a"},
                        }},
                    },
                }),
                json!({
                    "apiVersion": "batch/v1", "kind": "Job",
                    "spec": {
                        "selector": {"matchLabels": {}},
                        "template": {"metadata": {"labels": {"app": "a"}}},
                    },
                }),
            ),
            (
                json!({
                    "apiVersion": "batch/v1", "kind": "Job",
                    "spec": {
                        "manualSelector": true,
                        "selector": {"matchLabels": {"controller-uid": "u"}},
                    },
                }),
                json!({
                    "apiVersion": "batch/v1", "kind": "Job",
                    "spec": {
                        "manualSelector": true,
                        "selector": {"matchLabels": {"controller-uid": "u"}},
                    },
                }),
            ),
        ];
        for (object, want) in cases {
            let got = sanitise(&object);
            assert_eq!(got, want);
            assert_eq!(sanitise(&got), got, "doing it again changes nothing");
        }
    }
}
