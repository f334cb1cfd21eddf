//! The status an object starts with, whatever the client sent.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::crd;
use crate::registry::Resource;
use crate::rest::meta;

/// Sets the status of a new object.
pub(super) fn reset(resource: &Resource, object: &mut Value, now: Timestamp) {
    if !resource.status_subresource {
        return;
    }
    if resource.custom {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        return;
    }
    match resource.storage.as_ref() {
        // The kubelet registers a node together with what it reports.
        "nodes" => {}
        "namespaces" => object["status"] = json!({ "phase": "Active" }),
        "persistentvolumeclaims" => object["status"] = json!({ "phase": "Pending" }),
        "persistentvolumes" => {
            let now = meta::seconds(now);
            object["status"] = json!({ "phase": "Pending", "lastPhaseTransitionTime": now });
        }
        "pods" => object["status"] = json!({ "phase": "Pending", "qosClass": qos_class(object) }),
        "services" | "ingresses.networking.k8s.io" => {
            object["status"] = json!({ "loadBalancer": {} })
        }
        "daemonsets.apps" => {
            object["status"] = json!({
                "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
            });
        }
        crd::STORAGE => {
            let stored = crd::storage_version(object).map(Value::from);
            // kubectl wait gives up when the conditions are null, as kube-apiserver shows them at first.
            object["status"] = json!({ "conditions": [], "storedVersions": stored.as_slice() });
        }
        "replicasets.apps" | "replicationcontrollers" => {
            object["status"] = json!({ "replicas": 0 })
        }
        "statefulsets.apps" => object["status"] = json!({ "availableReplicas": 0, "replicas": 0 }),
        "poddisruptionbudgets.policy" => {
            object["status"] = json!({ "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 });
        }
        "horizontalpodautoscalers.autoscaling" => {
            object["status"] = json!({ "currentMetrics": null, "desiredReplicas": 0 });
        }
        // Nothing has to be asked whether this server itself can be reached.
        "apiservices.apiregistration.k8s.io" if object["spec"]["service"].is_null() => {
            object["status"] = json!({ "conditions": [{
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": meta::seconds(now),
            }] });
        }
        _ => object["status"] = json!({}),
    }
}

/// Decides a pod's quality of service from the requests and limits of its containers.
fn qos_class(pod: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers: Vec<&Value> =
        lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten().collect();
    let has = |container: &Value, what: &str, resource: &str| {
        !container["resources"][what][resource].is_null()
    };
    let any = containers.iter().any(|container| {
        ["requests", "limits"]
            .iter()
            .any(|what| ["cpu", "memory"].iter().any(|name| has(container, what, name)))
    });
    if !any {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limits = &container["resources"]["limits"][name];
            let requests = &container["resources"]["requests"][name];
            !limits.is_null() && (requests.is_null() || requests == limits)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_classed_by_requests_and_limits() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        let full = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        assert_eq!(qos_class(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        assert_eq!(qos_class(&pod(json!({"limits": full}))), "Guaranteed");
        assert_eq!(
            qos_class(&pod(json!({"limits": full, "requests": {"cpu": "500m"}}))),
            "Burstable"
        );
    }
}
