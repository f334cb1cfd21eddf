//! Field selectors: which labels a resource knows, and their values in an object.
//!
//! A label is mostly a path into the object, but not always: `status.successful` of a Job counts `status.succeeded`.

use serde_json::Value;

use super::Resource;
use crate::store::Pairs;

/// Labels of core events; the other event group knows them under names of its own.
const EVENT_LABELS: &[&str] = &[
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.resourceVersion",
    "involvedObject.uid",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const POD_LABELS: &[&str] = &[
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

/// Returns the labels of a built-in resource beyond name and namespace.
pub(super) fn builtin_labels(group: &str, plural: &str) -> Vec<String> {
    let labels: &[&str] = match (group, plural) {
        ("", "pods") => POD_LABELS,
        ("", "nodes") => &["spec.unschedulable"],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        ("" | "events.k8s.io", "events") => EVENT_LABELS,
        _ => &[],
    };
    let renamed = group == "events.k8s.io";
    labels
        .iter()
        .map(|&label| if renamed { event_label(label) } else { label.to_owned() })
        .collect()
}

/// Writes a core event's label in the words of `events.k8s.io`.
fn event_label(label: &str) -> String {
    match label.strip_prefix("involvedObject.") {
        Some(rest) => format!("regarding.{rest}"),
        None if label == "reportingComponent" => "reportingController".to_owned(),
        None => label.to_owned(),
    }
}

impl Resource {
    /// Returns whether field selectors may name a label. Cluster-scoped kinds know `metadata.namespace` only where
    /// nothing says what they know: custom ones and those with labels of their own refuse it.
    #[must_use]
    pub fn selects_by(&self, label: &str) -> bool {
        match label {
            "metadata.name" => true,
            "metadata.namespace" => {
                self.namespaced || !self.custom && self.selectable_fields.is_empty()
            }
            label => self.selectable_fields.iter().any(|known| known == label),
        }
    }

    /// Returns the values of the selectable fields of a stored object, for the attributes the store keeps.
    #[must_use]
    pub fn field_attributes(&self, stored: &Value) -> Pairs {
        let own = self
            .selectable_fields
            .iter()
            .map(|label| (label.clone(), self.field_value(stored, label)));
        if *self.storage != *"events" {
            return own.collect();
        }
        // Both event groups show the same stored objects, each with labels of its own.
        EVENT_LABELS
            .iter()
            .map(|&label| (label, self.field_value(stored, label)))
            .flat_map(|(label, value)| {
                [(label.to_owned(), value.clone()), (event_label(label), value)]
            })
            .collect()
    }

    fn field_value(&self, object: &Value, attribute: &str) -> String {
        if !self.custom {
            match (self.plural.as_str(), attribute) {
                ("jobs", "status.successful") => return text(object, "status.succeeded", "0"),
                ("replicasets" | "replicationcontrollers", _) => {
                    return text(object, attribute, "0");
                }
                ("pods", "spec.hostNetwork") | ("nodes", "spec.unschedulable") => {
                    return text(object, attribute, "false");
                }
                ("pods", "status.podIPs") => return pod_ips(object),
                // Old reporters fill `source`, new ones only the reporting component.
                ("events", "source") => {
                    let component = text(object, "source.component", "");
                    return if component.is_empty() {
                        text(object, "reportingComponent", "")
                    } else {
                        component
                    };
                }
                _ => {}
            }
        }
        text(object, attribute, "")
    }
}

fn pod_ips(pod: &Value) -> String {
    let ips = pod.pointer("/status/podIPs").and_then(Value::as_array);
    let ips = ips.into_iter().flatten().filter_map(|entry| entry["ip"].as_str());
    ips.collect::<Vec<_>>().join(",")
}

/// Reads a scalar by its dotted path. Objects, lists and null read as absent.
fn text(object: &Value, path: &str, absent: &str) -> String {
    let found = path.split('.').try_fold(object, |value, field| value.get(field));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => absent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn resource(group: &str, plural: &str) -> std::sync::Arc<Resource> {
        Registry::builtin().resource(group, "v1", plural).expect("built in")
    }

    #[test]
    fn pods_are_selected_by_node_and_by_host_network() {
        let pod =
            json!({"spec": {"nodeName": "n1"}, "status": {"podIPs": [{"ip": "a"}, {"ip": "b"}]}});
        let fields = resource("", "pods").field_attributes(&pod);
        assert_eq!(&fields["spec.nodeName"], "n1");
        assert_eq!(&fields["spec.hostNetwork"], "false");
        assert_eq!(&fields["status.podIPs"], "a,b");
        assert_eq!(&fields["status.phase"], "");
    }

    /// Pitfall: whether `metadata.namespace` selects cluster-scoped objects depends on the kind.
    #[test]
    fn only_some_cluster_scoped_kinds_are_selected_by_namespace() {
        for (group, plural, want) in [
            ("", "pods", true),
            ("", "nodes", false),
            ("", "namespaces", false),
            ("", "persistentvolumes", true),
            ("certificates.k8s.io", "certificatesigningrequests", false),
            ("rbac.authorization.k8s.io", "clusterroles", true),
        ] {
            assert_eq!(resource(group, plural).selects_by("metadata.namespace"), want, "{plural}");
        }
        assert!(resource("", "nodes").selects_by("spec.unschedulable"));
        assert!(!resource("", "nodes").selects_by("status.phase"));
    }

    #[test]
    fn jobs_count_their_successes() {
        let jobs = resource("batch", "jobs");
        assert_eq!(&jobs.field_attributes(&json!({}))["status.successful"], "0");
        let job = json!({"status": {"succeeded": 3}});
        assert_eq!(&jobs.field_attributes(&job)["status.successful"], "3");
    }

    #[test]
    fn both_event_groups_select_the_same_objects() {
        let event = json!({"involvedObject": {"name": "web"}, "reportingComponent": "kubelet"});
        let core = resource("", "events");
        let other = resource("events.k8s.io", "events");
        let fields = core.field_attributes(&event);
        assert_eq!(fields, other.field_attributes(&event));
        assert_eq!(&fields["source"], "kubelet");
        assert_eq!(&fields["involvedObject.name"], &fields["regarding.name"]);
        for label in core.selectable_fields.iter().chain(&other.selectable_fields) {
            assert!(fields.get(label).is_some(), "{label}");
        }
    }
}
