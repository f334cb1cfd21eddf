//! Reads JSON and YAML as kube-apiserver does: repeated keys are noticed, numbers keep their kind.

use std::fmt;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::{Schema, SchemaRef};

/// Most problems that are remembered of one body, as upstream.
pub const MAX_PROBLEMS: usize = 100;

/// What strict decoding objects to, although the body can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A field occurs twice; the last one wins. Holds its path, such as `spec.replicas`.
    Duplicate(String),
    /// The schema does not know a field. Holds its path.
    Unknown(String),
    /// The same in YAML, where it is located by line.
    DuplicateKey {
        /// Line of the second occurrence, from 1.
        line: u64,
        /// The key alone.
        key: String,
    },
    /// One of the first two in an operation of a JSON patch.
    InJsonPatch(Box<Problem>),
}

impl Problem {
    /// Says that the problem is one of a JSON patch itself.
    #[must_use]
    pub fn in_json_patch(self) -> Self {
        Self::InJsonPatch(Box::new(self))
    }
}

/// Words problems as clients know them.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(path) => write!(f, "duplicate field {path:?}"),
            Self::Unknown(path) => write!(f, "unknown field {path:?}"),
            Self::DuplicateKey { line, key } => {
                write!(f, "line {line}: key {key:?} already set in map")
            }
            Self::InJsonPatch(problem) => write!(f, "json patch {problem}"),
        }
    }
}

/// Parses JSON. Returns the value and which fields are repeated, in the order of the document.
///
/// # Errors
/// Fails with a text for people when the bytes are not exactly one JSON value.
pub fn json(bytes: &[u8]) -> Result<(Value, Vec<Problem>), String> {
    read_json(bytes, None)
}

/// Parses JSON of a built-in kind and leaves out fields that its schema does not know. Both kinds of problems come in the
/// order of the document; what stands within an unknown field, or in embedded objects, is not looked at.
///
/// # Errors
/// Fails with a text for people when the bytes are not exactly one JSON value.
pub fn json_of(schema: &Schema, bytes: &[u8]) -> Result<(Value, Vec<Problem>), String> {
    read_json(bytes, Some(schema))
}

fn read_json(bytes: &[u8], schema: Option<&Schema>) -> Result<(Value, Vec<Problem>), String> {
    let mut finder = Finder::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { finder: &mut finder, schema }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    Ok((value.map_err(|error| error.to_string())?, finder.problems))
}

/// Parses YAML (one document), with the same value as [`json`]. JSON is YAML too.
///
/// # Errors
/// Fails with a text for people when the bytes are not exactly one YAML document.
pub fn yaml(bytes: &[u8]) -> Result<(Value, Vec<Problem>), String> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    let mut finder = Finder { yaml: true, ..Finder::default() };
    let value = serde_saphyr::with_deserializer_from_slice_with_options(
        bytes,
        options,
        |deserializer: serde_saphyr::Deserializer<'_, '_>| {
            Node { finder: &mut finder, schema: None }.deserialize(deserializer)
        },
    );
    Ok((value.map_err(|error| error.to_string())?, finder.problems))
}

/// Where in a document we are, and what was found there.
#[derive(Default)]
struct Finder {
    /// Begins with `.` or `[`.
    path: String,
    problems: Vec<Problem>,
    yaml: bool,
    /// Nothing is looked for: within embedded objects of built-in kinds.
    muted: bool,
}

impl Finder {
    fn note(&mut self, problem: impl FnOnce(&str) -> Problem) {
        if self.problems.len() < MAX_PROBLEMS && !self.muted {
            let problem = problem(self.path.strip_prefix('.').unwrap_or(&self.path));
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    fn within<T>(
        &mut self,
        step: impl FnOnce(&mut String),
        visit: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let length = self.path.len();
        step(&mut self.path);
        let result = visit(self);
        self.path.truncate(length);
        result
    }
}

/// Reads one value.
struct Node<'f, 's> {
    finder: &'f mut Finder,
    /// Of a built-in kind: what is known of the value.
    schema: Option<&'s Schema>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What a field of an object is to its schema.
enum Known<'s> {
    Field(Option<&'s Schema>),
    Unknown,
}

impl<'s> Node<'_, 's> {
    fn field(&self, name: &str) -> Known<'s> {
        let Some(schema) = self.schema.filter(|schema| !schema.keeps_everything()) else {
            return Known::Field(None);
        };
        let known: Option<&'s SchemaRef> =
            schema.properties.get(name).or(schema.additional_properties.as_ref());
        match known {
            Some(known) => Known::Field(Some(&**known)),
            None if schema.preserve_unknown => Known::Field(None),
            None => Known::Unknown,
        }
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let Node { finder, schema } = self;
        let schema = schema.and_then(|schema| schema.items.as_deref());
        let mut items = Vec::new();
        loop {
            let step = |path: &mut String| push_index(path, items.len());
            let next = finder.within(step, |finder| seq.next_element_seed(Node { finder, schema }));
            match next? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let was_muted = self.finder.muted;
        self.finder.muted |= self.schema.is_some_and(|schema| schema.preserve_unknown);
        let mut fields = Map::new();
        while let Some((key, line)) = next_key(&mut access, self.finder.yaml)? {
            let step = |path: &mut String| push_field(path, &key);
            match self.field(&key) {
                Known::Unknown => {
                    let note = |path: &str| Problem::Unknown(path.to_owned());
                    self.finder.within(step, |finder| finder.note(note));
                    access.next_value::<IgnoredAny>()?;
                }
                Known::Field(schema) => {
                    let twice = fields.contains_key(&key);
                    let value = self.finder.within(step, |finder| {
                        if twice {
                            finder.note(|path| match line {
                                Some(line) => Problem::DuplicateKey { line, key: key.clone() },
                                None => Problem::Duplicate(path.to_owned()),
                            });
                        }
                        access.next_value_seed(Node { finder, schema })
                    })?;
                    fields.insert(key, value);
                }
            }
        }
        self.finder.muted = was_muted;
        Ok(Value::Object(fields))
    }
}

/// Reads a key, and in YAML its line.
fn next_key<'de, A: MapAccess<'de>>(
    access: &mut A,
    yaml: bool,
) -> Result<Option<(String, Option<u64>)>, A::Error> {
    if yaml {
        let key: Option<Spanned<String>> = access.next_key()?;
        return Ok(key.map(|key| (key.value, Some(key.referenced.line()))));
    }
    Ok(access.next_key()?.map(|key| (key, None)))
}

/// Keeps whole numbers whole: `1.0` is written back as `1`, as Go does.
fn number(value: f64) -> Value {
    /// Largest magnitude below which every whole `f64` is an exact `i64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Appends a field to a path: `spec` + `replicas` → `spec.replicas`.
pub(crate) fn field_path(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Appends a list index to a path: `spec.ports` + 0 → `spec.ports[0]`.
pub(crate) fn index_path(path: &str, index: usize) -> String {
    let mut text = path.to_owned();
    push_index(&mut text, index);
    text
}

/// Appends a field to a path that begins with a dot: `.spec` + `replicas`.
pub(crate) fn push_field(path: &mut String, field: &str) {
    path.push('.');
    path.push_str(field);
}

/// Appends a list index to a path: `.spec.ports` + 0 → `.spec.ports[0]`.
pub(crate) fn push_index(path: &mut String, index: usize) {
    let _ = write!(path, "[{index}]");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn texts(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    /// Pitfall: a JSON parser that keeps the last of two equal keys hides the first one.
    #[test]
    fn repeated_fields_are_reported_with_their_path_and_the_last_one_wins() {
        let text = br#"{"spec":{"a":1,"a":2,"list":[{"b":1},{"b":1,"b":3}]},"spec2":1}"#;
        let (value, problems) = json(text).unwrap();
        assert_eq!(value, json!({"spec":{"a":2,"list":[{"b":1},{"b":3}]},"spec2":1}));
        let want = ["duplicate field \"spec.a\"", "duplicate field \"spec.list[1].b\""];
        assert_eq!(texts(&problems), want);
    }

    #[test]
    fn fractions_come_back_as_they_were_sent() {
        for text in ["1.0091716303783899e+21", "0.1", "123456.789e-7", "2.2250738585072014e-308"] {
            let (value, _) = json(text.as_bytes()).unwrap();
            let exact: f64 = text.parse().unwrap();
            assert_eq!(value.as_f64(), Some(exact), "{text}");
            assert_eq!(value.to_string().parse(), Ok(exact), "{text}");
        }
    }

    #[test]
    fn unknown_and_repeated_fields_of_built_in_kinds_come_in_the_order_of_the_document() {
        let schema = builtin::kind("apps", "v1", "Deployment").unwrap();
        let text =
            br#"{"z": {"y": 1, "y": 2}, "spec": {"replicas": 1, "foo": 1, "replicas": 2, "foo": 2,
            "template": {"metadata": {"labels": {"a": "1", "a": "2"}, "bad": 1}}}, "a": 1}"#;
        let (value, problems) = json_of(&schema, text).unwrap();
        let want = [
            "unknown field \"z\"",
            "unknown field \"spec.foo\"",
            "duplicate field \"spec.replicas\"",
            "duplicate field \"spec.template.metadata.labels.a\"",
            "unknown field \"spec.template.metadata.bad\"",
            "unknown field \"a\"",
        ];
        assert_eq!(texts(&problems), want);
        let template = json!({"metadata": {"labels": {"a": "2"}}});
        assert_eq!(value, json!({"spec": {"replicas": 2, "template": template}}));
    }

    #[test]
    fn embedded_objects_of_built_in_kinds_are_not_looked_at() {
        let schema = builtin::kind("apps", "v1", "ControllerRevision").unwrap();
        let (value, problems) =
            json_of(&schema, br#"{"data": {"x": 1, "x": 2, "y": {}}}"#).unwrap();
        assert_eq!((value, problems), (json!({"data": {"x": 2, "y": {}}}), Vec::new()));
    }

    #[test]
    fn no_body_makes_more_than_a_hundred_problems() {
        let fields: Vec<String> = (0..300).map(|n| format!("\"f{n}\":1")).collect();
        let schema = builtin::kind("", "v1", "ConfigMap").unwrap();
        let text = format!("{{{}}}", fields.join(","));
        assert_eq!(json_of(&schema, text.as_bytes()).unwrap().1.len(), MAX_PROBLEMS);
        let twice = format!("{{{0},{0}}}", fields.join(","));
        assert_eq!(json(twice.as_bytes()).unwrap().1.len(), MAX_PROBLEMS);
    }

    /// Pitfall: a parser that reads every number as a float changes large ones, and writes `1.0` where Go writes `1`.
    #[test]
    fn numbers_keep_their_kind() {
        for (text, want) in [
            ("1.0", "1"),
            ("1e3", "1000"),
            ("1.5", "1.5"),
            ("-0.0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let (value, _) = json(text.as_bytes()).unwrap();
            assert_eq!(value.to_string(), want, "{text}");
        }
    }

    #[test]
    fn trailing_text_is_an_error() {
        assert!(json(b"{} x").is_err());
        assert!(json(b"").is_err());
        assert!(yaml(b"a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn yaml_reads_like_json() {
        let text = b"metadata:\n  name: x\n  labels: {a: \"1\", a: \"2\"}\nspec:\n  n: 1\n  f: 1.0\n  s: '1'\n  z: null\n  on: yes\n";
        let (value, duplicates) = yaml(text).unwrap();
        assert_eq!(value["metadata"], json!({"name": "x", "labels": {"a": "2"}}));
        assert_eq!(value["spec"]["n"], json!(1));
        assert_eq!(value["spec"]["f"], json!(1));
        assert_eq!(value["spec"]["s"], json!("1"));
        assert_eq!(value["spec"]["z"], json!(null));
        assert_eq!(texts(&duplicates), ["line 3: key \"a\" already set in map"]);
    }
}
