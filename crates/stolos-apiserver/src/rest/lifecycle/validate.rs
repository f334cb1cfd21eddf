//! Validation of `metadata`, the same for every kind.

use serde_json::Value;

use crate::name_rules::{
    dns1035_problems, label_problems, label_value_problems, path_segment_problems,
    qualified_problems, subdomain_problems, without_trailing_dash,
};
use crate::registry::Resource;
use crate::rest::meta;
use crate::schema::causes::{self, forbidden, required};
use crate::status::Cause;

/// Bytes of all annotations of an object together, as upstream.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", meta::ORPHAN, meta::FOREGROUND];

/// Checks the metadata of an object that is about to be created.
#[must_use]
pub(crate) fn validate_metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let base = meta::text(object, "generateName");
    if !base.is_empty() {
        let problems = name_problems(resource, &without_trailing_dash(base));
        causes.extend(problems.iter().map(|why| invalid("metadata.generateName", base, why)));
    }
    let name = meta::text(object, "name");
    if name.is_empty() {
        causes.push(required("metadata.name", "name or generateName is required"));
    } else {
        let problems = name_problems(resource, name);
        causes.extend(problems.iter().map(|why| invalid("metadata.name", name, why)));
    }
    validate_parts(resource, object, &mut causes);
    causes
}

/// Checks what an update does to metadata. Upstream looks twice, so every cause is there twice.
#[must_use]
pub(crate) fn validate_metadata_update(
    resource: &Resource,
    current: &Value,
    new: &Value,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    if meta::is_deleting(current) {
        let before = meta::finalizers(current);
        let mut added = meta::finalizers(new);
        added.retain(|name| !before.contains(name));
        added.sort_unstable();
        if !added.is_empty() {
            let list: Vec<_> = added.iter().map(|name| format!("{name:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            causes.push(forbidden("metadata.finalizers", &why));
        }
    }
    validate_parts(resource, new, &mut causes);
    let again = causes.clone();
    causes.extend(again);
    causes
}

/// Checks what creation and update have in common.
fn validate_parts(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let metadata = &object["metadata"];
    validate_labels(&metadata["labels"], causes);
    validate_annotations(&metadata["annotations"], causes);
    validate_owners(&metadata["ownerReferences"], causes);
    validate_finalizers(resource, &meta::finalizers(object), causes);
}

/// Finalizers have qualified names; those of most built-in kinds also need a domain, but for three old ones.
fn validate_finalizers(resource: &Resource, finalizers: &[&str], causes: &mut Vec<Cause>) {
    for finalizer in finalizers {
        let problems = qualified_problems(finalizer);
        causes.extend(problems.iter().map(|why| invalid("metadata.finalizers", finalizer, why)));
    }
    if finalizers.contains(&meta::ORPHAN) && finalizers.contains(&meta::FOREGROUND) {
        let why = format!("finalizer {} and {} cannot be both set", meta::ORPHAN, meta::FOREGROUND);
        let list: Vec<Value> = finalizers.iter().map(|finalizer| (*finalizer).into()).collect();
        causes.push(causes::invalid("metadata.finalizers", &list.into(), &why));
    }
    let lenient = ["admissionregistration.k8s.io", "apiextensions.k8s.io", "coordination.k8s.io"];
    if resource.custom || lenient.contains(&resource.group_version.group.as_str()) {
        return;
    }
    for (index, finalizer) in finalizers.iter().enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(invalid(&format!("metadata.finalizers[{index}]"), finalizer, why));
        }
    }
}

fn name_problems(resource: &Resource, name: &str) -> Vec<String> {
    if resource.custom {
        return subdomain_problems(name);
    }
    match (resource.group_version.group.as_str(), resource.storage.as_ref()) {
        ("", "namespaces") | ("apps", "statefulsets.apps") => label_problems(name),
        ("", "services") => dns1035_problems(name),
        (
            "apiregistration.k8s.io"
            | "certificates.k8s.io"
            | "policy"
            | "rbac.authorization.k8s.io",
            _,
        ) => path_segment_problems(name),
        _ => subdomain_problems(name),
    }
}

/// Checks labels and annotations alone.
pub(crate) fn validate_annotations_and_labels(metadata: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    validate_labels(&metadata["labels"], &mut causes);
    validate_annotations(&metadata["annotations"], &mut causes);
    causes
}

fn validate_labels(labels: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        causes.extend(
            qualified_problems(key).into_iter().map(|why| invalid("metadata.labels", key, &why)),
        );
        let Some(value) = value.as_str() else {
            causes.push(not_a_string("metadata.labels", key));
            continue;
        };
        let problems = label_value_problems(value).into_iter();
        causes.extend(problems.map(|why| invalid("metadata.labels", value, &why)));
    }
}

fn validate_annotations(annotations: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let lower = key.to_ascii_lowercase();
        causes.extend(
            qualified_problems(&lower)
                .into_iter()
                .map(|why| invalid("metadata.annotations", key, &why)),
        );
        match value.as_str() {
            Some(text) => size += key.len() + text.len(),
            None => causes.push(not_a_string("metadata.annotations", key)),
        }
    }
    if size > MAX_ANNOTATION_BYTES {
        causes.push(Cause {
            reason: "FieldValueTooLong".into(),
            message: format!("Too long: may not be more than {MAX_ANNOTATION_BYTES} bytes"),
            field: "metadata.annotations".into(),
        });
    }
}

fn validate_owners(owners: &Value, causes: &mut Vec<Cause>) {
    let mut first: Option<String> = None;
    for owner in owners.as_array().into_iter().flatten() {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(field).is_empty() {
                causes.push(invalid(&format!("metadata.ownerReferences.{field}"), "", why));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            causes.push(causes::invalid("metadata.ownerReferences", owner, why));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text("kind"), text("name"));
            match &first {
                None => first = Some(name),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {name}"
                    );
                    causes.push(causes::invalid("metadata.ownerReferences", owners, &why));
                }
            }
        }
    }
}

fn invalid(field: &str, value: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: \"{value}\": {why}"),
        field: field.into(),
    }
}

fn not_a_string(field: &str, key: &str) -> Cause {
    Cause {
        reason: "FieldValueTypeInvalid".into(),
        message: format!("Invalid value: the value of `{key}` must be a string"),
        field: field.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn fields(group: &str, plural: &str, metadata: &Value) -> Vec<String> {
        let resource = Registry::builtin().resource(group, "v1", plural).unwrap();
        let causes = validate_metadata(&resource, &json!({ "metadata": metadata }));
        causes.into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn names_follow_the_rule_of_their_kind() {
        let none: [String; 0] = [];
        assert_eq!(fields("", "configmaps", &json!({"name": "a.b-c"})), none);
        assert_eq!(fields("", "namespaces", &json!({"name": "a.b"})), ["metadata.name"]);
        assert_eq!(fields("", "configmaps", &json!({"name": "A"})), ["metadata.name"]);
        assert_eq!(
            fields("rbac.authorization.k8s.io", "clusterroles", &json!({"name": "system:Node"})),
            none
        );
        assert_eq!(
            fields("rbac.authorization.k8s.io", "clusterroles", &json!({"name": "a/b"})),
            ["metadata.name"]
        );
        assert_eq!(fields("apiregistration.k8s.io", "apiservices", &json!({"name": "v1."})), none);
        assert_eq!(fields("", "configmaps", &json!({})), ["metadata.name"]);
    }

    #[test]
    fn labels_annotations_and_finalizers_are_checked() {
        let metadata = json!({
            "name": "a",
            "labels": {"bad key": "v", "k": "bad value!"},
            "annotations": {"a/b/c": "x", "n": 1},
            "finalizers": ["ok", "not ok"],
        });
        let want = [
            "metadata.labels",
            "metadata.labels",
            "metadata.annotations",
            "metadata.annotations",
            "metadata.finalizers",
            "metadata.finalizers[0]",
            "metadata.finalizers[1]",
        ];
        assert_eq!(fields("", "configmaps", &metadata), want);
    }

    #[test]
    fn at_most_one_owner_controls() {
        let owner =
            json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        let metadata = json!({"name": "a", "ownerReferences": [owner, owner]});
        assert_eq!(fields("", "configmaps", &metadata), ["metadata.ownerReferences"]);
    }

    #[test]
    fn services_begin_with_a_letter_and_bases_may_end_in_a_dash() {
        assert_eq!(fields("", "services", &json!({"name": "1a"})), ["metadata.name"]);
        let none: [String; 0] = [];
        assert_eq!(fields("", "configmaps", &json!({"name": "a", "generateName": "ab-"})), none);
        for short in ["a", "a-"] {
            let short = json!({"name": "a", "generateName": short});
            assert_eq!(fields("", "configmaps", &short), none);
        }
        for bad in ["-", "é-", "aé-"] {
            let bad = json!({"name": "a", "generateName": bad});
            assert_eq!(fields("", "configmaps", &bad), ["metadata.generateName"]);
        }
        let bad = json!({"name": "a", "generateName": "Ab-"});
        assert_eq!(fields("", "configmaps", &bad), ["metadata.generateName"]);
    }

    #[test]
    fn a_deleting_object_gains_no_finalizers() {
        let resource = Registry::builtin().resource("", "v1", "configmaps").unwrap();
        let current = json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["x.io/a"]}});
        let new = json!({"metadata": {"finalizers": ["x.io/a", "x.io/b"]}});
        let causes = validate_metadata_update(&resource, &current, &new);
        assert_eq!(causes[0].reason, "FieldValueForbidden");
        assert_eq!(validate_metadata_update(&resource, &current, &current), []);
    }
}
