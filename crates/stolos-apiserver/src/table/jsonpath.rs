//! The Kubernetes dialect of JSONPath, as far as printer columns need it.
//!
//! Supported: dotted fields with `\.` escapes, `['key']`, indexes and slices (negative ones count from the end), `[*]`,
//! `.*`, `..`, unions, and filters that compare two operands or ask whether a path exists. Not supported, because a
//! column has one expression: text around `{}`, `range` and `end`.

mod parse;

use std::cmp::Ordering;

use serde_json::Value;

pub use self::parse::ParseError;

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    /// Every element or field.
    Wildcard,
    /// The value itself and everything below it that has parts.
    Descend,
    /// Elements from `start` to before `end`; an index is a slice of one.
    Slice(Slice),
    /// What each of several paths finds, in their order.
    Union(Vec<Vec<Step>>),
    /// Elements that pass a test.
    Filter(Filter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    start: i64,
    /// Absent: to the end.
    end: Option<i64>,
    step: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Exists(Vec<Step>),
    Compare(Operand, Comparison, Operand),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An evaluation that has no meaning for the data, such as an index beyond the end. A column is then empty.
struct Inapplicable;

type Found<'a> = Result<Vec<&'a Value>, Inapplicable>;

impl JsonPath {
    /// Parses a path such as `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// When the text is not a path of the supported dialect.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::steps(text).map(|steps| Self { steps })
    }

    /// Returns the first value the path finds, if any.
    #[must_use]
    pub fn first<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        walk(vec![root], &self.steps).ok()?.first().copied()
    }
}

fn walk<'a>(mut values: Vec<&'a Value>, steps: &[Step]) -> Found<'a> {
    for step in steps {
        values = apply(values, step)?;
    }
    Ok(values)
}

fn apply<'a>(values: Vec<&'a Value>, step: &Step) -> Found<'a> {
    let mut found = Vec::new();
    match step {
        Step::Field(name) => {
            found.extend(values.into_iter().filter_map(|value| value.get(name.as_str())));
        }
        Step::Wildcard => values.into_iter().for_each(|value| found.extend(parts(value))),
        Step::Descend => values.into_iter().for_each(|value| descend(value, &mut found)),
        Step::Slice(slice) => {
            for value in values {
                match value {
                    Value::Null => {}
                    Value::Array(elements) => found.extend(slice.of(elements)?),
                    _ => return Err(Inapplicable),
                }
            }
        }
        Step::Union(paths) => {
            for path in paths {
                found.extend(walk(values.clone(), path)?);
            }
        }
        Step::Filter(filter) => {
            for value in values {
                for element in value.as_array().ok_or(Inapplicable)? {
                    if filter.passes(element)? {
                        found.push(element);
                    }
                }
            }
        }
    }
    Ok(found)
}

fn parts(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(elements) => elements.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// The depth is bounded because serde_json refuses deeply nested text.
fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    let parts = parts(value);
    if !parts.is_empty() {
        found.push(value);
    }
    for part in parts {
        descend(part, found);
    }
}

impl Slice {
    fn of<'a>(
        &self,
        elements: &'a [Value],
    ) -> Result<impl Iterator<Item = &'a Value> + use<'a>, Inapplicable> {
        let length = i64::try_from(elements.len()).map_err(|_| Inapplicable)?;
        let from_end = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
        let start = from_end(self.start);
        let end = self.end.map_or(length, from_end);
        let in_bounds =
            start == end || (0 <= start && start < length && start <= end && end <= length);
        if !in_bounds {
            return Err(Inapplicable);
        }
        let n_elements = usize::try_from(end - start).map_err(|_| Inapplicable)?;
        let skipped = usize::try_from(start).unwrap_or(0);
        Ok(elements.iter().skip(skipped).take(n_elements).step_by(self.step))
    }
}

impl Filter {
    fn passes(&self, element: &Value) -> Result<bool, Inapplicable> {
        match self {
            Self::Exists(path) => {
                Ok(walk(vec![element], path).is_ok_and(|found| !found.is_empty()))
            }
            Self::Compare(left, comparison, right) => {
                match (left.value(element)?, right.value(element)?) {
                    (Some(left), Some(right)) => comparison.holds(left, right),
                    _ => Ok(false),
                }
            }
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, element: &'a Value) -> Result<Option<&'a Value>, Inapplicable> {
        match self {
            Self::Literal(literal) => Ok(Some(literal)),
            Self::Path(path) => match walk(vec![element], path)?.as_slice() {
                [] => Ok(None),
                [value] => Ok(Some(value)),
                _ => Err(Inapplicable),
            },
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> Result<bool, Inapplicable> {
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => left.cmp(right),
            (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left.as_f64().partial_cmp(&right.as_f64()).ok_or(Inapplicable)?,
            },
            (Value::Bool(left), Value::Bool(right)) if self.is_equality() => left.cmp(right),
            _ => return Err(Inapplicable),
        };
        Ok(match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        })
    }

    fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_upstream_finds() {
        let object = json!({
            "spec": {"replicas": 3, "a.b/c": "dotted", "empty": [], "null": null},
            "status": {
                "conditions": [
                    {"type": "Synced", "status": "False", "n": 1},
                    {"type": "Ready", "status": "True", "n": 2, "message": "fine"},
                ],
                "list": ["a", "b", "c"],
            },
        });
        let cases = [
            (".spec.replicas", json!(3)),
            ("$.spec.replicas", json!(3)),
            (r".spec.a\.b/c", json!("dotted")),
            (r"['spec']['a\.b/c']", json!("dotted")),
            (r".spec['replicas']", json!(3)),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!("True")),
            (r".status.conditions[?(@.type == 'Ready')].status", json!("True")),
            (r".status.conditions[?(@.type!='Ready')].type", json!("Synced")),
            (r".status.conditions[?(@.n>1)].type", json!("Ready")),
            (r".status.conditions[?(@.n<=1)].type", json!("Synced")),
            (r".status.conditions[?(@.message)].type", json!("Ready")),
            (".status.list[0]", json!("a")),
            (".status.list[-1]", json!("c")),
            (".status.list[1:]", json!("b")),
            (".status.list[:2]", json!("a")),
            (".status.list[2:3]", json!("c")),
            (".status.list[*]", json!("a")),
            (".status.list[1,0]", json!("b")),
            (".status.conditions[*].status", json!("False")),
            ("..message", json!("fine")),
            (".spec.null", Value::Null),
        ];
        for (path, want) in cases {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(parsed.first(&object), Some(&want), "{path}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_find_nothing() {
        let object = json!({"a": {"list": [1], "text": "x"}});
        for path in [
            ".b",
            ".a.b.c",
            ".a.list[1]",
            ".a.list[-2]",
            ".a.text[0]",
            ".a[?(@.x==1)]",
            ".a.list[?(@.x==1)]",
            ".",
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), None, "{path}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in
            [".a[", ".a[x]", ".a[?(@.b==", ".a[?(@.b=='x')", ".a{", "....a", ".a['b", ".a[1:2:0]"]
        {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_either_a_path_or_an_error(text in r#"[.\[\]?()@'"a-c0-2:,*=<>! \\$-]{0,24}"#) {
            if let Ok(path) = JsonPath::parse(&text) {
                let _ = path.first(&json!({"a": [{"b": 1}, [2, "c"]], "c": {"a": null}}));
            }
        }
    }
}
