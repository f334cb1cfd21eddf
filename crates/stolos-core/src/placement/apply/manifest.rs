//! Manifests made ready for a member, and how each is written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};
use stolos_api::placement::names::annotation;
use stolos_api::placement::{ApplyStrategy, ApplyStrategyType, WhenToApply};

use super::compare;
use super::managed::{self, must_force};
use super::merge::three_way;
use crate::placement::hash;

/// Metadata that belongs to the cluster an object lives in.
const CLUSTER_METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Annotations that some applier keeps for itself.
const APPLIER_ANNOTATIONS: &[&str] = &[
    annotation::LAST_APPLIED_CONFIGURATION,
    annotation::SPEC_HASH,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
];

/// Most bytes of all annotations of an object together (Kubernetes).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The next write that brings an object in line with its manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is in line.
    Nothing,
    /// Create this object, which must not exist.
    Create(Value),
    /// Replace the live object by this one, at its resource version.
    Replace(Value),
    /// Let the server merge.
    ServerSide {
        /// What to apply.
        manifest: Value,
        /// Take fields from other managers.
        force: bool,
        /// Managed fields to write first, so that the server knows which fields earlier client-side writes set.
        adopt: Option<Value>,
        /// Look again afterwards: this only prepares a client-side merge.
        again: bool,
    },
}

/// Returns a manifest without what belongs to another cluster or another applier.
pub(super) fn clean(manifest: &Value) -> Value {
    let mut clean = manifest.clone();
    let Some(object) = clean.as_object_mut() else { return clean };
    object.remove("status");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !CLUSTER_METADATA.contains(&field.as_str()));
        let emptied = metadata.get_mut("annotations").and_then(Value::as_object_mut).is_some_and(
            |annotations| {
                annotations.retain(|name, _| !APPLIER_ANNOTATIONS.contains(&name.as_str()));
                annotations.is_empty()
            },
        );
        if emptied {
            metadata.remove("annotations");
        }
    }
    clean
}

/// Returns the hash of everything in a manifest that is applied.
#[must_use]
pub fn content_hash(manifest: &Value) -> String {
    hash::sha256(hash::canonical_json(&clean(manifest)))
}

/// Returns the hash that placed objects carry: of what is compared of a manifest, in the JSON that Go makes of it, so that
/// objects which KubeFleet placed are known again. Names and what belongs to Kubernetes or the fleet do not count.
#[must_use]
pub fn spec_hash(manifest: &Value) -> String {
    let mut compared = compare::comparable(&clean(manifest));
    if !compared["metadata"].is_object() {
        compared["metadata"] = Value::Object(Map::new());
    }
    // KubeFleet empties these instead of removing them.
    for (field, empty) in [
        ("annotations", json!({})),
        ("labels", json!({})),
        ("finalizers", json!([])),
        ("managedFields", json!([])),
        ("ownerReferences", json!([])),
    ] {
        if compared["metadata"][field].is_null() {
            compared["metadata"][field] = empty;
        }
    }
    hash::sha256(as_go_escapes(&hash::canonical_json(&compared)))
}

fn as_go_escapes(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Tells whether a live object was last written from just this manifest: its hash says so, or, where another version of
/// KubeFleet or Stolos made a hash in its own way, what was noted as applied.
#[must_use]
pub fn carries_hash(live: &Value, manifest: &Value) -> bool {
    annotation_of(live, annotation::SPEC_HASH).is_some_and(|carried| {
        carried == spec_hash(manifest) || last_applied(live) == Some(clean(manifest))
    })
}

/// Returns what a live object notes as applied last, cleaned.
fn last_applied(live: &Value) -> Option<Value> {
    let noted = annotation_of(live, annotation::LAST_APPLIED_CONFIGURATION)?;
    serde_json::from_str::<Value>(noted).ok().map(|last| clean(&last))
}

/// Returns a manifest as it is compared: cleaned.
#[must_use]
pub fn comparable(manifest: &Value) -> Value {
    clean(manifest)
}

/// Decides the next write for a manifest, given the live object. The object is ours, or not there.
#[must_use]
pub fn write(
    manifest: &Value,
    live: Option<&Value>,
    ours: &OwnerReference,
    strategy: &ApplyStrategy,
) -> Step {
    match strategy.type_ {
        ApplyStrategyType::ServerSideApply => {
            let ready = prepare(manifest, ours);
            let Some(live) = live else { return Step::Create(ready) };
            let force = strategy.server_side_apply_config.is_some_and(|config| config.force);
            server_side(ready, live, force, strategy)
        }
        ApplyStrategyType::ClientSideApply | ApplyStrategyType::ReportDiff => {
            client_side(manifest, live, ours, strategy)
        }
    }
}

fn server_side(mut ready: Value, live: &Value, force: bool, strategy: &ApplyStrategy) -> Step {
    let adopt = managed::adopt(live);
    // Writing managed fields gives a new resource version; the caller locks on that one.
    if strategy.when_to_apply == WhenToApply::IfNotDrifted {
        ready["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    }
    Step::ServerSide { manifest: ready, force: force || must_force(live), adopt, again: false }
}

fn client_side(
    manifest: &Value,
    live: Option<&Value>,
    ours: &OwnerReference,
    strategy: &ApplyStrategy,
) -> Step {
    let new = clean(manifest);
    let mut ready = prepare(manifest, ours);
    let noted = hash::canonical_json(&new);
    let Some(live) = live else {
        let fits = fits(&ready, &noted);
        annotate(
            &mut ready,
            annotation::LAST_APPLIED_CONFIGURATION,
            if fits { &noted } else { "" },
        );
        return Step::Create(ready);
    };
    let last = last_applied(live);
    let mut merged = three_way(last.as_ref(), &new, live);
    if !fits(&merged, &noted) {
        annotate(&mut ready, annotation::LAST_APPLIED_CONFIGURATION, "");
        return server_side(ready, live, false, strategy);
    }
    if last.is_none() && managed::applied_before(live) {
        // Only the server knows what an earlier server-side apply set; it takes back what the manifest has lost.
        annotate(&mut ready, annotation::LAST_APPLIED_CONFIGURATION, &noted);
        return Step::ServerSide { manifest: ready, force: true, adopt: None, again: true };
    }
    // Notes that say the same in other words, such as those of some version of KubeFleet, stay.
    if !carries_hash(live, manifest) {
        annotate(&mut merged, annotation::SPEC_HASH, &spec_hash(manifest));
    }
    if last.as_ref() != Some(&new) {
        annotate(&mut merged, annotation::LAST_APPLIED_CONFIGURATION, &noted);
    }
    if merged == *live { Step::Nothing } else { Step::Replace(merged) }
}

/// Returns a manifest as it is created: cleaned, with its hash and the AppliedWork as an owner.
fn prepare(manifest: &Value, owner: &OwnerReference) -> Value {
    let mut ready = clean(manifest);
    if !ready["metadata"].is_object() {
        ready["metadata"] = Value::Object(Map::new());
    }
    ready["metadata"]["ownerReferences"] = json!([owner]);
    annotate(&mut ready, annotation::SPEC_HASH, &spec_hash(manifest));
    ready
}

fn annotate(object: &mut Value, name: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = Value::Object(Map::new());
    }
    object["metadata"]["annotations"][name] = json!(value);
}

fn annotation_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// Tells whether an object can carry the manifest in an annotation beside those it has.
fn fits(object: &Value, noted: &str) -> bool {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let others = annotations.into_iter().flatten();
    let others: usize = others
        .filter(|(name, _)| *name != annotation::LAST_APPLIED_CONFIGURATION)
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    others + annotation::LAST_APPLIED_CONFIGURATION.len() + noted.len() <= MAX_ANNOTATIONS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stolos_api::placement::ServerSideApplyConfig;

    use super::*;

    fn owner() -> OwnerReference {
        OwnerReference {
            kind: "AppliedWork".to_owned(),
            uid: "ours".to_owned(),
            ..OwnerReference::default()
        }
    }

    fn config_map(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
    }

    /// Returns what the member has after the write.
    fn written(step: Step) -> Value {
        match step {
            Step::Create(object) | Step::Replace(object) => object,
            other => panic!("{other:?}"),
        }
    }

    fn strategy(type_: ApplyStrategyType) -> ApplyStrategy {
        ApplyStrategy { type_, ..ApplyStrategy::default() }
    }

    #[test]
    fn the_hash_looks_at_what_the_user_wrote_only() {
        let plain = config_map(json!({"k": "v"}));
        let mut lived = plain.clone();
        lived["metadata"]["uid"] = json!("1");
        lived["metadata"]["annotations"] = json!({ annotation::SPEC_HASH: "old" });
        lived["status"] = json!({});
        assert_eq!(spec_hash(&plain), spec_hash(&lived));
        assert_ne!(spec_hash(&plain), spec_hash(&config_map(json!({"k": "w"}))));
    }

    #[test]
    fn the_hash_is_that_of_go() {
        let go = hash::sha256(
            r#"{"apiVersion":"v1","data":{"k":"\u003c\u0026\u003e"},"kind":"ConfigMap","metadata":{"annotations":{"mine":"1"},"finalizers":[],"labels":{},"managedFields":[],"ownerReferences":[]}}"#,
        );
        let mut manifest = config_map(json!({"k": "<&>"}));
        manifest["metadata"]["annotations"] = json!({"mine": "1", "some.k8s.io/key": "2"});
        manifest["metadata"]["labels"] = json!({"app.kubernetes.io/name": "a"});
        assert_eq!(spec_hash(&manifest), go);
        assert_ne!(content_hash(&manifest), content_hash(&config_map(json!({"k": "<&>"}))));
    }

    #[test]
    fn a_client_side_apply_notes_what_it_applied_and_takes_back_what_is_gone() {
        let first = config_map(json!({"kept": "1", "lost": "1"}));
        let strategy = strategy(ApplyStrategyType::ClientSideApply);
        let mut live = written(write(&first, None, &owner(), &strategy));
        assert_eq!(live["metadata"]["ownerReferences"][0]["uid"], "ours");
        assert!(carries_hash(&live, &first));
        assert_eq!(write(&first, Some(&live), &owner(), &strategy), Step::Nothing);

        live["data"]["others"] = json!("x");
        live["metadata"]["resourceVersion"] = json!("7");
        let second = config_map(json!({"kept": "2"}));
        let replaced = written(write(&second, Some(&live), &owner(), &strategy));
        assert_eq!(replaced["data"], json!({"kept": "2", "others": "x"}));
        assert_eq!(replaced["metadata"]["resourceVersion"], "7", "the lock");
        assert!(carries_hash(&replaced, &second));
        assert_eq!(write(&second, Some(&replaced), &owner(), &strategy), Step::Nothing);
    }

    #[test]
    fn an_object_that_kubefleet_placed_is_in_line() {
        let manifest = config_map(json!({"k": "v"}));
        let strategy = strategy(ApplyStrategyType::ClientSideApply);
        let mut live = written(write(&manifest, None, &owner(), &strategy));
        let mut noted = manifest.clone();
        noted["metadata"]["ownerReferences"] = json!([owner()]);
        noted["metadata"]["annotations"] = json!({ annotation::SPEC_HASH: "x" });
        let noted = serde_json::to_string_pretty(&noted).unwrap();
        live["metadata"]["annotations"][annotation::LAST_APPLIED_CONFIGURATION] = json!(noted);
        assert_eq!(write(&manifest, Some(&live), &owner(), &strategy), Step::Nothing);

        // Versions of KubeFleet differ in what they hash.
        live["metadata"]["annotations"][annotation::SPEC_HASH] = json!("of another version");
        assert_eq!(write(&manifest, Some(&live), &owner(), &strategy), Step::Nothing);
        assert!(carries_hash(&live, &manifest), "a drift of it is still a drift");
        let next = config_map(json!({"k": "w"}));
        assert!(!carries_hash(&live, &next));
        let replaced = written(write(&next, Some(&live), &owner(), &strategy));
        assert_eq!(replaced["metadata"]["annotations"][annotation::SPEC_HASH], spec_hash(&next));
    }

    #[test]
    fn a_manifest_too_large_to_be_noted_is_merged_by_the_server_and_back() {
        let strategy = strategy(ApplyStrategyType::ClientSideApply);
        let large = config_map(json!({"k": "x".repeat(MAX_ANNOTATIONS)}));
        let mut live = written(write(&large, None, &owner(), &strategy));
        let noted = |object: &Value| {
            object["metadata"]["annotations"][annotation::LAST_APPLIED_CONFIGURATION].clone()
        };
        assert_eq!(noted(&live), "");
        live["metadata"]["managedFields"] =
            json!([{"manager": "someone", "operation": "Update", "fieldsV1": {}}]);
        let Step::ServerSide { manifest, force: false, again: false, .. } =
            write(&large, Some(&live), &owner(), &strategy)
        else {
            panic!("the server merges")
        };
        assert_eq!(noted(&manifest), "");

        live["metadata"]["managedFields"] =
            json!([{"manager": "work-api-agent", "operation": "Apply", "fieldsV1": {}}]);
        let small = config_map(json!({"k": "y"}));
        let Step::ServerSide { manifest, force: true, again: true, .. } =
            write(&small, Some(&live), &owner(), &strategy)
        else {
            panic!("the server takes back what it applied")
        };
        assert_eq!(write(&small, Some(&manifest), &owner(), &strategy), Step::Nothing);
    }

    #[test]
    fn a_server_side_apply_forces_only_when_told_or_alone() {
        let manifest = config_map(json!({}));
        let with_manager = |manager: &str| {
            let mut live = manifest.clone();
            live["metadata"]["managedFields"] =
                json!([{"manager": manager, "operation": "Apply", "fieldsV1": {}}]);
            live
        };
        let forces = |config: bool, manager: &str| {
            let strategy = ApplyStrategy {
                server_side_apply_config: Some(ServerSideApplyConfig { force: config }),
                ..strategy(ApplyStrategyType::ServerSideApply)
            };
            match write(&manifest, Some(&with_manager(manager)), &owner(), &strategy) {
                Step::ServerSide { force, .. } => force,
                other => panic!("{other:?}"),
            }
        };
        assert!(forces(true, "kubectl"));
        assert!(!forces(false, "kubectl"));
        assert!(forces(false, "work-api-agent"));
        assert!(forces(false, "before-first-apply"));
    }

    #[test]
    fn a_write_that_must_not_hide_drift_is_locked() {
        let mut live = config_map(json!({}));
        live["metadata"]["resourceVersion"] = json!("9");
        let strategy = ApplyStrategy {
            when_to_apply: WhenToApply::IfNotDrifted,
            ..strategy(ApplyStrategyType::ServerSideApply)
        };
        let Step::ServerSide { manifest, .. } =
            write(&config_map(json!({})), Some(&live), &owner(), &strategy)
        else {
            panic!("the server merges")
        };
        assert_eq!(manifest["metadata"]["resourceVersion"], "9");
    }

    fn data() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", "[x-z]", 0..4).prop_map(|data| config_map(json!(data)))
    }

    proptest! {
        #[test]
        fn the_member_ends_as_the_manifest_says_and_keeps_what_others_added(
            first in data(), second in data(), added in "[e-g]",
        ) {
            let strategy = strategy(ApplyStrategyType::ClientSideApply);
            let mut live = written(write(&first, None, &owner(), &strategy));
            live["data"][&added] = json!("theirs");
            let step = write(&second, Some(&live), &owner(), &strategy);
            let after = if step == Step::Nothing { live } else { written(step) };
            let mut want = second["data"].clone();
            want[&added] = json!("theirs");
            prop_assert_eq!(&after["data"], &want);
            prop_assert_eq!(write(&second, Some(&after), &owner(), &strategy), Step::Nothing);
        }
    }
}
