//! Functions over texts. Places in a text count characters, not bytes.

use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "contains" => |args| two(args, |text, part| text.contains(part)),
        "startsWith" => |args| two(args, |text, part| text.starts_with(part)),
        "endsWith" => |args| two(args, |text, part| text.ends_with(part)),
        "charAt" => char_at,
        "lowerAscii" => |args| Ok(Value::text(text(&args[0])?.to_ascii_lowercase())),
        "upperAscii" => |args| Ok(Value::text(text(&args[0])?.to_ascii_uppercase())),
        "trim" => |args| Ok(Value::text(text(&args[0])?.trim())),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "format" => super::template::format,
        "strings.quote" => |args| Ok(Value::text(quote(text(&args[0])?))),
        _ => return None,
    })
}

fn text<'b>(value: &'b Value<'_>) -> Result<&'b str, Error> {
    match value {
        Value::String(text) => Ok(text.as_str()),
        _ => Err(Error::no_such_overload()),
    }
}

fn number(value: &Value<'_>) -> Result<i64, Error> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => Err(Error::no_such_overload()),
    }
}

fn two<'a>(args: &[Value<'a>], holds: fn(&str, &str) -> bool) -> Answer<'a> {
    Ok(holds(text(&args[0])?, text(&args[1])?).into())
}

fn out_of_range(index: i64) -> Error {
    Error::new(format!("index out of range: {index}"))
}

/// Returns the place of a character in bytes; the end of the text counts as one.
fn offset(text: &str, index: i64) -> Result<usize, Error> {
    let wanted = usize::try_from(index).map_err(|_| out_of_range(index))?;
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.nth(wanted).ok_or_else(|| out_of_range(index))
}

fn char_at<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, index) = (text(&args[0])?, number(&args[1])?);
    let rest = &text[offset(text, index)?..];
    Ok(Value::text(rest.chars().next().map(String::from).unwrap_or_default()))
}

#[expect(clippy::cast_possible_wrap, reason = "no text has that many characters")]
fn count(text: &str) -> i64 {
    text.chars().count() as i64
}

pub(super) fn index_of<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, part) = (text(&args[0])?, text(&args[1])?);
    let start = args.get(2).map(number).transpose()?.unwrap_or(0);
    if part.is_empty() {
        return Ok(Value::Int(start));
    }
    if start < 0 {
        return Err(out_of_range(start));
    }
    if start >= count(text) {
        return Ok(Value::Int(-1));
    }
    let from = offset(text, start)?;
    let found = text[from..].find(part).map(|at| count(&text[..from + at]));
    Ok(Value::Int(found.unwrap_or(-1)))
}

pub(super) fn last_index_of<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, part) = (text(&args[0])?, text(&args[1])?);
    let length = count(text);
    let latest = args.get(2).map(number).transpose()?;
    if part.is_empty() {
        return Ok(Value::Int(latest.unwrap_or(length)));
    }
    let latest = match latest {
        None => length,
        Some(latest) if latest < 0 => return Err(out_of_range(latest)),
        Some(latest) if latest >= length => return Ok(Value::Int(-1)),
        Some(latest) => latest,
    };
    // The last match that begins at or before the latest place.
    let end = offset(text, latest)?;
    let found =
        text.char_indices().rev().find(|(at, _)| *at <= end && text[*at..].starts_with(part));
    Ok(Value::Int(found.map_or(-1, |(at, _)| count(&text[..at]))))
}

fn replace<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, from, to) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    Ok(Value::text(match args.get(3).map(number).transpose()? {
        Some(most) if most >= 0 => {
            text.replacen(from, to, usize::try_from(most).unwrap_or(usize::MAX))
        }
        _ => text.replace(from, to),
    }))
}

fn split<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, separator) = (text(&args[0])?, text(&args[1])?);
    let most = args.get(2).map(number).transpose()?.unwrap_or(-1);
    if most == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let parts: Vec<Value<'a>> = if separator.is_empty() {
        characters(text, most).into_iter().map(Value::text).collect()
    } else {
        text.splitn(most, separator).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

/// Splits into characters; the last part takes the rest.
fn characters(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if parts.len() + 1 >= most {
            parts.push(rest);
            return parts;
        }
        let (head, tail) = rest.split_at(first.len_utf8());
        parts.push(head);
        rest = tail;
    }
    parts
}

fn substring<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, start) = (text(&args[0])?, number(&args[1])?);
    let Some(end) = args.get(2).map(number).transpose()? else {
        return Ok(Value::text(&text[offset(text, start)?..]));
    };
    if start > end {
        return Err(Error::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    Ok(Value::text(&text[offset(text, start)?..offset(text, end)?]))
}

fn join<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    let separator = args.get(1).map(text).transpose()?.unwrap_or_default();
    let mut out = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(text(&item)?);
    }
    Ok(Value::text(out))
}

/// Writes a text so that it can be read back, in double quotes.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
