//! Objects that configure admission: stored like others, checked before.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::GROUP;
use crate::harness::Cluster;

#[tokio::test]
async fn broken_configurations_are_refused_and_change_nothing() {
    let cluster = Cluster::start().await;
    let before = cluster.store.revision();
    for (plural, kind, rest, want) in [
        (
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            json!({"webhooks": [{"name": "a.b.c", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]}),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{
                "name": "a.b.c", "clientConfig": {"url": "https://localhost"}, "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "matchConditions": [{"name": "x", "expression": "... [}"}],
            }]}),
            "compilation failed",
        ),
        (
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            json!({"spec": {"validations": [{"expression": "true"}]}}),
            "spec.matchConstraints: Required value",
        ),
        (
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            json!({"spec": {"policyName": "p", "validationActions": ["Deny", "Warn"]}}),
            "must not contain both Deny and Warn",
        ),
    ] {
        let mut object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "x"},
        });
        for (field, value) in rest.as_object().unwrap() {
            object[field] = value.clone();
        }
        let (status, body) =
            cluster.send(Method::POST, &format!("{GROUP}/{plural}"), Some(object)).await;
        assert_eq!(
            (status, &body["reason"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")),
            "{body}"
        );
        let message = body["message"].as_str().unwrap();
        let prefix = format!("{kind}.admissionregistration.k8s.io \"x\" is invalid: ");
        assert!(message.starts_with(&prefix) && message.contains(want), "{message}");
    }
    assert_eq!(cluster.store.revision(), before);
}

#[tokio::test]
async fn configurations_are_defaulted() {
    let cluster = Cluster::start().await;
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "x"},
        "webhooks": [{
            "name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
        }],
    });
    let path = format!("{GROUP}/mutatingwebhookconfigurations");
    let made = cluster.ok(Method::POST, &path, Some(configuration)).await;
    let webhook = &made["webhooks"][0];
    for (field, value) in [
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("reinvocationPolicy", json!("Never")),
        ("timeoutSeconds", json!(10)),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
    ] {
        assert_eq!(webhook[field], value, "{field}");
    }
    assert_eq!(webhook["rules"][0]["scope"], "*");
    assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
    let list = cluster.ok(Method::GET, &path, None).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let deleted: Value = cluster.ok(Method::DELETE, &path, None).await;
    assert_eq!(deleted["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_a_field_lacks_is_said_once_and_in_the_words_of_its_own_rules() {
    let cluster = Cluster::start().await;
    let webhook = json!({
        "name": "a.b.c", "clientConfig": {"url": "https://localhost"}, "admissionReviewVersions": ["v1"],
    });
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "x"}, "webhooks": [webhook, webhook],
    });
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    let (_, body) = cluster.send(Method::POST, &path, Some(configuration)).await;
    let needed = "sideEffects: Required value: must specify one of None, NoneOnDryRun";
    assert_eq!(
        body["message"],
        format!(
            "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"x\" is invalid: [webhooks[0].{needed}, \
             webhooks[1].{needed}, webhooks[1].name: Duplicate value: \"a.b.c\"]"
        )
    );
}
