//! What upstream's admission gives every new pod, whoever creates it.

use serde_json::{Value, json};

use crate::registry::Resource;

/// Seconds that a pod stays on a node that is not ready or cannot be reached, unless it says otherwise.
const TOLERATION_SECONDS: u64 = 300;

/// Fills in the service account, the tolerations and the priority of a new pod. A class of priority that a pod names is left
/// to the scheduler of a simulation: the server itself starts no pods.
pub(crate) fn admit_pod(resource: &Resource, object: &mut Value) {
    if resource.custom || resource.storage.as_ref() != "pods" || !object["spec"].is_object() {
        return;
    }
    let spec = &mut object["spec"];
    if spec["serviceAccountName"].as_str().is_none_or(str::is_empty) {
        spec["serviceAccountName"] = "default".into();
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        tolerate(spec, key);
    }
    if spec["priorityClassName"].as_str().is_none_or(str::is_empty) && spec["priority"].is_null() {
        spec["priority"] = 0.into();
        spec["preemptionPolicy"] = "PreemptLowerPriority".into();
    }
}

fn tolerate(spec: &mut Value, key: &str) {
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let fits = |field: &Value, wanted: &str| {
        field.as_str().is_none_or(|text| text.is_empty() || text == wanted)
    };
    let tolerates = |own: &Value| fits(&own["key"], key) && fits(&own["effect"], "NoExecute");
    if tolerations.iter().any(tolerates) {
        return;
    }
    tolerations.push(json!({
        "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
    }));
    spec["tolerations"] = tolerations.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn admitted(spec: &Value) -> Value {
        let pods = Registry::builtin().resource("", "v1", "pods").unwrap();
        let mut pod = json!({ "spec": spec });
        admit_pod(&pods, &mut pod);
        pod["spec"].take()
    }

    #[test]
    fn new_pods_have_an_account_a_priority_and_stay_on_lost_nodes_for_a_while() {
        let spec = admitted(&json!({}));
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("default"), &json!("default"))
        );
        assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(spec["tolerations"][1]["tolerationSeconds"], 300);
        assert_eq!(spec["priority"], 0);
    }

    #[test]
    fn what_a_pod_says_itself_stays() {
        let own = json!({ "serviceAccountName": "robot", "tolerations": [{ "operator": "Exists" }], "priority": 7 });
        let spec = admitted(&own);
        assert_eq!(spec["serviceAccount"], "robot");
        assert_eq!((&spec["tolerations"], &spec["priority"]), (&own["tolerations"], &json!(7)));
    }
}
