//! Server-side printing: `meta.k8s.io/v1 Table`.

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
    /// JSONPath of a custom column; built-in kinds compute their cells in code.
    pub json_path: Option<String>,
}
