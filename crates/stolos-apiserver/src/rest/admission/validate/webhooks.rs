//! Webhook configurations.

use std::collections::BTreeSet;

use serde_json::Value;

use super::parts::{conditions, items, one_of, rule, text};
use crate::name_rules::subdomain_problems;
use crate::rest::admission::webhook::conditions_see;
use crate::schema::builtin::selector;
use crate::schema::causes::{duplicate, invalid, not_supported, required};
use crate::status::Cause;
use crate::webhook::check_client_config;

/// Versions of the review that this server, or the one before it, speaks.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                          alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
                          'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// What an update need not hold that its object did not hold before.
struct Leniency {
    side_effects: bool,
    versions: bool,
    names: bool,
    conditions: bool,
}

impl Leniency {
    fn of(new: &Value, old: Option<&Value>) -> Self {
        let Some(old) = old else {
            return Self { side_effects: false, versions: false, names: false, conditions: false };
        };
        let webhooks = || items(old, "webhooks");
        let mut names = BTreeSet::new();
        let conditions_of = |object: &Value| -> Vec<Value> {
            items(object, "webhooks").map(|webhook| webhook["matchConditions"].clone()).collect()
        };
        Self {
            side_effects: !webhooks().all(has_no_side_effects),
            versions: !webhooks().all(|webhook| {
                let mut versions = items(webhook, "admissionReviewVersions").peekable();
                versions.peek().is_none() || versions.any(is_known_version)
            }),
            names: !webhooks().all(|webhook| names.insert(text(webhook, "name"))),
            conditions: conditions_of(new) == conditions_of(old),
        }
    }
}

fn has_no_side_effects(webhook: &Value) -> bool {
    matches!(text(webhook, "sideEffects"), "None" | "NoneOnDryRun")
}

fn is_known_version(version: &Value) -> bool {
    version.as_str().is_some_and(|version| REVIEW_VERSIONS.contains(&version))
}

/// Returns what is wrong with a configuration.
pub(super) fn check(new: &Value, old: Option<&Value>, mutating: bool) -> Vec<Cause> {
    let lenient = Leniency::of(new, old);
    let mut causes = Vec::new();
    let mut names = BTreeSet::new();
    for (n, webhook) in items(new, "webhooks").enumerate() {
        let at = format!("webhooks[{n}]");
        check_webhook(&at, webhook, &lenient, mutating, &mut causes);
        check_versions(&format!("{at}.admissionReviewVersions"), webhook, &lenient, &mut causes);
        let name = text(webhook, "name");
        if !lenient.names && !name.is_empty() && !names.insert(name) {
            causes.push(duplicate(&format!("{at}.name"), &name.into()));
        }
    }
    causes
}

fn check_webhook(
    at: &str,
    webhook: &Value,
    lenient: &Leniency,
    mutating: bool,
    causes: &mut Vec<Cause>,
) {
    check_name(&format!("{at}.name"), text(webhook, "name"), causes);
    for (n, rule) in items(webhook, "rules").enumerate() {
        self::rule(&format!("{at}.rules[{n}]"), rule, causes);
    }
    one_of(&format!("{at}.failurePolicy"), &webhook["failurePolicy"], &["Fail", "Ignore"], causes);
    one_of(&format!("{at}.matchPolicy"), &webhook["matchPolicy"], &["Equivalent", "Exact"], causes);
    check_side_effects(&format!("{at}.sideEffects"), &webhook["sideEffects"], lenient, causes);
    let timeout = &webhook["timeoutSeconds"];
    if timeout.as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        causes.push(invalid(&format!("{at}.timeoutSeconds"), timeout, why));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        selector(&format!("{at}.{field}"), &webhook[field], causes);
    }
    if mutating {
        let policy = &webhook["reinvocationPolicy"];
        one_of(&format!("{at}.reinvocationPolicy"), policy, &["IfNeeded", "Never"], causes);
    }
    causes.extend(check_client_config(&format!("{at}.clientConfig"), &webhook["clientConfig"]));
    if !lenient.conditions {
        let at = format!("{at}.matchConditions");
        conditions(&at, &webhook["matchConditions"], &conditions_see(), causes);
    }
}

fn check_name(at: &str, name: &str, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        return causes.push(required(at, ""));
    }
    let problems = subdomain_problems(name);
    if !problems.is_empty() {
        causes.push(invalid(at, &name.into(), &problems.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        causes.push(invalid(at, &name.into(), why));
    }
}

fn check_side_effects(at: &str, value: &Value, lenient: &Leniency, causes: &mut Vec<Cause>) {
    let allowed: &[&str] = if lenient.side_effects {
        &["None", "NoneOnDryRun", "Some", "Unknown"]
    } else {
        &["None", "NoneOnDryRun"]
    };
    match value.as_str() {
        None => {
            causes.push(required(at, &format!("must specify one of {}", allowed.join(", "))));
        }
        Some(text) if !allowed.contains(&text) => {
            let allowed: Vec<Value> = allowed.iter().map(|value| Value::from(*value)).collect();
            causes.push(not_supported(at, value, &allowed));
        }
        Some(_) => {}
    }
}

fn check_versions(at: &str, webhook: &Value, lenient: &Leniency, causes: &mut Vec<Cause>) {
    let list = &webhook["admissionReviewVersions"];
    let known = REVIEW_VERSIONS.join(", ");
    if items(webhook, "admissionReviewVersions").next().is_none() {
        return causes.push(required(at, &format!("must specify one of {known}")));
    }
    causes.extend(review_version_problems(at, list));
    if !lenient.versions && !items(webhook, "admissionReviewVersions").any(is_known_version) {
        causes.push(invalid(at, list, &format!("must include at least one of {known}")));
    }
}

/// Returns what is wrong with each of a list of review versions.
fn review_version_problems(at: &str, versions: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (n, version) in versions.as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}[{n}]");
        let text = version.as_str().unwrap_or_default();
        if !seen.insert(text) {
            causes.push(invalid(&at, version, "duplicate version"));
        } else if !is_label_1035(text) {
            causes.push(invalid(&at, version, LABEL_1035));
        }
    }
    causes
}

pub(super) fn is_label_1035(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(inner)
        && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhook() -> Value {
        json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 10,
            "clientConfig": {"url": "https://localhost/x"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        })
    }

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut webhook = webhook();
        change(&mut webhook);
        let causes = check(&json!({"webhooks": [webhook]}), None, true).into_iter();
        causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_sound_webhook_is_accepted() {
        assert_eq!(problems(|_| {}), [] as [&str; 0]);
    }

    #[test]
    fn every_field_is_checked() {
        for (field, value, want) in [
            ("name", json!(""), "webhooks[0].name: Required value"),
            (
                "name",
                json!("a.b"),
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated \
                 by dots",
            ),
            (
                "sideEffects",
                Value::Null,
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                "sideEffects",
                json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                "timeoutSeconds",
                json!(31),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                "failurePolicy",
                json!("Maybe"),
                "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
            ),
            (
                "admissionReviewVersions",
                json!([]),
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ),
            (
                "admissionReviewVersions",
                json!(["v2"]),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ),
            (
                "clientConfig",
                json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                "objectSelector",
                json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
                "webhooks[0].objectSelector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid \
                 selector operator",
            ),
            (
                "reinvocationPolicy",
                json!("Always"),
                "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \
                 \"Never\"",
            ),
        ] {
            assert_eq!(problems(|webhook| webhook[field] = value), [want]);
        }
    }

    #[test]
    fn rules_are_checked() {
        for (field, value, want) in [
            ("operations", json!([]), "operations: Required value"),
            (
                "operations",
                json!(["*", "CREATE"]),
                "operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
            ),
            ("resources", json!([""]), "resources[0]: Required value"),
            (
                "resources",
                json!(["*/*", "pods"]),
                "resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources",
            ),
            (
                "resources",
                json!(["pods/*", "pods/status"]),
                "resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
            ),
            (
                "scope",
                json!("World"),
                "scope: Unsupported value: \"World\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ),
        ] {
            let found = problems(|webhook| webhook["rules"][0][field] = value);
            assert_eq!(found, [format!("webhooks[0].rules[0].{want}")]);
        }
    }

    #[test]
    fn match_conditions_must_compile() {
        let found = problems(|webhook| {
            webhook["matchConditions"] = json!([
                {"name": "a", "expression": "request.nothing"}, {"name": "a", "expression": "1"}, {"name": "", "expression": ""},
            ]);
        });
        assert!(found[0].starts_with("webhooks[0].matchConditions[0].expression: Invalid value: \"request.nothing\": compilation failed: ERROR:"), "{found:?}");
        assert_eq!(
            found[1..],
            [
                "webhooks[0].matchConditions[1].expression: Invalid value: \"1\": must evaluate to bool but got int",
                "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
                "webhooks[0].matchConditions[2].expression: Required value",
                "webhooks[0].matchConditions[2].name: Required value",
            ]
        );
    }

    #[test]
    fn an_update_may_keep_what_was_wrong_before() {
        let mut old = webhook();
        old["sideEffects"] = json!("Some");
        old["admissionReviewVersions"] = json!(["v0"]);
        old["matchConditions"] = json!([{"name": "a", "expression": "gone("}]);
        let old = json!({"webhooks": [old.clone(), old]});
        assert_eq!(check(&old, Some(&old), false), []);
        assert_ne!(check(&old, None, false), []);
    }
}
