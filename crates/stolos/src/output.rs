//! Data on standard output.

use std::io::{IsTerminal, Write};

use anyhow::Context;
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
