//! Reads the keywords of a schema node.

use serde_json::{Number, Value};

use super::rules::INT_OR_STRING;
use super::{Compiler, Place};
use crate::schema::causes::invalid;
use crate::schema::constraints::Constraints;
use crate::schema::parse::field_path;
use crate::schema::{SchemaRef, Type, pattern};

pub(super) fn type_of(source: &Value) -> Type {
    match source["type"].as_str() {
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        _ if flag(source, "x-kubernetes-int-or-string") => Type::IntOrString,
        _ => Type::Any,
    }
}

pub(super) fn text(source: &Value, keyword: &str) -> Option<String> {
    source[keyword].as_str().map(str::to_owned)
}

pub(super) fn texts(source: &Value, keyword: &str) -> Vec<String> {
    let list = source[keyword].as_array().into_iter().flatten();
    list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

pub(super) fn flag(source: &Value, keyword: &str) -> bool {
    source[keyword] == true
}

fn number(source: &Value, keyword: &str) -> Option<Number> {
    source[keyword].as_number().cloned()
}

impl Compiler {
    /// Reads the value checks of a node; none if it has none.
    pub(super) fn constraints(&mut self, source: &Value, place: &Place) -> Option<Constraints> {
        const KEYWORDS: &[&str] = &[
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !KEYWORDS.iter().any(|keyword| source.get(keyword).is_some()) {
            return None;
        }
        let size = |keyword: &str| source[keyword].as_u64();
        let place = &if flag(source, "x-kubernetes-int-or-string") {
            Place { of: INT_OR_STRING, ..place.clone() }
        } else {
            place.clone()
        };
        Some(Constraints {
            enumeration: source["enum"].as_array().cloned().unwrap_or_default(),
            minimum: number(source, "minimum"),
            exclusive_minimum: flag(source, "exclusiveMinimum"),
            maximum: number(source, "maximum"),
            exclusive_maximum: flag(source, "exclusiveMaximum"),
            multiple_of: number(source, "multipleOf"),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            pattern: self.pattern(source, place),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
            all_of: self.alternatives(source, "allOf", place),
            any_of: self.alternatives(source, "anyOf", place),
            one_of: self.alternatives(source, "oneOf", place),
            not: source.get("not").map(|not| self.check_only(not, place, ".not")),
        })
    }

    fn pattern(&mut self, source: &Value, place: &Place) -> Option<(String, regex::Regex)> {
        let text = source["pattern"].as_str()?;
        match pattern::compile(text) {
            Ok(regex) => Some((text.to_owned(), regex)),
            Err(why) => {
                let why = format!("must be a valid regular expression, but isn't: {why}");
                self.causes.push(invalid(&field_path(&place.path, "pattern"), &text.into(), &why));
                None
            }
        }
    }

    fn alternatives(&mut self, source: &Value, keyword: &str, place: &Place) -> Vec<SchemaRef> {
        let list = source[keyword].as_array().into_iter().flatten().enumerate();
        list.map(|(index, node)| self.check_only(node, place, &format!(".{keyword}[{index}]")))
            .collect()
    }

    fn check_only(&mut self, source: &Value, place: &Place, step: &str) -> SchemaRef {
        let below = Place { checks_only: true, ..place.below(step, place.of) };
        SchemaRef::new(self.node(source, &below))
    }
}
