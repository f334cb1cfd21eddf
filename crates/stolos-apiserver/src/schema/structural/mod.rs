//! Compiles the schema of a CustomResourceDefinition and refuses one that is not structural.
//!
//! Every level has a type, value checks never introduce fields, defaults hold, rules compile.

mod costs;
mod read;
mod rules;
mod shared;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::causes::{forbidden, invalid, invalid_as, not_supported, required};
use super::parse::field_path;
use super::{ListType, Schema, SchemaRef, Source, Type, builtin, cel, validate};
use crate::status::Cause;

pub use shared::compile_shared;

/// What the root describes, for the text about a missing type.
const ROOT_OF: &str = "the root";
/// Where the fields of causes begin; the caller prefixes `spec.versions[<n>].schema.`.
const ROOT: &str = "openAPIV3Schema";
const METADATA_OF_ROOT: &str = "openAPIV3Schema.properties[metadata]";

/// Compiles an `openAPIV3Schema`.
///
/// # Errors
/// Returns everything that is wrong with it. Fields begin with `openAPIV3Schema`, so that a caller can prefix where in the
/// CustomResourceDefinition the schema stands.
pub fn compile(source: &Value) -> Result<SchemaRef, Vec<Cause>> {
    let mut compiler = Compiler::default();
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
    compiler.add_rules(&mut schema, source, &Place::root(), 0);
    schema.source = Some(Arc::new(Source::new(source.clone())));
    let causes = compiler.finish();
    if causes.is_empty() { Ok(SchemaRef::new(schema)) } else { Err(causes) }
}

/// Returns the schema of a custom resource without a schema: everything is kept.
#[must_use]
pub fn anything() -> SchemaRef {
    compile(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
        .expect("a schema without checks is structural")
}

fn is_number(source: &Value) -> bool {
    source["type"] == "integer" || source["type"] == "number"
}

#[derive(Default)]
struct Compiler {
    /// What keeps the schema from being structural.
    causes: Vec<Cause>,
    /// What is wrong with rules apart from their expressions.
    rule_causes: Vec<Cause>,
    /// What is wrong with expressions; it counts only if the schema that they are about is sound.
    expression_causes: Vec<Cause>,
    costs: costs::Costs,
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
            of: ROOT_OF,
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
    fn finish(mut self) -> Vec<Cause> {
        let is_structural = self.causes.is_empty();
        self.causes.append(&mut self.rule_causes);
        if is_structural {
            self.causes.append(&mut self.expression_causes);
            self.costs.check_total(&mut self.causes);
        }
        self.causes
    }

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
            // Of custom resources, the formats of numbers only describe.
            format: read::text(source, "format").filter(|_| !is_number(source)),
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
            Some(values @ Value::Object(_)) if !place.checks_only => {
                let below = place.below(".additionalProperties", "specified object fields");
                let below = below.each(fields.get("maxProperties"));
                schema.additional_properties = Some(self.child(values, &below));
            }
            _ => {}
        }
        if let Some(items) = fields.get("items").filter(|items| items.is_object()) {
            let below = place.below(".items", "specified array items");
            let mut below = below.each(fields.get("maxItems"));
            if fields.get("x-kubernetes-list-type").is_none_or(|kind| kind != "map") {
                below.correlatable = Err(place.path.clone());
            }
            schema.items = Some(self.child(items, &below));
        }
    }

    fn child(&mut self, source: &Value, place: &Place) -> SchemaRef {
        let known = self.rule_causes.len();
        let mut schema = self.node(source, place);
        if schema.embedded_resource {
            self.add_object_fields(&mut schema, source, &place.path);
        }
        self.add_rules(&mut schema, source, place, known);
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
        if path.len() == METADATA_OF_ROOT.len() && (extra || narrows_more) {
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
                rules::check_set(schema, source, path, &mut self.causes);
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
        if !super::prune(schema, &mut filled).is_empty() {
            self.causes.push(invalid(&path, default, "must not have unknown fields"));
        }
        super::default(schema, &mut filled);
        for mut cause in validate::validate_shape(schema, &filled, None) {
            cause.field =
                if cause.field.is_empty() { path.clone() } else { field_path(&path, &cause.field) };
            self.causes.push(cause);
        }
        schema.default = Some(default.clone());
    }

    /// Compiles the rules of a node whose fields are complete. `known` is how much was known to be wrong with rules
    /// before the node was looked at.
    fn add_rules(&mut self, schema: &mut Schema, source: &Value, place: &Place, known: usize) {
        let below =
            schema.properties.values().chain(&schema.items).chain(&schema.additional_properties);
        schema.has_rules = below.into_iter().any(|node| node.has_rules);
        let rules = source["x-kubernetes-validations"].as_array().map_or(&[][..], Vec::as_slice);
        if !rules.is_empty() {
            let path = field_path(&place.path, "x-kubernetes-validations");
            let node = SchemaRef::new(schema.clone());
            for (index, rule) in rules.iter().enumerate() {
                let problems = cel::Rule::check_texts(rule, &node);
                self.report(&format!("{path}[{index}]"), problems, false);
            }
            // Expressions are about a sound schema only.
            if self.rule_causes.len() == known {
                schema.rules = self.compile_rules(rules, &node, &path, place).into();
            }
            schema.has_rules |= !schema.rules.is_empty();
        }
        self.check_default(schema, place);
    }

    fn compile_rules(
        &mut self,
        rules: &[Value],
        node: &SchemaRef,
        path: &str,
        place: &Place,
    ) -> Vec<cel::Rule> {
        let is_resource = place.of == ROOT_OF || node.embedded_resource;
        if !is_resource && cel::Type::named("self", node).is_none() {
            let message = "Internal error: internal error: failed to construct type information for \
                           x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            let (reason, field) = ("InternalError".to_owned(), path.to_owned());
            self.expression_causes.push(Cause { reason, message: message.to_owned(), field });
            return Vec::new();
        }
        let occurrences = place.occurrences.unwrap_or_else(|| cel::most_occurrences(node));
        let mut compiled = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match cel::Rule::compile(rule, node, is_resource) {
                Ok(rule) => {
                    self.add_costs(&rule, occurrences, &path);
                    self.check_transition(&rule, place, &path);
                    compiled.push(rule);
                }
                Err(problems) => self.report(&path, problems, true),
            }
        }
        compiled
    }

    fn add_costs(&mut self, rule: &cel::Rule, occurrences: u64, path: &str) {
        let (cost, message_cost) = rule.costs();
        let cost = cost.saturating_mul(occurrences);
        let causes = &mut self.expression_causes;
        self.costs.add(&field_path(path, "rule"), "rule", cost, causes);
        let message = field_path(path, "messageExpression");
        self.costs.add(&message, "messageExpression", message_cost, causes);
    }

    fn check_transition(&mut self, rule: &cel::Rule, place: &Place, path: &str) {
        if let (true, Err(list)) = (rule.is_transition(), &place.correlatable) {
            let why = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
            );
            let field = field_path(path, "rule");
            self.expression_causes.push(invalid(&field, &rule.source().into(), &why));
        }
    }

    fn report(&mut self, path: &str, problems: Vec<cel::Problem>, about_expressions: bool) {
        let causes = problems.into_iter().map(|problem| match problem {
            cel::Problem::Required { field, why } => required(&field_path(path, field), why),
            cel::Problem::Invalid { field, value, why } => {
                invalid(&field_path(path, field), &value, &why)
            }
            cel::Problem::Expression { field, rule, why } => {
                invalid_as(&field_path(path, field), &rule, &why)
            }
            cel::Problem::NotSupported { field, value, supported } => {
                let supported: Vec<Value> = supported.iter().map(|text| json!(text)).collect();
                not_supported(&field_path(path, field), &value.into(), &supported)
            }
        });
        if about_expressions {
            self.expression_causes.extend(causes);
        } else {
            self.rule_causes.extend(causes);
        }
    }

    /// A default keeps the rules too.
    fn check_default(&mut self, schema: &Schema, place: &Place) {
        let (Some(default), true) = (&schema.default, schema.has_rules) else { return };
        let mut filled = default.clone();
        super::default(schema, &mut filled);
        let mut causes = Vec::new();
        cel::validate(schema, &filled, None, &mut causes, &mut Vec::new());
        let path = field_path(&place.path, "default");
        for mut cause in causes {
            cause.field = match cause.field.as_str() {
                "<nil>" => path.clone(),
                field => field_path(&path, field),
            };
            self.expression_causes.push(cause);
        }
    }
}

#[cfg(test)]
mod tests;
