//! Values that are not simply their fields: scalars, and messages with a JSON form of their own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Number, Value};

use super::table::Type;
use super::wire::{Payload, Reader};
use super::{Problem, text};
use crate::schema::parse;

/// Decodes a value of any type but a message. `None` stands for null: an unset time or embedded object.
pub(super) fn decode(type_: Type, payload: Payload<'_>) -> Result<Option<Value>, Problem> {
    Ok(Some(match (type_, payload) {
        (Type::Bool, Payload::Varint(number)) => Value::Bool(number != 0),
        (Type::Int, Payload::Varint(number)) => number.cast_signed().into(),
        (Type::Double, Payload::Fixed64(bits)) => double(f64::from_bits(bits))?,
        (Type::String, Payload::Bytes(bytes)) => text(bytes)?.into(),
        (Type::Bytes, Payload::Bytes(bytes)) => BASE64_STANDARD.encode(bytes).into(),
        (Type::Time, Payload::Bytes(bytes)) => return time(bytes),
        (Type::MicroTime, Payload::Bytes(bytes)) => return micro_time(bytes),
        (Type::Quantity, Payload::Bytes(bytes)) => quantity(bytes)?,
        (Type::IntOrString, Payload::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Json, Payload::Bytes(bytes)) => return json(bytes),
        _ => return Err(Problem::WireType),
    }))
}

/// Decodes one number of a packed list.
pub(super) fn decode_packed(type_: Type, reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let payload = match type_ {
        Type::Double => Payload::Fixed64(reader.fixed64()?),
        _ => Payload::Varint(reader.varint()?),
    };
    decode(type_, payload)?.ok_or(Problem::WireType)
}

/// Returns what a value is when nothing is said about it.
pub(super) fn zero(type_: Type) -> Value {
    match type_ {
        Type::Bool => false.into(),
        Type::Int | Type::Double | Type::IntOrString => 0.into(),
        Type::String | Type::Bytes => "".into(),
        Type::Quantity => "0".into(),
        Type::Time | Type::MicroTime | Type::Json | Type::Message(_) => Value::Null,
    }
}

fn double(number: f64) -> Result<Value, Problem> {
    /// Beyond, neighbouring whole numbers have no exact float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "the number is whole and within i64")]
        return Ok((number as i64).into());
    }
    Number::from_f64(number).map(Value::Number).ok_or(Problem::OutOfRange)
}

/// Reads seconds and nanoseconds. Go sends an empty message for no time at all.
fn moment(bytes: &[u8]) -> Result<Option<(Timestamp, i64)>, Problem> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match (number, payload) {
            (1, Payload::Varint(value)) => seconds = value.cast_signed(),
            (2, Payload::Varint(value)) => nanos = value.cast_signed(),
            (1 | 2, _) => return Err(Problem::WireType),
            _ => {}
        }
    }
    let second = Timestamp::from_second(seconds).map_err(|_| Problem::OutOfRange)?;
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(Problem::OutOfRange);
    }
    Ok(Some((second, nanos)))
}

/// Fractions of a second are dropped, because JSON clients could not have sent them.
fn time(bytes: &[u8]) -> Result<Option<Value>, Problem> {
    let moment = moment(bytes)?;
    Ok(moment.map(|(second, _)| second.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()))
}

fn micro_time(bytes: &[u8]) -> Result<Option<Value>, Problem> {
    let moment = moment(bytes)?;
    Ok(moment.map(|(second, nanos)| {
        format!("{}.{:06}Z", second.strftime("%Y-%m-%dT%H:%M:%S"), nanos / 1_000).into()
    }))
}

fn quantity(bytes: &[u8]) -> Result<Value, Problem> {
    let written = single(bytes, 1)?.map(text).transpose()?.unwrap_or_default();
    Ok(if written.is_empty() { zero(Type::Quantity) } else { written.into() })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Problem> {
    let (mut is_text, mut number, mut written) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field {
            (1, Payload::Varint(value)) => is_text = value != 0,
            (2, Payload::Varint(value)) => number = value.cast_signed(),
            (3, Payload::Bytes(bytes)) => written = text(bytes)?,
            (1..=3, _) => return Err(Problem::WireType),
            _ => {}
        }
    }
    Ok(if is_text { written.into() } else { number.into() })
}

fn json(bytes: &[u8]) -> Result<Option<Value>, Problem> {
    match single(bytes, 1)? {
        None | Some([]) => Ok(None),
        Some(raw) => parse::json(raw).map(|(value, _)| Some(value)).map_err(Problem::NotJson),
    }
}

/// Reads the one field that a message has.
fn single(bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, Problem> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match payload {
            Payload::Bytes(bytes) if number == wanted => found = Some(bytes),
            _ if number == wanted => return Err(Problem::WireType),
            _ => {}
        }
    }
    Ok(found)
}
