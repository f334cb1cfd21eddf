//! Differences between two transcripts of one script.

use std::fmt;

use serde_json::Value;

use super::transcript::Exchange;

/// One place where two servers answered differently.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) script: String,
    pub(crate) step: String,
    /// `status`, `header NAME`, or a path that begins with `body`.
    pub(crate) path: String,
    /// Nothing where the value is absent.
    pub(crate) real: Option<Value>,
    pub(crate) ours: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| {
            let text = value.as_ref().map_or_else(|| "(absent)".to_owned(), Value::to_string);
            if text.chars().count() > 600 { text.chars().take(600).collect() } else { text }
        };
        writeln!(f, "{} / {} / {}", self.script, self.step, self.path)?;
        writeln!(f, "    real: {}", show(&self.real))?;
        write!(f, "    ours: {}", show(&self.ours))
    }
}

/// Compares what two servers answered to one script.
pub(crate) fn differences(script: &str, real: &[Exchange], ours: &[Exchange]) -> Vec<Difference> {
    let mut found = Vec::new();
    let steps = real.len().max(ours.len());
    for index in 0..steps {
        let (real, ours) = (real.get(index), ours.get(index));
        let title = real.or(ours).map(|exchange| exchange.title.clone()).unwrap_or_default();
        let mut note = |path: String, real: Option<Value>, ours: Option<Value>| {
            let (script, step) = (script.to_owned(), title.clone());
            found.push(Difference { script, step, path, real, ours });
        };
        match (real, ours) {
            (Some(real), Some(ours)) if real.title == ours.title => {
                exchange(real, ours, &mut note);
            }
            (real, ours) => note(
                "step".to_owned(),
                real.map(|exchange| exchange.title.as_str().into()),
                ours.map(|exchange| exchange.title.as_str().into()),
            ),
        }
    }
    found
}

type Note<'a> = &'a mut dyn FnMut(String, Option<Value>, Option<Value>);

fn exchange(real: &Exchange, ours: &Exchange, note: Note<'_>) {
    if real.status != ours.status {
        note("status".to_owned(), Some(real.status.into()), Some(ours.status.into()));
    }
    let mut names: Vec<&String> =
        real.headers.iter().chain(&ours.headers).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let values = |exchange: &Exchange| {
            let of_name = exchange.headers.iter().filter(|(own, _)| own == name);
            let values: Vec<Value> = of_name.map(|(_, value)| value.as_str().into()).collect();
            match values.len() {
                0 => None,
                1 => values.into_iter().next(),
                _ => Some(Value::Array(values)),
            }
        };
        let (real, ours) = (values(real), values(ours));
        if real != ours {
            note(format!("header {name}"), real, ours);
        }
    }
    value("body", &without_moments(&real.body), &without_moments(&ours.body), note);
}

/// Takes out the moment of lists and bookmarks: others write to the real server too, so it may or may not be one that
/// the script knows.
fn without_moments(body: &Value) -> Value {
    let mut body = body.clone();
    let kind = body["kind"].as_str().unwrap_or_default();
    if kind.ends_with("List") || kind == "Table" {
        take_out(body.pointer_mut("/metadata/resourceVersion"));
    }
    take_out(body.pointer_mut("/~1metadata/resourceVersion"));
    for event in
        body.as_array_mut().into_iter().flatten().filter(|event| event["type"] == "BOOKMARK")
    {
        take_out(event.pointer_mut("/object/metadata/resourceVersion"));
        take_out(event.pointer_mut("/object/rows/0/object/metadata/resourceVersion"));
    }
    body
}

fn take_out(moment: Option<&mut Value>) {
    if let Some(Value::String(text)) = moment
        && text.starts_with('$')
    {
        "<rv>".clone_into(text);
    }
}

fn value(path: &str, real: &Value, ours: &Value, note: Note<'_>) {
    match (real, ours) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                member(&format!("{path}.{key}"), left.get(key), right.get(key), note);
            }
        }
        _ if real == ours => {}
        // What was read from a list is the moment of the last write only where nobody else writes.
        (Value::String(left), Value::String(right))
            if path.ends_with(".resourceVersion") && left == "<rv>" && right.starts_with('$') => {}
        (Value::Array(left), Value::Array(right)) => match (keys(left), keys(right)) {
            (Some(left_keys), Some(right_keys)) => {
                keyed(path, (left, &left_keys), (right, &right_keys), note);
            }
            _ if left.iter().chain(right).all(Value::is_string) => {
                note(path.to_owned(), Some(real.clone()), Some(ours.clone()));
            }
            _ => {
                for index in 0..left.len().max(right.len()) {
                    member(&format!("{path}[{index}]"), left.get(index), right.get(index), note);
                }
            }
        },
        _ => note(path.to_owned(), Some(real.clone()), Some(ours.clone())),
    }
}

/// Returns what tells the elements of an array apart, if something does.
fn keys(items: &[Value]) -> Option<Vec<String>> {
    let key = |item: &Value| {
        let of = |value: &Value| value.as_str().map(str::to_owned);
        let of_manager = || {
            let parts = ["manager", "operation", "subresource"].map(|part| of(&item[part]));
            let [manager, operation, subresource] = parts;
            Some(format!("{} {} {}", manager?, operation?, subresource.unwrap_or_default()))
        };
        let metadata = &item["metadata"];
        of(&item["name"])
            .or_else(|| of(&item["resource"]))
            .or_else(|| of(&item["subresource"]).filter(|_| item.get("manager").is_none()))
            .or_else(of_manager)
            .or_else(|| of(&metadata["name"]))
    };
    let mut keys: Vec<String> = items.iter().map(key).collect::<Option<_>>()?;
    let all = keys.clone();
    keys.sort();
    keys.dedup();
    (keys.len() == all.len()).then_some(all)
}

/// Compares elements of the same key, then the order of those that both have.
fn keyed(
    path: &str,
    (real, real_keys): (&[Value], &[String]),
    (ours, our_keys): (&[Value], &[String]),
    note: Note<'_>,
) {
    let find = |items: &[Value], keys: &[String], key: &String| {
        keys.iter().position(|own| own == key).map(|at| items[at].clone())
    };
    let mut all: Vec<&String> = real_keys.iter().chain(our_keys).collect();
    all.sort();
    all.dedup();
    for key in all {
        let (left, right) = (find(real, real_keys, key), find(ours, our_keys, key));
        member(&format!("{path}[{key}]"), left.as_ref(), right.as_ref(), note);
    }
    let common = |own: &[String], other: &[String]| -> Vec<Value> {
        own.iter().filter(|key| other.contains(key)).map(|key| key.as_str().into()).collect()
    };
    let (left, right) = (common(real_keys, our_keys), common(our_keys, real_keys));
    if left != right {
        note(format!("{path} order"), Some(left.into()), Some(right.into()));
    }
}

fn member(path: &str, real: Option<&Value>, ours: Option<&Value>, note: Note<'_>) {
    match (real, ours) {
        (Some(real), Some(ours)) => value(path, real, ours, note),
        (real, ours) => note(path.to_owned(), real.cloned(), ours.cloned()),
    }
}

#[test]
fn every_place_that_differs_is_named_once() {
    let exchange = |status, headers: &[(&str, &str)], body| Exchange {
        title: "t".to_owned(),
        status,
        headers: headers.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect(),
        body,
    };
    let real = exchange(200, &[("a", "1")], serde_json::json!({ "x": [1, 2], "y": { "z": 1 } }));
    let ours = exchange(201, &[("b", "1")], serde_json::json!({ "x": [1], "y": { "z": 2 } }));
    let paths: Vec<String> =
        differences("s", &[real], &[ours]).into_iter().map(|found| found.path).collect();
    assert_eq!(paths, ["status", "header a", "header b", "body.x[1]", "body.y.z"]);
}

#[test]
fn elements_with_names_are_compared_by_name_and_order() {
    let exchange = |body| Exchange { title: "t".to_owned(), status: 200, headers: vec![], body };
    let real = exchange(serde_json::json!([{ "name": "a", "x": 1 }, { "name": "b" }]));
    let ours =
        exchange(serde_json::json!([{ "name": "c" }, { "name": "b" }, { "name": "a", "x": 2 }]));
    let paths: Vec<String> =
        differences("s", &[real], &[ours]).into_iter().map(|found| found.path).collect();
    assert_eq!(paths, ["body[a].x", "body[c]", "body order"]);
}

#[test]
fn moments_of_lists_and_bookmarks_are_all_alike() {
    use serde_json::json;

    let even = |body: Value| without_moments(&body);
    let list = |moment: &str| json!({"kind": "PodList", "metadata": {"resourceVersion": moment}, "items": []});
    assert_eq!(even(list("$now")), list("<rv>"));
    let part = |moment: &str| json!({"/metadata": {"resourceVersion": moment}});
    assert_eq!(even(part("$now")), part("<rv>"));
    let event = |kind: &str, moment: &str| json!([{"type": kind, "object": {"metadata": {"resourceVersion": moment}}}]);
    assert_eq!(even(event("BOOKMARK", "$b")), event("BOOKMARK", "<rv>"));
    assert_eq!(even(event("ADDED", "$b")), event("ADDED", "$b"));
    let object = json!({"kind": "Pod", "metadata": {"resourceVersion": "$p"}});
    assert_eq!(even(object.clone()), object);
}
