//! Turns the JSON schemas that `k8s-openapi` generates into ours, model by model, each when first read.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{presence, topology};
use crate::schema::{Schema, SchemaRef, Type};

/// Models generated so far, and the nodes handed out for them. Never locked while a node is read.
struct Models {
    generator: SchemaGenerator,
    nodes: BTreeMap<String, SchemaRef>,
}

static MODELS: LazyLock<Mutex<Models>> = LazyLock::new(|| {
    let generator = SchemaSettings::draft07().into_generator();
    Mutex::new(Models { generator, nodes: BTreeMap::new() })
});

fn models() -> MutexGuard<'static, Models> {
    MODELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the node of a kind that `generate` adds to the generator when the node is read.
pub(super) fn root(generate: fn(&mut SchemaGenerator) -> String) -> SchemaRef {
    SchemaRef::lazy(move || {
        let mut models = models();
        let name = generate(&mut models.generator);
        models.convert_model(&name)
    })
}

/// Returns a model by its OpenAPI name, such as `io.k8s.api.core.v1.PodSpec`, if some kind that was read uses it.
#[must_use]
pub fn model(name: &str) -> Option<SchemaRef> {
    let mut models = models();
    models.generator.definitions().contains_key(name).then(|| models.node(name))
}

impl Models {
    /// Returns the shared node of a model.
    fn node(&mut self, name: &str) -> SchemaRef {
        if let Some(node) = self.nodes.get(name) {
            return node.clone();
        }
        let owned = name.to_owned();
        let node = SchemaRef::lazy(move || models().convert_model(&owned));
        self.nodes.insert(name.to_owned(), node.clone());
        node
    }

    fn convert_model(&mut self, name: &str) -> Schema {
        let definition = self.generator.definitions().get(name).cloned().unwrap_or_default();
        let mut schema = self.convert(&definition, name);
        schema.model = Some(name.into());
        schema.atomic |= topology::is_atomic_model(name);
        schema.presence = presence::of(name);
        specialise(&mut schema, name);
        // The Rust types make `metadata` of kinds required; on the wire it is not.
        if schema.properties.contains_key("kind") {
            schema.required.retain(|field| field != "metadata");
        }
        schema
    }

    fn convert(&mut self, source: &Value, model: &str) -> Schema {
        let mut schema = Schema {
            type_: type_of(source),
            format: source["format"].as_str().map(str::to_owned),
            description: source["description"].as_str().map(Into::into),
            ..Schema::default()
        };
        if let Some(required) = source["required"].as_array() {
            schema.required =
                required.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect();
        }
        schema.required.retain(|field| !topology::is_optional(model, field));
        for (name, property) in source["properties"].as_object().into_iter().flatten() {
            schema.properties.insert(name.clone(), self.field(property, model, name));
        }
        schema.items = source.get("items").map(|items| self.child(items, model));
        schema.additional_properties =
            source.get("additionalProperties").map(|values| self.child(values, model));
        schema
    }

    /// Converts a list element or map value.
    fn child(&mut self, source: &Value, model: &str) -> SchemaRef {
        match reference(source) {
            Some(name) => self.node(name),
            None => SchemaRef::new(self.convert(source, model)),
        }
    }

    /// Converts a named field: its shape may be a model's, its text and its strategies are its own.
    fn field(&mut self, source: &Value, model: &str, name: &str) -> SchemaRef {
        let traits = topology::field(model, name);
        let Some(reference) = reference(source) else {
            let mut schema = self.convert(source, model);
            traits.apply(&mut schema);
            return SchemaRef::new(schema);
        };
        let shared = self.node(reference);
        let description: Option<Arc<str>> = source["description"].as_str().map(Into::into);
        if description.is_none() && traits.is_empty() {
            return shared;
        }
        SchemaRef::lazy(move || {
            let mut schema = Schema::clone(&shared);
            schema.description = description.or(schema.description);
            traits.apply(&mut schema);
            schema
        })
    }
}

fn reference(source: &Value) -> Option<&str> {
    source["$ref"].as_str()?.strip_prefix("#/definitions/")
}

fn type_of(source: &Value) -> Type {
    match source["type"].as_str() {
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        _ if source["x-kubernetes-int-or-string"] == true => Type::IntOrString,
        _ => Type::Any,
    }
}

/// Gives the models that stand for plain values their meaning.
fn specialise(schema: &mut Schema, model: &str) {
    let short = model.rsplit('.').next().unwrap_or(model);
    match short {
        "Quantity" => {
            schema.type_ = Type::String;
            schema.format = Some("quantity".into());
        }
        "IntOrString" => schema.format = Some("int-or-string".into()),
        "RawExtension" => {
            schema.type_ = Type::Any;
            schema.preserve_unknown = true;
            schema.atomic = true;
        }
        "JSON"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray" => {
            schema.type_ = Type::Any;
            schema.preserve_unknown = true;
        }
        "FieldsV1" => schema.preserve_unknown = true,
        _ => {}
    }
}
