//! Data on standard output.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Output;

/// Prints a line of data.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("failed to write to standard output")
}

/// Prints a line about what is going on, on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Tells whether progress is watched by a person.
pub(crate) fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints a value as JSON or YAML, or returns false for the formats that are made by hand.
pub(crate) fn structured(value: &impl Serialize, output: Output) -> anyhow::Result<bool> {
    match output {
        Output::Json => {
            line(&serde_json::to_string_pretty(value).context("failed to write JSON")?)?
        }
        Output::Yaml => {
            let text = serde_saphyr::to_string(value).context("failed to write YAML")?;
            line(text.trim_end())?;
        }
        Output::Table | Output::Wide | Output::Name => return Ok(false),
    }
    Ok(true)
}

/// Prints rows under headings, in columns as wide as needed.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let row_text = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    line(&row_text(&mut headings.iter().copied()))?;
    for row in rows {
        line(&row_text(&mut row.iter().map(String::as_str)))?;
    }
    Ok(())
}

/// Returns a number of things: `1 cluster`, `2 clusters`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Returns a text in lines of at most `width` columns, each after a margin, broken between words.
pub(crate) fn wrap(text: &str, margin: usize, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{}{word}", " ".repeat(margin))),
        }
    }
    lines
}

/// Returns a time as kubectl writes ages: `45s`, `12m`, `5h`, `3d`.
pub(crate) fn age(from: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(from).as_secs().max(0))
}

/// Returns a duration, rounded down to one unit that leaves at least two of it.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// Returns the first characters of a text, with an ellipsis where something is left out.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut text: String = text.chars().take(most.saturating_sub(1)).collect();
    text.truncate(text.trim_end().len());
    text.push('…');
    text
}
