//! Maps, and objects with named fields.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::error::Error;
use super::names;
use super::types::Type;
use super::value::{MapKey, Text, Value};
use crate::schema::{Schema, SchemaRef, Type as Shape};

/// Fields that are computed when they are read, such as the variables of a policy.
pub trait LazyFields<'a>: Send + Sync {
    /// Returns a field; none if there is no such field.
    ///
    /// # Errors
    /// Fails when the field cannot be computed.
    fn field(&self, name: &str) -> Result<Option<Value<'a>>, Error>;
}

/// A map or object.
#[derive(Clone)]
pub enum Map<'a> {
    /// Named fields of a schema.
    Object {
        /// Fields as they are.
        fields: &'a serde_json::Map<String, Json>,
        /// Declares them.
        schema: &'a Schema,
        /// Type and names are visible too.
        is_resource: bool,
    },
    /// Map of an object.
    Json {
        /// Entries.
        fields: &'a serde_json::Map<String, Json>,
        /// Schema of the values, if one is known.
        values: Option<&'a SchemaRef>,
    },
    /// Computed map.
    Owned(Arc<BTreeMap<MapKey, Value<'a>>>),
    /// Fields that are computed when they are read.
    Lazy(Arc<dyn LazyFields<'a> + 'a>),
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { fields, .. } | Self::Json { fields, .. } => fields.fmt(f),
            Self::Owned(entries) => entries.fmt(f),
            Self::Lazy(_) => f.write_str("Lazy"),
        }
    }
}

impl<'a> Map<'a> {
    /// Returns a field by the name that expressions use.
    ///
    /// # Errors
    /// Fails when the field cannot be computed.
    pub fn field(&self, identifier: &str) -> Result<Option<Value<'a>>, Error> {
        match self {
            Self::Object { fields, schema, is_resource } => {
                let name = names::unescape(identifier);
                // A null field is as good as none.
                let value = fields.get(&name).filter(|value| !value.is_null());
                Ok(value.and_then(|value| property(schema, &name, value, *is_resource)))
            }
            Self::Json { fields, values } => {
                Ok(fields.get(identifier).map(|value| entry(value, *values)))
            }
            Self::Owned(entries) => Ok(entries.get(&MapKey::String(identifier.into())).cloned()),
            Self::Lazy(fields) => fields.field(identifier),
        }
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// Fails when the value cannot be computed.
    pub fn get(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, Error> {
        match (self, key) {
            (Self::Owned(entries), _) => {
                Ok(MapKey::of(key).and_then(|key| entries.get(&key).cloned()))
            }
            (_, Value::String(text)) => self.field(text.as_str()),
            _ => Ok(None),
        }
    }

    /// Returns the keys; none of fields that are computed when read.
    #[must_use]
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Object { fields, schema, is_resource } => fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .filter(|(name, value)| property(schema, name, value, *is_resource).is_some())
                .filter_map(|(name, _)| names::escape(name).map(Value::text))
                .collect(),
            Self::Json { fields, .. } => {
                fields.keys().map(|key| Value::String(Text::Borrowed(key))).collect()
            }
            Self::Owned(entries) => entries.keys().map(MapKey::value).collect(),
            Self::Lazy(_) => Vec::new(),
        }
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Object { .. } => self.keys().len(),
            Self::Json { fields, .. } => fields.len(),
            Self::Owned(entries) => entries.len(),
            Self::Lazy(_) => 0,
        }
    }

    /// Reports whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        if let (
            Self::Object { fields: left, schema: a, .. },
            Self::Object { fields: right, schema: b, .. },
        ) = (self, other)
            && std::ptr::eq(*a, *b)
            && left == right
        {
            return true;
        }
        let keys = self.keys();
        keys.len() == other.len()
            && keys.iter().all(|key| match (self.get(key), other.get(key)) {
                (Ok(Some(left)), Ok(Some(right))) => left.equals(&right),
                _ => false,
            })
    }
}

fn entry<'a>(value: &'a Json, values: Option<&'a SchemaRef>) -> Value<'a> {
    match values {
        Some(schema) => Value::of_schema(schema, value),
        None => Value::of_json(value),
    }
}

/// Returns a field if rules may see it.
fn property<'a>(
    schema: &'a Schema,
    name: &str,
    value: &'a Json,
    is_resource: bool,
) -> Option<Value<'a>> {
    if is_resource {
        match (name, value) {
            ("apiVersion" | "kind", Json::String(text)) => {
                return Some(Value::String(Text::Borrowed(text)));
            }
            ("metadata", Json::Object(fields)) => {
                let names = ["name", "generateName"].into_iter().filter_map(|name| {
                    let text = fields.get(name)?.as_str()?;
                    Some((MapKey::String(name.into()), Value::String(Text::Borrowed(text))))
                });
                return Some(Value::map(names.collect()));
            }
            _ => {}
        }
    }
    let node = schema.properties.get(name)?;
    Type::is_visible(node).then(|| Value::of_schema(node, value))
}

impl<'a> Value<'a> {
    /// Looks at a value of a schema.
    #[must_use]
    pub fn of_schema(schema: &'a SchemaRef, json: &'a Json) -> Self {
        Self::of_node(schema, json)
    }

    /// As [`Value::of_schema`], for a node that is not shared.
    #[must_use]
    pub fn of_node(schema: &'a Schema, json: &'a Json) -> Self {
        match json {
            Json::Object(fields) if schema.embedded_resource => {
                Self::Map(Map::Object { fields, schema, is_resource: true })
            }
            Json::Object(fields) => match &schema.additional_properties {
                Some(values) if schema.properties.is_empty() => {
                    Self::Map(Map::Json { fields, values: Some(values) })
                }
                _ if schema.type_ == Shape::Object => {
                    Self::Map(Map::Object { fields, schema, is_resource: false })
                }
                _ => Self::Map(Map::Json { fields, values: None }),
            },
            Json::Array(items) => {
                Self::List(super::list::List::Json { items, schema: Some(schema) })
            }
            Json::Number(number) if schema.type_ == Shape::Number => {
                Self::Double(number.as_f64().unwrap_or(f64::NAN))
            }
            Json::String(text) if schema.type_ == Shape::String => of_string(schema, text),
            other => Self::of_json(other),
        }
    }

    /// Looks at a whole object, of which type and names are visible too.
    #[must_use]
    pub fn of_resource(schema: &'a Schema, json: &'a Json) -> Self {
        match json {
            Json::Object(fields) => Self::Map(Map::Object { fields, schema, is_resource: true }),
            other => Self::of_json(other),
        }
    }
}

/// Texts of some formats are values of other types.
fn of_string<'a>(schema: &Schema, text: &'a str) -> Value<'a> {
    use super::library::time;
    let plain = Value::String(Text::Borrowed(text));
    match Type::of_string(schema) {
        Type::Bytes => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map_or(plain, |bytes| Value::Bytes(bytes.into()))
        }
        Type::Duration => time::parse_duration(text).map_or(plain, Value::Duration),
        Type::Timestamp => {
            let full = if schema.format.as_deref() == Some("date") {
                time::parse_timestamp(&format!("{text}T00:00:00Z"))
            } else {
                time::parse_timestamp(text)
            };
            full.map_or(plain, Value::Timestamp)
        }
        _ => plain,
    }
}
