//! What evaluation costs, in the units of cel-go and kube-apiserver.

use super::library::opaque::Opaque;
use super::list::List;
use super::map::Map;
use super::value::Value;

/// Reading a variable or field.
pub(super) const SELECT: u64 = 1;
/// A call that does not depend on sizes.
pub(super) const CALL: u64 = 1;
/// Making a list.
pub(super) const LIST: u64 = 10;
/// Making a map.
pub(super) const MAP: u64 = 30;
/// One check of rights; leaves room for two of them in one expression.
pub(super) const AUTHORIZATION: u64 = 350_000;

/// Looking at a tenth of a text costs as much as at one element.
const CHARACTERS: u64 = 10;
/// Four characters of a pattern stand for one of its expressions.
const PATTERN_CHARACTERS: u64 = 4;

/// Returns what a call costs, as far as its arguments tell.
pub(super) fn before(function: &str, args: &[Value<'_>]) -> u64 {
    let first = || args.first().map_or(0, size);
    let second = || args.get(1).map_or(0, size);
    match function {
        "check" => AUTHORIZATION,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "first" | "last" => {
            args.first().map_or(0, traversal)
        }
        "url" | "isURL" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP"
        | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" | "validate" | "bytes"
        | "string" | "strings.quote" | "charAt" | "format" => tenth(first()).max(1),
        "ip" => match args.first() {
            Some(Value::String(_)) => tenth(first()),
            _ => CALL,
        },
        "ip.isCanonical" | "replace" | "split" => tenth(first().saturating_mul(2)).max(1),
        "startsWith" | "endsWith" => tenth(second()),
        "contains" => tenth(first()).saturating_mul(tenth(second())),
        "matches" | "find" | "findAll" => {
            tenth(first() + 1).saturating_mul(second().div_ceil(PATTERN_CHARACTERS))
        }
        "containsIP" | "containsCIDR" => 4 + tenth(second()),
        "_+_" => match args.first() {
            Some(Value::String(_) | Value::Bytes(_)) => tenth(first() + second()),
            _ => CALL,
        },
        "@in" => match args.get(1) {
            Some(Value::List(list)) => list.len() as u64,
            _ => CALL,
        },
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            tenth(traversal_bytes(args.first()).min(traversal_bytes(args.get(1)))).max(CALL)
        }
        "sets.contains" | "sets.intersects" => CALL + first().saturating_mul(second()),
        "sets.equivalent" => CALL + first().saturating_mul(second()).saturating_mul(2),
        "cel.@mapInsert" => CALL + first(),
        _ => CALL,
    }
}

/// Returns what a call costs for the size of its result.
pub(super) fn after(function: &str, result: &Value<'_>) -> u64 {
    match function {
        "join" => tenth(size(result).saturating_mul(2)),
        "format" => tenth(size(result)),
        _ => 0,
    }
}

fn tenth(size: u64) -> u64 {
    size.div_ceil(CHARACTERS)
}

/// Returns the number of characters, elements or entries; a scalar counts as one.
pub(super) fn size(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => text.as_str().len() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::List(list) => list.len() as u64,
        Value::Map(Map::Object { fields, .. }) => fields.len() as u64,
        Value::Map(map) => map.len() as u64,
        Value::Opaque(Opaque::Cidr(_) | Opaque::Ip(_)) => 16,
        _ => 1,
    }
}

/// Size for comparisons: lists and maps count each element.
fn traversal_bytes(value: Option<&Value<'_>>) -> u64 {
    match value {
        Some(value @ (Value::List(_) | Value::Map(_))) => {
            traversal(value).saturating_mul(CHARACTERS)
        }
        Some(value) => size(value),
        None => 0,
    }
}

/// Returns what it costs to look at everything in a value.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(_) | Value::Bytes(_) => tenth(size(value)).max(1),
        Value::List(List::Json { items, .. }) => items.iter().map(json_traversal).sum(),
        Value::List(List::Owned(items) | List::Merged { items, .. }) => {
            items.iter().map(traversal).sum()
        }
        Value::Map(Map::Object { fields, .. } | Map::Json { fields, .. }) => {
            fields.iter().map(|(_, value)| 1 + json_traversal(value)).sum()
        }
        Value::Map(Map::Owned(entries)) => entries.values().map(|value| 1 + traversal(value)).sum(),
        _ => 1,
    }
}

fn json_traversal(json: &serde_json::Value) -> u64 {
    match json {
        serde_json::Value::String(text) => tenth(text.len() as u64).max(1),
        serde_json::Value::Array(items) => 1 + items.iter().map(json_traversal).sum::<u64>(),
        serde_json::Value::Object(fields) => {
            1 + fields.values().map(|value| 1 + json_traversal(value)).sum::<u64>()
        }
        _ => 1,
    }
}
