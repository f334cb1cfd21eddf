//! Value checks that a schema node may carry beyond its type.

use regex::Regex;
use serde_json::{Number, Value};

use super::SchemaRef;
use super::causes::{invalid, not_supported, too_long, too_many};
use super::pattern;
use crate::status::Cause;

/// Value checks of one node; all that are present must hold.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    /// Allowed values; empty means any.
    pub enumeration: Vec<Value>,
    /// Least number.
    pub minimum: Option<Number>,
    /// The least number itself is not allowed.
    pub exclusive_minimum: bool,
    /// Greatest number.
    pub maximum: Option<Number>,
    /// The greatest number itself is not allowed.
    pub exclusive_maximum: bool,
    /// Numbers are multiples of this.
    pub multiple_of: Option<Number>,
    /// Fewest characters.
    pub min_length: Option<u64>,
    /// Most characters.
    pub max_length: Option<u64>,
    /// Source and compiled form of a pattern that strings match somewhere.
    pub pattern: Option<(String, Regex)>,
    /// Fewest list elements.
    pub min_items: Option<u64>,
    /// Most list elements.
    pub max_items: Option<u64>,
    /// Fewest fields.
    pub min_properties: Option<u64>,
    /// Most fields.
    pub max_properties: Option<u64>,
    /// All of these hold.
    pub all_of: Vec<SchemaRef>,
    /// At least one of these holds.
    pub any_of: Vec<SchemaRef>,
    /// Exactly one of these holds.
    pub one_of: Vec<SchemaRef>,
    /// This does not hold.
    pub not: Option<SchemaRef>,
}

impl Constraints {
    /// Checks everything that needs no other schema; the parent combines [`Constraints::all_of`] and its siblings.
    pub(super) fn check(&self, path: &str, value: &Value, causes: &mut Vec<Cause>) {
        match value {
            Value::Number(number) => self.check_number(path, number, causes),
            Value::String(text) => self.check_text(path, text, causes),
            Value::Array(items) => {
                let limits = (self.min_items, self.max_items);
                check_size(path, items.len(), limits, "items", causes);
            }
            Value::Object(fields) => {
                let limits = (self.min_properties, self.max_properties);
                check_size(path, fields.len(), limits, "properties", causes);
            }
            Value::Null | Value::Bool(_) => {}
        }
        if !self.enumeration.is_empty() && !self.enumeration.contains(value) {
            causes.push(not_supported(path, value, &self.enumeration));
        }
    }

    fn check_number(&self, path: &str, number: &Number, causes: &mut Vec<Cause>) {
        let mut fail = |why: String| {
            causes.push(invalid(
                path,
                &Value::Number(number.clone()),
                &format!("{path} in body {why}"),
            ));
        };
        if let Some(factor) = &self.multiple_of
            && !is_multiple(number, factor)
        {
            fail(format!("should be a multiple of {factor}"));
        }
        if let Some(least) = &self.minimum {
            let order = compare(number, least);
            if order.is_lt() || (self.exclusive_minimum && order.is_eq()) {
                let or_equal = if self.exclusive_minimum { "" } else { " or equal to" };
                fail(format!("should be greater than{or_equal} {least}"));
            }
        }
        if let Some(most) = &self.maximum {
            let order = compare(number, most);
            if order.is_gt() || (self.exclusive_maximum && order.is_eq()) {
                let or_equal = if self.exclusive_maximum { "" } else { " or equal to" };
                fail(format!("should be less than{or_equal} {most}"));
            }
        }
    }

    /// Of what is wrong with a text, only the first is said.
    fn check_text(&self, path: &str, text: &str, causes: &mut Vec<Cause>) {
        let length = text.chars().count() as u64;
        let mut fail = |why: String| {
            causes.push(invalid(path, &text.into(), &format!("{path} in body should {why}")));
        };
        match (self.max_length, self.min_length, &self.pattern) {
            (Some(most), _, _) if length > most => causes.push(too_long(path, most)),
            (_, Some(least), _) if length < least => {
                fail(format!("be at least {least} chars long"));
            }
            (_, _, Some((source, regex))) if !regex.is_match(text) => {
                fail(format!("match '{source}'"));
            }
            _ => {}
        }
    }
}

fn check_size(
    path: &str,
    size: usize,
    (least, most): (Option<u64>, Option<u64>),
    of: &str,
    causes: &mut Vec<Cause>,
) {
    if let Some(least) = least
        && (size as u64) < least
    {
        let why = format!("{path} in body should have at least {least} {of}");
        causes.push(invalid(path, &size.into(), &why));
    }
    if let Some(most) = most
        && size as u64 > most
    {
        causes.push(too_many(path, size, most));
    }
}

/// Checks a string format and the range of sized integers; returns the format that does not hold.
pub(super) fn broken_format<'a>(format: &'a str, value: &Value) -> Option<&'a str> {
    let holds = match value {
        Value::String(text) => pattern::has_format(format, text),
        Value::Number(number) if format == "int32" => {
            number.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
        }
        Value::Number(number) if format == "int64" => number.as_i64().is_some(),
        _ => true,
    };
    (!holds).then_some(format)
}

fn compare(left: &Number, right: &Number) -> std::cmp::Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => float(left).total_cmp(&float(right)),
    }
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    match (number.as_i64(), factor.as_i64()) {
        (Some(number), Some(factor)) => factor != 0 && number % factor == 0,
        _ => (float(number) / float(factor)).fract() == 0.0,
    }
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}
