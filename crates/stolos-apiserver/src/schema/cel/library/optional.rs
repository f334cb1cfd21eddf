//! Values that may be absent.

use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::{MapKey, Value};

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "optional.of" => |args| Ok(Value::some(args[0].clone())),
        "optional.none" => |_| Ok(Value::Optional(None)),
        "optional.ofNonZeroValue" => |args| {
            Ok(if is_zero(&args[0]) { Value::Optional(None) } else { Value::some(args[0].clone()) })
        },
        "hasValue" => |args| match &args[0] {
            Value::Optional(value) => Ok(value.is_some().into()),
            _ => no_overload(),
        },
        "value" => |args| match &args[0] {
            Value::Optional(Some(value)) => Ok(value.as_ref().clone()),
            Value::Optional(None) => Err(Error::new("optional.none() dereference")),
            _ => no_overload(),
        },
        "or" => |args| match &args[0] {
            Value::Optional(None) => Ok(args[1].clone()),
            Value::Optional(Some(_)) => Ok(args[0].clone()),
            _ => no_overload(),
        },
        "orValue" => |args| match &args[0] {
            Value::Optional(None) => Ok(args[1].clone()),
            Value::Optional(Some(value)) => Ok(value.as_ref().clone()),
            // A dynamic value that is none of these is there.
            other => Ok(other.clone()),
        },
        "_[?_]" => index,
        "optional.unwrap" | "unwrapOpt" => |args| match &args[0] {
            Value::List(list) => {
                let present = list.iter().filter_map(|item| match item {
                    Value::Optional(value) => value.map(|value| value.as_ref().clone()),
                    other => Some(other),
                });
                Ok(Value::list(present.collect()))
            }
            _ => no_overload(),
        },
        "first" => |args| match &args[0] {
            Value::List(list) => Ok(list.get(0).map_or(Value::Optional(None), Value::some)),
            _ => no_overload(),
        },
        "last" => |args| match &args[0] {
            Value::List(list) => {
                Ok(list.iter().next_back().map_or(Value::Optional(None), Value::some))
            }
            _ => no_overload(),
        },
        _ => return None,
    })
}

/// Looks up an element that may be absent.
pub(super) fn index<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let found = match (&args[0], &args[1]) {
        (Value::Optional(None), _) => None,
        (Value::Optional(Some(inner)), key) => {
            return index(&[inner.as_ref().clone(), key.clone()]);
        }
        (Value::List(list), key) => match MapKey::of(key) {
            Some(MapKey::Int(at)) => usize::try_from(at).ok().and_then(|at| list.get(at)),
            _ => return no_overload(),
        },
        (Value::Map(map), key) => map.get(key)?,
        _ => return no_overload(),
    };
    Ok(found.map_or(Value::Optional(None), Value::some))
}

/// Reports whether a value is the one that its type begins with.
fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.as_str().is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(duration) => duration.is_zero(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Timestamp(_) | Value::Type(_) | Value::Optional(Some(_)) | Value::Opaque(_) => false,
    }
}
