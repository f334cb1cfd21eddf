//! Compiles the schema of a CustomResourceDefinition and refuses one that is not structural.
//!
//! Every level has a type, value checks never introduce fields, defaults hold, rules compile.

mod read;
mod rules;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::causes::{forbidden, invalid, required};
use super::parse::field_path;
use super::{ListType, Schema, SchemaRef, Source, Type, builtin, cel, validate};
use crate::status::Cause;

/// Where the fields of causes begin; the caller prefixes `spec.versions[<n>].schema.`.
const ROOT: &str = "openAPIV3Schema";

/// Compiles an `openAPIV3Schema`.
///
/// # Errors
/// Returns everything that is wrong with it. Fields begin with `openAPIV3Schema`, so that a caller can prefix where in the
/// CustomResourceDefinition the schema stands.
pub fn compile(source: &Value) -> Result<SchemaRef, Vec<Cause>> {
    let mut compiler = Compiler { causes: Vec::new() };
    let mut schema = compiler.node(source, &Place::root());
    if schema.type_ != Type::Object && source["type"].is_string() {
        let field = field_path(ROOT, "type");
        compiler.causes.push(invalid(&field, &source["type"], "must be object at the root"));
    }
    if schema.nullable {
        compiler
            .causes
            .push(forbidden(&field_path(ROOT, "nullable"), "nullable cannot be true at the root"));
    }
    compiler.add_object_fields(&mut schema, source, ROOT);
    compiler.add_rules(&mut schema, source, &Place::root());
    schema.source = Some(Arc::new(Source::new(source.clone())));
    if compiler.causes.is_empty() { Ok(SchemaRef::new(schema)) } else { Err(compiler.causes) }
}

/// Returns the schema of a custom resource without a schema: everything is kept.
#[must_use]
pub fn anything() -> SchemaRef {
    compile(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
        .expect("a schema without checks is structural")
}

struct Compiler {
    causes: Vec<Cause>,
}

/// Where in the schema a node stands.
#[derive(Clone)]
struct Place {
    /// Path in the schema, such as `openAPIV3Schema.properties[spec].items`.
    path: String,
    /// What the node describes, for the text about a missing type.
    of: &'static str,
    /// Values can be found again in the old object, so rules may use `oldSelf`.
    correlatable: Result<(), String>,
    /// How often the node occurs at most in one object; none if nothing bounds it.
    occurrences: Option<u64>,
    /// The node stands below `allOf`, `anyOf`, `oneOf` or `not`: it may only check values.
    checks_only: bool,
}

impl Place {
    fn root() -> Self {
        Self {
            path: ROOT.to_owned(),
            of: "the root",
            correlatable: Ok(()),
            occurrences: Some(1),
            checks_only: false,
        }
    }

    /// Goes to the elements of a list or map that has so many at most.
    fn each(mut self, most: Option<&Value>) -> Self {
        let most = most.and_then(Value::as_u64);
        self.occurrences = self.occurrences.zip(most).map(|(all, most)| all.saturating_mul(most));
        self
    }

    fn below(&self, step: &str, of: &'static str) -> Self {
        Self { path: format!("{}{step}", self.path), of, ..self.clone() }
    }
}

impl Compiler {
    /// Compiles one node and all below it, except the rules of the node itself.
    fn node(&mut self, source: &Value, place: &Place) -> Schema {
        let path = &place.path;
        let Some(fields) = source.as_object() else {
            self.causes.push(invalid(path, source, "must be an object"));
            return Schema::default();
        };
        rules::check(fields, place, &mut self.causes);
        let mut schema = Schema {
            type_: read::type_of(source),
            format: read::text(source, "format"),
            description: source["description"].as_str().map(Into::into),
            required: read::texts(source, "required"),
            nullable: read::flag(source, "nullable"),
            preserve_unknown: read::flag(source, "x-kubernetes-preserve-unknown-fields"),
            embedded_resource: read::flag(source, "x-kubernetes-embedded-resource"),
            atomic: source["x-kubernetes-map-type"] == "atomic",
            ..Schema::default()
        };
        schema.constraints = self.constraints(source, place).map(Arc::new);
        self.children(&mut schema, fields, place);
        if !place.checks_only {
            schema.list_type = self.list_type(&schema, source, path);
            self.add_default(&mut schema, fields, path);
        }
        schema
    }

    fn children(&mut self, schema: &mut Schema, fields: &Map<String, Value>, place: &Place) {
        for (name, property) in
            fields.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let below = place.below(&format!(".properties[{name}]"), "specified object fields");
            schema.properties.insert(name.clone(), self.child(property, &below));
        }
        match fields.get("additionalProperties") {
            Some(Value::Bool(true)) => {
                let anything = Schema { preserve_unknown: true, ..Schema::default() };
                schema.additional_properties = Some(SchemaRef::new(anything));
            }
            Some(values @ Value::Object(_)) => {
                let below = place.below(".additionalProperties", "specified object fields");
                let below = below.each(fields.get("maxProperties"));
                schema.additional_properties = Some(self.child(values, &below));
            }
            _ => {}
        }
        if let Some(items) = fields.get("items") {
            let below = place.below(".items", "specified array items");
            let mut below = below.each(fields.get("maxItems"));
            if fields.get("x-kubernetes-list-type").is_none_or(|kind| kind != "map") {
                below.correlatable = Err(place.path.clone());
            }
            schema.items = Some(self.child(items, &below));
        }
    }

    fn child(&mut self, source: &Value, place: &Place) -> SchemaRef {
        let mut schema = self.node(source, place);
        if schema.embedded_resource {
            self.add_object_fields(&mut schema, source, &place.path);
        }
        self.add_rules(&mut schema, source, place);
        SchemaRef::new(schema)
    }

    /// Adds the fields that every Kubernetes object has. A schema may only narrow the names in `metadata`.
    fn add_object_fields(&mut self, schema: &mut Schema, source: &Value, path: &str) {
        for name in ["apiVersion", "kind"] {
            let text = || SchemaRef::new(Schema { type_: Type::String, ..Schema::default() });
            schema.properties.entry(name.to_owned()).or_insert_with(text);
        }
        let shared = builtin::object_meta();
        let narrowed = schema.properties.remove("metadata");
        let declared = &source["properties"]["metadata"];
        let path = format!("{path}.properties[metadata]");
        let extra = declared.as_object().into_iter().flatten().any(|(keyword, _)| {
            !["type", "description", "properties", "title"].contains(&keyword.as_str())
        });
        let declared = declared["properties"].as_object();
        let narrows_more = declared.is_some_and(|fields| {
            fields.keys().any(|name| name != "name" && name != "generateName")
        });
        if extra || narrows_more {
            let why = "must not specify anything other than name and generateName, \
                       but metadata is implicitly specified";
            self.causes.push(forbidden(&path, why));
        }
        let metadata = match (narrowed, declared) {
            (Some(narrowed), Some(_)) => {
                let mut metadata = Schema::clone(&shared);
                for (name, node) in
                    narrowed.properties.iter().filter(|(_, node)| node.type_ == Type::String)
                {
                    metadata.properties.insert(name.clone(), node.clone());
                }
                SchemaRef::new(metadata)
            }
            _ => shared,
        };
        schema.properties.insert("metadata".to_owned(), metadata);
    }

    fn list_type(&mut self, schema: &Schema, source: &Value, path: &str) -> ListType {
        let keys = read::texts(source, "x-kubernetes-list-map-keys");
        match source["x-kubernetes-list-type"].as_str() {
            Some("set") => {
                rules::check_set(schema, path, &mut self.causes);
                ListType::Set
            }
            Some("map") => {
                rules::check_map(schema, &keys, path, &mut self.causes);
                let default = |key: &String| {
                    schema.items.as_ref()?.properties.get(key).and_then(|node| node.default.clone())
                };
                ListType::Map(keys.iter().map(|key| (key.clone(), default(key))).collect())
            }
            _ => ListType::Atomic,
        }
    }

    /// Takes over the default after checking it as if a client had sent it.
    fn add_default(&mut self, schema: &mut Schema, fields: &Map<String, Value>, path: &str) {
        let Some(default) = fields.get("default") else { return };
        let path = field_path(path, "default");
        let mut filled = default.clone();
        if let Some(field) = super::prune(schema, &mut filled).first() {
            let why = format!("must not have fields not specified in schema: {field}");
            self.causes.push(invalid(&path, default, &why));
        }
        super::default(schema, &mut filled);
        for mut cause in validate::validate_shape(schema, &filled, None) {
            cause.field =
                if cause.field.is_empty() { path.clone() } else { field_path(&path, &cause.field) };
            self.causes.push(cause);
        }
        schema.default = Some(default.clone());
    }

    /// Compiles the rules of a node whose fields are complete.
    fn add_rules(&mut self, schema: &mut Schema, source: &Value, place: &Place) {
        let below =
            schema.properties.values().chain(&schema.items).chain(&schema.additional_properties);
        schema.has_rules = below.into_iter().any(|node| node.has_rules);
        let Some(rules) = source["x-kubernetes-validations"].as_array() else { return };
        let path = field_path(&place.path, "x-kubernetes-validations");
        let node = SchemaRef::new(schema.clone());
        let mut compiled = Vec::with_capacity(rules.len());
        let occurrences = place.occurrences.unwrap_or_else(|| cel::most_occurrences(&node));
        for (index, rule) in rules.iter().enumerate() {
            match cel::Rule::compile(rule, &node, occurrences) {
                Ok(rule) => {
                    if let (true, Err(list)) = (rule.is_transition(), &place.correlatable) {
                        let why = format!(
                            "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                        );
                        let field = format!("{path}[{index}].rule");
                        self.causes.push(invalid(&field, &rule.source().into(), &why));
                    }
                    compiled.push(rule);
                }
                Err(problem) => {
                    let field = format!("{path}[{index}].{}", problem.field);
                    self.causes.push(match &problem.value {
                        Some(value) => invalid(&field, value, &problem.why),
                        None => required(&field, &problem.why),
                    });
                }
            }
        }
        schema.has_rules |= !compiled.is_empty();
        schema.rules = compiled.into();
    }
}

#[cfg(test)]
mod tests;
