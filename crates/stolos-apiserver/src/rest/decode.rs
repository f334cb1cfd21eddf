//! Request bodies: from bytes to the object the URL speaks of, with what strict decoding finds on the way.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;

use super::negotiate::Input;
use crate::registry::Resource;
use crate::schema::parse::{MAX_PROBLEMS, Problem};
use crate::schema::{Schema, SchemaRef, Type};
use crate::status::ApiError;
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

/// A parsed body and what strict decoding objects to.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    pub(crate) problems: Vec<Problem>,
}

/// Parses a body that holds one document.
pub(crate) fn parse(input: Input, bytes: &[u8]) -> Result<Parsed, ApiError> {
    readable(match input {
        Input::Json => schema::parse::json(bytes),
        Input::Yaml => schema::parse::yaml(bytes),
        Input::Protobuf => from_protobuf(bytes),
    })
}

/// Parses a body of a built-in kind and leaves out what its schema does not know.
pub(crate) fn parse_builtin(
    schema: &Schema,
    input: Input,
    bytes: &[u8],
) -> Result<Parsed, ApiError> {
    if input == Input::Json {
        return readable(schema::parse::json_of(schema, bytes));
    }
    let mut parsed = parse(input, bytes)?;
    let unknown = schema::prune(schema, &mut parsed.value);
    parsed.problems.extend(unknown.into_iter().map(Problem::Unknown));
    parsed.problems.truncate(MAX_PROBLEMS);
    Ok(parsed)
}

/// Parses a body of the resource's kind and leaves out unknown fields.
pub(crate) fn parse_object(
    resource: &Resource,
    input: Input,
    bytes: &[u8],
) -> Result<Parsed, ApiError> {
    if !resource.custom {
        return parse_builtin(&resource.schema, input, bytes);
    }
    let mut parsed = parse(input, bytes)?;
    parsed.problems.extend(prune_custom(resource, &mut parsed.value));
    Ok(parsed)
}

/// Parses a JSON patch; its operations have no other fields than those of RFC 6902.
pub(crate) fn parse_json_patch(bytes: &[u8]) -> Result<Parsed, ApiError> {
    static OPERATIONS: LazyLock<Schema> = LazyLock::new(|| {
        let node = |type_| SchemaRef::new(Schema { type_, ..Schema::default() });
        let fields = ["from", "op", "path"].map(|name| (name.to_owned(), node(Type::String)));
        let value = [("value".to_owned(), node(Type::Any))];
        let properties = fields.into_iter().chain(value).collect();
        let items = Schema { type_: Type::Object, properties, ..Schema::default() };
        Schema { type_: Type::Array, items: Some(SchemaRef::new(items)), ..Schema::default() }
    });
    let mut parsed = readable(schema::parse::json_of(&OPERATIONS, bytes))?;
    parsed.problems = parsed.problems.into_iter().map(Problem::in_json_patch).collect();
    Ok(parsed)
}

/// Removes unknown fields of a custom object. Those of its own metadata are named first, as upstream finds them.
pub(crate) fn prune_custom(resource: &Resource, object: &mut Value) -> Vec<Problem> {
    let mut unknown = schema::prune(&resource.schema, object);
    unknown.sort_by_key(|path| !path.starts_with("metadata."));
    unknown.into_iter().map(Problem::Unknown).collect()
}

fn from_protobuf(bytes: &[u8]) -> Result<(Value, Vec<Problem>), String> {
    let decoded = protobuf::decode(bytes);
    decoded.map(|value| (value, Vec::new())).map_err(|error| error.to_string())
}

fn readable(parsed: Result<(Value, Vec<Problem>), String>) -> Result<Parsed, ApiError> {
    let (value, problems) = parsed.map_err(|error| {
        ApiError::bad_request(format!("the request body cannot be read: {error}"))
    })?;
    Ok(Parsed { value, problems })
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use serde_json::json;

    use super::*;

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
}
