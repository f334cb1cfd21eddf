//! `string.format`: templates with the verbs of Go, in the English locale.

use super::{Answer, no_overload, standard};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;

/// Digits after the point, if the template does not say.
const DIGITS: usize = 6;
/// Most digits after the point; more than a number can have.
const MAX_DIGITS: usize = 1000;

/// A part of a template.
pub(in crate::schema::cel) enum Part {
    Text(String),
    Verb { verb: char, digits: usize },
}

/// Reads a template.
pub(in crate::schema::cel) fn parse(template: &str) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut verb = chars.next();
        if verb == Some('%') {
            text.push('%');
            continue;
        }
        let mut digits = DIGITS;
        if verb == Some('.') {
            let number: String = chars.clone().take_while(char::is_ascii_digit).collect();
            for _ in 0..number.len() {
                chars.next();
            }
            digits = number.parse().unwrap_or(DIGITS).min(MAX_DIGITS);
            verb = chars.next();
        }
        let verb = verb.ok_or_else(|| Error::new("unexpected end of string"))?;
        if !"sdfebxXo".contains(verb) {
            return Err(Error::new(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
            )));
        }
        parts.push(Part::Text(std::mem::take(&mut text)));
        parts.push(Part::Verb { verb, digits });
    }
    parts.push(Part::Text(text));
    Ok(parts)
}

/// Returns what a verb takes, as errors say it: the name of the clause and the types.
pub(in crate::schema::cel) fn takes(verb: char) -> (&'static str, &'static str) {
    match verb {
        'd' => ("decimal", "integers"),
        'f' => ("fixed-point", "doubles"),
        'e' => ("scientific", "doubles"),
        'b' => ("binary", "integers and bools"),
        'o' => ("octal", "integers"),
        'x' | 'X' => ("hex", "integers, byte buffers, and strings"),
        _ => (
            "string",
            "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        ),
    }
}

/// Returns the error about a value that a verb does not take.
pub(in crate::schema::cel) fn unfit(verb: char, given: &str) -> Error {
    let (clause, types) = takes(verb);
    Error::new(format!(
        "error during formatting: {clause} clause can only be used on {types}, was given {given}"
    ))
}

/// Fills in a template.
pub(super) fn format<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::String(template), Value::List(list)] = args else { return no_overload() };
    let mut values = list.iter();
    let mut used = 0_usize;
    let mut out = String::new();
    for part in parse(template.as_str())? {
        match part {
            Part::Text(text) => out.push_str(&text),
            Part::Verb { verb, digits } => {
                let index_out = || Error::new(format!("index {used} out of range"));
                let value = values.next().ok_or_else(index_out)?;
                used += 1;
                out.push_str(&write(verb, digits, &value)?);
            }
        }
    }
    Ok(Value::text(out))
}

fn write(verb: char, digits: usize, value: &Value<'_>) -> Result<String, Error> {
    Ok(match (verb, value) {
        ('s', value) => return plain(value),
        ('d', Value::Int(number)) => number.to_string(),
        ('d', Value::Uint(number)) => number.to_string(),
        ('f', Value::Double(number)) => fixed(*number, digits),
        ('e', Value::Double(number)) => scientific(*number, digits),
        ('b', Value::Int(number)) => signed(*number, |n| format!("{n:b}")),
        ('b', Value::Uint(number)) => format!("{number:b}"),
        ('b', Value::Bool(value)) => if *value { "1" } else { "0" }.to_owned(),
        ('o', Value::Int(number)) => signed(*number, |n| format!("{n:o}")),
        ('o', Value::Uint(number)) => format!("{number:o}"),
        ('x' | 'X', _) => {
            let text = match value {
                Value::Int(number) => signed(*number, |n| format!("{n:x}")),
                Value::Uint(number) => format!("{number:x}"),
                Value::String(text) => hex::encode(text.as_str()),
                Value::Bytes(bytes) => hex::encode(bytes),
                other => return Err(unfit(verb, other.type_name())),
            };
            if verb == 'X' { text.to_uppercase() } else { text }
        }
        (_, other) => return Err(unfit(verb, other.type_name())),
    })
}

fn signed(number: i64, write: fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", write(number.unsigned_abs()))
}

/// Writes a number with its thousands grouped.
fn fixed(number: f64, digits: usize) -> String {
    if !number.is_finite() {
        return special(number).to_owned();
    }
    let text = format!("{number:.digits$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |text| ("-", text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{dot}{fraction}")
}

/// Writes a number as print does: `1.5×10⁰³`.
fn scientific(number: f64, digits: usize) -> String {
    if !number.is_finite() {
        return special(number).to_owned();
    }
    let text = format!("{number:.digits$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ("⁻", rest),
        None => ("", exponent),
    };
    let raised: String = format!("{exponent:0>2}")
        .chars()
        .map(|digit| match digit {
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            '9' => '⁹',
            _ => '⁰',
        })
        .collect();
    format!("{digits}×10{sign}{raised}")
}

fn special(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "∞"
    } else {
        "-∞"
    }
}

/// What `%s` makes of a value.
fn plain(value: &Value<'_>) -> Result<String, Error> {
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::Double(number) => Ok(standard::double_text(*number)),
        Value::List(_) | Value::Map(_) => nested(value),
        Value::Optional(_) | Value::Opaque(_) => Err(unfit('s', value.type_name())),
        other => other.to_text().ok_or_else(|| unfit('s', other.type_name())),
    }
}

/// Values within lists and maps are written as literals.
fn nested(value: &Value<'_>) -> Result<String, Error> {
    Ok(match value {
        Value::List(list) => {
            let items = list.iter().map(|item| nested(&item)).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let mut entries = Vec::new();
            for key in map.keys() {
                let value = map.get(&key)?.unwrap_or_default();
                entries.push((nested(&key)?, nested(&value)?));
            }
            entries.sort();
            let texts: Vec<String> =
                entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", texts.join(", "))
        }
        Value::String(text) => format!("{:?}", text.as_str()),
        Value::Bytes(_) => format!("b{:?}", plain(value)?),
        Value::Double(number) if !number.is_finite() => {
            format!("{:?}", standard::double_text(*number))
        }
        Value::Double(number) => format!("{number:.DIGITS$}"),
        Value::Duration(_) => format!("duration({:?})", plain(value)?),
        Value::Timestamp(_) => format!("timestamp({:?})", plain(value)?),
        Value::Optional(_) | Value::Opaque(_) => {
            return Err(Error::new(format!("no formatting function for {}", value.type_name())));
        }
        other => plain(other)?,
    })
}
