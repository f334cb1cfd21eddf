//! Columns of custom resources: the name, then `additionalPrinterColumns` of the CRD.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::Column;
use super::duration;
use super::jsonpath::{JsonPath, ParseError};

/// A printer column whose JSONPath cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {index} has an unreadable jsonPath `{path}`")]
pub struct ColumnError {
    /// Position within `additionalPrinterColumns`.
    pub index: usize,
    /// The path as written.
    pub path: String,
    /// What is wrong with it.
    pub source: ParseError,
}

/// Builds the columns of one version of a CRD from its `additionalPrinterColumns`; without any, an Age column.
///
/// # Errors
/// The first column whose `jsonPath` cannot be read.
pub fn custom_columns(additional: &Value) -> Result<Arc<[Column]>, ColumnError> {
    let mut columns = vec![column(
        "Name",
        "string",
        "name",
        "Name, unique among objects of this kind in a namespace.",
    )];
    match additional.as_array().map_or(&[][..], Vec::as_slice) {
        [] => {
            let path =
                JsonPath::parse(".metadata.creationTimestamp").expect("a plain path is readable");
            let age = column("Age", "date", "", "Time since creation.");
            columns.push(Column { json_path: Some(path), ..age });
        }
        declared => {
            for (index, declared) in declared.iter().enumerate() {
                columns.push(declared_column(index, declared)?);
            }
        }
    }
    Ok(columns.into())
}

fn column(name: &str, type_: &str, format: &str, description: &str) -> Column {
    Column {
        name: name.to_owned(),
        type_: type_.to_owned(),
        format: format.to_owned(),
        description: description.to_owned(),
        priority: 0,
        json_path: None,
    }
}

fn declared_column(index: usize, declared: &Value) -> Result<Column, ColumnError> {
    let text = |field: &str| declared[field].as_str().unwrap_or_default();
    let path = text("jsonPath");
    let json_path = JsonPath::parse(path).map_err(|source| ColumnError {
        index,
        path: path.to_owned(),
        source,
    })?;
    let described = match text("description") {
        "" => format!("Printer column of the custom resource definition, at {path}."),
        description => description.to_owned(),
    };
    let priority = declared["priority"].as_i64().and_then(|priority| i32::try_from(priority).ok());
    Ok(Column {
        priority: priority.unwrap_or(0),
        json_path: Some(json_path),
        ..column(text("name"), text("type"), text("format"), &described)
    })
}

/// Computes the cells of one object.
pub(super) fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    columns
        .iter()
        .map(|column| match &column.json_path {
            None => object["metadata"]["name"].clone(),
            Some(path) => {
                path.first(object).map_or(Value::Null, |value| cell(&column.type_, value, now))
            }
        })
        .collect()
}

/// Converts a value to the type of its column; what does not fit leaves the cell empty.
fn cell(type_: &str, value: &Value, now: Timestamp) -> Value {
    match (type_, value) {
        ("string", Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Value::String(value.to_string())
        }
        ("integer", Value::Number(number)) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a float in an integer column loses its fraction"
            )]
            let whole = number.as_i64().or_else(|| number.as_f64().map(|float| float as i64));
            whole.map_or(Value::Null, Value::from)
        }
        ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => date(text, now).into(),
        _ => Value::Null,
    }
}

fn date(text: &str, now: Timestamp) -> String {
    match text {
        "" | "null" => duration::UNKNOWN.to_owned(),
        text => match text.parse() {
            Ok(time) => duration::since(Some(time), now),
            Err(_) => duration::INVALID.to_owned(),
        },
    }
}
