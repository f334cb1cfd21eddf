//! When an applied object counts as available (placement-applier 6.11).

use serde_json::Value;
use stolos_api::placement::WorkResourceIdentifier;

/// Whether an object serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Available,
    /// Not yet.
    NotYet,
    /// Nothing in the object would tell.
    NotTrackable,
}

/// Judges a live object by its kind.
#[must_use]
pub fn of(identifier: &WorkResourceIdentifier, live: &Value) -> Availability {
    let group_version = (identifier.group.as_str(), identifier.version.as_str());
    match (group_version, identifier.resource.as_str()) {
        (("apps", "v1"), "deployments") => when(deployment(live)),
        (("apps", "v1"), "statefulsets") => when(stateful_set(live)),
        (("apps", "v1"), "daemonsets") => when(daemon_set(live)),
        (("", "v1"), "services") => service(live),
        (("apiextensions.k8s.io", "v1"), "customresourcedefinitions") => {
            when(is_true(live, "Established") && is_true(live, "NamesAccepted"))
        }
        (("policy", "v1"), "poddisruptionbudgets") => when(disruption_budget(live)),
        (group_version, resource) if is_data(group_version, resource) => Availability::Available,
        _ => Availability::NotTrackable,
    }
}

fn when(available: bool) -> Availability {
    if available { Availability::Available } else { Availability::NotYet }
}

/// Kinds that serve as soon as they exist.
fn is_data(group_version: (&str, &str), resource: &str) -> bool {
    let resources: &[&str] = match group_version {
        ("", "v1") => &[
            "namespaces",
            "secrets",
            "configmaps",
            "serviceaccounts",
            "limitranges",
            "resourcequotas",
        ],
        ("rbac.authorization.k8s.io", "v1") => {
            &["roles", "clusterroles", "rolebindings", "clusterrolebindings"]
        }
        ("networking.k8s.io", "v1") => &["networkpolicies", "ingressclasses"],
        ("storage.k8s.io", "v1") => {
            &["csidrivers", "csinodes", "storageclasses", "csistoragecapacities"]
        }
        ("apps", "v1") => &["controllerrevisions"],
        ("scheduling.k8s.io", "v1") => &["priorityclasses"],
        _ => &[],
    };
    resources.contains(&resource)
}

fn number(live: &Value, pointer: &str) -> i64 {
    live.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn observed(live: &Value) -> bool {
    number(live, "/status/observedGeneration") == number(live, "/metadata/generation")
}

fn wished(live: &Value) -> i64 {
    live.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn deployment(live: &Value) -> bool {
    let status = |field: &str| number(live, &format!("/status/{field}"));
    observed(live)
        && status("availableReplicas") == wished(live)
        && status("updatedReplicas") == wished(live)
        && status("unavailableReplicas") == 0
}

fn stateful_set(live: &Value) -> bool {
    let status = |field: &str| number(live, &format!("/status/{field}"));
    let revision = |field: &str| live.pointer(&format!("/status/{field}")).cloned();
    observed(live)
        && status("availableReplicas") == wished(live)
        && status("currentReplicas") == status("updatedReplicas")
        && revision("currentRevision") == revision("updateRevision")
}

fn daemon_set(live: &Value) -> bool {
    let status = |field: &str| number(live, &format!("/status/{field}"));
    observed(live)
        && status("numberAvailable") == status("desiredNumberScheduled")
        && status("currentNumberScheduled") == status("updatedNumberScheduled")
}

fn service(live: &Value) -> Availability {
    let filled = |pointer: &str| {
        live.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
    };
    match live.pointer("/spec/type").and_then(Value::as_str).unwrap_or_default() {
        "" | "ClusterIP" | "NodePort" => {
            when(filled("/spec/clusterIPs/0") || filled("/spec/clusterIP"))
        }
        "LoadBalancer" => {
            let first = "/status/loadBalancer/ingress/0";
            when(filled(&format!("{first}/ip")) || filled(&format!("{first}/hostname")))
        }
        _ => Availability::NotTrackable,
    }
}

fn condition<'a>(live: &'a Value, type_: &str) -> Option<&'a Value> {
    live.pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == type_)
}

fn is_true(live: &Value, type_: &str) -> bool {
    condition(live, type_).is_some_and(|condition| condition["status"] == "True")
}

fn disruption_budget(live: &Value) -> bool {
    let generation = number(live, "/metadata/generation");
    let Some(allowed) = condition(live, "DisruptionAllowed") else { return false };
    allowed["observedGeneration"].as_i64() == Some(generation)
        && (allowed["status"] == "True") == (number(live, "/status/disruptionsAllowed") > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(group: &str, resource: &str) -> WorkResourceIdentifier {
        WorkResourceIdentifier {
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            ..WorkResourceIdentifier::default()
        }
    }

    #[test]
    fn a_deployment_is_available_when_all_replicas_are_updated_and_serve() {
        let live = |observed, available, updated| {
            json!({
                "metadata": { "generation": 2 }, "spec": { "replicas": 3 },
                "status": { "observedGeneration": observed, "availableReplicas": available, "updatedReplicas": updated },
            })
        };
        let judge = |live: &Value| of(&id("apps", "deployments"), live);
        assert_eq!(judge(&live(2, 3, 3)), Availability::Available);
        for (name, other) in
            [("stale", live(1, 3, 3)), ("few", live(2, 2, 3)), ("old pods", live(2, 3, 2))]
        {
            assert_eq!(judge(&other), Availability::NotYet, "{name}");
        }
    }

    #[test]
    fn data_is_available_at_once_and_unknown_kinds_are_not_tracked() {
        assert_eq!(of(&id("", "configmaps"), &json!({})), Availability::Available);
        assert_eq!(of(&id("batch", "jobs"), &json!({})), Availability::NotTrackable);
        assert_eq!(of(&id("example.com", "configmaps"), &json!({})), Availability::NotTrackable);
    }

    #[test]
    fn a_service_needs_its_address() {
        let judge = |spec: Value, status: Value| {
            of(&id("", "services"), &json!({ "spec": spec, "status": status }))
        };
        assert_eq!(judge(json!({}), json!({})), Availability::NotYet);
        assert_eq!(judge(json!({ "clusterIP": "10.0.0.1" }), json!({})), Availability::Available);
        assert_eq!(
            judge(json!({ "type": "LoadBalancer", "clusterIP": "10.0.0.1" }), json!({})),
            Availability::NotYet
        );
        assert_eq!(judge(json!({ "type": "ExternalName" }), json!({})), Availability::NotTrackable);
    }
}
