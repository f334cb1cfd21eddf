//! Data on standard output.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use jiff::Timestamp;
use kube::Resource;
use serde::Serialize;
use serde_json::json;

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

/// Returns an object as people read it: who set which field is left out, as kubectl does.
pub(crate) fn readable<K: Resource + Clone>(object: &K) -> K {
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    object
}

/// Prints what became of an object: a line for people, its name, or the object itself.
pub(crate) fn outcome<K: Resource + Clone + Serialize>(
    name: &str,
    object: &K,
    text: &str,
    output: Output,
) -> anyhow::Result<()> {
    if output == Output::Name {
        line(name)
    } else if structured(&readable(object), output)? {
        Ok(())
    } else {
        line(text)
    }
}

/// Prints objects as a list for programs, or by their names; returns false for the formats that are made by hand.
pub(crate) fn list<K: Resource + Clone + Serialize>(
    objects: &[K],
    name: impl Fn(&K) -> String,
    output: Output,
) -> anyhow::Result<bool> {
    match output {
        Output::Json | Output::Yaml => {
            let items: Vec<K> = objects.iter().map(readable).collect();
            structured(&json!({ "apiVersion": "v1", "kind": "List", "items": items }), output)
        }
        Output::Name => {
            for object in objects {
                line(&name(object))?;
            }
            Ok(true)
        }
        Output::Table | Output::Wide => Ok(false),
    }
}

/// Returns how long ago something was, or a dash.
pub(crate) fn since(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| age(time, now))
}

/// Prints rows under headings, in columns as wide as needed.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    rows_of(headings, rows).iter().try_for_each(|row| line(row))
}

/// As [`table`], with lines that are cut where a screen of `width` columns ends.
pub(crate) fn narrow_table(
    headings: &[&str],
    rows: &[Vec<String>],
    width: usize,
) -> anyhow::Result<()> {
    rows_of(headings, rows).iter().try_for_each(|row| line(&cut(row, width)))
}

fn rows_of(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let row_text = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    let heading = row_text(&mut headings.iter().copied());
    let rows = rows.iter().map(|row| row_text(&mut row.iter().map(String::as_str)));
    std::iter::once(heading).chain(rows).collect()
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
