//! Fitting recorded fields to a schema that has changed since.

use serde_json::Value;

use super::claim::applied;
use super::element;
use super::entry::Entry;
use super::set::{FieldSet, Node};
use super::view::{Field, Shape, View};

/// Fits the fields of every entry to the schema.
///
/// What has become a leaf is owned as a whole by those who owned parts of it. The items of a list that was a leaf are
/// owned by its owner, unless others own items of it already: then the owner merely owns the list itself. Maps that were
/// leaves stay as they are, because a map owned without its fields also comes from applying an empty one.
pub(super) fn reshape(view: View<'_>, live: &Value, entries: &mut [Entry]) {
    for i in 0..entries.len() {
        let mut fields = std::mem::take(&mut entries[i].fields);
        let others: Vec<&FieldSet> = entries.iter().map(|entry| &entry.fields).collect();
        reshape_parts(view, Some(live), &mut fields, &others);
        entries[i].fields = fields;
    }
}

fn reshape_parts(
    view: View<'_>,
    value: Option<&Value>,
    fields: &mut FieldSet,
    others: &[&FieldSet],
) {
    let Some(value) = value else { return };
    match (view.shape(value), value) {
        (Shape::Map, Value::Object(map)) => {
            for node in fields.nodes_mut() {
                let Some(name) = element::field_name(&node.element) else { continue };
                if let Field::Owned { view, .. } = view.field(name) {
                    let value = map.get(name);
                    reshape_node(view, value, node, others);
                }
            }
        }
        (Shape::List(list_type), Value::Array(items)) => {
            let has_parts = fields.nodes().iter().any(|node| !node.children.is_empty());
            let elements = if has_parts { element::of_items(list_type, items) } else { return };
            let Ok(elements) = elements else { return };
            for node in fields.nodes_mut() {
                let value =
                    elements.iter().position(|element| *element == node.element).map(|i| &items[i]);
                reshape_node(view.item(), value, node, others);
            }
        }
        _ => {}
    }
}

fn reshape_node(view: View<'_>, value: Option<&Value>, node: &mut Node, others: &[&FieldSet]) {
    let Some(value) = value else { return };
    let below =
        || others.iter().filter_map(|set| set.get(&node.element)).map(|node| &node.children);
    match view.shape(value) {
        Shape::Leaf
            if !node.children.is_empty() && matches!(value, Value::Array(_) | Value::Object(_)) =>
        {
            node.owned = true;
            node.children = FieldSet::default();
        }
        Shape::List(_) if node.owned && node.children.is_empty() => {
            if below().all(FieldSet::is_empty) {
                node.children = applied(view, value);
            }
        }
        Shape::Map | Shape::List(_) if !node.children.is_empty() => {
            let below: Vec<&FieldSet> = below().collect();
            reshape_parts(view, Some(value), &mut node.children, &below);
        }
        Shape::Leaf | Shape::Map | Shape::List(_) => {}
    }
}
