//! Pods stay for a while on nodes that are lost.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::creates;
use crate::rest::admission::{Plugin, Request};
use crate::status::ApiError;

/// How long a pod stays on a node that is lost, unless it says otherwise.
const SECONDS: u32 = 300;

pub(super) struct Tolerations;

fn add(pod: &mut Value) -> bool {
    if !pod["spec"].is_object() {
        return false;
    }
    let mut changed = false;
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        changed |= tolerate(&mut pod["spec"], key);
    }
    changed
}

fn tolerate(spec: &mut Value, key: &str) -> bool {
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let fits = |field: &Value, wanted: &str| {
        field.as_str().is_none_or(|text| text.is_empty() || text == wanted)
    };
    let tolerates = |own: &Value| fits(&own["key"], key) && fits(&own["effect"], "NoExecute");
    if tolerations.iter().any(tolerates) {
        return false;
    }
    tolerations.push(json!({
        "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
    }));
    spec["tolerations"] = tolerations.into();
    true
}

impl Plugin for Tolerations {
    fn mutate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        let changed = creates(request, "pods") && object.is_some_and(add);
        Box::pin(std::future::ready(Ok(changed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_tolerate_lost_nodes_unless_they_say_otherwise() {
        let mut pod = json!({"spec": {}});
        assert!(add(&mut pod));
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["spec"]["tolerations"][1]["tolerationSeconds"], 300);
        assert!(!add(&mut pod), "once is enough");
        assert!(!add(&mut json!({"spec": {"tolerations": [{"operator": "Exists"}]}})));
    }
}
