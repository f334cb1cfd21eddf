//! Merging an applied configuration into the live object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element;
use super::view::{Field, Shape, View};
use crate::schema::ListType;

/// Returns `live` with everything that `config` says; what it does not mention stays.
pub(super) fn merge(view: View<'_>, live: Value, config: &Value) -> Value {
    match (view.shape(&live), view.shape(config), live, config) {
        (Shape::Map, Shape::Map, Value::Object(live), Value::Object(config)) => {
            Value::Object(merge_maps(view, live, config))
        }
        (Shape::List(list_type), Shape::List(_), Value::Array(live), Value::Array(config)) => {
            Value::Array(merge_lists(view.item(), list_type, live, config))
        }
        // Null claims the field without saying anything of its parts.
        (Shape::Map | Shape::List(_), _, live, Value::Null) => live,
        (_, _, _, config) => config.clone(),
    }
}

fn merge_maps(
    view: View<'_>,
    mut live: Map<String, Value>,
    config: &Map<String, Value>,
) -> Map<String, Value> {
    for (name, wanted) in config {
        match view.field(name) {
            Field::Owned { view, .. } => {
                let merged = match live.remove(name) {
                    Some(live) => merge(view, live, wanted),
                    None => wanted.clone(),
                };
                live.insert(name.clone(), merged);
            }
            Field::Server => {
                live.entry(name.clone()).or_insert_with(|| wanted.clone());
            }
            Field::Unknown => {
                live.insert(name.clone(), wanted.clone());
            }
            Field::Reset => {}
        }
    }
    live
}

/// Items of both keep the order of the configuration. Live items that it does not name keep their place among those
/// that it does; new ones come where the configuration has them, after live items that could stand before.
fn merge_lists(
    view: View<'_>,
    list_type: &ListType,
    live: Vec<Value>,
    config: &[Value],
) -> Vec<Value> {
    let (Ok(live_elements), Ok(elements)) =
        (element::of_items(list_type, &live), element::of_items(list_type, config))
    else {
        return config.to_vec();
    };
    let mut live_at: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, element) in live_elements.iter().enumerate() {
        live_at.entry(element).or_default().push(position);
    }
    let wanted: BTreeMap<&str, bool> = elements
        .iter()
        .map(|element| (element.as_str(), live_at.contains_key(element.as_str())))
        .collect();
    let mut shared = elements.iter().filter(|element| wanted[element.as_str()]).peekable();

    let mut live: Vec<Option<Value>> = live.into_iter().map(Some).collect();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let mut next = 0;
    for (element, item) in elements.iter().zip(config) {
        while let Some(standing) =
            live_elements.get(next).filter(|standing| Some(standing) != shared.peek())
        {
            if !wanted.contains_key(standing.as_str()) {
                merged.extend(live[next].take());
            }
            next += 1;
        }
        merged.push(match live_at.get(element.as_str()).map(Vec::as_slice) {
            Some(&[only]) => match live[only].take() {
                Some(live) => merge(view, live, item),
                None => item.clone(),
            },
            // A live list may hold an item twice; applying it leaves one.
            Some(_) | None => item.clone(),
        });
        if shared.next_if_eq(&element).is_some() && live_elements.get(next) == Some(element) {
            next += 1;
        }
    }
    let rest = live_elements.iter().zip(live).skip(next);
    merged.extend(
        rest.filter(|(element, _)| !wanted.contains_key(element.as_str()))
            .filter_map(|(_, item)| item),
    );
    merged
}

/// Returns whether merging `config` into `live` surely changes nothing; live lists that hold an item twice are in doubt.
pub(super) fn covers(view: View<'_>, live: &Value, config: &Value) -> bool {
    match (view.shape(live), view.shape(config), live, config) {
        (Shape::Map, Shape::Map, Value::Object(live), Value::Object(config)) => {
            config.iter().all(|(name, wanted)| match (view.field(name), live.get(name)) {
                (Field::Owned { view, .. }, Some(live)) => covers(view, live, wanted),
                (Field::Owned { .. } | Field::Server, None) => false,
                (Field::Server, Some(_)) | (Field::Reset, _) => true,
                (Field::Unknown, live) => live == Some(wanted),
            })
        }
        (Shape::List(list_type), Shape::List(_), Value::Array(live), Value::Array(config)) => {
            covers_items(view.item(), list_type, live, config)
        }
        (Shape::Map | Shape::List(_), _, _, Value::Null) => true,
        _ => live == config,
    }
}

fn covers_items(view: View<'_>, list_type: &ListType, live: &[Value], config: &[Value]) -> bool {
    let (Ok(live_elements), Ok(elements)) =
        (element::of_items(list_type, live), element::of_items(list_type, config))
    else {
        return live == config;
    };
    let mut sorted: Vec<&String> = live_elements.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return false;
    }
    let mut standing = live_elements.iter().zip(live);
    elements.iter().zip(config).all(|(element, wanted)| {
        standing
            .find(|(live, _)| *live == element)
            .is_some_and(|(_, item)| covers(view, item, wanted))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{Schema, SchemaRef, Type};

    fn list(list_type: ListType) -> Schema {
        let items = Some(SchemaRef::new(Schema { type_: Type::Any, ..Schema::default() }));
        Schema { type_: Type::Array, list_type, items, ..Schema::default() }
    }

    #[test]
    fn list_items_keep_the_order_of_the_configuration_around_live_ones() {
        let schema = list(ListType::Set);
        let letters =
            |text: &str| -> Value { text.chars().map(|c| json!(c.to_string())).collect() };
        for (live, config, want) in [
            ("abc", "de", "abcde"),
            ("abc", "abd", "abcd"),
            ("abc", "axyzb", "axyzbc"),
            ("abcde", "adbe", "acdbe"),
            ("abcd", "dba", "cdba"),
            ("abcde", "edba", "cedba"),
            ("aab", "c", "aabc"),
            ("aab", "a", "ab"),
            ("", "ba", "ba"),
        ] {
            let merged = merge(View::Typed(&schema), letters(live), &letters(config));
            assert_eq!(merged, letters(want), "{live} with {config}");
            let in_doubt = want.contains("aa");
            let covered = covers(View::Typed(&schema), &merged, &letters(config));
            assert_eq!(covered, !in_doubt, "{live} with {config}");
        }
    }

    #[test]
    fn null_keeps_the_parts_of_maps_and_lists_and_replaces_leaves() {
        for (schema, live, want) in [
            (Schema::default(), json!({"a": 1}), json!({"a": 1})),
            (list(ListType::Set), json!(["a"]), json!(["a"])),
            (list(ListType::Atomic), json!(["a"]), Value::Null),
            (Schema::default(), json!(1), Value::Null),
        ] {
            assert_eq!(merge(View::Typed(&schema), live, &Value::Null), want);
        }
    }
}
