//! The rules of ownership, on a small kind with one field of each sort.

mod builtin;
mod properties;
mod rules;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::FieldSet;
use super::{ApplyError, Manager, ResetFields, apply, update};
use crate::schema::{ListType, Schema, SchemaRef, Type};

fn object<const N: usize>(fields: [(&str, Schema); N]) -> Schema {
    let properties =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), SchemaRef::new(schema)));
    Schema { type_: Type::Object, properties: properties.collect(), ..Schema::default() }
}

fn list(list_type: ListType, items: Schema) -> Schema {
    Schema {
        type_: Type::Array,
        list_type,
        items: Some(SchemaRef::new(items)),
        ..Schema::default()
    }
}

fn map(values: Schema) -> Schema {
    Schema {
        type_: Type::Object,
        additional_properties: Some(SchemaRef::new(values)),
        ..Schema::default()
    }
}

fn text() -> Schema {
    Schema { type_: Type::String, ..Schema::default() }
}

fn keys<const N: usize>(keys: [(&str, Option<Value>); N]) -> ListType {
    ListType::Map(keys.into_iter().map(|(key, default)| (key.to_owned(), default)).collect())
}

/// The kind: containers by name with ports by port and protocol, a set, an atomic list and map, and free fields.
fn kind() -> SchemaRef {
    let port = object([("port", Schema::default()), ("protocol", text()), ("name", text())]);
    let ports = list(keys([("port", None), ("protocol", Some(json!("TCP")))]), port);
    let container =
        object([("name", text()), ("image", text()), ("limits", map(text())), ("ports", ports)]);
    let number = || Schema { type_: Type::Integer, ..Schema::default() };
    SchemaRef::new(object([
        (
            "spec",
            object([
                ("replicas", number()),
                ("strategy", object([("type", text()), ("max", number())])),
                ("labels", map(text())),
                ("maps", map(object([("a", text()), ("b", text())]))),
                ("containers", list(keys([("name", None)]), container)),
                ("set", list(ListType::Set, text())),
                ("args", list(ListType::Atomic, text())),
                ("selector", Schema { atomic: true, ..map(text()) }),
                ("free", Schema { preserve_unknown: true, ..Schema::default() }),
            ]),
        ),
        ("status", object([("ready", number())])),
    ]))
}

/// One object and what happens to it, second by second.
struct World {
    live: Option<Value>,
    seconds: i64,
    schema: SchemaRef,
    reset: ResetFields,
    api_version: &'static str,
    subresource: &'static str,
}

impl World {
    fn new() -> Self {
        Self {
            live: None,
            seconds: 0,
            schema: kind(),
            reset: ResetFields::none(),
            api_version: "v1",
            subresource: "",
        }
    }

    fn manager(&mut self, name: &str) -> Manager {
        self.seconds += 1;
        Manager {
            name: name.to_owned(),
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            now: Timestamp::from_second(self.seconds).expect("early"),
        }
    }

    /// Applies a spec and returns whether anything changed.
    fn try_apply(&mut self, name: &str, spec: &Value, force: bool) -> Result<bool, ApplyError> {
        self.try_apply_object(name, &self.with_spec(spec), force)
    }

    fn try_apply_object(
        &mut self,
        name: &str,
        config: &Value,
        force: bool,
    ) -> Result<bool, ApplyError> {
        let manager = self.manager(name);
        let result = apply(&self.schema, self.live.as_ref(), config, &manager, force, &self.reset)?;
        let changed = result.is_some();
        self.live = result.or(self.live.take());
        Ok(changed)
    }

    fn apply(&mut self, name: &str, spec: &Value) -> &mut Self {
        self.try_apply(name, spec, false).expect("no conflict");
        self
    }

    fn force(&mut self, name: &str, spec: &Value) -> &mut Self {
        self.try_apply(name, spec, true).expect("forced");
        self
    }

    fn conflicts(&mut self, name: &str, spec: &Value) -> Vec<(String, String)> {
        match self.try_apply(name, spec, false) {
            Err(ApplyError::Conflicts(causes)) => {
                causes.into_iter().map(|cause| (cause.message, cause.field)).collect()
            }
            other => panic!("expected conflicts, got {other:?}"),
        }
    }

    /// Replaces the spec, as a PUT of an object that was read before does.
    fn update(&mut self, name: &str, spec: &Value) -> &mut Self {
        let object = self.with_spec(spec);
        self.update_object(name, |new| new["spec"] = object["spec"].clone())
    }

    fn update_object(&mut self, name: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        let manager = self.manager(name);
        let mut new = self.live.clone().unwrap_or_else(|| self.with_spec(&json!({})));
        change(&mut new);
        update(&self.schema, self.live.as_ref(), &mut new, &manager, &self.reset);
        self.live = Some(new);
        self
    }

    fn with_spec(&self, spec: &Value) -> Value {
        json!({ "apiVersion": self.api_version, "kind": "App", "metadata": { "name": "a" }, "spec": spec })
    }

    fn live(&self) -> &Value {
        self.live.as_ref().expect("something was written")
    }

    fn spec(&self) -> &Value {
        &self.live()["spec"]
    }

    fn entries(&self) -> &[Value] {
        self.live()["metadata"]["managedFields"].as_array().map_or(&[], Vec::as_slice)
    }

    fn entry(&self, manager: &str) -> &Value {
        self.entries().iter().find(|entry| entry["manager"] == manager).unwrap_or(&Value::Null)
    }

    /// The paths below spec that each manager owns, by name.
    fn owned(&self) -> BTreeMap<String, Vec<String>> {
        let owned = self.entries().iter().map(|entry| {
            let paths =
                FieldSet::from_json(entry["fieldsV1"].clone()).expect("a field set").paths();
            let short =
                |path: String| path.strip_prefix(".spec.").map_or(path.clone(), str::to_owned);
            let manager = entry["manager"].as_str().expect("a name").to_owned();
            (manager, paths.into_iter().map(short).collect())
        });
        owned.collect()
    }
}

fn owned<const N: usize>(managers: [(&str, &[&str]); N]) -> BTreeMap<String, Vec<String>> {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    managers.into_iter().map(|(manager, fields)| (manager.to_owned(), paths(fields))).collect()
}
