//! Reads the text of a path.

use serde_json::Value;

use super::{Comparison, Filter, Operand, Slice, Step};

/// Nested filters and unions beyond this are no printer column but an attack on the stack.
const MAX_DEPTH: usize = 16;

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at `{rest}`")]
pub struct ParseError {
    /// What could have followed.
    pub expected: &'static str,
    /// The text from there on.
    pub rest: String,
}

fn expected<T>(expected: &'static str, rest: &str) -> Result<T, ParseError> {
    Err(ParseError { expected, rest: rest.to_owned() })
}

pub(super) fn steps(text: &str) -> Result<Vec<Step>, ParseError> {
    steps_at(text, MAX_DEPTH)
}

fn steps_at(text: &str, depth: usize) -> Result<Vec<Step>, ParseError> {
    let Some(depth) = depth.checked_sub(1) else {
        return expected("less nesting", text);
    };
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = if let Some(after) = rest.strip_prefix("..") {
            if steps.last() == Some(&Step::Descend) {
                return expected("a field name", rest);
            }
            steps.push(Step::Descend);
            if after.starts_with(|next: char| next == '_' || next.is_alphanumeric()) {
                field(after, &mut steps)
            } else {
                after
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            field(after, &mut steps)
        } else if let Some(after) = rest.strip_prefix("[?(") {
            let (inside, after) = filter_text(after)?;
            steps.push(Step::Filter(filter(inside, depth)?));
            after
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some((inside, after)) = after.split_once(']') else {
                return expected("a closing `]`", rest);
            };
            brackets(inside, depth, &mut steps)?;
            after
        } else if matches!(first, ' ' | '@' | '$') {
            &rest[1..]
        } else {
            return expected("`.` or `[`", rest);
        };
    }
    Ok(steps)
}

/// Reads a field name up to the next terminator; a backslash takes the next character as part of the name.
fn field<'a>(text: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => name.extend(
                chars.next().map(|(_, escaped)| escaped).filter(|escaped| *escaped != '\\'),
            ),
            ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}' => {
                end = at;
                break;
            }
            char => name.push(char),
        }
    }
    steps.push(if &text[..end] == "*" { Step::Wildcard } else { Step::Field(name) });
    &text[end..]
}

/// Reads what stands between brackets: a key in quotes, an index, a slice or a union of them.
fn brackets(inside: &str, depth: usize, steps: &mut Vec<Step>) -> Result<(), ParseError> {
    if inside.contains(',') {
        let paths =
            inside.split(',').map(|part| steps_at(&format!("[{}]", part.trim_matches(' ')), depth));
        steps.push(Step::Union(paths.collect::<Result<_, _>>()?));
        return Ok(());
    }
    let quoted = inside.strip_prefix('\'').and_then(|key| key.strip_suffix('\''));
    if let Some(key) = quoted.filter(|key| !key.contains('\'')) {
        steps.extend(steps_at(&format!(".{key}"), depth)?);
        return Ok(());
    }
    steps.push(Step::Slice(slice(if inside == "*" { ":" } else { inside })?));
    Ok(())
}

fn slice(text: &str) -> Result<Slice, ParseError> {
    let wrong = || ParseError { expected: "an index", rest: text.to_owned() };
    let bound = |part: &str| match part {
        "" => Ok(None),
        part => part.parse::<i64>().map(Some).map_err(|_| wrong()),
    };
    let mut parts = text.split(':');
    let first = bound(parts.next().unwrap_or_default())?;
    let Some(second) = parts.next() else {
        let start = first.ok_or_else(wrong)?;
        // The last element from behind has no index after it that would not mean the first from the front.
        let end = if start == -1 { None } else { Some(start.saturating_add(1)) };
        return Ok(Slice { start, end, step: 1 });
    };
    let end = bound(second)?;
    let step = match parts.next() {
        None | Some("") => 1,
        Some(step) => step.parse().ok().filter(|step| *step > 0).ok_or_else(wrong)?,
    };
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(Slice { start: first.unwrap_or(0), end, step })
}

/// Splits off the inside of a filter; a closing parenthesis within quotes does not end it.
fn filter_text(text: &str) -> Result<(&str, &str), ParseError> {
    let mut quote = None;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(open), char) if char == open && !escaped => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, ')') => {
                let Some(rest) = text[at + 1..].strip_prefix(']') else {
                    return expected("`)]`", &text[at..]);
                };
                return Ok((&text[..at], rest));
            }
            _ => {}
        }
        escaped = char == '\\' && !escaped;
    }
    expected("`)]`", text)
}

fn filter(text: &str, depth: usize) -> Result<Filter, ParseError> {
    let is_operator = |char: char| matches!(char, '!' | '<' | '>' | '=');
    let Some(at) = text.find(is_operator) else {
        return steps_at(text, depth).map(Filter::Exists);
    };
    let (left, rest) = text.split_at(at);
    let length = rest.find(|char| !is_operator(char)).unwrap_or(rest.len());
    let (operator, right) = rest.split_at(length);
    let comparison = match operator {
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return expected("a comparison", rest),
    };
    Ok(Filter::Compare(operand(left, depth)?, comparison, operand(right, depth)?))
}

fn operand(text: &str, depth: usize) -> Result<Operand, ParseError> {
    let text = text.trim_matches(' ');
    let literal = match text.chars().next() {
        None => return expected("a value", text),
        Some(quote @ ('\'' | '"')) => {
            let inside = text[1..].strip_suffix(quote);
            Value::String(unescape(inside.ok_or_else(|| ParseError {
                expected: "a closing quote",
                rest: text.to_owned(),
            })?))
        }
        Some('+' | '-' | '0'..='9') => {
            let number = serde_json::from_str(text.trim_start_matches('+'));
            number.map_err(|_| ParseError { expected: "a number", rest: text.to_owned() })?
        }
        Some(_) if text == "true" || text == "false" => Value::Bool(text == "true"),
        Some(_) => return steps_at(text, depth).map(Operand::Path),
    };
    Ok(Operand::Literal(literal))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    plain
}
