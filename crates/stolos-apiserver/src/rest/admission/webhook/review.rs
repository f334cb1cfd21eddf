//! AdmissionReview: what webhooks are asked, and what their answers mean.

use base64::{DecodeError, Engine as _};
use serde_json::{Value, json};

use crate::registry::Resource;
use crate::rest::admission::Request;
use crate::status::ApiError;
use crate::webhook;

/// Version of the review that a webhook understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewVersion {
    V1,
    /// Without the checks that v1 makes on answers.
    V1beta1,
}

impl ReviewVersion {
    /// Chooses the first version in a webhook's list that is known here.
    pub(super) fn choose(accepted: &Value) -> Option<Self> {
        accepted.as_array()?.iter().find_map(|version| match version.as_str() {
            Some("v1") => Some(Self::V1),
            Some("v1beta1") => Some(Self::V1beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Builds the question. `resource` is the version that the webhook asked for; the objects are in it already.
pub(super) fn request(
    version: ReviewVersion,
    uid: &str,
    request: &Request<'_>,
    resource: &Resource,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let mut asked = fields(request, resource);
    asked["uid"] = uid.into();
    asked["object"] = object.cloned().unwrap_or(Value::Null);
    asked["oldObject"] = old.cloned().unwrap_or(Value::Null);
    json!({ "kind": "AdmissionReview", "apiVersion": version.api_version(), "request": asked })
}

/// Builds all of an AdmissionRequest but the objects; it is also what expressions see as `request`.
pub(in crate::rest::admission) fn fields(request: &Request<'_>, resource: &Resource) -> Value {
    let mut fields = json!({
        "kind": kind(resource, request.subresource),
        "resource": plural(resource),
        "requestKind": kind(request.resource, request.subresource),
        "requestResource": plural(request.resource),
        "operation": request.operation.as_str(),
        "userInfo": request.user,
        "dryRun": request.dry_run,
        "options": request.options,
    });
    for (field, text) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", request.namespace),
    ] {
        if !text.is_empty() {
            fields[field] = text.into();
        }
    }
    fields
}

fn kind(resource: &Resource, subresource: &str) -> Value {
    let (group_version, kind) = resource.kind_of(subresource);
    json!({ "group": group_version.group, "version": group_version.version, "kind": kind })
}

fn plural(resource: &Resource) -> Value {
    let group_version = &resource.group_version;
    json!({
        "group": group_version.group, "version": group_version.version, "resource": resource.plural,
    })
}

/// What a webhook decided.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// Operations, still as bytes.
    pub(super) patch: Vec<u8>,
    /// Null where the webhook names none.
    pub(super) patch_type: Value,
    /// The webhook's Status, or null.
    pub(super) result: Value,
    pub(super) warnings: Vec<String>,
}

/// Reads an answer; the error says why it is none.
pub(super) fn verdict(
    version: ReviewVersion,
    uid: &str,
    answer: &Value,
) -> Result<Verdict, String> {
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if version == ReviewVersion::V1 {
        check_envelope(uid, answer)?;
    }
    let patch = response["patch"].as_str().and_then(|text| decoded(text).ok()).unwrap_or_default();
    let patch_type = match (version, patch.is_empty()) {
        (ReviewVersion::V1beta1, false) => "JSONPatch".into(),
        _ => response["patchType"].clone(),
    };
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"] == true,
        patch,
        patch_type,
        result: response["status"].clone(),
        warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

fn check_envelope(uid: &str, answer: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let answered = text(&answer["response"]["uid"]);
    if answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    let (api_version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    if api_version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
        let api_version = if api_version.is_empty() { "/".to_owned() } else { api_version };
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
        ));
    }
    Ok(())
}

impl Verdict {
    /// Checks the patch of a webhook that may change objects.
    pub(super) fn check_mutation(&self, version: ReviewVersion) -> Result<(), String> {
        if version == ReviewVersion::V1beta1 {
            return Ok(());
        }
        match (self.patch.is_empty(), self.patch_type.as_str()) {
            (false, None) => {
                Err("webhook returned response.patch but not response.patchType".to_owned())
            }
            (true, Some(_)) => {
                Err("webhook returned response.patchType but not response.patch".to_owned())
            }
            (false, Some("")) => {
                Err("webhook returned invalid response.patchType of \"\"".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Checks that a webhook that only judges does not try to change anything.
    pub(super) fn check_validation(&self, version: ReviewVersion) -> Result<(), String> {
        if version == ReviewVersion::V1beta1 {
            return Ok(());
        }
        if !self.patch.is_empty() {
            return Err("validating webhook may not return response.patch".to_owned());
        }
        if !self.patch_type.is_null() {
            return Err("validating webhook may not return response.patchType".to_owned());
        }
        Ok(())
    }
}

/// Says why an answer cannot be read as a review of this version; nothing if it can.
pub(super) fn unreadable(version: ReviewVersion, answer: &Value) -> Option<String> {
    let foreign = webhook::foreign(answer, version.api_version(), "AdmissionReview");
    foreign.or_else(|| wrong_type(&answer["response"]))
}

/// Fields of a response, their types in JSON, and those that Go names.
const FIELDS: [(&str, &str, &str); 6] = [
    ("uid", "string", "types.UID"),
    ("allowed", "bool", "bool"),
    ("status", "object", "v1.Status"),
    ("patch", "string", "[]uint8"),
    ("patchType", "string", "v1.PatchType"),
    ("warnings", "array", "[]string"),
];

/// Says in the words of Go's decoder that a field of a response is of the wrong type.
fn wrong_type(response: &Value) -> Option<String> {
    let given = FIELDS.iter().filter(|(field, ..)| !response[field].is_null());
    for (field, expected, go_type) in given {
        let value = &response[field];
        let found = type_name(value);
        if found != *expected {
            return Some(format!(
                "json: cannot unmarshal {found} into Go struct field AdmissionResponse.response.{field} of type {go_type}"
            ));
        }
        if *field == "patch"
            && let Err(why) = decoded(value.as_str().unwrap_or_default())
        {
            return Some(why);
        }
    }
    None
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    bytes.map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

/// Applies a patch to an object; whatever is wrong with it is the webhook's fault and refuses the write.
pub(super) fn patched(object: &Value, operations: &Value) -> Result<Value, ApiError> {
    let mut patched = object.clone();
    if crate::patch::json(&mut patched, operations).is_err() {
        return Err(super::internal(&why_unfit(object, operations)));
    }
    for field in ["apiVersion", "kind"] {
        if patched[field] != object[field] {
            let (from, to) = (&object[field], &patched[field]);
            return Err(super::internal(&format!(
                "a webhook may not change {field} from {from} to {to}"
            )));
        }
    }
    Ok(patched)
}

/// The operations of JSON patches.
const OPERATIONS: [&str; 6] = ["add", "remove", "replace", "move", "copy", "test"];

/// Finds the operation that does not fit and says why in the words of Go's library.
fn why_unfit(object: &Value, operations: &Value) -> String {
    let mut so_far = object.clone();
    for operation in operations.as_array().into_iter().flatten() {
        let before = so_far.clone();
        let Err(error) = crate::patch::json(&mut so_far, &json!([operation])) else { continue };
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        let path = text("path");
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let has_parent = before.pointer(parent).is_some();
        let key = path.rsplit('/').next().unwrap_or_default();
        return match (text("op"), has_parent) {
            (op, _) if !OPERATIONS.contains(&op) => format!("Unexpected kind: {op}"),
            ("test", _) => format!("testing value {path} failed: test failed"),
            ("add", false) => format!(
                "add operation does not apply: doc is missing path: {path:?}: missing value"
            ),
            ("remove", false) => {
                format!(
                    "remove operation does not apply: doc is missing path: {path:?}: missing value"
                )
            }
            ("remove", true) => format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            ),
            ("replace", false) => format!(
                "replace operation does not apply: doc is missing path: {path}: missing value"
            ),
            ("replace", true) => format!(
                "replace operation does not apply: doc is missing key: {path}: missing value"
            ),
            _ => error.to_string(),
        };
    }
    "the patch does not apply".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    fn why(answer: &Value) -> String {
        verdict(ReviewVersion::V1, "u", answer).unwrap_err()
    }

    #[test]
    fn answers_must_be_complete_and_for_this_question() {
        assert_eq!(why(&json!({})), "webhook response was absent");
        assert_eq!(
            why(&answer(json!({"uid": "other"}))),
            "expected response.uid=\"u\", got \"other\""
        );
        assert_eq!(
            why(&json!({"response": {"uid": "u"}})),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="
        );
        let beta = verdict(ReviewVersion::V1beta1, "u", &json!({"response": {"allowed": true}}));
        assert!(beta.unwrap().allowed);
    }

    #[test]
    fn answers_must_be_readable_as_the_review_that_was_sent() {
        let why = |answer: Value| unreadable(ReviewVersion::V1, &answer);
        assert_eq!(why(answer(json!({"allowed": true, "patch": "W10="}))), None);
        assert_eq!(
            why(answer(json!({"allowed": "yes"}))).unwrap(),
            "json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool"
        );
        assert_eq!(
            why(answer(json!({"patch": "%%%"}))).unwrap(),
            "illegal base64 data at input byte 0"
        );
        assert_eq!(
            why(json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}))
                .unwrap(),
            "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion"
        );
    }

    #[test]
    fn silence_is_no_consent() {
        let verdict = verdict(ReviewVersion::V1, "u", &answer(json!({"uid": "u"}))).unwrap();
        assert!(!verdict.allowed);
        assert_eq!(verdict.result, Value::Null);
    }

    #[test]
    fn patches_need_a_type_and_a_webhook_that_may_change_things() {
        let read = |response: Value| {
            let mut response = response;
            response["uid"] = json!("u");
            verdict(ReviewVersion::V1, "u", &answer(response)).unwrap()
        };
        let patch = read(json!({"patch": "W10=", "patchType": "JSONPatch"}));
        assert_eq!(patch.check_mutation(ReviewVersion::V1), Ok(()));
        assert!(patch.check_validation(ReviewVersion::V1).unwrap_err().contains("response.patch"));
        let untyped = read(json!({"patch": "W10="}));
        assert!(
            untyped
                .check_mutation(ReviewVersion::V1)
                .unwrap_err()
                .contains("not response.patchType")
        );
        let typed = read(json!({"patchType": "JSONPatch"}));
        assert!(
            typed.check_mutation(ReviewVersion::V1).unwrap_err().contains("not response.patch")
        );
        assert!(typed.check_validation(ReviewVersion::V1).is_err());
    }

    #[test]
    fn a_patch_keeps_the_kind() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "a": 1});
        let good = json!([{"op": "replace", "path": "/a", "value": 2}]);
        assert_eq!(patched(&object, &good).unwrap()["a"], 2);
        let other = json!([{"op": "replace", "path": "/kind", "value": "Node"}]);
        assert_eq!(patched(&object, &other).unwrap_err().code.as_u16(), 500);
        let missing = json!([{"op": "replace", "path": "/b", "value": 2}]);
        let error = patched(&object, &missing).unwrap_err();
        assert_eq!(error.reason, "InternalError");
        let why = "replace operation does not apply: doc is missing key: /b: missing value";
        assert_eq!(error.message, format!("Internal error occurred: {why}"));
    }
}
