//! Server-side printing: `meta.k8s.io/v1 Table`.
//!
//! Built-in kinds compute their cells in code ([`builtin`]), custom resources by the JSONPaths of their CRD ([`custom`]).

mod builtin;
mod custom;
mod duration;
pub(crate) mod jsonpath;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::Resource;

pub use self::custom::{ColumnError, custom_columns};
pub use self::jsonpath::{JsonPath, ParseError};

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    pub type_: String,
    /// OpenAPI format; `name` marks the name column.
    pub format: String,
    /// Help text.
    pub description: String,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: i32,
    /// Where a custom column finds its value; built-in kinds compute their cells in code.
    pub json_path: Option<JsonPath>,
}

/// What the rows of a table carry beside their cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// A `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; an absent or empty one means metadata, an unknown one `None`.
    #[must_use]
    pub fn parse(parameter: &str) -> Option<Self> {
        match parameter {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// Returns the columns of a built-in kind: those upstream prints, else name and creation time.
#[must_use]
pub fn builtin_columns(group: &str, kind: &str) -> Arc<[Column]> {
    builtin::find(group, kind).columns.iter().map(builtin::Heading::column).collect()
}

/// Builds a `Table` of `objects`, one row each.
///
/// `list_meta` becomes the table's metadata: that of the list, or only the resourceVersion of a single object. Watches
/// send column definitions with the first event alone, hence `with_columns`.
#[must_use]
pub fn render(
    resource: &Resource,
    objects: &[Value],
    now: Timestamp,
    include: IncludeObject,
    list_meta: Value,
    with_columns: bool,
) -> Value {
    let printer = builtin::find(&resource.group_version.group, &resource.kind);
    let row = |object: &Value| {
        let cells = if resource.custom {
            custom::cells(&resource.columns, object, now)
        } else {
            (printer.cells)(object, now)
        };
        let conditions = if resource.custom { None } else { printer.row_conditions(object) };
        let carried = ("object", carried(object, include));
        let row = [("cells", cells.into()), carried].into_iter();
        fields(row.chain(conditions.map(|conditions| ("conditions", conditions))))
    };
    let columns = resource.columns.iter().map(definition).collect::<Vec<_>>();
    let list_meta = if list_meta["resourceVersion"].is_null() { json!({}) } else { list_meta };
    fields([
        ("kind", "Table".into()),
        ("apiVersion", "meta.k8s.io/v1".into()),
        ("metadata", list_meta),
        ("columnDefinitions", if with_columns { columns.into() } else { Value::Null }),
        ("rows", objects.iter().map(row).collect()),
    ])
}

/// Builds an object without copying the values, of which a table can have many.
fn fields(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.type_,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

/// The bookmark that ends the initial events of a watch is known by an annotation, so its metadata is always carried.
fn carried(object: &Value, include: IncludeObject) -> Value {
    let marker = object.pointer("/metadata/annotations/k8s.io~1initial-events-end");
    match include {
        IncludeObject::Object => object.clone(),
        IncludeObject::None if marker.is_none() => Value::Null,
        IncludeObject::None | IncludeObject::Metadata => fields([
            ("kind", "PartialObjectMetadata".into()),
            ("apiVersion", "meta.k8s.io/v1".into()),
            ("metadata", object["metadata"].clone()),
        ]),
    }
}

#[cfg(test)]
mod tests;
