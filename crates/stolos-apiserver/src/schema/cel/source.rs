//! Expressions as text: parsing, and errors that point into the text.

use std::sync::LazyLock;

use ::cel::common::ast::{IdedExpr, SourceInfo};
use ::cel::{Env, ParseError};

/// Most characters of an expression, as upstream.
const MAX_CHARACTERS: usize = 100_000;

/// An error in an expression, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Issue {
    /// Line, from 1.
    pub(super) line: usize,
    /// Characters before it in the line.
    pub(super) column: usize,
    pub(super) text: String,
}

/// A parsed expression.
pub(super) struct Parsed {
    pub(super) expression: IdedExpr,
    pub(super) places: SourceInfo,
}

/// Parses an expression.
pub(super) fn parse(source: &str) -> Result<Parsed, Vec<Issue>> {
    static ENVIRONMENT: LazyLock<Env> = LazyLock::new(super::macros::environment);
    let length = source.chars().count();
    if length > MAX_CHARACTERS {
        let text = format!(
            "expression code point size exceeds limit: size: {length}, limit {MAX_CHARACTERS}"
        );
        return Err(vec![Issue { line: 1, column: 0, text }]);
    }
    let parsed = ENVIRONMENT.parser().parse_with_source_info(source);
    let (expression, places) = parsed.map_err(|errors| {
        let issue = |error: ParseError| Issue {
            line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
            column: usize::try_from(error.pos.1 - 1).unwrap_or(0),
            text: in_words_of_cel_go(error.msg),
        };
        errors.errors.into_iter().map(issue).collect::<Vec<_>>()
    })?;
    Ok(Parsed { expression, places })
}

/// Words an error of the parser as that of cel-go does.
fn in_words_of_cel_go(text: String) -> String {
    if text.starts_with("invalid string literal") || text.starts_with("invalid bytes literal") {
        return "unable to unescape string".to_owned();
    }
    match text.split_once(" expecting {<EOF>, ") {
        Some((what, _)) => format!("{what} expecting <EOF>"),
        None => text,
    }
}

/// Returns the line and column of a node.
pub(super) fn place(source: &str, places: &SourceInfo, id: u64) -> (usize, usize) {
    let start = places.offset_for(id).map_or(0, |(start, _)| start as usize);
    let (mut line, mut column) = (1, 0);
    for (_, c) in source.char_indices().take_while(|(at, _)| *at < start) {
        if c == '\n' {
            line += 1;
            column = 0;
        } else {
            column += 1;
        }
    }
    (line, column)
}

/// Writes errors as cel-go prints them, with the line that they are in.
pub(super) fn display(source: &str, issues: &[Issue]) -> String {
    /// Most errors that are shown.
    const MAX_SHOWN: usize = 100;
    let mut sorted = issues.to_vec();
    sorted.sort_by_key(|issue| (issue.line, issue.column));
    let mut texts: Vec<String> =
        sorted.iter().take(MAX_SHOWN).map(|issue| display_one(source, issue)).collect();
    if sorted.len() > MAX_SHOWN {
        texts.push(format!("{} more errors were truncated", sorted.len() - MAX_SHOWN));
    }
    texts.join("\n")
}

fn display_one(source: &str, issue: &Issue) -> String {
    let head = format!("ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.text);
    let Some(line) = source.split('\n').nth(issue.line - 1) else { return head };
    let line = line.replace('\t', " ");
    let mut pointer = String::new();
    let mut chars = line.chars();
    for c in chars.by_ref().take(issue.column) {
        pointer.push(if c.len_utf8() > 1 { '．' } else { '.' });
    }
    pointer.push(if chars.next().is_some_and(|c| c.len_utf8() > 1) { '＾' } else { '^' });
    format!("{head}\n | {line}\n | {pointer}")
}
