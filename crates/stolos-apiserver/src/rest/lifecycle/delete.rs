//! Deletion: at once, after finalizers, or after a grace period.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::crd;
use crate::registry::Resource;
use crate::rest::meta::{self, FOREGROUND, ORPHAN};
use crate::rest::query::{DeleteOptions, Propagation};

/// What a DELETE does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deletion {
    /// Removes the object; nothing holds it.
    Remove,
    /// Writes this state: deletion has begun, or is due sooner than before.
    Mark(Value),
    /// Deletion has begun before and this request changes nothing.
    Pending,
}

/// Grace of a pod that does not say, in seconds, as upstream defaults it.
const DEFAULT_POD_GRACE: i64 = 30;

/// Decides what deleting `current` does now.
#[must_use]
pub(crate) fn decide_delete(
    resource: &Resource,
    current: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Deletion {
    let builtin = (!resource.custom).then(|| resource.storage.as_ref());
    let grace = if builtin == Some("pods") { pod_grace(current, options) } else { 0 };
    if meta::is_deleting(current) {
        return again(builtin, current, grace, now);
    }
    let mut finalizers = next_finalizers(current, propagation(resource, current, options));
    // The objects of a definition go before it does.
    if builtin == Some(crd::STORAGE) && !finalizers.contains(&crd::CLEANUP_FINALIZER) {
        finalizers.push(crd::CLEANUP_FINALIZER);
    }
    let held =
        !finalizers.is_empty() || (builtin == Some("namespaces") && holds_namespace(current));
    if !held && grace == 0 {
        return Deletion::Remove;
    }
    let mut next = current.clone();
    meta::set_finalizers(&mut next, &finalizers);
    mark(&mut next, grace, now);
    if builtin == Some("namespaces") {
        next["status"]["phase"] = json!("Terminating");
        // Namespaces are deleted in a way of their own, which knows no grace.
        meta::of(&mut next).remove("deletionGracePeriodSeconds");
    }
    Deletion::Mark(next)
}

/// Returns what is shown of an object that goes now. Pods go with no grace left, which their last state says.
#[must_use]
pub(crate) fn last_state(resource: &Resource, mut object: Value, now: Timestamp) -> Value {
    if resource.custom || resource.storage.as_ref() != "pods" {
        return object;
    }
    if meta::is_deleting(&object) {
        let metadata = meta::of(&mut object);
        metadata.insert("deletionTimestamp".to_owned(), due(0, now));
        metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
    } else {
        mark(&mut object, 0, now);
    }
    object
}

/// A repeated deletion cannot change finalizers; it can only shorten the grace.
fn again(builtin: Option<&str>, current: &Value, grace: i64, now: Timestamp) -> Deletion {
    let held = !meta::finalizers(current).is_empty()
        || (builtin == Some("namespaces") && holds_namespace(current));
    let left = current["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if grace == 0 && !held {
        return Deletion::Remove;
    }
    if grace >= left {
        return Deletion::Pending;
    }
    let mut next = current.clone();
    let metadata = meta::of(&mut next);
    metadata.insert("deletionTimestamp".to_owned(), due(grace, now));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    Deletion::Mark(next)
}

fn mark(next: &mut Value, grace: i64, now: Timestamp) {
    let metadata = meta::of(next);
    metadata.insert("deletionTimestamp".to_owned(), due(grace, now));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

fn due(grace: i64, now: Timestamp) -> Value {
    let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
    meta::seconds(at).into()
}

/// A pod on a node is stopped first; one that never started, or ended, goes at once.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let unscheduled = pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_POD_GRACE);
    let asked = options.grace_period_seconds.unwrap_or_else(|| {
        let begun = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
        begun.unwrap_or(own)
    });
    // Upstream reads a negative period as the shortest one that still stops the pod in order.
    if asked < 0 { 1 } else { asked }
}

fn holds_namespace(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// The policy that the client asks for, or else the one that the object's finalizers ask for by themselves, or else
/// the one of its kind.
fn propagation(
    resource: &Resource,
    current: &Value,
    options: &DeleteOptions,
) -> Option<Propagation> {
    match (options.orphan_dependents, options.propagation) {
        (Some(true), _) => Some(Propagation::Orphan),
        (Some(false), _) => Some(Propagation::Background),
        (None, None) => {
            let present = meta::finalizers(current);
            let decided = present.contains(&ORPHAN) || present.contains(&FOREGROUND);
            (!decided && resource.orphans_dependents).then_some(Propagation::Orphan)
        }
        (None, policy) => policy,
    }
}

/// An explicit policy wins over the garbage collector's finalizers that are there; without one they stay.
fn next_finalizers(current: &Value, policy: Option<Propagation>) -> Vec<&str> {
    let present = meta::finalizers(current);
    let Some(policy) = policy else { return present };
    let own =
        present.into_iter().filter(|finalizer| *finalizer != ORPHAN && *finalizer != FOREGROUND);
    let added = match policy {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    own.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn decide(plural: &str, current: &Value, options: &DeleteOptions) -> Deletion {
        let resource = Registry::builtin().resource("", "v1", plural).unwrap();
        decide_delete(&resource, current, options, now())
    }

    fn marked(plural: &str, current: &Value, options: &DeleteOptions) -> Value {
        match decide(plural, current, options) {
            Deletion::Mark(next) => next,
            other => panic!("expected a marked object, got {other:?}"),
        }
    }

    fn policy(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
    }

    #[test]
    fn nothing_holds_a_plain_object() {
        let object = json!({"metadata": {"name": "a"}});
        assert_eq!(decide("configmaps", &object, &DeleteOptions::default()), Deletion::Remove);
    }

    #[test]
    fn finalizers_postpone_and_count_one_generation() {
        let object = json!({"metadata": {"finalizers": ["x"], "generation": 1}});
        let next = marked("configmaps", &object, &DeleteOptions::default());
        assert_eq!(next["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(next["metadata"]["deletionGracePeriodSeconds"], 0);
        assert_eq!(next["metadata"]["generation"], 2);
        assert_eq!(decide("configmaps", &next, &policy(Propagation::Orphan)), Deletion::Pending);
    }

    #[test]
    fn policies_become_finalizers_of_the_garbage_collector() {
        let object = json!({"metadata": {"finalizers": ["x", "orphan"]}});
        let finalizers = |options: &DeleteOptions| {
            marked("configmaps", &object, options)["metadata"]["finalizers"].take()
        };
        assert_eq!(
            finalizers(&policy(Propagation::Foreground)),
            json!(["x", "foregroundDeletion"])
        );
        assert_eq!(finalizers(&policy(Propagation::Background)), json!(["x"]));
        assert_eq!(finalizers(&DeleteOptions::default()), json!(["x", "orphan"]));
        let legacy = DeleteOptions { orphan_dependents: Some(true), ..DeleteOptions::default() };
        assert_eq!(finalizers(&legacy), json!(["x", "orphan"]));
    }

    #[test]
    fn jobs_leave_their_pods_behind_unless_told_otherwise() {
        let jobs = Registry::builtin().resource("batch", "v1", "jobs").unwrap();
        let job = json!({"metadata": {"name": "j"}});
        let decide = |job: &Value, options| decide_delete(&jobs, job, &options, now());
        let Deletion::Mark(next) = decide(&job, DeleteOptions::default()) else {
            panic!("the garbage collector has to release the pods first")
        };
        assert_eq!(next["metadata"]["finalizers"], json!(["orphan"]));
        assert_eq!(decide(&job, policy(Propagation::Background)), Deletion::Remove);
    }

    #[test]
    fn running_pods_get_their_grace_and_others_do_not() {
        let running = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 10}});
        let next = marked("pods", &running, &DeleteOptions::default());
        assert_eq!(next["metadata"]["deletionTimestamp"], "2026-01-02T03:04:15Z");
        assert_eq!(next["metadata"]["deletionGracePeriodSeconds"], 10);
        assert_eq!(decide("pods", &next, &DeleteOptions::default()), Deletion::Pending);

        let sooner = DeleteOptions { grace_period_seconds: Some(3), ..DeleteOptions::default() };
        assert_eq!(marked("pods", &next, &sooner)["metadata"]["deletionGracePeriodSeconds"], 3);
        let force = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        assert_eq!(decide("pods", &next, &force), Deletion::Remove);
        assert_eq!(
            decide("pods", &json!({"spec": {}}), &DeleteOptions::default()),
            Deletion::Remove
        );
    }

    #[test]
    fn namespaces_terminate_instead_of_vanishing() {
        let namespace = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let next = marked("namespaces", &namespace, &DeleteOptions::default());
        assert_eq!(next["status"]["phase"], "Terminating");
        assert_eq!(decide("namespaces", &next, &DeleteOptions::default()), Deletion::Pending);
    }

    #[test]
    fn jobs_orphan_their_pods_unless_told_otherwise() {
        let jobs = Registry::builtin().resource("batch", "v1", "jobs").unwrap();
        let job = json!({"metadata": {"name": "j"}});
        let decide =
            |job: &Value, options: &DeleteOptions| decide_delete(&jobs, job, options, now());
        let Deletion::Mark(next) = decide(&job, &DeleteOptions::default()) else { panic!() };
        assert_eq!(next["metadata"]["finalizers"], json!(["orphan"]));
        let background = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        assert_eq!(decide(&job, &background), Deletion::Remove);
        let waiting = json!({"metadata": {"name": "j", "finalizers": ["foregroundDeletion"]}});
        let Deletion::Mark(next) = decide(&waiting, &DeleteOptions::default()) else { panic!() };
        assert_eq!(next["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        assert_eq!(
            decide_delete(
                &Registry::builtin().resource("batch", "v1", "cronjobs").unwrap(),
                &job,
                &DeleteOptions::default(),
                now()
            ),
            Deletion::Remove
        );
    }
}
