//! Messages: fills JSON objects from the fields on the wire.

use serde_json::{Map, Value};

use super::table::{Field, Message, Shape, Table, Type, Zero};
use super::wire::{Payload, Reader};
use super::{DecodeError, Problem, text, value};

/// Deepest nesting of messages. The deepest kinds, schemas within CRDs, need two levels per level of schema.
const MAX_DEPTH: usize = 100;

/// Most values of one object. Two bytes on the wire can stand for a message with several fields, so that the size of the
/// body alone does not bound the memory.
const MAX_VALUES: usize = 500_000;

pub(super) struct Decoder<'t> {
    table: &'t Table,
    /// Values that may still be made.
    values_left: usize,
    depth: usize,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(table: &'t Table) -> Self {
        Self { table, values_left: MAX_VALUES, depth: 0 }
    }

    /// Fills `object` from the bytes of a message. A message that comes in several parts is filled several times.
    pub(super) fn fill(
        &mut self,
        message: &Message,
        bytes: &[u8],
        object: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        loop {
            let next = reader.next().map_err(|problem| wrong(message, "(unknown)", problem))?;
            let Some((number, payload)) = next else { break };
            if let Some(field) = message.field(number) {
                self.field(message, field, payload, object)?;
            }
        }
        for field in &message.fields {
            if field.shape == Shape::One(Zero::Always) && !object.contains_key(field.json) {
                self.count(message, field)?;
                object.insert(field.json.to_owned(), value::zero(field.type_));
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        message: &Message,
        field: &Field,
        payload: Payload<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        self.count(message, field)?;
        let wrong = |problem| wrong(message, field.json, problem);
        match field.shape {
            Shape::Inline => {
                let (inner, bytes) = self.inner(field.type_, payload).map_err(wrong)?;
                self.nested(|decoder| decoder.fill(inner, bytes, object), wrong)?;
            }
            Shape::One(zero) => {
                let before = object.remove(field.json);
                let value = self.value(message, field, payload, before)?;
                let dropped = |value: &Value| {
                    zero == Zero::Dropped && field.type_.is_scalar() && is_zero(value)
                };
                if let Some(value) = value.filter(|value| !dropped(value)) {
                    object.insert(field.json.to_owned(), value);
                }
            }
            Shape::List => {
                let list = object.entry(field.json).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else { return Err(wrong(Problem::Broken)) };
                match (field.type_, payload) {
                    (Type::Bool | Type::Int | Type::Double, Payload::Bytes(packed)) => {
                        let mut reader = Reader::new(packed);
                        while !reader.is_empty() {
                            self.count(message, field)?;
                            list.push(
                                value::decode_packed(field.type_, &mut reader).map_err(wrong)?,
                            );
                        }
                    }
                    _ => list.push(self.value(message, field, payload, None)?.unwrap_or_default()),
                }
            }
            Shape::Map => {
                let (key, value) = self.entry(message, field, payload)?;
                let map = object.entry(field.json).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = map else { return Err(wrong(Problem::Broken)) };
                map.insert(key, value);
            }
        }
        Ok(())
    }

    /// Decodes one value. A message is added to what an earlier part of it left behind.
    fn value(
        &mut self,
        message: &Message,
        field: &Field,
        payload: Payload<'_>,
        before: Option<Value>,
    ) -> Result<Option<Value>, DecodeError> {
        let wrong = |problem| wrong(message, field.json, problem);
        if !matches!(field.type_, Type::Message(_)) {
            return value::decode(field.type_, payload).map_err(wrong);
        }
        let (inner, bytes) = self.inner(field.type_, payload).map_err(wrong)?;
        let mut object = match before {
            Some(Value::Object(object)) if !inner.transparent => object,
            _ => Map::new(),
        };
        self.nested(|decoder| decoder.fill(inner, bytes, &mut object), wrong)?;
        Ok(Some(if inner.transparent { last_present(inner, &mut object) } else { object.into() }))
    }

    fn entry(
        &mut self,
        message: &Message,
        field: &Field,
        payload: Payload<'_>,
    ) -> Result<(String, Value), DecodeError> {
        let wrong = |problem| wrong(message, field.json, problem);
        let Payload::Bytes(bytes) = payload else { return Err(wrong(Problem::WireType)) };
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.next().map_err(wrong)? {
            match (number, payload) {
                (1, Payload::Bytes(bytes)) => key = text(bytes).map_err(wrong)?,
                (1, _) => return Err(wrong(Problem::WireType)),
                (2, payload) => {
                    value = Some(self.value(message, field, payload, value)?.unwrap_or_default());
                }
                _ => {}
            }
        }
        let value = match (value, field.type_) {
            (Some(value), _) => value,
            // Nothing is said about the value: an empty message.
            (None, Type::Message(_)) => {
                self.value(message, field, Payload::Bytes(&[]), None)?.unwrap_or_default()
            }
            (None, type_) => value::zero(type_),
        };
        Ok((key, value))
    }

    fn inner<'p>(
        &self,
        type_: Type,
        payload: Payload<'p>,
    ) -> Result<(&'t Message, &'p [u8]), Problem> {
        match (type_, payload) {
            (Type::Message(index), Payload::Bytes(bytes)) => Ok((self.table.message(index), bytes)),
            _ => Err(Problem::WireType),
        }
    }

    fn nested(
        &mut self,
        fill: impl FnOnce(&mut Self) -> Result<(), DecodeError>,
        wrong: impl FnOnce(Problem) -> DecodeError,
    ) -> Result<(), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(wrong(Problem::TooDeep));
        }
        self.depth += 1;
        fill(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn count(&mut self, message: &Message, field: &Field) -> Result<(), DecodeError> {
        let left = self.values_left.checked_sub(1);
        self.values_left = left.ok_or_else(|| wrong(message, field.json, Problem::TooMany))?;
        Ok(())
    }
}

fn wrong(message: &Message, field: &str, problem: Problem) -> DecodeError {
    DecodeError::Field { message: message.name.clone(), field: field.to_owned(), problem }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Takes the JSON of a transparent message. A list of nothing is an empty list, anything else of nothing is null.
fn last_present(message: &Message, object: &mut Map<String, Value>) -> Value {
    let present = message.fields.iter().rev().find_map(|field| object.remove(field.json));
    present.unwrap_or_else(|| match message.fields.as_slice() {
        [only] if only.shape == Shape::List => Value::Array(Vec::new()),
        _ => Value::Null,
    })
}
