//! The entries of `metadata.managedFields`.

use std::fmt;

use serde_json::{Map, Value};

use super::Manager;
use super::set::FieldSet;

/// Entries of updates that an object keeps; the oldest beyond are merged into [`ANCIENT`].
const MAX_UPDATE_ENTRIES: usize = 10;

/// Owner of the fields of merged entries.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields. Orders as entries are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// When the manager last changed its fields, to the second.
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Makes an entry of now.
    pub(super) fn new(manager: &Manager, operation: Operation, fields: FieldSet) -> Self {
        Self {
            manager: manager.name.clone(),
            operation,
            api_version: manager.api_version.clone(),
            subresource: manager.subresource.clone(),
            time: manager.time(),
            fields,
        }
    }

    /// Returns whether this is the one entry in which the manager keeps what it applied.
    pub(super) fn is_applied_by(&self, manager: &Manager) -> bool {
        self.operation == Operation::Apply
            && self.manager == manager.name
            && self.subresource == manager.subresource
    }

    /// Returns whether this is the entry in which the manager keeps what it updated.
    pub(super) fn is_updated_by(&self, manager: &Manager) -> bool {
        self.operation == Operation::Update
            && self.manager == manager.name
            && self.subresource == manager.subresource
            && self.api_version == manager.api_version
    }

    /// Reads an entry; `None` when it is malformed.
    pub(super) fn from_json(json: Value) -> Option<Self> {
        let Value::Object(mut json) = json else { return None };
        let mut text = |key: &str| match json.remove(key) {
            Some(Value::String(text)) => Some(text),
            Some(Value::Null) | None => Some(String::new()),
            Some(_) => None,
        };
        if text("fieldsType")? != "FieldsV1" {
            return None;
        }
        let operation = match text("operation")?.as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Self {
            manager: text("manager")?,
            operation,
            api_version: text("apiVersion")?,
            subresource: text("subresource")?,
            time: text("time")?,
            fields: FieldSet::from_json(json.remove("fieldsV1")?)?,
        })
    }

    fn into_json(self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut json = Map::new();
        json.insert("fieldsType".to_owned(), "FieldsV1".into());
        json.insert("fieldsV1".to_owned(), self.fields.into_json());
        json.insert("operation".to_owned(), operation.into());
        for (key, text) in [
            ("apiVersion", self.api_version),
            ("manager", self.manager),
            ("subresource", self.subresource),
            ("time", self.time),
        ] {
            if !text.is_empty() {
                json.insert(key.to_owned(), text.into());
            }
        }
        Value::Object(json)
    }
}

/// Names the manager as conflicts do, such as `"kubectl-edit" using apps/v1`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.manager)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

/// Reads `metadata.managedFields`; `None` when any entry is malformed.
pub(super) fn read(managed_fields: Value) -> Option<Vec<Entry>> {
    match managed_fields {
        Value::Null => Some(Vec::new()),
        Value::Array(entries) => entries.into_iter().map(Entry::from_json).collect(),
        _ => None,
    }
}

/// Writes `metadata.managedFields`: applied entries first, then by time. No entries, no field.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    merge_ancient(&mut entries);
    entries.sort_by(|a, b| identity(a).cmp(&identity(b)));
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        let entries = entries.into_iter().map(Entry::into_json).collect();
        metadata.insert("managedFields".to_owned(), entries);
    }
}

fn identity(entry: &Entry) -> impl Ord + '_ {
    (entry.operation, &entry.time, &entry.manager, &entry.api_version, &entry.subresource)
}

/// Merges the oldest updates of the same version until few enough are left.
fn merge_ancient(entries: &mut Vec<Entry>) {
    let n_updates = entries.iter().filter(|entry| entry.operation == Operation::Update).count();
    let mut excess = n_updates.saturating_sub(MAX_UPDATE_ENTRIES);
    if excess == 0 {
        return;
    }
    entries.sort_by(|a, b| identity(a).cmp(&identity(b)));
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for mut entry in std::mem::take(entries) {
        let older = (excess > 0 && entry.operation == Operation::Update)
            .then(|| {
                let older = |kept: &Entry| {
                    kept.operation == Operation::Update && kept.api_version == entry.api_version
                };
                kept.iter().position(older)
            })
            .flatten();
        if let Some(older) = older {
            let older = kept.remove(older);
            ANCIENT.clone_into(&mut entry.manager);
            entry.subresource.clear();
            entry.fields = older.fields.union(entry.fields);
            excess -= 1;
        }
        kept.push(entry);
    }
    *entries = kept;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, version: &str, second: usize) -> Value {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1",
            "time": format!("2024-01-01T00:00:{second:02}Z"), "fieldsV1": { format!("f:{manager}"): {} },
        })
    }

    #[test]
    fn entries_survive_reading_and_writing() {
        let entries = json!([
            { "manager": "b", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
              "time": "2024-01-02T00:00:00Z", "fieldsV1": { "f:x": {} } },
            { "manager": "a", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
              "subresource": "status", "time": "2024-01-01T00:00:00Z", "fieldsV1": { "f:x": {} } },
        ]);
        let mut object = json!({ "metadata": {} });
        let read_entries = read(entries.clone()).expect("well-formed");
        assert_eq!(read_entries[1].to_string(), r#""a" with subresource "status" using v1"#);
        assert_eq!(read_entries[0].to_string(), r#""b""#);
        write(&mut object, read_entries.into_iter().rev().collect());
        assert_eq!(object["metadata"]["managedFields"], entries);
        write(&mut object, Vec::new());
        assert_eq!(object, json!({ "metadata": {} }));
    }

    #[test]
    fn malformed_entries_are_noticed() {
        for wrong in [
            json!([{}]),
            json!([{ "manager": "a", "operation": "Patch", "fieldsType": "FieldsV1", "fieldsV1": {} }]),
            json!([{ "manager": "a", "operation": "Apply", "fieldsType": "FieldsV2", "fieldsV1": {} }]),
            json!([{ "manager": 1, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {} }]),
            json!([{ "manager": "a", "operation": "Apply", "fieldsType": "FieldsV1" }]),
            json!({}),
        ] {
            assert_eq!(read(wrong.clone()), None, "{wrong}");
        }
    }

    #[test]
    fn oldest_updates_beyond_ten_become_ancient() {
        let mut entries: Vec<Value> = (0..11).map(|i| entry(&format!("m{i}"), "v1", i)).collect();
        entries.push(entry("other", "v2", 0));
        let mut object = json!({ "metadata": {} });
        write(&mut object, read(Value::Array(entries)).expect("well-formed"));
        let written = object["metadata"]["managedFields"].as_array().expect("a list");
        assert_eq!(written.len(), MAX_UPDATE_ENTRIES);
        assert_eq!(written[0]["manager"], "other");
        assert_eq!(written[1]["manager"], ANCIENT);
        assert_eq!(written[1]["time"], "2024-01-01T00:00:02Z");
        assert_eq!(written[1]["fieldsV1"], json!({ "f:m0": {}, "f:m1": {}, "f:m2": {} }));
    }
}
