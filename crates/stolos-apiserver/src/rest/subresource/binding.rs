//! `pods/binding`: a scheduler puts a pod on a node.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::rest::meta;
use crate::status::ApiError;

/// Reads the node that a Binding names.
pub(crate) fn node_of(binding: &Value) -> Result<String, ApiError> {
    let target = &binding["target"];
    let name = target["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::unclassified("target.name: Required value"));
    }
    let kind = target["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        return Err(ApiError::unclassified(format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        )));
    }
    Ok(name.to_owned())
}

/// Returns the pod on its node, or a refusal when it is on one already or on its way out.
pub(crate) fn bound(pod: &Value, node: &str, now: Timestamp) -> Result<Value, ApiError> {
    let name = meta::text(pod, "name");
    let refused = |why: String| ApiError::conflict("", "pods/binding", name, &why);
    if let Some(present) = pod["spec"]["nodeName"].as_str().filter(|present| !present.is_empty()) {
        return Err(refused(format!("pod {name} is already assigned to node \"{present}\"")));
    }
    if meta::is_deleting(pod) {
        return Err(refused(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = node.into();
    let conditions = &mut pod["status"]["conditions"];
    let mut list = conditions.as_array().cloned().unwrap_or_default();
    list.retain(|condition| condition["type"] != "PodScheduled");
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::seconds(now),
    });
    list.push(scheduled);
    *conditions = list.into();
    Ok(pod)
}

/// What subresources answer that have nothing to show.
#[must_use]
pub(crate) fn success(code: StatusCode) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code.as_u16() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let pod = bound(&json!({"metadata": {"name": "p"}, "spec": {}}), "n1", now).unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
        assert_eq!(bound(&pod, "n2", now).unwrap_err().reason, "Conflict");
    }

    #[test]
    fn bindings_name_a_node() {
        assert_eq!(node_of(&json!({"target": {"kind": "Node", "name": "n"}})).unwrap(), "n");
        assert!(node_of(&json!({"target": {"kind": "Pod", "name": "n"}})).is_err());
        assert!(node_of(&json!({})).is_err());
    }
}
