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

/// Marks the first of `allOf` of an int-or-string.
const FIRST_OF_ALL: &str = "first of int-or-string";

fn names_both_types(source: &Value) -> bool {
    let names = |index: usize| source["anyOf"][index]["type"].as_str();
    source["anyOf"].as_array().is_some_and(|list| list.len() == 2)
        && (names(0), names(1)) == (Some("integer"), Some("string"))
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
        let is_int_or_string = flag(source, "x-kubernetes-int-or-string");
        let plain = Place { of: "value checks", ..place.clone() };
        let typed = Place { of: INT_OR_STRING, ..place.clone() };
        // Types may be named in just two places: `anyOf` itself, and `anyOf` in the first of `allOf`.
        let may_name_types = is_int_or_string || place.of == FIRST_OF_ALL;
        let any_of = if may_name_types && names_both_types(source) { &typed } else { &plain };
        let first = if is_int_or_string {
            Place { of: FIRST_OF_ALL, ..place.clone() }
        } else {
            plain.clone()
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
            all_of: self.alternatives(source, "allOf", (&first, &plain)),
            any_of: self.alternatives(source, "anyOf", (any_of, any_of)),
            one_of: self.alternatives(source, "oneOf", (&plain, &plain)),
            not: source.get("not").map(|not| self.check_only(not, &plain, ".not")),
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

    /// Reads alternatives; the first one may stand in another place than the rest.
    fn alternatives(
        &mut self,
        source: &Value,
        keyword: &str,
        (first, rest): (&Place, &Place),
    ) -> Vec<SchemaRef> {
        let list = source[keyword].as_array().into_iter().flatten().enumerate();
        list.map(|(index, node)| {
            let place = if index == 0 { first } else { rest };
            self.check_only(node, place, &format!(".{keyword}[{index}]"))
        })
        .collect()
    }

    fn check_only(&mut self, source: &Value, place: &Place, step: &str) -> SchemaRef {
        let below = Place { checks_only: true, ..place.below(step, place.of) };
        SchemaRef::new(self.node(source, &below))
    }
}
