//! Removing what a manager applied before and does not apply any more.

use serde_json::Value;

use super::element;
use super::set::{FieldSet, Node};
use super::view::{Field, Shape, View};

/// Removes from `value` the fields of `last` that no set of `kept` has.
///
/// A named field goes with all it holds unless somebody has something in it; a map key or list item goes with all it
/// holds unless somebody owns the key or item itself. So defaults inside vanish with what they complete.
pub(super) fn prune(view: View<'_>, value: &mut Value, last: &FieldSet, kept: &[&FieldSet]) {
    match (view.shape(value), value) {
        (Shape::Map, Value::Object(fields)) => {
            for node in last.nodes() {
                let Some(name) = element::field_name(&node.element) else { continue };
                let (Field::Owned { view, named }, Some(value)) =
                    (view.field(name), fields.get_mut(name))
                else {
                    continue;
                };
                if prune_node(view, named, value, node, kept) {
                    fields.remove(name);
                }
            }
        }
        (Shape::List(list_type), Value::Array(items)) => {
            let Ok(elements) = element::of_items(list_type, items) else { return };
            let mut elements = elements.iter();
            items.retain_mut(|item| {
                let node = elements.next().and_then(|element| last.get(element));
                node.is_none_or(|node| !prune_node(view.item(), false, item, node, kept))
            });
        }
        _ => {}
    }
}

/// Prunes inside a value and returns whether the value itself has to go.
fn prune_node(
    view: View<'_>,
    named: bool,
    value: &mut Value,
    node: &Node,
    kept: &[&FieldSet],
) -> bool {
    let kept: Vec<&Node> = kept.iter().filter_map(|set| set.get(&node.element)).collect();
    let owned = kept.iter().any(|node| node.owned);
    let stays = owned || (named && !kept.is_empty()) || matches!(view, View::Metadata);
    if !stays && (named || node.owned) {
        return true;
    }
    let was_empty = is_empty(value);
    let below: Vec<&FieldSet> = kept.iter().map(|node| &node.children).collect();
    prune(view, value, &node.children, &below);
    !owned && !was_empty && is_empty(value)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
