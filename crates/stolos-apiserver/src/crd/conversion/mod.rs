//! Conversion of custom resources between versions by a webhook.

mod check;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::versions;
use crate::names::GroupVersion;
use crate::rest::lifecycle::validate_annotations_and_labels;
use crate::schema::{self, SchemaRef};
use crate::webhook::{self, CallError, Client, Webhooks};

pub(super) use check::check;

/// How long one call may take, as upstream.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects that one call converts at most. Long lists take several calls, so that no question or answer is too large.
const MAX_OBJECTS: usize = 500;
/// Bytes that one call converts at most, unless a single object is larger.
const MAX_BYTES: usize = 8 << 20;

/// The conversion webhook of a definition.
pub struct Conversion {
    client: Client,
    /// Version of the review; absent when the webhook understands none that is known here.
    review: Option<&'static str>,
    /// Schemas by version, such as `example.com/v1`.
    schemas: BTreeMap<String, SchemaRef>,
}

impl std::fmt::Debug for Conversion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversion").field("review", &self.review).finish_non_exhaustive()
    }
}

impl Conversion {
    /// Reads the webhook of a definition; none when versions differ in their name only.
    pub(super) fn of(
        crd: &Value,
        webhooks: &Webhooks,
        schemas: BTreeMap<String, SchemaRef>,
    ) -> Option<Self> {
        let conversion = &crd["spec"]["conversion"];
        // With one version there is nothing to convert.
        if conversion["strategy"] != "Webhook" || versions(crd).count() < 2 {
            return None;
        }
        let webhook = &conversion["webhook"];
        let accepted = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        let review = accepted.filter_map(Value::as_str).find_map(|version| match version {
            "v1" => Some("apiextensions.k8s.io/v1"),
            "v1beta1" => Some("apiextensions.k8s.io/v1beta1"),
            _ => None,
        });
        Some(Self { client: webhooks.client(&webhook["clientConfig"]), review, schemas })
    }

    /// Fills in the defaults of the version that an object is in.
    pub(crate) fn complete(&self, object: &mut Value) {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        if let Some(schema) = self.schemas.get(version) {
            schema::default(schema, object);
        }
    }

    /// Converts objects; those that are in the wished version already stay as they are. What that version does not know
    /// is left out. It gets no defaults of that version: the webhook has had the object.
    ///
    /// # Errors
    ///
    /// What clients are told when the webhook fails, or returns something else than the same objects.
    pub(crate) async fn convert(
        &self,
        objects: Vec<Value>,
        to: &GroupVersion,
    ) -> Result<Vec<Value>, String> {
        let to = to.to_string();
        let mut converted = Vec::with_capacity(objects.len());
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for object in objects {
            if object["apiVersion"] == to.as_str() {
                if !waiting.is_empty() {
                    converted.append(&mut self.call(std::mem::take(&mut waiting), &to).await?);
                    bytes = 0;
                }
                converted.push(object);
                continue;
            }
            bytes += object.to_string().len();
            waiting.push(object);
            if waiting.len() >= MAX_OBJECTS || bytes >= MAX_BYTES {
                converted.append(&mut self.call(std::mem::take(&mut waiting), &to).await?);
                bytes = 0;
            }
        }
        if !waiting.is_empty() {
            converted.append(&mut self.call(waiting, &to).await?);
        }
        if let Some(schema) = self.schemas.get(&to) {
            for object in &mut converted {
                schema::prune(schema, object);
            }
        }
        Ok(converted)
    }

    async fn call(&self, objects: Vec<Value>, to: &str) -> Result<Vec<Value>, String> {
        let review = self.review.ok_or("no supported conversion review versions")?;
        let uid = Uuid::new_v4().to_string();
        let of = described(&objects[0]);
        let question = json!({
            "kind": "ConversionReview", "apiVersion": review,
            "request": { "uid": uid, "desiredAPIVersion": to, "objects": objects },
            "response": { "uid": "", "convertedObjects": null, "result": { "metadata": {} } },
        });
        let body = serde_json::to_vec(&question).expect("JSON values always serialise");
        let answer = self.client.post(body.into(), TIMEOUT).await;
        let failed = |why: String| format!("conversion webhook for {of} failed: {why}");
        let answer = answer.map_err(|error: CallError| failed(error.bare()))?;
        let converted = converted_objects(review, &uid, answer).map_err(failed)?;
        if converted.len() != objects.len() {
            return Err(format!(
                "conversion webhook for {of} returned {} objects, expected {}",
                converted.len(),
                objects.len()
            ));
        }
        let pairs = objects.iter().zip(converted).enumerate();
        pairs
            .map(|(index, (original, converted))| accept(&of, index, original, converted, to))
            .collect()
    }
}

/// Writes `group/version, Kind=Kind`.
fn described(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    format!("{}, Kind={}", text("apiVersion"), text("kind"))
}

fn converted_objects(review: &str, uid: &str, mut answer: Value) -> Result<Vec<Value>, String> {
    if review.ends_with("/v1") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(why) = webhook::foreign(&answer, review, "ConversionReview") {
            return Err(why);
        }
        let (api_version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
        if api_version != review || kind != "ConversionReview" {
            let got = if api_version.is_empty() { "/".to_owned() } else { api_version };
            return Err(format!(
                "expected webhook response of {review}, Kind=ConversionReview, got {got}, Kind={kind}"
            ));
        }
        if answer["response"].is_object() && answer["response"]["uid"] != uid {
            let got = text(&answer["response"]["uid"]);
            return Err(format!("expected response.uid={uid:?}, got {got:?}"));
        }
    }
    if !answer["response"].is_object() {
        return Err("no response provided".to_owned());
    }
    let result = &answer["response"]["result"];
    if result["status"] != "Success" {
        let status = result["status"].as_str().unwrap_or_default();
        let message = result["message"].as_str().filter(|text| !text.is_empty());
        return Err(message.map_or_else(
            || format!("response.result.status was '{status}', not 'Success'"),
            str::to_owned,
        ));
    }
    match answer["response"]["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// Checks that the webhook returned the same object, and takes labels and annotations of its metadata, no more.
fn accept(
    of: &str,
    index: usize,
    original: &Value,
    mut converted: Value,
    to: &str,
) -> Result<Value, String> {
    let at = |why: String| {
        format!("conversion webhook for {of} returned invalid object at index {index}: {why}")
    };
    if converted["apiVersion"] != to {
        let got = converted["apiVersion"].as_str().unwrap_or_default();
        return Err(at(format!("invalid groupVersion (expected {to}, received {got})")));
    }
    if converted["kind"] != original["kind"] {
        let text = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
        let (expected, got) = (text(original), text(&converted));
        return Err(at(format!("invalid kind (expected {expected}, received {got})")));
    }
    let invalid =
        |why: String| format!("conversion webhook for {of} returned invalid object: {why}");
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let text =
            |object: &Value| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (expected, got) = (text(original), text(&converted));
        if expected != got {
            return Err(invalid(format!("must have the same {name}: {expected} != {got}")));
        }
    }
    let metadata = restored(original, &converted);
    converted["metadata"] = metadata
        .map_err(|why| format!("conversion webhook for {of} returned invalid metadata: {why}"))?;
    Ok(converted)
}

fn restored(original: &Value, converted: &Value) -> Result<Value, String> {
    let Some(given) = converted.get("metadata") else {
        return Err("missing metadata in converted object".to_owned());
    };
    if !given.is_object() {
        return Err(format!("invalid metadata of type {} in converted object", go_type(given)));
    }
    let mut metadata = original["metadata"].clone();
    let Some(fields) = metadata.as_object_mut() else { return Ok(json!({})) };
    for field in ["labels", "annotations"] {
        match given.get(field).filter(|value| !value.is_null()) {
            None => drop(fields.remove(field)),
            Some(Value::Object(map)) => {
                if let Some((key, value)) = map.iter().find(|(_, value)| !value.is_string()) {
                    let found = go_type(value);
                    return Err(format!(
                        "metadata.{field}[{key}] must be a string, but is {found} in converted object"
                    ));
                }
                fields.insert(field.to_owned(), given[field].clone());
            }
            Some(other) => {
                let found = go_type(other);
                return Err(format!(
                    "invalid metadata.{field} of type {found} in converted object"
                ));
            }
        }
    }
    let unchanged = ["labels", "annotations"]
        .iter()
        .all(|field| metadata[*field] == original["metadata"][*field]);
    if !unchanged {
        let causes = validate_annotations_and_labels(&metadata);
        if let Some(cause) = causes.first() {
            return Err(format!("{}: {}", cause.field, cause.message));
        }
    }
    Ok(metadata)
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str) -> Value {
        json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Widget",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"l": "1"}},
        })
    }

    fn accepted(change: impl FnOnce(&mut Value)) -> Result<Value, String> {
        let mut converted = object("v2");
        change(&mut converted);
        accept("example.com/v1, Kind=Widget", 0, &object("v1"), converted, "example.com/v2")
    }

    #[test]
    fn of_the_metadata_only_labels_and_annotations_may_change() {
        let got = accepted(|object| {
            object["metadata"]["generation"] = json!(99);
            object["metadata"]["finalizers"] = json!(["x"]);
            object["metadata"]["labels"] = json!({"l": "2"});
            object["metadata"]["annotations"] = json!({"a": "b"});
            object["spec"] = json!({"x": 1});
        });
        let metadata = json!({
            "name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"l": "2"}, "annotations": {"a": "b"},
        });
        let got = got.unwrap();
        assert_eq!(got["metadata"], metadata);
        assert_eq!(got["spec"], json!({"x": 1}));
        let without = accepted(|object| object["metadata"]["labels"] = Value::Null).unwrap();
        assert!(without["metadata"].get("labels").is_none());
    }

    #[test]
    fn another_object_is_refused() {
        let why = |change: fn(&mut Value)| accepted(change).unwrap_err();
        assert_eq!(
            why(|object| object["apiVersion"] = json!("example.com/v3")),
            "conversion webhook for example.com/v1, Kind=Widget returned invalid object at index 0: invalid \
             groupVersion (expected example.com/v2, received example.com/v3)"
        );
        assert!(
            why(|object| object["kind"] = json!("Gadget"))
                .contains("invalid kind (expected Widget")
        );
        assert_eq!(
            why(|object| object["metadata"]["uid"] = json!("other")),
            "conversion webhook for example.com/v1, Kind=Widget returned invalid object: must have the same UID: u \
             != other"
        );
        assert!(why(|object| object["metadata"] = Value::Null).contains("must have the same name"));
        assert!(
            why(|object| object["metadata"]["labels"] = json!({"l": 1}))
                .ends_with("metadata.labels[l] must be a string, but is int64 in converted object")
        );
        assert!(
            why(|object| object["metadata"]["labels"] = json!({"bad key": "1"}))
                .contains("returned invalid metadata: metadata.labels: Invalid value")
        );
    }

    #[test]
    fn answers_must_succeed() {
        let read = |answer: Value| converted_objects("apiextensions.k8s.io/v1", "u", answer);
        let answer = |response: Value| json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
        let good =
            answer(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1]}));
        assert_eq!(read(good).unwrap(), [json!(1)]);
        assert_eq!(read(answer(Value::Null)).unwrap_err(), "no response provided");
        let failed = json!({"uid": "u", "result": {"status": "Failure", "message": "no way"}});
        assert_eq!(read(answer(failed)).unwrap_err(), "no way");
        let silent = answer(json!({"uid": "u", "result": {}}));
        assert_eq!(read(silent).unwrap_err(), "response.result.status was '', not 'Success'");
        assert!(
            read(answer(json!({"uid": "v"}))).unwrap_err().contains("expected response.uid=\"u\"")
        );
        assert!(read(json!({})).unwrap_err().contains("got /, Kind="));
    }
}
