//! Builds a CustomResourceDefinition from a kind's types and the facts that types cannot carry.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::schema;

/// Version that objects of nearly every kind are stored in.
pub(crate) const STORAGE_VERSION: &str = "v1beta1";

/// What a definition says besides the schema of spec and status.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    /// Kind in lower case.
    pub(crate) singular: &'static str,
    pub(crate) plural: &'static str,
    /// `<plural>.<group>`.
    pub(crate) name: &'static str,
    pub(crate) scope: Scope,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) versions: &'static [&'static str],
    /// Version that objects are stored in and that the Rust types describe.
    pub(crate) storage: &'static str,
    pub(crate) subresources: Subresources,
    pub(crate) columns: &'static [Column],
    /// Fields besides the metadata without which an object is refused.
    pub(crate) required: &'static [&'static str],
    /// CEL rules on the whole object.
    pub(crate) rules: &'static [Rule],
    /// CEL rules on the spec, in addition to those of its type.
    pub(crate) spec_rules: &'static [Rule],
    /// What versions besides the storage version have differently.
    pub(crate) other_versions: &'static [OtherVersion],
}

/// What a version has differently from the storage version.
#[derive(Debug)]
pub(crate) struct OtherVersion {
    name: &'static str,
    /// Paths of fields that it does not have; `[]` steps into the items of a list.
    lacks: &'static [&'static [&'static str]],
    /// Columns that it does not have.
    hides: &'static [&'static str],
    /// Changes whatever else is different in the schema.
    adjust: fn(&mut Value),
}

impl OtherVersion {
    /// A version that lacks fields.
    pub(crate) const fn lacking(
        name: &'static str,
        lacks: &'static [&'static [&'static str]],
    ) -> Self {
        Self { name, lacks, hides: &[], adjust: |_| () }
    }

    /// A version that also lacks columns of `kubectl get`.
    pub(crate) const fn hiding(self, hides: &'static [&'static str]) -> Self {
        Self { hides, ..self }
    }

    /// A version whose schema is also different in other ways.
    pub(crate) const fn adjusted(self, adjust: fn(&mut Value)) -> Self {
        Self { adjust, ..self }
    }
}

/// Which subresources a kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresources {
    /// None; the whole object is written at once.
    None,
    /// None, said with an empty list, as one published definition does.
    Empty,
    /// The status.
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    Namespaced,
}

/// A CEL rule and the message a client sees when it does not hold.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) rule: &'static str,
    pub(crate) message: &'static str,
}

/// A column of `kubectl get`.
#[derive(Debug)]
pub(crate) struct Column {
    name: &'static str,
    type_: &'static str,
    path: &'static str,
    wide: bool,
}

impl Column {
    pub(crate) const fn text(name: &'static str, path: &'static str) -> Self {
        Self { name, type_: "string", path, wide: false }
    }

    pub(crate) const fn date(name: &'static str, path: &'static str) -> Self {
        Self { name, type_: "date", path, wide: false }
    }

    /// Shows the column only with `-o wide`.
    pub(crate) const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The age of the object, the last column of nearly every kind.
    pub(crate) const AGE: Self = Self::date("Age", ".metadata.creationTimestamp");
    /// The generation of the object.
    pub(crate) const GENERATION: Self = Self::text("Gen", ".metadata.generation");
}

/// A field of an object besides its metadata, with the schema of its type.
pub(crate) struct Part {
    name: &'static str,
    schema: Value,
}

impl Part {
    /// Returns the part of this name and type.
    pub(crate) fn of<T: JsonSchema>(name: &'static str) -> Self {
        Self { name, schema: schema::of::<T>() }
    }

    /// Describes the part where its type does not.
    pub(crate) fn described(mut self, description: &str) -> Self {
        self.schema["description"] = json!(description);
        self
    }
}

/// Builds the definition of a kind from its parts, which are spec and status for most kinds.
pub(crate) fn build(
    definition: &Definition,
    description: &str,
    parts: Vec<Part>,
) -> CustomResourceDefinition {
    let storage_schema = root_schema(definition, description, parts);
    let versions = definition.versions.iter().map(|name| {
        version(definition, name, schema_of_version(storage_schema.clone(), definition, name))
    });
    CustomResourceDefinition {
        metadata: ObjectMeta { name: Some(definition.name.into()), ..ObjectMeta::default() },
        spec: CustomResourceDefinitionSpec {
            group: definition.group.into(),
            names: CustomResourceDefinitionNames {
                categories: some_unless_empty(definition.categories),
                kind: definition.kind.into(),
                list_kind: Some(format!("{}List", definition.kind)),
                plural: definition.plural.into(),
                short_names: some_unless_empty(definition.short_names),
                singular: Some(definition.singular.into()),
            },
            scope: format!("{:?}", definition.scope),
            versions: versions.collect(),
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn root_schema(definition: &Definition, description: &str, parts: Vec<Part>) -> Value {
    let mut root = json!({
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {"description": "Group and version of this object.", "type": "string"},
            "kind": {"description": "Kind of this object.", "type": "string"},
            "metadata": {"type": "object"},
        },
    });
    for Part { name, schema } in parts {
        root["properties"][name] = schema;
    }
    if !definition.spec_rules.is_empty() {
        add_rules(&mut root["properties"]["spec"], definition.spec_rules);
    }
    if !definition.required.is_empty() {
        root["required"] = json!(definition.required);
    }
    add_rules(&mut root, definition.rules);
    root
}

fn add_rules(schema: &mut Value, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    let list = &mut schema["x-kubernetes-validations"];
    if list.is_null() {
        *list = json!([]);
    }
    let list = list.as_array_mut().expect("CEL rules are a list");
    list.extend(rules.iter().map(|rule| json!({"rule": rule.rule, "message": rule.message})));
}

/// Derives the schema of a version from that of the storage version. `v1` neither knows envelopes of
/// type `ConfigMap` nor defaults to them.
fn schema_of_version(mut schema: Value, definition: &Definition, version: &str) -> Value {
    for other in definition.other_versions.iter().filter(|other| other.name == version) {
        for path in other.lacks {
            remove_property(&mut schema, path);
        }
        (other.adjust)(&mut schema);
    }
    if version == "v1" {
        drop_config_map_envelopes(&mut schema);
    }
    schema
}

fn remove_property(schema: &mut Value, path: &[&str]) {
    match path {
        [] => {}
        ["[]", rest @ ..] => remove_property(&mut schema["items"], rest),
        [last] => {
            let properties = schema["properties"].as_object_mut().expect("an object schema");
            properties.remove(*last).expect("a field that the storage version has");
        }
        [first, rest @ ..] => remove_property(&mut schema["properties"][*first], rest),
    }
}

fn drop_config_map_envelopes(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(values)) = object.get_mut("enum")
        && values.iter().any(|value| value == "ResourceEnvelope")
    {
        values.retain(|value| value != "ConfigMap");
        object.remove("default");
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(drop_config_map_envelopes);
    }
    if let Some(items) = object.get_mut("items") {
        drop_config_map_envelopes(items);
    }
}

fn version(definition: &Definition, name: &str, schema: Value) -> CustomResourceDefinitionVersion {
    let schema = serde_json::from_value(schema).expect("generated schema is a JSONSchemaProps");
    let is_hidden = |column: &Column| {
        let other = definition.other_versions.iter().find(|other| other.name == name);
        other.is_some_and(|other| other.hides.contains(&column.name))
    };
    let columns = definition.columns.iter().filter(|column| !is_hidden(column));
    let columns: Vec<_> = columns.map(column).collect();
    CustomResourceDefinitionVersion {
        additional_printer_columns: (!columns.is_empty()).then_some(columns),
        name: name.into(),
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
        served: true,
        storage: name == definition.storage,
        subresources: match definition.subresources {
            Subresources::None => None,
            Subresources::Empty => Some(CustomResourceSubresources::default()),
            Subresources::Status => Some(CustomResourceSubresources {
                scale: None,
                status: Some(CustomResourceSubresourceStatus(json!({}))),
            }),
        },
        ..CustomResourceDefinitionVersion::default()
    }
}

fn column(column: &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        json_path: column.path.into(),
        name: column.name.into(),
        priority: column.wide.then_some(1),
        type_: column.type_.into(),
        ..CustomResourceColumnDefinition::default()
    }
}

fn some_unless_empty(names: &[&str]) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.iter().map(ToString::to_string).collect())
}
