//! Operators and conversions of the language itself.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::opaque::Opaque;
use super::{Answer, Body, no_overload, time};
use crate::schema::cel::error::Error;
use crate::schema::cel::map::Map;
use crate::schema::cel::value::{MapKey, Value};

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "_==_" => |args| Ok(args[0].equals(&args[1]).into()),
        "_!=_" => |args| Ok((!args[0].equals(&args[1])).into()),
        "_<_" => |args| order(args, Ordering::is_lt),
        "_<=_" => |args| order(args, Ordering::is_le),
        "_>_" => |args| order(args, Ordering::is_gt),
        "_>=_" => |args| order(args, Ordering::is_ge),
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => remainder,
        "-_" => negate,
        "@in" => is_in,
        "_[_]" => index,
        "size" => size,
        "type" => |args| Ok(Value::Type(args[0].type_name())),
        "dyn" => |args| Ok(args[0].clone()),
        "bool" => to_bool,
        "bytes" => to_bytes,
        "double" => to_double,
        "int" => to_int,
        "uint" => to_uint,
        "string" => to_string,
        "cel.@mapInsert" => map_insert,
        _ => return None,
    })
}

fn order<'a>(args: &[Value<'a>], wanted: fn(Ordering) -> bool) -> Answer<'a> {
    Ok(args[0].compare(&args[1])?.is_some_and(wanted).into())
}

fn overflow(kind: &str) -> Error {
    Error::new(format!("{kind} overflow"))
}

fn int<'a>(result: Option<i64>) -> Answer<'a> {
    result.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(result: Option<u64>) -> Answer<'a> {
    result.map(Value::Uint).ok_or_else(|| overflow("unsigned integer"))
}

fn add<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_add(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_add(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => {
            Ok(Value::text(format!("{}{}", a.as_str(), b.as_str())))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        (Value::List(a), Value::List(b)) => Ok(a.plus(b)),
        (Value::Duration(a), Value::Duration(b)) => time::duration(a.checked_add(*b)),
        (Value::Timestamp(at), Value::Duration(by))
        | (Value::Duration(by), Value::Timestamp(at)) => time::shift(*at, *by),
        _ => no_overload(),
    }
}

fn subtract<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_sub(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_sub(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => time::duration(a.checked_sub(*b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(Value::Duration(a.duration_since(*b))),
        (Value::Timestamp(at), Value::Duration(by)) => time::shift(*at, -*by),
        _ => no_overload(),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_mul(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_mul(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => no_overload(),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(Error::new("division by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_div(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_div(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}

fn remainder<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(Error::new("modulus by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_rem(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_rem(*b)),
        _ => no_overload(),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[0] {
        Value::Int(value) => int(value.checked_neg()),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => no_overload(),
    }
}

fn is_in<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[1] {
        Value::List(list) => Ok(list.contains(&args[0]).into()),
        Value::Map(map) => Ok(map.get(&args[0])?.is_some().into()),
        _ => no_overload(),
    }
}

fn index<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Value::List(list), key) => match MapKey::of(key) {
            Some(MapKey::Int(at)) => list.at(i64::try_from(at).unwrap_or(-1)),
            _ => Err(Error::new(format!("unsupported index type '{}' in list", key.type_name()))),
        },
        (Value::Map(map), key) => {
            map.get(key)?.ok_or_else(|| Error::no_such_key(&key.to_text().unwrap_or_default()))
        }
        (Value::Optional(None), _) => Ok(Value::Optional(None)),
        (Value::Optional(Some(inner)), key) => {
            super::optional::index(&[inner.as_ref().clone(), key.clone()])
        }
        (_, key) => Err(Error::no_such_key(&key.to_text().unwrap_or_default())),
    }
}

#[expect(clippy::cast_possible_wrap, reason = "no collection has that many elements")]
fn size<'a>(args: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Int(match &args[0] {
        Value::String(text) => text.as_str().chars().count() as i64,
        Value::Bytes(bytes) => bytes.len() as i64,
        Value::List(list) => list.len() as i64,
        Value::Map(map) => map.len() as i64,
        _ => return no_overload(),
    }))
}

fn unreadable(to: &str) -> Error {
    Error::new(format!("type conversion error from 'string' to '{to}'"))
}

fn to_bool<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            _ => Err(unreadable("bool")),
        },
        _ => no_overload(),
    }
}

fn to_bytes<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(text.as_str().as_bytes().into())),
        _ => no_overload(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "that is what the conversion does")]
fn to_double<'a>(args: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Double(match &args[0] {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::String(text) => text.as_str().parse().map_err(|_| unreadable("double"))?,
        _ => return no_overload(),
    }))
}

/// Largest magnitudes that whole numbers hold.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

fn to_int<'a>(args: &[Value<'a>]) -> Answer<'a> {
    int(match &args[0] {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "within range")]
        Value::Double(value) if value.abs() < TWO_63 => Some(*value as i64),
        Value::Double(_) => None,
        Value::String(text) => {
            return text.as_str().parse().map(Value::Int).map_err(|_| unreadable("int"));
        }
        Value::Timestamp(moment) => Some(moment.as_second()),
        Value::Duration(duration) => i64::try_from(duration.as_nanos()).ok(),
        _ => return no_overload(),
    })
}

fn to_uint<'a>(args: &[Value<'a>]) -> Answer<'a> {
    uint(match &args[0] {
        Value::Uint(value) => Some(*value),
        Value::Int(value) => u64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within range")]
        Value::Double(value) if (0.0..TWO_64).contains(value) => Some(*value as u64),
        Value::Double(_) => None,
        Value::String(text) => {
            return text.as_str().parse().map(Value::Uint).map_err(|_| unreadable("uint"));
        }
        _ => return no_overload(),
    })
}

fn to_string<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[0] {
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::text(text)),
            Err(_) => Err(Error::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Value::Type(_) | Value::Opaque(Opaque::Authorizer(_)) => no_overload(),
        other => other.to_text().map_or_else(no_overload, |text| Ok(Value::text(text))),
    }
}

/// Writes a number as Go does: shortest form, with an exponent for very large and very small numbers.
pub(in crate::schema::cel) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}

fn map_insert<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let Value::Map(map) = &args[0] else { return no_overload() };
    let mut entries = entries(map)?;
    match &args[1..] {
        [Value::Map(added)] => {
            for key in added.keys() {
                let value = added.get(&key)?.unwrap_or_default();
                insert(&mut entries, &key, value)?;
            }
        }
        [key, value] => insert(&mut entries, key, value.clone())?,
        _ => return no_overload(),
    }
    Ok(Value::map(entries))
}

fn entries<'a>(map: &Map<'a>) -> Result<BTreeMap<MapKey, Value<'a>>, Error> {
    if let Map::Owned(entries) = map {
        return Ok(Arc::unwrap_or_clone(entries.clone()));
    }
    let mut entries = BTreeMap::new();
    for key in map.keys() {
        let value = map.get(&key)?.unwrap_or_default();
        insert(&mut entries, &key, value)?;
    }
    Ok(entries)
}

fn insert<'a>(
    entries: &mut BTreeMap<MapKey, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<(), Error> {
    let found = MapKey::of(key).ok_or_else(|| Error::new("unsupported key type"))?;
    if entries.insert(found, value).is_none() {
        return Ok(());
    }
    let key = key.to_text().unwrap_or_default();
    Err(Error::new(format!("insert failed: key {key} already exists")))
}
