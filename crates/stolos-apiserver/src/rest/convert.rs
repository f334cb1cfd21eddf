//! Stored form and served form of objects.
//!
//! Objects are stored in one version. Serving another one changes only `apiVersion`, except for events, whose two API
//! groups name some fields differently, for the two versions of autoscalers, and for custom resources: those have the fields
//! and defaults of the schema of the served version, or what a conversion webhook makes of them.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::names::GroupVersion;
use crate::registry::Resource;
use crate::schema;
use crate::status::ApiError;
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
///
/// # Errors
///
/// When a webhook has to convert the object and does not.
pub(crate) async fn served_bytes(
    resource: &Resource,
    version: &Version,
) -> Result<Bytes, ApiError> {
    match without_webhook(resource, version) {
        Some(bytes) => Ok(bytes),
        None => served(resource, version).await.map(|object| to_bytes(&object)),
    }
}

/// As [`served_bytes`], for a whole list; a webhook is called once for many objects.
pub(crate) async fn all_served_bytes(
    resource: &Resource,
    versions: &[Arc<Version>],
) -> Result<Vec<Bytes>, ApiError> {
    if resource.conversion.is_some() {
        let objects = all_served(resource, versions).await?;
        return Ok(objects.iter().map(to_bytes).collect());
    }
    let bytes = |version: &Arc<Version>| {
        let plain = without_webhook(resource, version);
        plain.unwrap_or_else(|| to_bytes(&plainly_served(resource, version)))
    };
    Ok(versions.iter().map(bytes).collect())
}

/// Tells whether clients of this resource see the stored bytes, if only they fit the schema.
pub(crate) fn is_storage_form(resource: &Resource) -> bool {
    !renames_fields(resource) && storage_version(resource) == resource.group_version
}

/// Returns the object that clients of a resource see that needs no webhook.
pub(crate) fn plainly_served(resource: &Resource, version: &Version) -> Value {
    completed(resource, relabelled(resource, version), version)
}

/// Returns the object that clients of this resource see.
///
/// # Errors
///
/// When a webhook has to convert the object and does not.
pub(crate) async fn served(resource: &Resource, version: &Version) -> Result<Value, ApiError> {
    let object = relabelled(resource, version);
    let object = converted(resource, vec![object]).await?.pop().unwrap_or_default();
    Ok(completed(resource, object, version))
}

/// As [`served`], for a whole list; a webhook is called once for many objects.
pub(crate) async fn all_served(
    resource: &Resource,
    versions: &[Arc<Version>],
) -> Result<Vec<Value>, ApiError> {
    let objects = versions.iter().map(|version| relabelled(resource, version)).collect();
    let objects = converted(resource, objects).await?;
    let pairs = objects.into_iter().zip(versions);
    Ok(pairs.map(|(object, version)| completed(resource, object, version)).collect())
}

/// Returns the stored bytes where they are what is served, but for the version that leads them.
fn without_webhook(resource: &Resource, version: &Version) -> Option<Bytes> {
    if reshapes(resource) || !fits(resource, version) {
        return None;
    }
    if is_in(&version.body, &resource.group_version) {
        return Some(version.body.clone());
    }
    if resource.conversion.is_some() {
        return None;
    }
    relabel_bytes(&version.body, &resource.group_version)
}

fn to_bytes(object: &Value) -> Bytes {
    serde_json::to_vec(object).expect("JSON values always serialise").into()
}

/// Returns the stored object under the served version, unless a webhook has to convert it.
fn relabelled(resource: &Resource, version: &Version) -> Value {
    let mut object = version.object();
    if renames_fields(resource) {
        rename(&mut object, EVENT_FIELDS.iter().map(|(new, old)| (*old, *new)));
    }
    if is_old_autoscaler(resource) {
        schema::builtin::autoscaler::to_v1(&mut object);
    }
    if let Some(conversion) = &resource.conversion {
        conversion.complete(&mut object);
    } else {
        object["apiVersion"] = resource.group_version.to_string().into();
    }
    object
}

/// Lets the webhook convert what is not yet in the served version.
async fn converted(resource: &Resource, objects: Vec<Value>) -> Result<Vec<Value>, ApiError> {
    let Some(conversion) = &resource.conversion else { return Ok(objects) };
    conversion.convert(objects, &resource.group_version).await.map_err(failed)
}

/// Brings a custom object in line with the schema of the served version, as far as it is not known to be.
fn completed(resource: &Resource, mut object: Value, version: &Version) -> Value {
    let known = version.complete.is_for(resource.schema.id());
    if resource.custom && resource.conversion.is_none() && !known {
        fit(&resource.schema, &mut object);
    }
    object
}

/// Takes away what a schema does not have and adds its defaults. Stored objects may differ from it in both: they were
/// written in another version, or before the schema changed.
pub(crate) fn fit(schema: &schema::Schema, object: &mut Value) {
    schema::prune(schema, object);
    schema::default(schema, object);
}

/// 500 with the bare text, as upstream reports a conversion that failed.
fn failed(why: String) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why)
}

/// Converts an object between two versions of one resource.
///
/// # Errors
///
/// When a webhook has to convert the object and does not.
pub(crate) async fn between(
    from: &Resource,
    to: &Resource,
    mut object: Value,
) -> Result<Value, ApiError> {
    if from.group_version == to.group_version
        || object["apiVersion"] != from.group_version.to_string()
    {
        // The same version, or the body of a subresource, which is the same in all versions.
        return Ok(object);
    }
    if to.conversion.is_some() {
        return converted(to, vec![object])
            .await
            .map(|mut objects| objects.pop().unwrap_or_default());
    }
    if renames_fields(from) {
        rename(&mut object, EVENT_FIELDS.iter().copied());
    }
    if is_old_autoscaler(from) {
        schema::builtin::autoscaler::to_v2(&mut object);
    }
    if is_old_autoscaler(to) {
        schema::builtin::autoscaler::to_v1(&mut object);
    }
    if renames_fields(to) {
        rename(&mut object, EVENT_FIELDS.iter().map(|(new, old)| (*old, *new)));
    }
    object["apiVersion"] = to.group_version.to_string().into();
    if to.custom {
        schema::prune(&to.schema, &mut object);
    }
    Ok(object)
}

/// Converts objects that a webhook converts into the version of a resource, in one call.
///
/// # Errors
///
/// When the webhook does not convert them.
pub(crate) async fn by_webhook(to: &Resource, objects: Vec<Value>) -> Result<Vec<Value>, ApiError> {
    converted(to, objects).await
}

/// As [`between`], for an object that may be absent.
pub(crate) async fn optional(
    from: &Resource,
    to: &Resource,
    object: Option<&Value>,
) -> Result<Option<Value>, ApiError> {
    match object {
        Some(object) => between(from, to, object.clone()).await.map(Some),
        None => Ok(None),
    }
}

/// Tells whether the body holds every default of the schema of a version, and nothing that the schema does not have. One
/// look at the object is enough for all later readers of that version.
pub(crate) fn fits(resource: &Resource, version: &Version) -> bool {
    if !resource.custom || version.complete.is_for(resource.schema.id()) {
        return true;
    }
    let stored = version.object();
    let mut fitted = stored.clone();
    fit(&resource.schema, &mut fitted);
    let complete = fitted == stored;
    if complete {
        version.complete.note(resource.schema.id());
    }
    complete
}

/// Turns a served object into the form that is stored.
///
/// # Errors
///
/// When a webhook has to convert the object and does not.
pub(crate) async fn to_storage(resource: &Resource, mut object: Value) -> Result<Value, ApiError> {
    let stored = storage_version(resource);
    if let Some(conversion) = &resource.conversion {
        let converted = conversion.convert(vec![object], &stored).await.map_err(failed)?;
        return Ok(converted.into_iter().next().unwrap_or_default());
    }
    if renames_fields(resource) {
        rename(&mut object, EVENT_FIELDS.iter().copied());
    }
    if is_old_autoscaler(resource) {
        schema::builtin::autoscaler::to_v2(&mut object);
    }
    object["apiVersion"] = stored.to_string().into();
    Ok(object)
}

/// Turns the stored form of an object with a conversion webhook into what is served.
///
/// # Errors
///
/// When the webhook does not convert it.
pub(crate) async fn from_storage(resource: &Resource, object: Value) -> Result<Value, ApiError> {
    Ok(converted(resource, vec![object]).await?.pop().unwrap_or_default())
}

/// Tells whether serving changes more than `apiVersion`.
fn reshapes(resource: &Resource) -> bool {
    renames_fields(resource) || is_old_autoscaler(resource)
}

fn is_old_autoscaler(resource: &Resource) -> bool {
    let served = &resource.group_version;
    !resource.custom && served.group == "autoscaling" && served.version == "v1"
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

/// Tells whether canonical JSON is in a version.
pub(crate) fn is_in(body: &[u8], version: &GroupVersion) -> bool {
    let rest = body.strip_prefix(HEAD);
    let rest = rest.and_then(|rest| rest.strip_prefix(version.group.as_bytes()));
    let rest = rest.and_then(|rest| match version.group.as_str() {
        "" => Some(rest),
        _ => rest.strip_prefix(b"/"),
    });
    let rest = rest.and_then(|rest| rest.strip_prefix(version.version.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

/// How canonical JSON begins, as sorted keys nearly always make it.
const HEAD: &[u8] = b"{\"apiVersion\":\"";

/// Replaces `apiVersion` in canonical JSON when it is the first field, as sorted keys nearly always make it. Objects stay
/// in the version in which they were written, so any version may be found.
fn relabel_bytes(body: &Bytes, to: &GroupVersion) -> Option<Bytes> {
    let rest = body.strip_prefix(HEAD)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let mut relabelled = HEAD.to_vec();
    relabelled.extend_from_slice(to.to_string().as_bytes());
    relabelled.extend_from_slice(&rest[end..]);
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
        let relabelled = relabel_bytes(&body, &GroupVersion::new("example.com", "v2")).unwrap();
        assert_eq!(
            &relabelled[..],
            br#"{"apiVersion":"example.com/v2","kind":"A","x":"example.com/v1"}"#
        );
        let unsorted = Bytes::from_static(br#"{"a":1,"apiVersion":"example.com/v1"}"#);
        assert_eq!(relabel_bytes(&unsorted, &GroupVersion::new("example.com", "v2")), None);
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
