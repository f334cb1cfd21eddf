//! Decodes protobuf request bodies of built-in kinds by table; never encodes.
//!
//! Clients written in Go send built-in kinds as protobuf and treat a refusal as final, although they read JSON gladly.
//! The result is the JSON that such a client would have sent instead, without nulls that only stand for "absent".
//!
//! Messages and fields come from `messages.txt`, which `cargo xtask protobuf-table` derives from the Kubernetes API
//! packages. What the table cannot say (times, quantities, …) is in [`value`].

mod message;
mod table;
mod value;
mod wire;

use serde_json::{Map, Value};

use self::message::Decoder;
use self::table::TABLE;
use self::wire::{Payload, Reader};

/// Marks Kubernetes' envelope.
const PREFIX: &[u8] = b"k8s\0";

/// Largest body that is looked at, in bytes; the same as for other formats.
const MAX_BYTES: usize = 3 * 1024 * 1024;

/// Media type of the object within the envelope, where one is given.
const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The envelope's mark is missing.
    #[error("the body does not begin with the mark of a Kubernetes protobuf object")]
    NotProtobuf,
    /// The body exceeds the limit.
    #[error("the body has {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    /// The object is compressed or of another media type.
    #[error("the object is encoded as `{0}`, not as plain protobuf")]
    Encoding(String),
    /// No built-in kind; custom resources have no protobuf form.
    #[error("kind `{kind}` of `{api_version}` has no protobuf form")]
    UnknownKind {
        /// Group and version.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// A field does not hold what it should.
    #[error("field `{field}` of message `{message}`: {problem}")]
    Field {
        /// Message, such as `apps/v1.DeploymentSpec`.
        message: String,
        /// JSON name of the field, or a position where the field is unknown.
        field: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The data ends within the field.
    #[error("the data ends too early")]
    Truncated,
    /// A tag or a number breaks the rules of the encoding.
    #[error("the encoding is broken")]
    Broken,
    /// Another kind of value was expected.
    #[error("the value has another wire type")]
    WireType,
    /// A text is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// Embedded JSON cannot be read.
    #[error("the embedded JSON is malformed: {0}")]
    NotJson(String),
    /// A time or number cannot be written as JSON.
    #[error("the value is out of range")]
    OutOfRange,
    /// Messages are nested too deeply.
    #[error("messages are nested too deeply")]
    TooDeep,
    /// The object has too many parts.
    #[error("the object has too many parts")]
    TooMany,
}

/// Decodes a request body with its envelope to an object with `apiVersion` and `kind`.
///
/// Options of the API (`DeleteOptions`, …) are accepted under every group and version, as clients send them.
///
/// # Errors
/// When the body is no such envelope, its kind has no protobuf form, or a field cannot be read.
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    if body.len() > MAX_BYTES {
        return Err(DecodeError::TooLarge(body.len()));
    }
    let envelope = Envelope::read(body.strip_prefix(PREFIX).ok_or(DecodeError::NotProtobuf)?)?;
    if !envelope.content_encoding.is_empty() {
        return Err(DecodeError::Encoding(envelope.content_encoding));
    }
    if !matches!(envelope.content_type.as_str(), "" | CONTENT_TYPE) {
        return Err(DecodeError::Encoding(envelope.content_type));
    }
    let (api_version, kind) = (envelope.api_version, envelope.kind);
    let Some(message) = TABLE.kind(&api_version, &kind) else {
        return Err(DecodeError::UnknownKind { api_version, kind });
    };
    let mut object = Map::new();
    Decoder::new(&TABLE).fill(message, envelope.raw, &mut object)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(object.into())
}

/// What stands around every object.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    content_encoding: String,
    content_type: String,
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut envelope = Self::default();
        let fields = each_bytes(bytes, |number, bytes| {
            match number {
                1 => {
                    return each_bytes(bytes, |number, bytes| {
                        match number {
                            1 => envelope.api_version = text(bytes)?,
                            2 => envelope.kind = text(bytes)?,
                            _ => {}
                        }
                        Ok(())
                    });
                }
                2 => envelope.raw = bytes,
                3 => envelope.content_encoding = text(bytes)?,
                4 => envelope.content_type = text(bytes)?,
                _ => {}
            }
            Ok(())
        });
        fields.map_err(|problem| DecodeError::Field {
            message: "Unknown".to_owned(),
            field: "typeMeta".to_owned(),
            problem,
        })?;
        Ok(envelope)
    }
}

/// Visits the fields that hold bytes; others are of no interest in an envelope.
fn each_bytes<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(u32, &'a [u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        if let Payload::Bytes(bytes) = payload {
            visit(number, bytes)?;
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, Problem> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Problem::NotUtf8)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
