//! The line that a benchmark prints.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::Serialize;

use crate::{machine, stats};

/// Figures of one run by name; the unit is the end of the name.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Adds a figure, rounded to what can be trusted.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        let scale = if value.abs() < 100.0 { 100.0 } else { 1.0 };
        self.0.insert(name.into(), (value * scale).round() / scale);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {value}")?;
        }
        Ok(())
    }
}

/// Everything that a figure can be judged by.
#[derive(Serialize)]
pub(crate) struct Report {
    benchmark: &'static str,
    commit: Option<String>,
    at: jiff::Timestamp,
    machine: machine::Machine,
    seed: u64,
    settings: serde_json::Value,
    /// Load averages before the first run and after the last.
    load_before: Option<[f64; 3]>,
    load_after: Option<[f64; 3]>,
    /// Medians over the runs.
    median: Figures,
    runs: Vec<Figures>,
}

impl Report {
    pub(crate) fn new(
        benchmark: &'static str,
        seed: u64,
        settings: &impl Serialize,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            benchmark,
            commit: machine::commit(),
            at: jiff::Timestamp::now(),
            machine: machine::Machine::read(),
            seed,
            settings: serde_json::to_value(settings).context("failed to write the settings")?,
            load_before: machine::load(),
            load_after: None,
            median: Figures::default(),
            runs: Vec::new(),
        })
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, figures: Figures) {
        self.runs.push(figures);
    }

    /// Returns the line.
    pub(crate) fn finish(mut self) -> anyhow::Result<String> {
        self.load_after = machine::load();
        self.median = medians(&self.runs);
        serde_json::to_string(&self).context("failed to write the report")
    }
}

fn medians(runs: &[Figures]) -> Figures {
    let mut by_name: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in runs.iter().flat_map(|run| &run.0) {
        by_name.entry(name).or_default().push(*value);
    }
    let mut medians = Figures::default();
    for (name, values) in by_name {
        if let Some(median) = stats::median(&values) {
            medians.add(name, median);
        }
    }
    medians
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_taken_figure_by_figure() {
        let run = |a: f64, b: f64| {
            let mut figures = Figures::default();
            figures.add("a_ms", a);
            figures.add("b_ms", b);
            figures
        };
        let medians = medians(&[run(1.0, 9.0), run(3.0, 7.0), run(2.0, 8.0)]);
        assert_eq!(medians.to_string(), "a_ms 2, b_ms 8");
    }
}
