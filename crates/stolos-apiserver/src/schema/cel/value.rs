//! Values of expressions. Those that come from objects are looked at in place and converted only as far as they are read.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::error::Error;
use super::library::opaque::Opaque;
use super::list::List;
use super::map::Map;

/// A value.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    /// `null`.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Whole number without a sign.
    Uint(u64),
    /// Floating-point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Length of time.
    Duration(SignedDuration),
    /// Moment.
    Timestamp(Timestamp),
    /// Elements.
    List(List<'a>),
    /// Keys and values, or named fields.
    Map(Map<'a>),
    /// Name of a type.
    Type(&'static str),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A value of a library.
    Opaque(Opaque<'a>),
}

/// Text that is borrowed from an object or shared.
#[derive(Clone)]
pub enum Text<'a> {
    /// Text of an object.
    Borrowed(&'a str),
    /// Computed text.
    Shared(Arc<str>),
}

impl Text<'_> {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapKey {
    /// True or false.
    Bool(bool),
    /// Whole number of either kind.
    Int(i128),
    /// Text.
    String(Arc<str>),
}

impl MapKey {
    /// Returns the key that a value is; whole floating-point numbers equal whole numbers.
    pub(super) fn of(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Int(i128::from(*value))),
            Value::Uint(value) => Some(Self::Int(i128::from(*value))),
            #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e18 => {
                Some(Self::Int(*value as i128))
            }
            Value::String(text) => Some(Self::String(text.as_str().into())),
            _ => None,
        }
    }

    pub(super) fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => match i64::try_from(*value) {
                Ok(value) => Value::Int(value),
                Err(_) => Value::Uint(u64::try_from(*value).unwrap_or(u64::MAX)),
            },
            Self::String(text) => Value::String(Text::Shared(text.clone())),
        }
    }
}

impl<'a> Value<'a> {
    /// Returns a text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::String(Text::Shared(text.as_ref().into()))
    }

    /// Returns a list.
    #[must_use]
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(List::Owned(Arc::new(items)))
    }

    /// Returns a map.
    #[must_use]
    pub fn map(entries: BTreeMap<MapKey, Self>) -> Self {
        Self::Map(Map::Owned(Arc::new(entries)))
    }

    /// Returns a present optional value.
    #[must_use]
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// Looks at a JSON value of which no schema is known.
    #[must_use]
    pub fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::String(Text::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json { items, schema: None }),
            Json::Object(fields) => Self::Map(Map::Json { fields, values: None }),
        }
    }

    /// Returns the value as JSON, if JSON has such values.
    #[must_use]
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => Json::Number(serde_json::Number::from_f64(*value)?),
            Self::String(text) => text.as_str().into(),
            Self::Bytes(bytes) => {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            Self::Duration(_) | Self::Timestamp(_) => self.to_text()?.into(),
            Self::List(list) => {
                list.iter().map(|item| item.to_json()).collect::<Option<Vec<_>>>()?.into()
            }
            Self::Map(map) => {
                let mut fields = serde_json::Map::new();
                for key in map.keys() {
                    let value = map.get(&key).ok()??.to_json()?;
                    fields.insert(key.to_text()?, value);
                }
                Json::Object(fields)
            }
            Self::Optional(value) => value.as_ref().map_or(Some(Json::Null), |v| v.to_json())?,
            Self::Type(_) | Self::Opaque(_) => return None,
        })
    }

    /// Returns what `string()` makes of the value, if it can.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Double(value) => super::library::standard::double_text(*value),
            Self::String(text) => text.as_str().to_owned(),
            Self::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
            Self::Duration(duration) => super::library::time::duration_text(*duration),
            Self::Timestamp(moment) => super::library::time::timestamp_text(*moment),
            Self::Type(name) => (*name).to_owned(),
            Self::Opaque(opaque) => opaque.to_text()?,
            Self::Null | Self::List(_) | Self::Map(_) | Self::Optional(_) => return None,
        })
    }

    /// Returns the name of the value's type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// Returns the name of the type in cel-go, which one of its errors shows.
    pub(super) fn go_type(&self) -> &'static str {
        match self {
            Self::Null => "types.Null",
            Self::Bool(_) => "types.Bool",
            Self::Int(_) => "types.Int",
            Self::Uint(_) => "types.Uint",
            Self::Double(_) => "types.Double",
            Self::String(_) => "types.String",
            Self::Bytes(_) => "types.Bytes",
            Self::Duration(_) => "types.Duration",
            Self::Timestamp(_) => "types.Timestamp",
            Self::Optional(_) => "*types.Optional",
            Self::List(_) | Self::Map(_) | Self::Type(_) | Self::Opaque(_) => self.type_name(),
        }
    }

    /// Reports whether two values are equal; values of different types are not, numbers excepted.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::String(left), Self::String(right)) => left.as_str() == right.as_str(),
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Duration(left), Self::Duration(right)) => left == right,
            (Self::Timestamp(left), Self::Timestamp(right)) => left == right,
            (Self::Type(left), Self::Type(right)) => left == right,
            (Self::List(left), Self::List(right)) => left.equals(right),
            (Self::Map(left), Self::Map(right)) => left.equals(right),
            (Self::Optional(left), Self::Optional(right)) => match (left, right) {
                (None, None) => true,
                (Some(left), Some(right)) => left.equals(right),
                _ => false,
            },
            (Self::Opaque(left), Self::Opaque(right)) => left.equals(right),
            _ => self.compare_numbers(other) == Some(Ordering::Equal),
        }
    }

    /// Returns the order of two values of an ordered type; none if they have no order.
    ///
    /// # Errors
    /// Fails for types without an order.
    pub fn compare(&self, other: &Self) -> Result<Option<Ordering>, Error> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Ok(Some(left.cmp(right))),
            (Self::String(left), Self::String(right)) => {
                Ok(Some(left.as_str().cmp(right.as_str())))
            }
            (Self::Bytes(left), Self::Bytes(right)) => Ok(Some(left.cmp(right))),
            (Self::Duration(left), Self::Duration(right)) => Ok(Some(left.cmp(right))),
            (Self::Timestamp(left), Self::Timestamp(right)) => Ok(Some(left.cmp(right))),
            _ if self.is_number() && other.is_number() => Ok(self.compare_numbers(other)),
            _ => Err(Error::no_such_overload()),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Uint(_) | Self::Double(_))
    }

    fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(right),
            (Self::Double(left), right) => compare_double(*left, right.whole()?),
            (left, Self::Double(right)) => {
                compare_double(*right, left.whole()?).map(Ordering::reverse)
            }
            (left, right) => Some(left.whole()?.cmp(&right.whole()?)),
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }
}

fn compare_double(left: f64, right: i128) -> Option<Ordering> {
    if left.is_nan() {
        return None;
    }
    // Beyond these the whole part would not fit; no 64-bit number lies there.
    if left >= 1e30 {
        return Some(Ordering::Greater);
    }
    if left <= -1e30 {
        return Some(Ordering::Less);
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the range of i128")]
    let whole = left.floor() as i128;
    Some(whole.cmp(&right).then(if left.fract() == 0.0 {
        Ordering::Equal
    } else {
        Ordering::Greater
    }))
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}
