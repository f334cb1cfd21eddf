//! Which fields differ between two states of an object.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::claim::{Keyed, written};
use super::element;
use super::set::{FieldSet, Node};
use super::view::{Field, Shape, View};

/// The fields that differ.
#[derive(Debug, Default)]
pub(super) struct Diff {
    /// Only in the new state.
    pub(super) added: FieldSet,
    /// In both, with another value.
    pub(super) modified: FieldSet,
    /// Only in the old state.
    pub(super) removed: FieldSet,
}

/// What happened to the node itself, apart from its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Added,
    Modified,
    Removed,
}

impl Diff {
    /// Compares two states of an object; an absent state has no fields.
    pub(super) fn between(view: View<'_>, old: Option<&Value>, new: Option<&Value>) -> Self {
        compare(view, old, new).1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

fn compare(view: View<'_>, old: Option<&Value>, new: Option<&Value>) -> (Change, Diff) {
    match (old, new) {
        (None, None) => (Change::None, Diff::default()),
        (None, Some(new)) => (Change::Added, Diff { added: written(view, new), ..Diff::default() }),
        (Some(old), None) => {
            (Change::Removed, Diff { removed: written(view, old), ..Diff::default() })
        }
        (Some(old), Some(new)) => compare_values(view, old, new),
    }
}

fn compare_values(view: View<'_>, old: &Value, new: &Value) -> (Change, Diff) {
    match (view.shape(old), view.shape(new), old, new) {
        (Shape::Map, Shape::Map, Value::Object(old), Value::Object(new)) => {
            (Change::None, compare_maps(view, old, new))
        }
        (
            Shape::List(list_type),
            Shape::List(_),
            Value::Array(old_items),
            Value::Array(new_items),
        ) => {
            if old == new {
                return (Change::None, Diff::default());
            }
            match (Keyed::of(list_type, old_items), Keyed::of(list_type, new_items)) {
                (Ok(old_keyed), Ok(new_keyed)) => {
                    let (old, new) = (Items(old_items, &old_keyed), Items(new_items, &new_keyed));
                    (Change::None, compare_items(view.item(), &old, &new))
                }
                _ => (Change::Modified, Diff::default()),
            }
        }
        (Shape::Leaf, Shape::Leaf, _, _) if old == new => (Change::None, Diff::default()),
        // Null holds no parts, as an empty map or list does.
        (_, _, Value::Null, _) if has_parts(view, new) => {
            (Change::None, Diff { added: written(view, new), ..Diff::default() })
        }
        (_, _, _, Value::Null) if has_parts(view, old) => {
            (Change::None, Diff { removed: written(view, old), ..Diff::default() })
        }
        _ => {
            let (added, removed) = (written(view, new), written(view, old));
            (Change::Modified, Diff { added, removed, ..Diff::default() })
        }
    }
}

fn has_parts(view: View<'_>, value: &Value) -> bool {
    match (view.shape(value), value) {
        (Shape::Map, Value::Object(fields)) => !fields.is_empty(),
        (Shape::List(_), Value::Array(items)) => !items.is_empty(),
        _ => false,
    }
}

fn compare_maps(whole: View<'_>, old: &Map<String, Value>, new: &Map<String, Value>) -> Diff {
    let mut parts = Parts::default();
    for (name, value) in old {
        if let Field::Owned { view, .. } = whole.field(name) {
            let after = new.get(name).or_else(|| whole.unset(name));
            parts.push(|| element::of_field(name), view, compare(view, Some(value), after));
        }
    }
    for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        if let Field::Owned { view, .. } = whole.field(name) {
            let before = whole.unset(name);
            parts.push(|| element::of_field(name), view, compare(view, before, Some(value)));
        }
    }
    parts.into_diff()
}

/// The items of a list with their elements.
struct Items<'a>(&'a [Value], &'a [Keyed]);

impl<'a> Items<'a> {
    fn groups(&self) -> impl Iterator<Item = &'a [Keyed]> {
        self.1.chunk_by(Keyed::same)
    }

    fn values<'b>(&'b self, group: &'b [Keyed]) -> impl Iterator<Item = &'b Value> {
        group.iter().map(|item| &self.0[item.position])
    }
}

fn compare_items(view: View<'_>, old: &Items<'_>, new: &Items<'_>) -> Diff {
    let mut parts = Parts::default();
    let mut old_groups = old.groups().peekable();
    let mut new_groups = new.groups().peekable();
    loop {
        let order = match (old_groups.peek(), new_groups.peek()) {
            (None, None) => return parts.into_diff(),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old[0].element.cmp(&new[0].element),
        };
        let before =
            if order == Ordering::Greater { None } else { old_groups.next() }.unwrap_or_default();
        let after =
            if order == Ordering::Less { None } else { new_groups.next() }.unwrap_or_default();
        let element = before.first().or(after.first()).map(|item| item.element.clone());
        let change = compare_groups(view, (old, before), (new, after));
        parts.push(|| element.expect("one of both groups has an item"), view, change);
    }
}

/// Compares the items of one element. There is mostly at most one on each side; several count as one leaf.
fn compare_groups(
    view: View<'_>,
    (old, before): (&Items<'_>, &[Keyed]),
    (new, after): (&Items<'_>, &[Keyed]),
) -> (Change, Diff) {
    let only = |items: &Items<'_>, group: &[Keyed]| match group {
        [only] => written(view, &items.0[only.position]),
        _ => FieldSet::default(),
    };
    match (before, after) {
        ([] | [_], [] | [_]) => compare(view, old.values(before).next(), new.values(after).next()),
        ([], _) => (Change::Added, Diff::default()),
        (_, []) => (Change::Removed, Diff::default()),
        _ if old.values(before).eq(new.values(after)) => (Change::None, Diff::default()),
        _ => {
            let (added, removed) = (only(new, after), only(old, before));
            (Change::Modified, Diff { added, removed, ..Diff::default() })
        }
    }
}

/// Collects the differences of the parts of a node.
#[derive(Default)]
struct Parts {
    added: Vec<Node>,
    modified: Vec<Node>,
    removed: Vec<Node>,
}

impl Parts {
    fn push(
        &mut self,
        element: impl FnOnce() -> String,
        view: View<'_>,
        (change, diff): (Change, Diff),
    ) {
        // `metadata` itself is nobody's.
        let change = if matches!(view, View::Metadata) { Change::None } else { change };
        if change == Change::None && diff.is_empty() {
            return;
        }
        let element = element();
        for (nodes, children, kind) in [
            (&mut self.added, diff.added, Change::Added),
            (&mut self.modified, diff.modified, Change::Modified),
            (&mut self.removed, diff.removed, Change::Removed),
        ] {
            let owned = change == kind;
            if owned || !children.is_empty() {
                nodes.push(Node { element: element.clone(), owned, children });
            }
        }
    }

    fn into_diff(self) -> Diff {
        Diff {
            added: FieldSet::from_nodes(self.added),
            modified: FieldSet::from_nodes(self.modified),
            removed: FieldSet::from_nodes(self.removed),
        }
    }
}
