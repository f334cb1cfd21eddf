use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::schema::{default, parse, prune};

fn errors(schema: &Value) -> Vec<String> {
    match compile(schema) {
        Ok(_) => Vec::new(),
        Err(causes) => {
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
        }
    }
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let spec = |schema: Value| json!({"type": "object", "properties": {"spec": schema}});
    let spec_path = "openAPIV3Schema.properties[spec]";
    for (schema, field, want) in [
        (json!({"type": "string"}), "openAPIV3Schema.type", "must be object at the root"),
        (json!({}), "openAPIV3Schema.type", "Required value: must not be empty at the root"),
        (
            spec(json!({})),
            "{}.type",
            "Required value: must not be empty for specified object fields",
        ),
        (
            spec(json!({"type": "array", "items": {}})),
            "{}.items.type",
            "must not be empty for specified array items",
        ),
        (spec(json!({"type": "array"})), "{}.items", "Required value"),
        (spec(json!({"type": "thing"})), "{}.type", "Unsupported value: \"thing\""),
        (spec(json!({"type": "string", "pattern": "("})), "{}.pattern", "valid regular expression"),
        (spec(json!({"type": "object", "$ref": "#/x"})), "{}.$ref", "Forbidden"),
        (
            spec(
                json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}),
            ),
            "{}.additionalProperties",
            "mutual exclusive",
        ),
        (
            spec(json!({"type": "string", "anyOf": [{"type": "string"}]})),
            "{}.anyOf[0].type",
            "must be empty to be structural",
        ),
        (
            spec(json!({"type": "object", "not": {"default": {}}})),
            "{}.not.default",
            "to be structural",
        ),
        (spec(json!({"type": "integer", "default": "x"})), "{}.default", "must be of type integer"),
        (
            spec(json!({"type": "object", "default": {"x": 1}})),
            "{}.default",
            "must not have unknown fields",
        ),
        (
            spec(
                json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
            ),
            "{}.x-kubernetes-list-map-keys",
            "Required value",
        ),
        (
            spec(
                json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}}}}),
            ),
            "{}.items.properties[a].default",
            "must have a default or be a required property",
        ),
        (
            spec(
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}),
            ),
            "{}.items.x-kubernetes-map-type",
            "must be atomic",
        ),
        (
            spec(json!({"type": "string", "x-kubernetes-embedded-resource": true})),
            "{}.type",
            "must be object if x-kubernetes-embedded-resource is true",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {
                "labels": {"type": "object"}}}}}),
            "openAPIV3Schema.properties[metadata]",
            "must not specify anything other than name and generateName",
        ),
    ] {
        let errors = errors(&schema);
        let field = field.replace("{}", spec_path);
        let found = errors
            .iter()
            .any(|error| error.starts_with(&format!("{field}: ")) && error.contains(want));
        assert!(found, "{schema}\nwant {field}: {want}\ngot {errors:#?}");
    }
}

#[test]
fn int_or_string_may_list_its_types() {
    for schema in [
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        json!({"x-kubernetes-int-or-string": true, "allOf": [
            {"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^a"}]}),
    ] {
        assert_eq!(
            errors(&json!({"type": "object", "properties": {"f": schema}})),
            [] as [&str; 0]
        );
    }
}

#[test]
fn metadata_may_be_narrowed_by_name() {
    let schema = compile(&json!({"type": "object", "properties": {"metadata": {"type": "object",
        "properties": {"name": {"type": "string", "maxLength": 3}}}}}))
    .unwrap();
    let value = |name: &str| json!({"metadata": {"name": name, "labels": {"a": "b"}}});
    assert_eq!(crate::schema::validate(&schema, &value("abc"), None), []);
    assert_eq!(crate::schema::validate(&schema, &value("abcd"), None).len(), 1);
    assert!(prune(&schema, &mut value("abc")).is_empty());
}

#[test]
#[expect(clippy::print_stderr, reason = "says that the test had nothing to do")]
fn every_reference_definition_compiles() {
    // The reference definitions are not part of the repository; they may stand beside it.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let Some(groups) =
        above.find_map(|dir| std::fs::read_dir(dir.join("shared/reference/crds")).ok())
    else {
        eprintln!("skipped: no shared/reference/crds beside the workspace");
        return;
    };
    let mut n_schemas = 0;
    let mut n_rules = 0;
    for file in groups
        .flatten()
        .flat_map(|group| std::fs::read_dir(group.path()).into_iter().flatten())
        .flatten()
    {
        if file.path().extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read(file.path()).unwrap();
        let (mut crd, duplicates) = parse::yaml(&text).unwrap();
        assert!(duplicates.is_empty(), "{duplicates:?}");
        let known =
            builtin::kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
        assert_eq!(prune(&known, &mut crd), [] as [&str; 0], "{:?}", file.path());
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let schema = compile(&version["schema"]["openAPIV3Schema"])
                .unwrap_or_else(|causes| panic!("{:?}: {causes:#?}", file.path()));
            n_schemas += 1;
            n_rules += count_rules(&schema);
            let mut value = json!({"metadata": {"name": "x"}, "spec": {}, "status": {}});
            default(&schema, &mut value);
            let _ = crate::schema::validate(&schema, &value, Some(&value));
        }
    }
    assert!(n_schemas > 40 && n_rules > 100, "{n_schemas} schemas, {n_rules} rules");
}

fn count_rules(schema: &Schema) -> usize {
    let below =
        schema.properties.values().chain(&schema.items).chain(&schema.additional_properties);
    schema.rules.len()
        + below.filter(|node| node.has_rules).map(|node| count_rules(node)).sum::<usize>()
}
