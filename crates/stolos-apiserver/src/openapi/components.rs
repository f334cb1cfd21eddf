//! The shapes that operations refer to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::registry::Resource;
use crate::schema::{ListType, Schema, Type, builtin};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Shapes gathered so far, and those that they refer to and that are still to be rendered.
#[derive(Default)]
pub(super) struct Components {
    schemas: BTreeMap<String, Value>,
    wanted: BTreeSet<String>,
}

impl Components {
    /// Renders everything that is referred to and returns all shapes by name.
    pub(super) fn finish(mut self) -> BTreeMap<String, Value> {
        while let Some(name) = self.wanted.pop_first() {
            if !self.schemas.contains_key(&name)
                && let Some(model) = builtin::model(&name)
            {
                let mut rendered = self.shape(&model);
                if let Some((group, version, kind)) = builtin::group_version_kind(&name) {
                    rendered["x-kubernetes-group-version-kind"] =
                        json!([{ "group": group, "version": version, "kind": kind }]);
                }
                self.schemas.insert(name, rendered);
            }
        }
        self.schemas
    }

    /// Adds the shape of a resource's objects and of lists of them; returns the name of the former.
    pub(super) fn add_resource(&mut self, resource: &Resource) -> String {
        let schema = &resource.schema;
        let name = match &schema.model {
            Some(model) => model.to_string(),
            None => custom_name(resource),
        };
        let mut shape = match &schema.source {
            Some(source) => self.custom_shape(source.json()),
            None => self.shape(schema),
        };
        shape["x-kubernetes-group-version-kind"] = json!([gvk(resource, &resource.kind)]);
        self.schemas.insert(name.clone(), shape);
        if resource.offers("list") {
            let list = self.list_shape(resource, &name);
            self.schemas.insert(list_name(&name, resource), list);
        }
        name
    }

    /// Refers to one of the shapes that every group shares, such as `DeleteOptions`.
    pub(super) fn meta(&mut self, kind: &str) -> Value {
        if kind == "Patch" {
            let text = "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.";
            let shape = json!({ "type": "object", "description": text });
            self.schemas.insert(format!("{META}.Patch"), shape);
            return reference(&format!("{META}.Patch"));
        }
        self.kind("meta.k8s.io", "v1", kind)
    }

    /// Refers to the shape of a built-in kind.
    pub(super) fn kind(&mut self, group: &str, version: &str, kind: &str) -> Value {
        let Some(schema) = builtin::kind(group, version, kind) else { return json!({}) };
        let Some(model) = schema.model.as_deref() else { return json!({}) };
        self.refer(model)
    }

    fn refer(&mut self, model: &str) -> Value {
        self.wanted.insert(model.to_owned());
        reference(model)
    }

    fn list_shape(&mut self, resource: &Resource, item: &str) -> Value {
        let metadata = self.meta("ListMeta");
        let text = |kind| json!({ "type": "string", "description": description(kind) });
        let about_metadata = "What holds for the list as a whole, such as its resource version.";
        let about_items = format!("Objects of kind {}.", resource.kind);
        json!({
            "description": format!("{} is a list of {}.", resource.list_kind, resource.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": text("apiVersion"),
                "kind": text("kind"),
                "metadata": { "allOf": [metadata], "description": about_metadata },
                "items": { "type": "array", "items": reference(item), "description": about_items },
            },
            "x-kubernetes-group-version-kind": [gvk(resource, &resource.list_kind)],
        })
    }

    /// Renders a node that may refer to a shared shape.
    fn node(&mut self, schema: &Schema) -> Value {
        let Some(model) = schema.model.clone() else { return self.shape(schema) };
        let reference = self.refer(&model);
        let mut node = json!({ "allOf": [reference] });
        add_texts(&mut node, schema);
        let fields = node.as_object().map_or(0, Map::len);
        if fields == 1 { reference } else { node }
    }

    /// Renders elements of a list or map, which have no texts of their own.
    fn element(&mut self, schema: &Schema) -> Value {
        match schema.model.clone() {
            Some(model) => self.refer(&model),
            None => self.shape(schema),
        }
    }

    /// Renders a shape in full.
    fn shape(&mut self, schema: &Schema) -> Value {
        let mut out = json!({});
        add_type(&mut out, schema);
        add_texts(&mut out, schema);
        if schema.atomic {
            out["x-kubernetes-map-type"] = json!("atomic");
        }
        if !schema.required.is_empty() {
            out["required"] = json!(schema.required);
        }
        if !schema.properties.is_empty() {
            let fields =
                schema.properties.iter().map(|(name, node)| (name.clone(), self.node(node)));
            out["properties"] = Value::Object(fields.collect());
        }
        if let Some(values) = &schema.additional_properties {
            out["additionalProperties"] = self.element(values);
        }
        if let Some(items) = &schema.items {
            out["items"] = self.element(items);
            add_topology(&mut out, &schema.list_type);
        }
        if let Some(constraints) = &schema.constraints
            && !constraints.enumeration.is_empty()
        {
            out["enum"] = json!(constraints.enumeration);
        }
        out
    }

    /// Completes the schema of a custom resource with what every object has.
    fn custom_shape(&mut self, source: &Value) -> Value {
        let mut shape = source.clone();
        self.add_object_fields(&mut shape);
        self.complete_embedded(&mut shape);
        shape
    }

    fn add_object_fields(&mut self, shape: &mut Value) {
        let metadata = self.meta("ObjectMeta");
        let texts = |kind| json!({ "type": "string", "description": description(kind) });
        let Some(shape) = shape.as_object_mut() else { return };
        let fields = shape.entry("properties").or_insert_with(|| json!({}));
        fields["apiVersion"] = texts("apiVersion");
        fields["kind"] = texts("kind");
        fields["metadata"] = json!({ "allOf": [metadata], "description": description("metadata") });
    }

    fn complete_embedded(&mut self, shape: &mut Value) {
        let Some(fields) = shape.as_object_mut() else { return };
        for keyword in ["properties", "items", "additionalProperties"] {
            let Some(below) = fields.get_mut(keyword) else { continue };
            let children: Vec<&mut Value> = match (keyword, below) {
                ("properties", Value::Object(properties)) => properties.values_mut().collect(),
                (_, below) => vec![below],
            };
            for child in children {
                self.complete_embedded(child);
                if child["x-kubernetes-embedded-resource"] == true {
                    self.add_object_fields(child);
                }
            }
        }
    }
}

/// Writes a reference to a shape.
pub(super) fn reference(model: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{model}") })
}

/// Returns the group, version and kind as extensions carry them.
pub(super) fn gvk(resource: &Resource, kind: &str) -> Value {
    let group_version = &resource.group_version;
    json!({ "group": group_version.group, "version": group_version.version, "kind": kind })
}

/// Names the shape of lists after that of the objects.
pub(super) fn list_name(name: &str, resource: &Resource) -> String {
    let stem = name.strip_suffix(resource.kind.as_str()).unwrap_or_default();
    format!("{stem}{}", resource.list_kind)
}

/// Names a custom resource's shape as built-in ones are: `com.example.v1.Widget`.
fn custom_name(resource: &Resource) -> String {
    let group_version = &resource.group_version;
    let mut parts: Vec<&str> = group_version.group.split('.').rev().collect();
    parts.extend([group_version.version.as_str(), resource.kind.as_str()]);
    parts.join(".")
}

fn description(field: &str) -> Value {
    let schema = builtin::kind("", "v1", "ConfigMap");
    let text = schema.and_then(|schema| schema.properties.get(field)?.description.clone());
    text.map_or(Value::Null, |text| Value::from(&*text))
}

fn add_type(out: &mut Value, schema: &Schema) {
    let format = schema.format.as_deref();
    match schema.type_ {
        Type::String if format == Some("quantity") => {
            out["oneOf"] = json!([{ "type": "string" }, { "type": "number" }]);
            return;
        }
        Type::IntOrString => out["oneOf"] = json!([{ "type": "integer" }, { "type": "string" }]),
        Type::Object => out["type"] = json!("object"),
        Type::Array => out["type"] = json!("array"),
        Type::String => out["type"] = json!("string"),
        Type::Integer => out["type"] = json!("integer"),
        Type::Number => out["type"] = json!("number"),
        Type::Boolean => out["type"] = json!("boolean"),
        Type::Any
            if schema.model.as_deref().is_some_and(|model| model.ends_with(".RawExtension")) =>
        {
            out["type"] = json!("object");
        }
        Type::Any => {}
    }
    if let Some(format) = format {
        out["format"] = json!(format);
    }
}

/// Adds what belongs to a field rather than to the shape of its value.
fn add_texts(out: &mut Value, schema: &Schema) {
    if let Some(text) = &schema.description {
        out["description"] = json!(&**text);
    }
    if let Some(default) = &schema.default {
        out["default"] = default.clone();
    }
    let patch = &schema.patch;
    let strategies =
        [(patch.merge, "merge"), (patch.retain_keys, "retainKeys"), (patch.replace, "replace")];
    let strategies: Vec<&str> =
        strategies.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if !strategies.is_empty() {
        out["x-kubernetes-patch-strategy"] = json!(strategies.join(","));
    }
    if let Some(key) = &patch.merge_key {
        out["x-kubernetes-patch-merge-key"] = json!(key);
    }
}

fn add_topology(out: &mut Value, list_type: &ListType) {
    out["x-kubernetes-list-type"] = json!(match list_type {
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map(_) => "map",
    });
    if let ListType::Map(keys) = list_type {
        let keys: Vec<&String> = keys.iter().map(|(key, _)| key).collect();
        out["x-kubernetes-list-map-keys"] = json!(keys);
    }
}
