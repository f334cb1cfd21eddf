//! Ownership after a write that is no apply.

use serde_json::Value;

use super::diff::Diff;
use super::entry::{self, Entry, Operation};
use super::reshape::reshape;
use super::view::{EMPTY, View};
use super::{Manager, ResetFields, managed_fields_of, take_managed_fields};
use crate::schema::SchemaRef;

/// Records in `new.metadata.managedFields` who owns what after POST, PUT or a patch by `manager`.
///
/// Whoever changes a field owns it; nobody owns a field that is gone. The `managedFields` that `new` brings are taken
/// over on the main endpoint when they are well-formed: `[{}]` clears them for good, anything else keeps those of
/// `live`. An existing object without owners stays without. `new` must be pruned and defaulted already, because fields
/// that vanish later would have owners.
pub fn update(
    schema: &SchemaRef,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager,
    reset: &ResetFields,
) {
    let view = View::Object(schema, reset);
    let given = take_managed_fields(new);
    let diff = Diff::between(view, Some(live.unwrap_or(&EMPTY)), Some(new));
    let recorded = live.and_then(managed_fields_of);
    if diff.is_empty() && given.as_ref() == recorded {
        if let Some(given) = given {
            new["metadata"]["managedFields"] = given;
        }
        return;
    }
    let mut entries = history(given, recorded, manager);
    if live.is_some() && entries.is_empty() {
        return;
    }
    if !diff.is_empty() {
        if let Some(live) = live {
            reshape(view, live, &mut entries);
        }
        record(&mut entries, diff, manager);
    }
    entry::write(new, entries);
}

/// Returns the entries to go on from.
fn history(given: Option<Value>, recorded: Option<&Value>, manager: &Manager) -> Vec<Entry> {
    let recorded_entries = || recorded.cloned().and_then(entry::read).unwrap_or_default();
    match given {
        Some(given) if Some(&given) == recorded => entry::read(given).unwrap_or_default(),
        // Subresources cannot change ownership by hand.
        Some(_) if !manager.subresource.is_empty() => recorded_entries(),
        Some(given) if is_reset(&given) => Vec::new(),
        Some(given) => match entry::read(given) {
            Some(entries) if !entries.is_empty() => entries,
            _ => recorded_entries(),
        },
        None => recorded_entries(),
    }
}

/// Returns whether the client clears all ownership: one empty entry. No entries at all come from clients that merely do
/// not know the field.
fn is_reset(managed_fields: &Value) -> bool {
    let entries = managed_fields.as_array().map(Vec::as_slice);
    matches!(entries, Some([Value::Object(entry)]) if entry.is_empty())
}

fn record(entries: &mut Vec<Entry>, diff: Diff, manager: &Manager) {
    let touched = diff.added.union(diff.modified);
    let mut own = None;
    for entry in &mut *entries {
        entry.fields.subtract(&touched);
        if entry.is_updated_by(manager) {
            own = Some(entry);
        } else {
            entry.fields.subtract(&diff.removed);
        }
    }
    match own {
        Some(own) => {
            let mut fields = std::mem::take(&mut own.fields);
            let before = fields.clone();
            fields.subtract(&diff.removed);
            if !touched.is_empty() || fields != before {
                own.time = manager.time();
            }
            own.fields = fields.union(touched);
        }
        None => entries.push(Entry::new(manager, Operation::Update, touched)),
    }
}
