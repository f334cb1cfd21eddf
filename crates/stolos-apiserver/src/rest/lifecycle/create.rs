//! Creation: what the server fills in and what it does not take from the client.

use jiff::Timestamp;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::initial_status;
use crate::registry::Resource;
use crate::rest::meta;

/// Letters and digits of generated suffixes: no vowels, so that no words appear, and nothing easily confused.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a generated suffix.
const SUFFIX_LENGTH: usize = 5;
/// A generated name has at most 63 characters, the suffix included.
const MAX_BASE_LENGTH: usize = 58;

/// Fields that only the server sets.
const SERVER_FIELDS: [&str; 6] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "selfLink",
    "uid",
];

/// Takes out of a client's object what only the server sets.
pub(crate) fn wipe_server_fields(object: &mut Value) {
    let metadata = meta::of(object);
    for field in SERVER_FIELDS {
        metadata.remove(field);
    }
}

/// Makes an object the one to create: what the server sets is filled in, status starts afresh.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value, uid: &str, now: Timestamp) {
    let metadata = meta::of(object);
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), meta::seconds(now).into());
    if resource.generation.starts() {
        metadata.insert("generation".to_owned(), 1.into());
    }
    initial_status::reset(resource, object, now);
    match (resource.custom, resource.storage.as_ref()) {
        (false, "namespaces") => label_namespace(object),
        (false, "daemonsets.apps") => set_template_generation(object, 1),
        _ => {}
    }
}

/// Adds what the server alone decides about, after the fields of the client have got their owner: nobody owns it.
pub(crate) fn complete_create(resource: &Resource, object: &mut Value) {
    match resource.storage.as_ref() {
        _ if resource.custom => {}
        "namespaces" => finalize_namespace(object),
        "jobs.batch" => select_pods_of_job(object),
        _ => {}
    }
}

/// Counts the templates of a DaemonSet, as old controllers did.
pub(super) fn set_template_generation(daemon_set: &mut Value, generation: i64) {
    let annotations = meta::of(daemon_set).entry("annotations").or_insert(Value::Null);
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[TEMPLATE_GENERATION] = generation.to_string().into();
}

/// Returns how many templates a DaemonSet has had.
pub(super) fn template_generation(daemon_set: &Value) -> i64 {
    let text = daemon_set["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Labels a namespace with its own name, so that selectors can choose it.
pub(super) fn label_namespace(namespace: &mut Value) {
    let name = meta::text(namespace, "name").to_owned();
    let labels = meta::of(namespace).entry("labels").or_insert(Value::Null);
    if !labels.is_object() {
        *labels = json!({});
    }
    labels["kubernetes.io/metadata.name"] = name.into();
}

/// Pods of a job carry its uid, so that jobs of the same name never share pods.
fn select_pods_of_job(job: &mut Value) {
    let uid = meta::text(job, "uid").to_owned();
    let name = meta::text(job, "name").to_owned();
    let manual = job["spec"]["manualSelector"] == true || job["spec"].get("selector").is_some();
    if manual || !job["spec"]["template"].is_object() {
        return;
    }
    let template = object_at(object_at(job, "spec"), "template");
    let labels = object_at(object_at(template, "metadata"), "labels");
    for prefix in ["", "batch.kubernetes.io/"] {
        for (label, value) in [("controller-uid", &uid), ("job-name", &name)] {
            let label = format!("{prefix}{label}");
            if labels[&label].is_null() {
                labels[&label] = value.as_str().into();
            }
        }
    }
    // Jobs without labels take those of their pods.
    let labels = labels.clone();
    meta::of(job).entry("labels").or_insert(labels);
    job["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
}

/// Returns a field as the object that it is, or is to be.
fn object_at<'a>(parent: &'a mut Value, field: &str) -> &'a mut Value {
    let value = &mut parent[field];
    if !value.is_object() {
        *value = json!({});
    }
    value
}

/// The finalizer that empties a namespace.
fn finalize_namespace(namespace: &mut Value) {
    let spec = object_at(namespace, "spec");
    let finalizers = &mut spec["finalizers"];
    let mut list: Vec<Value> = finalizers.as_array().cloned().unwrap_or_default();
    if !list.iter().any(|finalizer| finalizer == "kubernetes") {
        list.push("kubernetes".into());
    }
    *finalizers = list.into();
}

/// Returns a fresh name for `generateName`.
pub(crate) fn generate_name(base: &str, random: &mut impl rand::Rng) -> String {
    let mut name: String = base.chars().take(MAX_BASE_LENGTH).collect();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(*ALPHABET.choose(random).expect("the alphabet is not empty")));
    }
    name
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::registry::Registry;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn created(group: &str, plural: &str, mut object: Value) -> Value {
        let resource = Registry::builtin().resource(group, "v1", plural).unwrap();
        wipe_server_fields(&mut object);
        prepare_create(&resource, &mut object, "u-1", now());
        complete_create(&resource, &mut object);
        object
    }

    #[test]
    fn fields_of_the_server_are_not_taken_from_the_client() {
        let object = created(
            "apps",
            "deployments",
            json!({
                "metadata": {"name": "a", "uid": "mine", "generation": 7, "deletionTimestamp": "x", "selfLink": "y"},
                "status": {"replicas": 3},
            }),
        );
        let want = json!({"name": "a", "uid": "u-1", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z"});
        assert_eq!(object["metadata"], want);
        assert_eq!(object["status"], json!({}));
    }

    #[test]
    fn kinds_without_desired_state_have_no_generation() {
        let object = created("", "configmaps", json!({"metadata": {"name": "a"}}));
        assert!(object["metadata"].get("generation").is_none());
    }

    #[test]
    fn namespaces_are_labelled_finalized_and_active() {
        let object = created("", "namespaces", json!({"metadata": {"name": "a"}}));
        assert_eq!(object["metadata"]["labels"]["kubernetes.io/metadata.name"], "a");
        assert_eq!(object["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(object["status"]["phase"], "Active");
    }

    #[test]
    fn jobs_select_their_pods_by_uid_unless_told_otherwise() {
        let job = |spec: Value| {
            created("batch", "jobs", json!({"metadata": {"name": "j"}, "spec": spec}))["spec"]
                .take()
        };
        let spec =
            job(json!({"template": {"metadata": {"labels": {"job-name": "mine"}}, "spec": {}}}));
        let selected = json!({"batch.kubernetes.io/controller-uid": "u-1"});
        assert_eq!(spec["selector"]["matchLabels"], selected);
        let labels = json!({"controller-uid": "u-1", "job-name": "mine",
            "batch.kubernetes.io/controller-uid": "u-1", "batch.kubernetes.io/job-name": "j"});
        assert_eq!(spec["template"]["metadata"]["labels"], labels);
        let manual = json!({"manualSelector": true, "template": {"spec": {}}});
        assert_eq!(job(manual.clone()), manual);
    }

    #[test]
    fn generated_names_fit_and_use_the_vowel_free_alphabet() {
        let mut random = StdRng::seed_from_u64(1);
        let name = generate_name(&"a".repeat(80), &mut random);
        assert_eq!(name.len(), 63);
        assert!(name[58..].bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
