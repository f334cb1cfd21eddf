//! What server-side apply needs to know of a schema: which values are one leaf and which have parts of their own.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::ResetFields;
use crate::schema::{ListType, Schema, SchemaRef, Type};

/// Fields of `metadata` that belong to the server or name the object; nobody owns them.
const SERVER_METADATA: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// `ObjectMeta`: the same for every kind, so custom resources get it too.
static METADATA: LazyLock<Schema> = LazyLock::new(|| {
    let list = |list_type, items| {
        SchemaRef::new(Schema {
            type_: Type::Array,
            list_type,
            items: Some(items),
            ..Schema::default()
        })
    };
    let text = || SchemaRef::new(Schema { type_: Type::String, ..Schema::default() });
    let texts = || {
        let additional_properties = Some(text());
        SchemaRef::new(Schema { type_: Type::Object, additional_properties, ..Schema::default() })
    };
    let owner = SchemaRef::new(Schema { type_: Type::Object, atomic: true, ..Schema::default() });
    let by_uid = ListType::Map(vec![("uid".to_owned(), None)]);
    let properties = [
        ("annotations", texts()),
        ("finalizers", list(ListType::Set, text())),
        ("generateName", text()),
        ("labels", texts()),
        ("ownerReferences", list(by_uid, owner)),
    ];
    let properties =
        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    Schema { type_: Type::Object, properties, ..Schema::default() }
});

/// A structure with nothing in it.
pub(super) static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

/// How to look at a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    /// A whole object; the fields of the second part are never owned.
    Object(&'a Schema, &'a ResetFields),
    /// The `metadata` of a whole object.
    Metadata,
    /// By a schema.
    Typed(&'a Schema),
    /// By the value alone: maps have parts, lists are leaves.
    Deduced,
}

/// Whether a value has parts with owners of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    /// One value, owned as a whole.
    Leaf,
    /// Each entry has its owners.
    Map,
    /// Each item has its owners.
    List(&'a ListType),
}

/// What a field of a map is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    /// It can have owners.
    Owned {
        /// How to look at its value.
        view: View<'a>,
        /// The schema names it; otherwise it is a key of a map, which is a member whenever it is there.
        named: bool,
    },
    /// It names the object or belongs to the server.
    Server,
    /// It belongs to another endpoint.
    Reset,
    /// The schema does not know it, and it will be pruned.
    Unknown,
}

impl<'a> View<'a> {
    /// Returns which parts a value has. Values that do not fit their schema are leaves.
    pub(super) fn shape(self, value: &Value) -> Shape<'a> {
        match (self, value) {
            (Self::Typed(schema), Value::Object(_)) if !schema.atomic => match schema.type_ {
                Type::Object | Type::Any => Shape::Map,
                _ => Shape::Leaf,
            },
            (Self::Object(..) | Self::Metadata | Self::Deduced, Value::Object(_)) => Shape::Map,
            (Self::Typed(schema), Value::Array(_)) => match (schema.type_, &schema.list_type) {
                (Type::Array, list_type @ (ListType::Set | ListType::Map(_))) => {
                    Shape::List(list_type)
                }
                _ => Shape::Leaf,
            },
            _ => Shape::Leaf,
        }
    }

    /// Returns how to look at a field of a map.
    pub(super) fn field(self, name: &str) -> Field<'a> {
        match self {
            Self::Object(schema, reset) => match name {
                "apiVersion" | "kind" => Field::Server,
                name if reset.covers(name) => Field::Reset,
                "metadata" => Field::Owned { view: View::Metadata, named: true },
                name => typed_field(schema, name),
            },
            Self::Metadata if SERVER_METADATA.contains(&name) => Field::Server,
            Self::Metadata => typed_field(&METADATA, name),
            Self::Typed(schema) if schema.embedded_resource && name == "metadata" => {
                Field::Owned { view: View::Typed(&METADATA), named: true }
            }
            Self::Typed(schema) => typed_field(schema, name),
            Self::Deduced => Field::Owned { view: View::Deduced, named: false },
        }
    }

    /// Returns what a field holds that nobody has set, where it is there nevertheless.
    pub(super) fn unset(self, name: &str) -> Option<&'static Value> {
        let (Self::Object(schema, _) | Self::Typed(schema)) = self else { return None };
        schema.presence.get(name)?.unset()
    }

    /// Returns how to look at the items of a list.
    pub(super) fn item(self) -> View<'a> {
        match self {
            Self::Typed(schema) => schema.items.as_deref().map_or(Self::Deduced, View::Typed),
            _ => Self::Deduced,
        }
    }
}

fn typed_field<'a>(schema: &'a Schema, name: &str) -> Field<'a> {
    if let Some(field) = schema.properties.get(name) {
        return Field::Owned { view: View::Typed(field), named: true };
    }
    if let Some(values) = &schema.additional_properties {
        return Field::Owned { view: View::Typed(values), named: false };
    }
    if schema.preserve_unknown || schema.properties.is_empty() {
        return Field::Owned { view: View::Deduced, named: false };
    }
    Field::Unknown
}
