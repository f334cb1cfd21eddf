//! What to tell about a namespace that is being deleted, and when to let it go.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::conditions;
use crate::rest::meta;
use crate::status::ApiError;

/// The finalizer, in `spec.finalizers`, that this controller takes away.
const FINALIZER: &str = "kubernetes";

/// What is left in a namespace.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    pub(super) fn add(&mut self, resource: &str, object: &Value) {
        *self.resources.entry(resource.to_owned()).or_default() += 1;
        for finalizer in meta::finalizers(object) {
            *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// Tells whether the namespace still waits for this controller.
pub(super) fn is_held(namespace: &Value) -> bool {
    let finalizers = namespace["spec"]["finalizers"].as_array().into_iter().flatten();
    finalizers.into_iter().any(|finalizer| finalizer == FINALIZER)
}

/// Returns the namespace without the finalizer of this controller.
pub(super) fn released(mut namespace: Value) -> Value {
    if let Some(finalizers) = namespace["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    namespace
}

/// Returns the namespace with conditions that tell why it is still there.
pub(super) fn with_conditions(
    namespace: &Value,
    remaining: &Remaining,
    failures: &[ApiError],
    now: Timestamp,
) -> Value {
    let mut next = namespace.clone();
    next["status"]["phase"] = json!("Terminating");
    let mut set = |type_: &str, problem: Option<String>, (bad, good): (&str, &str), fine: &str| {
        let (status, reason) = if problem.is_some() { ("True", bad) } else { ("False", good) };
        conditions::set(&mut next, type_, status, reason, problem.as_deref().unwrap_or(fine), now);
    };
    let fine = "all resources of the namespace are known";
    set(
        "NamespaceDeletionDiscoveryFailure",
        None,
        ("DiscoveryFailed", "ResourcesDiscovered"),
        fine,
    );
    let fine = "all group versions are readable";
    set(
        "NamespaceDeletionGroupVersionParsingFailure",
        None,
        ("GroupVersionParsingFailed", "ParsedGroupVersions"),
        fine,
    );
    let failed = join(told(failures).into_iter());
    let fine = "deletion was asked for all content, which may wait for finalizers";
    set(
        "NamespaceDeletionContentFailure",
        failed,
        ("ContentDeletionFailed", "ContentDeleted"),
        fine,
    );
    let left = join(remaining.resources.iter().map(|(resource, n)| format!("{n} {resource}")));
    let left = left.map(|left| format!("remaining: {left}"));
    set(
        "NamespaceContentRemaining",
        left,
        ("SomeResourcesRemain", "ContentRemoved"),
        "all content is removed",
    );
    let held = join(
        remaining.finalizers.iter().map(|(finalizer, n)| format!("{finalizer} on {n} objects")),
    );
    let held = held.map(|held| format!("waiting for finalizers: {held}"));
    let reasons = ("SomeFinalizersRemain", "ContentHasNoFinalizers");
    set("NamespaceFinalizersRemaining", held, reasons, "no content waits for finalizers");
    next
}

/// Failures that a condition names.
const MAX_TOLD: usize = 5;

/// Returns what to tell of failures: the same however they come in, and not too much.
fn told(failures: &[ApiError]) -> Vec<String> {
    let all: BTreeSet<String> = failures.iter().map(ToString::to_string).collect();
    let more = all.len().saturating_sub(MAX_TOLD);
    let more = (more > 0).then(|| format!("and {more} more"));
    all.into_iter().take(MAX_TOLD).chain(more).collect()
}

fn join(parts: impl Iterator<Item = String>) -> Option<String> {
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Value {
        json!({
            "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes", "example.com/mine"]}, "status": {"phase": "Terminating"},
        })
    }

    #[test]
    fn only_our_own_finalizer_is_taken_away() {
        let released = released(namespace());
        assert_eq!(released["spec"]["finalizers"], json!(["example.com/mine"]));
        assert!(is_held(&namespace()));
        assert!(!is_held(&released));
    }

    #[test]
    fn conditions_tell_what_remains_and_why() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut remaining = Remaining::default();
        remaining.add("pods", &json!({"metadata": {"finalizers": ["example.com/x"]}}));
        remaining.add("pods", &json!({"metadata": {}}));
        let next = with_conditions(&namespace(), &remaining, &[ApiError::internal("no")], now);
        let shown = |type_| {
            let condition = super::super::condition(&next, type_);
            let text = |field: &str| condition[field].as_str().unwrap().to_owned();
            (text("status"), text("reason"), text("message"))
        };
        let some = |status: &str, reason: &str, message: &str| {
            (status.to_owned(), reason.to_owned(), message.to_owned())
        };
        let left = some("True", "SomeResourcesRemain", "remaining: 2 pods");
        assert_eq!(shown("NamespaceContentRemaining"), left);
        let held = some(
            "True",
            "SomeFinalizersRemain",
            "waiting for finalizers: example.com/x on 1 objects",
        );
        assert_eq!(shown("NamespaceFinalizersRemaining"), held);
        let failed = some("True", "ContentDeletionFailed", "Internal error occurred: no");
        assert_eq!(shown("NamespaceDeletionContentFailure"), failed);
        assert_eq!(shown("NamespaceDeletionDiscoveryFailure").0, "False");
    }
}
