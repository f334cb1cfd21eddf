//! Validation of `metadata`, the same for every kind.

use serde_json::Value;

use crate::registry::Resource;
use crate::rest::meta;
use crate::status::Cause;

/// Bytes of all annotations of an object together, as upstream.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// Longest name of an object.
const MAX_NAME: usize = 253;
/// Longest DNS label and longest label value.
const MAX_LABEL: usize = 63;

const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
     '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
     is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
     must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
     end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Checks the metadata of an object that is about to be stored.
#[must_use]
pub(crate) fn validate_metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    let name = meta::text(object, "name");
    if name.is_empty() {
        causes.push(Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value: name or generateName is required".into(),
            field: "metadata.name".into(),
        });
    } else {
        let problems = name_problems(resource, name);
        causes.extend(problems.into_iter().map(|why| invalid("metadata.name", name, &why)));
    }
    validate_labels(&metadata["labels"], &mut causes);
    validate_annotations(&metadata["annotations"], &mut causes);
    for finalizer in meta::finalizers(object) {
        causes.extend(
            qualified_problems(finalizer)
                .into_iter()
                .map(|why| invalid("metadata.finalizers", finalizer, &why)),
        );
    }
    validate_owners(&metadata["ownerReferences"], &mut causes);
    causes
}

/// Checks what an update may do to metadata.
#[must_use]
pub(crate) fn validate_metadata_update(current: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if meta::is_deleting(current) {
        let before = meta::finalizers(current);
        let added: Vec<_> =
            meta::finalizers(new).into_iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            let list =
                added.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            causes.push(Cause {
                reason: "FieldValueForbidden".into(),
                message: format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{list}}}"
                ),
                field: "metadata.finalizers".into(),
            });
        }
    }
    causes
}

fn name_problems(resource: &Resource, name: &str) -> Vec<String> {
    let rbac = resource.group_version.group == "rbac.authorization.k8s.io";
    if !resource.custom && rbac {
        return path_segment_problems(name);
    }
    let labels = ["namespaces", "services"];
    if !resource.custom && labels.contains(&resource.storage.as_ref()) {
        return label_problems(name);
    }
    subdomain_problems(name)
}

fn path_segment_problems(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

fn label_problems(name: &str) -> Vec<String> {
    let mut problems = too_long(name, MAX_LABEL);
    if !is_dns_label(name) {
        problems.push(LABEL_TEXT.to_owned());
    }
    problems
}

fn subdomain_problems(name: &str) -> Vec<String> {
    let mut problems = too_long(name, MAX_NAME);
    if !name.split('.').all(is_dns_label) {
        problems.push(SUBDOMAIN_TEXT.to_owned());
    }
    problems
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| inner(*first))
        && bytes.last().is_some_and(|last| inner(*last))
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

/// `prefix/name` with a DNS prefix, or just `name`.
fn qualified_problems(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut problems = Vec::new();
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            problems.push("prefix part must be non-empty".to_owned());
        } else {
            problems.extend(
                subdomain_problems(prefix).into_iter().map(|why| format!("prefix part {why}")),
            );
        }
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else {
        problems
            .extend(too_long(name, MAX_LABEL).into_iter().map(|why| format!("name part {why}")));
        if !is_token(name) {
            problems.push(QUALIFIED_TEXT.to_owned());
        }
    }
    problems
}

fn is_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn too_long(text: &str, max: usize) -> Vec<String> {
    if text.len() > max {
        vec![format!("must be no more than {max} characters")]
    } else {
        Vec::new()
    }
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
        let mut problems = too_long(value, MAX_LABEL);
        if !value.is_empty() && !is_token(value) {
            problems.push(VALUE_TEXT.to_owned());
        }
        causes.extend(problems.into_iter().map(|why| invalid("metadata.labels", value, &why)));
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
    let mut controllers = Vec::new();
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                causes.push(Cause {
                    reason: "FieldValueInvalid".into(),
                    message: format!("Invalid value: \"\": {field} must not be empty"),
                    field: format!("metadata.ownerReferences[{index}].{field}"),
                });
            }
        }
        if owner["controller"] == true {
            controllers.push(format!(
                "{}/{}",
                owner["kind"].as_str().unwrap_or(""),
                owner["name"].as_str().unwrap_or("")
            ));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        causes.push(Cause {
            reason: "FieldValueInvalid".into(),
            message: format!(
                "Invalid value: {owners}: Only one reference can have Controller set to true. Found \"true\" in \
                 references for {first} and {second}"
            ),
            field: "metadata.ownerReferences".into(),
        });
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
    fn a_deleting_object_gains_no_finalizers() {
        let current = json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["a"]}});
        let new = json!({"metadata": {"finalizers": ["a", "b"]}});
        assert_eq!(validate_metadata_update(&current, &new)[0].reason, "FieldValueForbidden");
        assert_eq!(validate_metadata_update(&current, &current), []);
    }
}
