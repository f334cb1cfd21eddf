//! Owners who wrote in another version of a custom resource that a webhook converts.
//!
//! Versions may name fields as they like, so that what a write changes is compared in each version in which somebody owns
//! fields. Where nothing but `apiVersion` differs between versions, [`apply`](super::apply) and [`update`](super::update)
//! alone will do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::apply::{conflicts, settle_conflicts};
use super::diff::Diff;
use super::entry;
use super::reshape::reshape;
use super::view::View;
use super::{ApplyError, Manager, ResetFields, managed_fields_of, take_managed_fields};
use crate::schema::SchemaRef;

/// What a write does, in another version.
pub(crate) struct Elsewhere {
    /// The version, with its group.
    pub(crate) api_version: String,
    pub(crate) schema: SchemaRef,
    /// The object before and after the write.
    pub(crate) live: Value,
    pub(crate) new: Value,
}

/// How owners in other versions lose what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// As in an update: without being asked.
    Update,
    /// As in an apply: they must agree.
    Apply,
    /// As in an apply that is forced.
    Force,
}

/// Returns the other versions in which somebody owns fields of an object.
pub(crate) fn other_versions(object: &Value, manager: &Manager) -> BTreeSet<String> {
    let entries = managed_fields_of(object).and_then(Value::as_array).into_iter().flatten();
    let versions = entries.filter_map(|entry| entry["apiVersion"].as_str());
    versions.filter(|version| *version != manager.api_version).map(str::to_owned).collect()
}

/// Returns an object in which nobody owns fields in other versions but the manager, by what it applied last. The entries
/// are still there, because an object without any has a first owner made up.
pub(crate) fn without_other_versions(object: &Value, manager: &Manager) -> Value {
    let mut object = object.clone();
    let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let is_own = entry["operation"] == "Apply" && entry["manager"] == manager.name.as_str();
        if entry["apiVersion"] != manager.api_version.as_str() && !is_own {
            entry["fieldsV1"] = json!({});
        }
    }
    object
}

/// Records in `new`, whose owners in its own version are settled, who still owns what in other versions.
///
/// # Errors
/// [`ApplyError::Conflicts`] when owners in other versions do not agree to an apply.
pub(crate) fn settle(
    live: &Value,
    new: &mut Value,
    elsewhere: &[Elsewhere],
    manager: &Manager,
    reset: ResetFields,
    taking: Taking,
) -> Result<(), ApplyError> {
    let is_elsewhere = |version: &str| elsewhere.iter().any(|other| other.api_version == version);
    let mut entries = take_managed_fields(new).and_then(entry::read).unwrap_or_default();
    entries.retain(|entry| !is_elsewhere(&entry.api_version));
    let recorded = managed_fields_of(live).cloned().and_then(entry::read).unwrap_or_default();
    let mut others: Vec<_> = recorded
        .into_iter()
        .filter(|entry| taking == Taking::Update || !entry.is_applied_by(manager))
        .collect();
    for version in elsewhere {
        let view = View::Object(&version.schema, &reset);
        let (mut owners, rest) =
            others.into_iter().partition(|entry| entry.api_version == version.api_version);
        others = rest;
        reshape(view, &version.live, &mut owners);
        let diff = Diff::between(view, Some(&version.live), Some(&version.new));
        let touched = diff.added.union(diff.modified);
        if taking == Taking::Apply {
            settle_conflicts(conflicts(&owners, &touched), || None)?;
        }
        for owner in &mut owners {
            owner.fields.subtract(&touched);
            owner.fields.subtract(&diff.removed);
        }
        entries.extend(owners);
    }
    entry::write(new, entries);
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::schema::structural;

    fn schema(field: &str) -> SchemaRef {
        let spec = json!({"type": "object", "properties": {field: {"type": "string"}, "size": {"type": "integer"}}});
        structural::compile(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
    }

    fn manager(name: &str) -> Manager {
        let (name, api_version) = (name.to_owned(), "x.io/v1".to_owned());
        Manager { name, api_version, subresource: String::new(), now: Timestamp::UNIX_EPOCH }
    }

    /// An object of `v1` whose owner wrote in `v2`, where the field has another name.
    fn live() -> Value {
        json!({
            "apiVersion": "x.io/v1",
            "metadata": {"name": "a", "managedFields": [{
                "manager": "owner", "operation": "Apply", "apiVersion": "x.io/v2", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:address": {}, "f:size": {}}},
            }]},
            "spec": {"host": "one", "size": 1},
        })
    }

    fn settled(host: &str, taking: Taking) -> Result<Value, ApplyError> {
        let (live, own) = (live(), manager("me"));
        let mut new = without_other_versions(&live, &own);
        new["spec"]["host"] = host.into();
        let elsewhere = Elsewhere {
            api_version: "x.io/v2".to_owned(),
            schema: schema("address"),
            live: json!({"spec": {"address": "one", "size": 1}}),
            new: json!({"spec": {"address": host, "size": 1}}),
        };
        settle(&live, &mut new, &[elsewhere], &own, ResetFields::none(), taking)?;
        Ok(new["metadata"]["managedFields"][0]["fieldsV1"].take())
    }

    #[test]
    fn an_owner_in_another_version_stands_in_the_way_of_an_apply() {
        let error = settled("two", Taking::Apply).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Apply failed with 1 conflict: conflict with \"owner\": .spec.address"
        );
    }

    #[test]
    fn an_owner_in_another_version_loses_what_is_taken_and_keeps_the_rest() {
        for taking in [Taking::Update, Taking::Force] {
            assert_eq!(settled("two", taking).unwrap(), json!({"f:spec": {"f:size": {}}}));
        }
        let all = json!({"f:spec": {"f:address": {}, "f:size": {}}});
        assert_eq!(settled("one", Taking::Apply).unwrap(), all);
    }

    #[test]
    fn only_versions_other_than_the_writers_count() {
        let versions: Vec<String> = other_versions(&live(), &manager("me")).into_iter().collect();
        assert_eq!(versions, ["x.io/v2"]);
    }
}
