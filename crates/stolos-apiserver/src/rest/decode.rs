//! Request bodies: from bytes to the object the URL speaks of, with what strict decoding finds on the way.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;

use super::negotiate::Input;
use super::query::FieldValidation;
use crate::registry::Resource;
use crate::status::{ApiError, Cause};
use crate::{protobuf, schema};

/// Any error of a request body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request body of any transport.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Largest request body, as upstream.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// Reads a whole request body. The time of the request bounds how long a client may take to send it.
pub(crate) async fn read(mut body: RequestBody) -> Result<Bytes, ApiError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("failed to read the request body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > MAX_BODY_BYTES {
            let text = format!("Request entity too large: limit is {MAX_BODY_BYTES}");
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                text,
            ));
        }
        if collected.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// A parsed body and the paths of its duplicate fields.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<String>,
}

/// Parses a body that holds one document.
pub(crate) fn parse(input: Input, bytes: &[u8]) -> Result<Parsed, ApiError> {
    let parsed = match input {
        Input::Json => schema::parse::json(bytes),
        Input::Yaml => schema::parse::yaml(bytes),
        Input::Protobuf => protobuf::decode(bytes)
            .map(|value| (value, Vec::new()))
            .map_err(|error| error.to_string()),
    };
    let (value, duplicates) = parsed.map_err(|error| {
        ApiError::bad_request(format!("the request body cannot be read: {error}"))
    })?;
    Ok(Parsed { value, duplicates })
}

/// Checks that the body is an object of the resource's kind; absent `apiVersion` and `kind` are taken from the URL.
pub(crate) fn expect_kind(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    expect_type(&resource.group_version.to_string(), &resource.kind, object)
}

/// Checks that the body is an object of this version and kind.
pub(crate) fn expect_type(
    api_version: &str,
    kind: &str,
    object: &mut Value,
) -> Result<(), ApiError> {
    let Some(fields) = object.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the request body must be an object of kind {kind}"
        )));
    };
    for (field, want) in [("apiVersion", api_version), ("kind", kind)] {
        match fields.get(field).and_then(Value::as_str).unwrap_or_default() {
            "" => {
                fields.insert(field.to_owned(), want.into());
            }
            found if found != want && field == "apiVersion" => {
                return Err(ApiError::bad_request(format!(
                    "the API version in the data ({found}) does not match the expected API version ({want})"
                )));
            }
            found if found != want => {
                return Err(ApiError::bad_request(format!(
                    "the kind in the data ({found}) does not match the expected kind ({want})"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where strict decoding failed; upstream words the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The body of a POST or PUT.
    Body,
    /// What a patch made of the object.
    Patch,
}

/// Treats unknown and duplicate fields as the request wishes: refuses them, returns warnings, or says nothing.
pub(crate) fn check_fields(
    resource: &Resource,
    mode: FieldValidation,
    origin: Origin,
    duplicates: &[String],
    unknown: &[String],
) -> Result<Vec<String>, ApiError> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    let unknown = unknown.iter().map(|path| format!("unknown field \"{path}\""));
    let problems: Vec<String> = duplicates.chain(unknown).collect();
    if problems.is_empty() || mode == FieldValidation::Ignore {
        return Ok(Vec::new());
    }
    if mode == FieldValidation::Warn {
        return Ok(problems);
    }
    let text = format!("strict decoding error: {}", problems.join(", "));
    let (kind, version) = (&resource.kind, &resource.group_version.version);
    Err(match origin {
        Origin::Body => ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {text}"
        )),
        Origin::Patch => {
            let message = format!("Invalid value: {text}");
            let cause =
                Cause { reason: "FieldValueInvalid".into(), message, field: "patch".into() };
            ApiError::invalid(&resource.group_version.group, kind, "", vec![cause])
        }
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn body(bytes: Vec<u8>) -> RequestBody {
        Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
    }

    #[tokio::test]
    async fn bodies_beyond_the_limit_are_refused() {
        assert_eq!(read(body(vec![b' '; MAX_BODY_BYTES])).await.unwrap().len(), MAX_BODY_BYTES);
        let error = read(body(vec![b' '; MAX_BODY_BYTES + 1])).await.unwrap_err();
        assert_eq!((error.code.as_u16(), error.reason), (413, "RequestEntityTooLarge"));
    }

    #[test]
    fn kind_and_version_come_from_the_url_and_must_agree() {
        let mut object = json!({});
        expect_type("apps/v1", "Deployment", &mut object).unwrap();
        assert_eq!(object, json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
        for mut wrong in [json!({"kind": "Pod"}), json!({"apiVersion": "v1"}), json!([])] {
            assert_eq!(
                expect_type("apps/v1", "Deployment", &mut wrong).unwrap_err().reason,
                "BadRequest"
            );
        }
    }

    #[test]
    fn strict_decoding_names_every_field_in_the_known_words() {
        let resource = Registry::builtin().resource("apps", "v1", "deployments").unwrap();
        let check = |mode| {
            let (duplicates, unknown) = (["spec.a".to_owned()], ["spec.x".to_owned()]);
            check_fields(&resource, mode, Origin::Body, &duplicates, &unknown)
        };
        let want = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
                    duplicate field \"spec.a\", unknown field \"spec.x\"";
        assert_eq!(check(FieldValidation::Strict).unwrap_err().message, want);
        assert_eq!(check(FieldValidation::Ignore).unwrap(), [] as [&str; 0]);
        let warnings = check(FieldValidation::Warn).unwrap();
        assert_eq!(warnings, ["duplicate field \"spec.a\"", "unknown field \"spec.x\""]);
    }
}
