//! Server-side apply: applying twice is applying once, nobody owns what is absent, and appliers who agree come in any
//! order.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::input::{Input, documents};
use crate::managed_fields::{self, Manager, ResetFields, checks};
use crate::schema::{SchemaRef, structural};

const NOTHING: ResetFields = ResetFields::none();

/// A kind with a field of every topology.
static KIND: LazyLock<SchemaRef> = LazyLock::new(|| {
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let mut selector = texts.clone();
    selector["x-kubernetes-map-type"] = "atomic".into();
    let items = json!({ "type": "object", "required": ["name"], "properties": {
        "name": { "type": "string" }, "image": { "type": "string" }, "limits": texts.clone(),
    } });
    let list = |kind: &str, items: Value| {
        let mut list = json!({ "type": "array", "x-kubernetes-list-type": kind, "items": items });
        if kind == "map" {
            list["x-kubernetes-list-map-keys"] = json!(["name"]);
        }
        list
    };
    let spec = json!({ "type": "object", "properties": {
        "replicas": { "type": "integer" },
        "labels": texts, "selector": selector,
        "containers": list("map", items),
        "set": list("set", json!({ "type": "string" })),
        "args": list("atomic", json!({ "type": "string" })),
    } });
    structural::compile(&json!({ "type": "object", "properties": { "spec": spec } }))
        .expect("the schema is structural")
});

/// Bytes: steps of three managers, each an apply, a forced apply or an update with a generated spec; and read as JSON, two
/// whole objects, the first with ownership that somebody made up.
pub(super) fn apply(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::default();
    for _ in 0..6 {
        let manager = input.pick(&["m", "n", "o"]);
        let step = input.below(3);
        let config = object(spec(&mut input));
        match step {
            // A conflict changes nothing, which is fine here.
            0 => drop(world.apply(manager, &config, false)),
            1 => {
                world.apply(manager, &config, true).expect("forced");
                let again = world.apply(manager, &config, true);
                assert_eq!(again, Ok(false), "applying twice is applying once");
            }
            _ => world.update(manager, &config),
        }
        if let Some(live) = &world.live {
            assert_eq!(checks::absent_claims(&KIND, live), [""; 0], "owned but absent in {live}");
        }
    }
    any_order(&object(spec(&mut input)), &object(spec(&mut input)));
    made_up_ownership(bytes);
}

#[derive(Default)]
struct World {
    live: Option<Value>,
    seconds: i64,
}

impl World {
    fn manager(&mut self, name: &str) -> Manager {
        self.seconds += 1;
        Manager {
            name: name.to_owned(),
            api_version: "v1".to_owned(),
            subresource: String::new(),
            now: Timestamp::from_second(self.seconds).expect("early"),
        }
    }

    /// Applies and tells whether anything changed; the error is a conflict.
    fn apply(&mut self, name: &str, config: &Value, force: bool) -> Result<bool, String> {
        let manager = self.manager(name);
        let live = self.live.as_ref();
        let result = managed_fields::apply(&KIND, live, config, &manager, force, &NOTHING);
        let result = result.map_err(|error| error.to_string())?;
        let changed = result.is_some();
        self.live = result.or(self.live.take());
        Ok(changed)
    }

    fn update(&mut self, name: &str, config: &Value) {
        let manager = self.manager(name);
        let mut new = self.live.clone().unwrap_or_else(|| config.clone());
        new["spec"] = config["spec"].clone();
        managed_fields::update(&KIND, self.live.as_ref(), &mut new, &manager, &NOTHING);
        self.live = Some(new);
    }
}

fn any_order(one: &Value, two: &Value) {
    let play = |first: (&str, &Value), second: (&str, &Value)| {
        let mut world = World::default();
        world.apply(first.0, first.1, false).expect("nobody else is there");
        let agreed = world.apply(second.0, second.1, false).is_ok();
        let live = world.live.expect("something was applied");
        agreed.then(|| (unordered(live["spec"].clone()), owners(&live)))
    };
    let (forth, back) = (play(("one", one), ("two", two)), play(("two", two), ("one", one)));
    assert_eq!(forth, back, "{one} and {two}");
}

/// Fields by manager.
fn owners(live: &Value) -> BTreeMap<String, String> {
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.map(|entry| (text(&entry["manager"]), entry["fieldsV1"].to_string())).collect()
}

/// Sorts items, whose order depends on who came first.
fn unordered(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => {
            *items = std::mem::take(items).into_iter().map(unordered).collect();
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| {
            *field = unordered(field.take());
        }),
        _ => {}
    }
    value
}

/// Whatever stands in `managedFields`, a write neither panics nor leaves somebody owning what is absent.
fn made_up_ownership(bytes: &[u8]) {
    let [live, config] = documents::<2>(bytes);
    if !live.is_object() || !config.is_object() {
        return;
    }
    let mut world = World { live: Some(live), seconds: 0 };
    let _ = world.apply("m", &config, true);
    world.update("n", &config);
}

fn object(spec: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "App", "metadata": { "name": "a" }, "spec": spec })
}

fn spec(input: &mut Input<'_>) -> Value {
    let mut spec = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            spec.insert(name.to_owned(), value);
        }
    };
    set("replicas", input.flag().then(|| json!(input.below(2))));
    set("labels", input.flag().then(|| texts(input)));
    set("selector", input.flag().then(|| texts(input)));
    set("set", input.flag().then(|| json!(names(input))));
    set("args", input.flag().then(|| json!(names(input))));
    set("containers", input.flag().then(|| containers(input)));
    spec.into()
}

fn containers(input: &mut Input<'_>) -> Value {
    let mut containers = Vec::new();
    for name in names(input) {
        let mut container = json!({ "name": name });
        if input.flag() {
            container["image"] = json!(input.pick(&["i", "j"]));
        }
        if input.flag() {
            container["limits"] = texts(input);
        }
        containers.push(container);
    }
    containers.into()
}

/// Some of three names, in some order.
fn names(input: &mut Input<'_>) -> Vec<&'static str> {
    let mut names = vec!["a", "b", "c"];
    names.rotate_left(input.below(3));
    names.truncate(input.below(4));
    names
}

fn texts(input: &mut Input<'_>) -> Value {
    let mut texts = Map::new();
    for key in ["a", "b"] {
        if input.flag() {
            texts.insert(key.to_owned(), json!(input.pick(&["0", "1"])));
        }
    }
    texts.into()
}
