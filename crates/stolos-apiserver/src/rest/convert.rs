//! Stored form and served form of objects.
//!
//! Objects are stored in one version. Serving another one changes only `apiVersion`, except for events, whose two API
//! groups name some fields differently.

use bytes::Bytes;
use serde_json::Value;

use crate::names::GroupVersion;
use crate::registry::Resource;
use crate::schema;
use crate::store::Version;

/// Fields of `events.k8s.io` and what the core group calls them.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

/// Returns the group and version in which the store keeps objects of this resource.
#[must_use]
pub(crate) fn storage_version(resource: &Resource) -> GroupVersion {
    let group = resource.storage.split_once('.').map_or("", |(_, group)| group);
    GroupVersion::new(group, &resource.storage_version)
}

/// Returns the JSON that clients of this resource see, without parsing where the stored bytes will do.
pub(crate) fn served_bytes(resource: &Resource, version: &Version) -> Bytes {
    if !renames_fields(resource) && has_defaults(resource, version) {
        let stored = storage_version(resource);
        if stored == resource.group_version {
            return version.body.clone();
        }
        if let Some(relabelled) = relabel_bytes(&version.body, &stored, &resource.group_version) {
            return relabelled;
        }
    }
    serde_json::to_vec(&served(resource, version)).expect("JSON values always serialise").into()
}

/// Tells whether clients of this resource see the stored bytes, if only they hold all defaults.
pub(crate) fn is_storage_form(resource: &Resource) -> bool {
    !renames_fields(resource) && storage_version(resource) == resource.group_version
}

/// Returns the object that clients of this resource see.
pub(crate) fn served(resource: &Resource, version: &Version) -> Value {
    let mut object = version.object();
    if renames_fields(resource) {
        rename(&mut object, EVENT_FIELDS.iter().map(|(new, old)| (*old, *new)));
    }
    object["apiVersion"] = resource.group_version.to_string().into();
    if resource.custom && !version.complete.is_for(resource.schema.id()) {
        schema::default(&resource.schema, &mut object);
    }
    object
}

/// Tells whether the body holds every default of the schema. A CRD may gain defaults after an object was stored; they
/// appear when it is read. One look at the object is enough for all later readers.
pub(crate) fn has_defaults(resource: &Resource, version: &Version) -> bool {
    if !resource.custom || version.complete.is_for(resource.schema.id()) {
        return true;
    }
    let stored = version.object();
    let mut defaulted = stored.clone();
    schema::default(&resource.schema, &mut defaulted);
    let complete = defaulted == stored;
    if complete {
        version.complete.note(resource.schema.id());
    }
    complete
}

/// Turns a served object into the form that is stored.
pub(crate) fn to_storage(resource: &Resource, mut object: Value) -> Value {
    if renames_fields(resource) {
        rename(&mut object, EVENT_FIELDS.iter().copied());
    }
    object["apiVersion"] = storage_version(resource).to_string().into();
    object
}

fn renames_fields(resource: &Resource) -> bool {
    !resource.custom && resource.group_version.group == "events.k8s.io"
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

/// Replaces `apiVersion` in canonical JSON when it is the first field, as sorted keys nearly always make it.
fn relabel_bytes(body: &Bytes, from: &GroupVersion, to: &GroupVersion) -> Option<Bytes> {
    let rest = body.strip_prefix(format!("{{\"apiVersion\":\"{from}\"").as_bytes())?;
    let mut relabelled = format!("{{\"apiVersion\":\"{to}\"").into_bytes();
    relabelled.extend_from_slice(rest);
    Some(relabelled.into())
}

/// Reduces an object to its `PartialObjectMetadata`.
#[must_use]
pub(crate) fn metadata_only(mut object: Value) -> Value {
    serde_json::json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": object["metadata"].take(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relabelling_touches_only_the_leading_version() {
        let body = Bytes::from_static(
            br#"{"apiVersion":"example.com/v1","kind":"A","x":"example.com/v1"}"#,
        );
        let (v1, v2) =
            (GroupVersion::new("example.com", "v1"), GroupVersion::new("example.com", "v2"));
        let relabelled = relabel_bytes(&body, &v1, &v2).unwrap();
        assert_eq!(
            &relabelled[..],
            br#"{"apiVersion":"example.com/v2","kind":"A","x":"example.com/v1"}"#
        );
        assert_eq!(
            relabel_bytes(
                &Bytes::from_static(br#"{"a":1,"apiVersion":"example.com/v1"}"#),
                &v1,
                &v2
            ),
            None
        );
    }

    #[test]
    fn events_swap_names_both_ways() {
        let mut event = serde_json::json!({"note": "n", "regarding": {"name": "p"}, "reason": "r"});
        rename(&mut event, EVENT_FIELDS.iter().copied());
        assert_eq!(
            event,
            serde_json::json!({"message": "n", "involvedObject": {"name": "p"}, "reason": "r"})
        );
        rename(&mut event, EVENT_FIELDS.iter().map(|(new, old)| (*old, *new)));
        assert_eq!(event["note"], "n");
    }
}
