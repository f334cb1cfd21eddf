//! The fields of a value.

use serde_json::Value;

use super::element;
use super::set::{FieldSet, Node};
use super::view::{Field, Shape, View};
use crate::schema::ListType;

/// Returns the fields that an applied value claims: leaves, keys of maps and items of lists. Named fields that only
/// hold others are not claimed, so that appliers can share them.
pub(super) fn applied(view: View<'_>, value: &Value) -> FieldSet {
    claim(view, value, false)
}

/// Returns every field of a value: what somebody owns who wrote all of it.
pub(super) fn written(view: View<'_>, value: &Value) -> FieldSet {
    claim(view, value, true)
}

fn claim(view: View<'_>, value: &Value, holders: bool) -> FieldSet {
    match (view.shape(value), value) {
        (Shape::Map, Value::Object(fields)) => {
            let node = |(name, value): (&String, &Value)| {
                let Field::Owned { view, named } = view.field(name) else { return None };
                // `metadata` itself is nobody's: every object has it.
                let owned = match view {
                    View::Metadata => false,
                    _ => holders || !named || is_leaf(view, value),
                };
                Some(Node {
                    element: element::of_field(name),
                    owned,
                    children: claim(view, value, holders),
                })
            };
            FieldSet::from_nodes(fields.iter().filter_map(node).collect())
        }
        (Shape::List(list_type), Value::Array(items)) => {
            claim_items(view.item(), list_type, items, holders)
        }
        _ => FieldSet::default(),
    }
}

/// Returns whether a value has no parts, or none in it: then there is nothing below it to claim.
fn is_leaf(view: View<'_>, value: &Value) -> bool {
    match (view.shape(value), value) {
        (Shape::Map, Value::Object(fields)) => fields.is_empty(),
        (Shape::List(_), Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

/// Items that occur twice are claimed as a whole, without their parts.
fn claim_items(view: View<'_>, list_type: &ListType, items: &[Value], holders: bool) -> FieldSet {
    let Ok(keyed) = Keyed::of(list_type, items) else { return FieldSet::default() };
    let node = |group: &[Keyed]| {
        let children = match group {
            [only] => claim(view, &items[only.position], holders),
            _ => FieldSet::default(),
        };
        Node { element: group[0].element.clone(), owned: true, children }
    };
    FieldSet::from_nodes(keyed.chunk_by(Keyed::same).map(node).collect())
}

/// A list item with its path element.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) element: String,
    pub(super) position: usize,
}

impl Keyed {
    /// Returns the items of a list sorted by element, then position.
    ///
    /// # Errors
    /// Says which item cannot be identified.
    pub(super) fn of(list_type: &ListType, items: &[Value]) -> Result<Vec<Self>, String> {
        let elements = element::of_items(list_type, items)?.into_iter().enumerate();
        let mut keyed: Vec<Self> =
            elements.map(|(position, element)| Self { element, position }).collect();
        keyed.sort_by(|a, b| a.element.cmp(&b.element));
        Ok(keyed)
    }

    /// Returns whether both are the same item; for `chunk_by`.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.element == other.element
    }
}
