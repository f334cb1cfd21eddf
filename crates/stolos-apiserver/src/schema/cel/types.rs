//! Types of expressions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::names;
use crate::schema::{Schema, SchemaRef, Type as Shape};

/// Type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Known only when evaluated.
    Dyn,
    /// Something is wrong with the expression, and was reported.
    Error,
    /// `null`.
    Null,
    /// True or false.
    Bool,
    /// Whole number.
    Int,
    /// Whole number without a sign.
    Uint,
    /// Floating-point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// Length of time.
    Duration,
    /// Moment.
    Timestamp,
    /// Elements of one type.
    List(Arc<Type>),
    /// Keys and values.
    Map(Arc<Type>, Arc<Type>),
    /// Named fields.
    Object(ObjectType),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A type of a library, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type as a value.
    TypeOf(Arc<Type>),
    /// A type that the call decides; only in declarations of functions and while checking.
    Param(usize),
}

/// A type with named fields.
#[derive(Clone)]
pub struct ObjectType(Arc<Fields>);

struct Fields {
    name: String,
    source: Source,
}

enum Source {
    /// Fields of a schema; the schema of a whole object shows type and names too.
    Schema { schema: SchemaRef, is_resource: bool },
    /// Fields that the caller names.
    Listed(BTreeMap<String, Type>),
}

impl ObjectType {
    /// Declares a type by its fields.
    #[must_use]
    pub fn new(name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        let source = Source::Listed(fields.into_iter().collect());
        Self(Arc::new(Fields { name: name.to_owned(), source }))
    }

    /// Returns the type of a field, named as expressions name it.
    #[must_use]
    pub fn field(&self, identifier: &str) -> Option<Type> {
        match &self.0.source {
            Source::Listed(fields) => fields.get(identifier).cloned(),
            Source::Schema { schema, is_resource } => {
                let name = names::unescape(identifier);
                if *is_resource {
                    match name.as_str() {
                        "apiVersion" | "kind" => return Some(Type::String),
                        "metadata" => return Some(metadata()),
                        _ => {}
                    }
                }
                let property = schema.properties.get(&name)?;
                Type::named(&format!("{}.{name}", self.0.name), property)
            }
        }
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.name == other.0.name
    }
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectType").field(&self.0.name).finish()
    }
}

/// What rules see of the metadata of an object.
fn metadata() -> Type {
    let names = ["name", "generateName"].map(|name| (name.to_owned(), Type::String));
    Type::Object(ObjectType::new("metadata", names))
}

impl Type {
    /// Returns the type of `authorizer`.
    #[must_use]
    pub fn authorizer() -> Self {
        Self::Opaque("kubernetes.authorization.Authorizer")
    }

    /// Returns the type of `authorizer.requestResource`.
    #[must_use]
    pub fn resource_check() -> Self {
        Self::Opaque("kubernetes.authorization.ResourceCheck")
    }

    /// Returns the type of a list.
    #[must_use]
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// Returns the type of a map.
    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// Returns the type of a value that may be absent.
    #[must_use]
    pub fn optional(value: Self) -> Self {
        Self::Optional(Arc::new(value))
    }

    /// Returns the type of the values of a schema; none if nothing is known of them. `name` names the type in errors.
    #[must_use]
    pub fn named(name: &str, schema: &SchemaRef) -> Option<Self> {
        if schema.embedded_resource {
            return Some(Self::resource(name, schema));
        }
        Some(match schema.type_ {
            Shape::IntOrString => Self::Dyn,
            Shape::Any => return None,
            Shape::Boolean => Self::Bool,
            Shape::Integer => Self::Int,
            Shape::Number => Self::Double,
            Shape::String => Self::of_string(schema),
            Shape::Array => {
                let items = schema.items.as_ref()?;
                Self::list(Self::named(&format!("{name}.@idx"), items)?)
            }
            Shape::Object => match &schema.additional_properties {
                Some(values) if schema.properties.is_empty() => {
                    Self::map(Self::String, Self::named(&format!("{name}.@elem"), values)?)
                }
                _ => {
                    let source = Source::Schema { schema: schema.clone(), is_resource: false };
                    Self::Object(ObjectType(Arc::new(Fields { name: name.to_owned(), source })))
                }
            },
        })
    }

    /// Reports whether anything is known of the values of a schema, so that expressions see them.
    pub(super) fn is_visible(schema: &Schema) -> bool {
        schema.embedded_resource
            || match schema.type_ {
                Shape::Any => false,
                Shape::Array => schema.items.as_ref().is_some_and(|items| Self::is_visible(items)),
                Shape::Object if schema.properties.is_empty() => schema
                    .additional_properties
                    .as_ref()
                    .is_none_or(|values| Self::is_visible(values)),
                _ => true,
            }
    }

    /// Returns the type of whole objects of a schema, which have a type and names.
    #[must_use]
    pub fn resource(name: &str, schema: &SchemaRef) -> Self {
        let source = Source::Schema { schema: schema.clone(), is_resource: true };
        Self::Object(ObjectType(Arc::new(Fields { name: name.to_owned(), source })))
    }

    pub(super) fn of_string(schema: &Schema) -> Self {
        match schema.format.as_deref() {
            Some("byte") => Self::Bytes,
            Some("duration") => Self::Duration,
            Some("date" | "date-time") => Self::Timestamp,
            _ => Self::String,
        }
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Returns the types that a type is made of.
    pub(super) fn parts(&self) -> Vec<&Self> {
        match self {
            Self::List(part) | Self::Optional(part) | Self::TypeOf(part) => vec![&**part],
            Self::Map(key, value) => vec![&**key, &**value],
            _ => Vec::new(),
        }
    }
}

/// As the checker of cel-go prints them.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Object(object) => f.write_str(&object.0.name),
            Self::Optional(value) => write!(f, "optional_type({value})"),
            Self::Opaque(name) => f.write_str(name),
            Self::TypeOf(type_) => write!(f, "type({type_})"),
            Self::Param(n) => write!(f, "<_var{n}>"),
        }
    }
}
