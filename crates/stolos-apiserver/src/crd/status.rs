//! The status of a definition: what was decided about it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::names::{Conflict, Names};
use super::storage_version;
use crate::conditions;
use crate::status::Cause;

/// Annotation that definitions in groups of the Kubernetes project need.
pub(super) const APPROVAL: &str = "api-approved.kubernetes.io";

/// Returns the definition with the outcome of its acceptance in its status. It is established for good once its names
/// have been accepted and its resources are served.
pub(super) fn accepted(
    crd: &Value,
    names: &Names,
    conflict: Option<&Conflict>,
    problems: &[Cause],
    now: Timestamp,
) -> Value {
    let mut next = crd.clone();
    let mut set = |type_: &str, status: &str, reason: &str, message: &str| {
        conditions::set(&mut next, type_, status, reason, message, now);
    };
    match conflict {
        None => set("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some(Conflict { reason, message }) => set("NamesAccepted", "False", reason, message),
    }
    if conflict.is_none() && problems.is_empty() {
        set("Established", "True", "InitialNamesAccepted", "the initial names have been accepted");
    } else if !conditions::is_true(crd, "Established") {
        set("Established", "False", "NotAccepted", "not all names are accepted");
    }
    if problems.is_empty() {
        conditions::remove(&mut next, "NonStructuralSchema");
    } else {
        let lines: Vec<String> =
            problems.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        conditions::set(
            &mut next,
            "NonStructuralSchema",
            "True",
            "Violations",
            &lines.join(", "),
            now,
        );
    }
    report_approval(&mut next, now);
    next["status"]["acceptedNames"] = names.to_json();
    remember_storage_version(&mut next);
    next
}

/// Returns the definition with the state of its deletion; `remaining` objects are still there.
pub(super) fn terminating(crd: &Value, remaining: usize, now: Timestamp) -> Value {
    let mut next = crd.clone();
    let message = format!("{remaining} objects remain");
    conditions::set(&mut next, "Terminating", "True", "InstanceDeletionInProgress", &message, now);
    next
}

/// Versions that objects may be stored in accumulate; only an administrator takes one away.
fn remember_storage_version(crd: &mut Value) {
    let Some(version) = storage_version(crd).map(str::to_owned) else { return };
    let stored = &mut crd["status"]["storedVersions"];
    let mut list = stored.as_array().cloned().unwrap_or_default();
    if !list.iter().any(|known| *known == version) {
        list.push(json!(version));
    }
    *stored = Value::Array(list);
}

fn report_approval(crd: &mut Value, now: Timestamp) {
    const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    if !is_protected(group) {
        conditions::remove(crd, CONDITION);
        return;
    }
    let annotation =
        crd["metadata"]["annotations"][APPROVAL].as_str().unwrap_or_default().to_owned();
    if annotation.starts_with("unapproved") {
        let message = format!("not approved: {annotation:?}");
        conditions::set(crd, CONDITION, "False", "UnapprovedAnnotation", &message, now);
    } else {
        let message = format!("approved in {annotation}");
        conditions::set(crd, CONDITION, "True", "ApprovedAnnotation", &message, now);
    }
}

/// Tells whether a group belongs to the Kubernetes project.
pub(super) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn crd() -> Value {
        json!({"spec": {"group": "example.com", "versions": [{"name": "v1", "storage": true}]}})
    }

    fn types(crd: &Value) -> Vec<(&str, &str)> {
        let list = crd["status"]["conditions"].as_array().unwrap();
        list.iter().map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap())).collect()
    }

    fn conflict() -> Conflict {
        Conflict { reason: "PluralConflict", message: "taken".to_owned() }
    }

    #[test]
    fn names_are_accepted_before_the_definition_is_established() {
        let next = accepted(&crd(), &Names::default(), None, &[], now());
        assert_eq!(types(&next), [("NamesAccepted", "True"), ("Established", "True")]);
        assert_eq!(next["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(accepted(&next, &Names::default(), None, &[], now()), next);
    }

    #[test]
    fn a_conflict_does_not_undo_the_establishment() {
        let next = accepted(&crd(), &Names::default(), Some(&conflict()), &[], now());
        assert_eq!(types(&next), [("NamesAccepted", "False"), ("Established", "False")]);
        let established = accepted(&next, &Names::default(), None, &[], now());
        let next = accepted(&established, &Names::default(), Some(&conflict()), &[], now());
        assert_eq!(types(&next), [("NamesAccepted", "False"), ("Established", "True")]);
    }

    #[test]
    fn a_schema_that_does_not_compile_is_not_established() {
        let cause = Cause {
            reason: String::new(),
            message: "no type".to_owned(),
            field: "spec".to_owned(),
        };
        let next = accepted(&crd(), &Names::default(), None, &[cause], now());
        let want =
            [("NamesAccepted", "True"), ("Established", "False"), ("NonStructuralSchema", "True")];
        assert_eq!(types(&next), want);
        let healed = accepted(&next, &Names::default(), None, &[], now());
        assert_eq!(types(&healed), [("NamesAccepted", "True"), ("Established", "True")]);
    }

    #[test]
    fn stored_versions_accumulate() {
        let mut next = accepted(&crd(), &Names::default(), None, &[], now());
        next["spec"]["versions"] = json!([{"name": "v1"}, {"name": "v2", "storage": true}]);
        let next = accepted(&next, &Names::default(), None, &[], now());
        assert_eq!(next["status"]["storedVersions"], json!(["v1", "v2"]));
    }

    #[test]
    fn groups_of_the_kubernetes_project_are_protected() {
        for group in ["k8s.io", "a.k8s.io", "kubernetes.io", "b.kubernetes.io"] {
            assert!(is_protected(group), "{group}");
        }
        for group in ["x-k8s.io", "multicluster.x-k8s.io", "example.com", "mykubernetes.io"] {
            assert!(!is_protected(group), "{group}");
        }
    }
}
