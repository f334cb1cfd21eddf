//! What an override must satisfy beyond its schema.

use super::{
    ClusterResourceOverrideSpec, ClusterSelectorTerm, JsonPatchOperator, JsonPatchOverride,
    OverridePolicy, OverrideRule, OverrideType, ResourceOverrideSpec,
};
use crate::validation::{FieldError, label_selector_errors};

/// Returns what is wrong with a ClusterResourceOverride.
pub fn validate_cluster_resource_override(spec: &ClusterResourceOverrideSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, selector) in spec.cluster_resource_selectors.iter().enumerate() {
        let path = format!("spec.clusterResourceSelectors[{i}]");
        if selector.label_selector.is_some() {
            errors.push(FieldError::new(
                format!("{path}.labelSelector"),
                "label selectors are not supported; select by name",
            ));
        }
        if selector.name.is_empty() {
            errors.push(FieldError::new(format!("{path}.name"), "a name is required"));
        }
        if spec.cluster_resource_selectors[..i].contains(selector) {
            errors.push(FieldError::new(path, "is in the list twice"));
        }
    }
    check_policy(&spec.policy, &mut errors);
    errors
}

/// Returns what is wrong with a ResourceOverride.
pub fn validate_resource_override(spec: &ResourceOverrideSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, selector) in spec.resource_selectors.iter().enumerate() {
        if spec.resource_selectors[..i].contains(selector) {
            let path = format!("spec.resourceSelectors[{i}]");
            errors.push(FieldError::new(path, "is in the list twice"));
        }
    }
    check_policy(&spec.policy, &mut errors);
    errors
}

fn check_policy(policy: &OverridePolicy, errors: &mut Vec<FieldError>) {
    for (i, rule) in policy.override_rules.iter().enumerate() {
        let path = format!("spec.policy.overrideRules[{i}]");
        let OverrideRule { cluster_selector, override_type, json_patch_overrides } = rule;
        let terms = cluster_selector.iter().flat_map(|selector| &selector.cluster_selector_terms);
        for (j, term) in terms.enumerate() {
            check_term(&format!("{path}.clusterSelector.clusterSelectorTerms[{j}]"), term, errors);
        }
        let path = format!("{path}.jsonPatchOverrides");
        match (override_type, json_patch_overrides.is_empty()) {
            (OverrideType::Delete, false) => errors.push(FieldError::new(
                &path,
                "must be empty for override type Delete, which leaves the whole object out",
            )),
            (OverrideType::JsonPatch, true) => {
                errors.push(FieldError::new(&path, "must not be empty for override type JSONPatch"))
            }
            (OverrideType::Delete, true) | (OverrideType::JsonPatch, false) => {}
        }
        for (j, change) in json_patch_overrides.iter().enumerate() {
            let problem = check_json_patch(change).err();
            errors.extend(problem.map(|problem| FieldError::new(format!("{path}[{j}]"), problem)));
        }
    }
}

fn check_term(path: &str, term: &ClusterSelectorTerm, errors: &mut Vec<FieldError>) {
    let ClusterSelectorTerm { label_selector, property_selector, property_sorter } = term;
    if property_selector.is_some() || property_sorter.is_some() {
        errors.push(FieldError::new(
            path,
            "only labelSelector is supported in an override, neither propertySelector nor propertySorter",
        ));
    }
    match label_selector {
        Some(labels) => {
            errors.extend(label_selector_errors(&format!("{path}.labelSelector"), labels))
        }
        None => errors.push(FieldError::new(format!("{path}.labelSelector"), "is required")),
    }
}

/// Checks that a change leaves alone what identifies an object and what its cluster writes.
///
/// # Errors
/// What is wrong and what would be right.
pub fn check_json_patch(change: &JsonPatchOverride) -> Result<(), String> {
    let JsonPatchOverride { op, path, value } = change;
    let Some(steps) = path.strip_prefix('/') else {
        return Err(format!("path `{path}` must start with `/`, as in `/spec/replicas`"));
    };
    let steps: Vec<&str> = steps.split('/').collect();
    if steps.iter().any(|step| step.trim().is_empty()) {
        return Err(format!("path `{path}` must not have an empty segment"));
    }
    match steps.as_slice() {
        [field @ ("kind" | "apiVersion"), ..] => {
            return Err(format!("path `{path}`: `{field}` of an object cannot be changed"));
        }
        ["status", ..] => {
            return Err(format!("path `{path}`: the status is written by the member cluster"));
        }
        ["metadata", "labels" | "annotations", ..] => {}
        ["metadata", ..] => {
            let only = "of the metadata, only labels and annotations can be changed";
            return Err(format!("path `{path}`: {only}"));
        }
        _ => {}
    }
    if *op == JsonPatchOperator::Remove && value.is_some() {
        return Err(format!("path `{path}`: operation `remove` takes no value"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn paths(policy: Value) -> Vec<String> {
        let selectors = json!([{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}]);
        let spec = json!({"clusterResourceSelectors": selectors, "policy": policy});
        let spec = serde_json::from_value(spec).expect("a spec");
        let errors = validate_cluster_resource_override(&spec);
        errors.into_iter().map(|error| error.to_string()).collect()
    }

    fn rule(rule: Value) -> Vec<String> {
        paths(json!({"overrideRules": [rule]}))
    }

    #[test]
    fn a_right_override_has_no_errors() {
        let patch = json!({"op": "add", "path": "/metadata/labels/a", "value": "b"});
        let selector =
            json!({"clusterSelectorTerms": [{"labelSelector": {"matchLabels": {"a": "b"}}}]});
        assert_eq!(
            rule(json!({"clusterSelector": selector, "jsonPatchOverrides": [patch]})),
            Vec::<String>::new()
        );
        assert_eq!(rule(json!({"overrideType": "Delete"})), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_path_says_what_would_be_right() {
        let of = |op: &str, path: &str| {
            let change = json!({"op": op, "path": path, "value": 1});
            check_json_patch(&serde_json::from_value(change).expect("a change")).err()
        };
        let table = [
            ("add", "", "path `` must start with `/`, as in `/spec/replicas`"),
            ("add", "spec", "path `spec` must start with `/`, as in `/spec/replicas`"),
            ("add", "/spec//a", "path `/spec//a` must not have an empty segment"),
            ("add", "/", "path `/` must not have an empty segment"),
            ("replace", "/kind", "path `/kind`: `kind` of an object cannot be changed"),
            (
                "replace",
                "/status/a",
                "path `/status/a`: the status is written by the member cluster",
            ),
            (
                "add",
                "/metadata/name",
                "path `/metadata/name`: of the metadata, only labels and annotations can be changed",
            ),
            (
                "remove",
                "/metadata",
                "path `/metadata`: of the metadata, only labels and annotations can be changed",
            ),
            ("remove", "/spec", "path `/spec`: operation `remove` takes no value"),
        ];
        for (op, path, want) in table {
            assert_eq!(of(op, path).as_deref(), Some(want));
        }
        for right in
            ["/metadata/labels", "/metadata/annotations/a~1b", "/spec/kind", "/data/status"]
        {
            assert_eq!(of("add", right), None, "{right}");
        }
    }

    #[test]
    fn types_patches_and_selectors_must_fit() {
        let patch = json!([{"op": "remove", "path": "/spec"}]);
        insta::assert_snapshot!(
            rule(json!({"overrideType": "Delete", "jsonPatchOverrides": patch})).join("\n"),
            @"spec.policy.overrideRules[0].jsonPatchOverrides: must be empty for override type Delete, which leaves the whole object out"
        );
        insta::assert_snapshot!(
            rule(json!({})).join("\n"),
            @"spec.policy.overrideRules[0].jsonPatchOverrides: must not be empty for override type JSONPatch"
        );
        let terms = json!([{"propertySorter": {"name": "a", "sortOrder": "Ascending"}}]);
        let selector = json!({"clusterSelectorTerms": terms});
        insta::assert_snapshot!(
            rule(json!({"clusterSelector": selector, "overrideType": "Delete"})).join("\n"),
            @r"
        spec.policy.overrideRules[0].clusterSelector.clusterSelectorTerms[0]: only labelSelector is supported in an override, neither propertySelector nor propertySorter
        spec.policy.overrideRules[0].clusterSelector.clusterSelectorTerms[0].labelSelector: is required
        "
        );
    }

    #[test]
    fn objects_are_named_once_each_and_never_by_label() {
        let by_label =
            json!({"group": "", "version": "v1", "kind": "Namespace", "labelSelector": {}});
        let spec = json!({
            "clusterResourceSelectors": [by_label, by_label],
            "policy": {"overrideRules": [{"overrideType": "Delete"}]},
        });
        let spec = serde_json::from_value(spec).expect("a spec");
        let errors = validate_cluster_resource_override(&spec);
        let errors: Vec<_> = errors.into_iter().map(|error| error.to_string()).collect();
        insta::assert_snapshot!(errors.join("\n"), @r"
        spec.clusterResourceSelectors[0].labelSelector: label selectors are not supported; select by name
        spec.clusterResourceSelectors[0].name: a name is required
        spec.clusterResourceSelectors[1].labelSelector: label selectors are not supported; select by name
        spec.clusterResourceSelectors[1].name: a name is required
        spec.clusterResourceSelectors[1]: is in the list twice
        ");
    }
}
