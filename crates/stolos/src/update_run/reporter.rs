//! Where the progress of a run goes: bars on a terminal, lines in a pipe, JSON for programs.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::{Timestamp, Zoned};
use serde_json::json;
use std::time::Duration;
use stolos_api::update::UpdateRun;

use super::frame::{self, Openings, Row, Scene};
use super::progress::Change;
use super::text;
use crate::cli::Output;
use crate::output;

/// How often a terminal shows that time goes on.
const TICK: Duration = Duration::from_millis(200);

/// How often remaining times are counted anew; they are shown in seconds at best.
const REFRESH: Duration = Duration::from_secs(1);

/// Shows how a run goes on.
pub(super) trait Reporter {
    /// Takes what happened, and how the run stands after it.
    fn report(
        &mut self,
        run: &UpdateRun,
        openings: &Openings,
        changes: &[Change],
    ) -> anyhow::Result<()>;

    /// How often the same run is to be shown again, because times go on.
    fn refresh(&self) -> Option<Duration> {
        None
    }

    /// Takes a remark about the watching itself.
    fn note(&mut self, text: &str);

    /// Leaves the place to what comes after the progress.
    fn close(&mut self);
}

/// Returns the reporter for an output format.
pub(super) fn choose(name: &str, output: Output) -> Box<dyn Reporter + Send> {
    let name = name.to_owned();
    match output {
        Output::Json => Box::new(Json { name }),
        _ if output::is_interactive() => {
            Box::new(Bars { name, bars: MultiProgress::new(), rows: Vec::new() })
        }
        Output::Table | Output::Wide | Output::Yaml | Output::Name => Box::new(Lines { name }),
    }
}

/// One JSON object per change, on standard output.
struct Json {
    name: String,
}

impl Reporter for Json {
    fn report(&mut self, _: &UpdateRun, _: &Openings, changes: &[Change]) -> anyhow::Result<()> {
        for change in changes {
            let mut line = json!(change);
            line["updateRun"] = json!(self.name);
            line["time"] = json!(Timestamp::now());
            output::line(&line.to_string())?;
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        output::note(text);
    }

    fn close(&mut self) {}
}

/// One line per change, on standard error.
struct Lines {
    name: String,
}

impl Reporter for Lines {
    fn report(&mut self, _: &UpdateRun, _: &Openings, changes: &[Change]) -> anyhow::Result<()> {
        let now = Zoned::now();
        for line in changes.iter().filter_map(|change| change.line(&self.name)) {
            output::note(&format!("{}  {line}", now.strftime("%H:%M:%S")));
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        output::note(text);
    }

    fn close(&mut self) {}
}

/// Bars on a terminal, the current state in place.
struct Bars {
    name: String,
    bars: MultiProgress,
    rows: Vec<ProgressBar>,
}

impl Reporter for Bars {
    fn refresh(&self) -> Option<Duration> {
        Some(REFRESH)
    }

    fn report(&mut self, run: &UpdateRun, openings: &Openings, _: &[Change]) -> anyhow::Result<()> {
        let scene = Scene { name: &self.name, run, openings, now: Timestamp::now() };
        let frame = frame::frame(&scene);
        while self.rows.len() > frame.len() {
            if let Some(row) = self.rows.pop() {
                self.bars.remove(&row);
            }
        }
        while self.rows.len() < frame.len() {
            let row = self.bars.add(ProgressBar::no_length());
            if self.rows.is_empty() {
                row.enable_steady_tick(TICK);
            }
            self.rows.push(row);
        }
        let label_width = frame.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        let rows = self.rows.iter().zip(&frame).zip(0..);
        rows.for_each(|((bar, row), index)| {
            draw(bar, row, label_width, (index == 0).then_some(run))
        });
        Ok(())
    }

    fn note(&mut self, text: &str) {
        // A terminal that is gone has nobody to tell.
        let _ = self.bars.println(text);
    }

    fn close(&mut self) {
        // A bar that is dropped unfinished is drawn once more.
        self.rows.drain(..).for_each(|row| row.finish_and_clear());
        let _ = self.bars.clear();
    }
}

/// Draws one row; the first one carries the time since the run began.
fn draw(bar: &ProgressBar, row: &Row, label_width: usize, first: Option<&UpdateRun>) {
    let elapsed = if first.is_some() { " {elapsed}" } else { "" };
    let (template, done, all) = match row.bar {
        Some((done, all)) => {
            (format!("{{prefix}}  {{bar:24}} {{pos}}/{{len}}{elapsed}  {{wide_msg}}"), done, all)
        }
        None => ("{prefix}  {wide_msg}".to_owned(), 0, 0),
    };
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    bar.set_style(style.progress_chars("━╸─"));
    bar.set_length(all as u64);
    bar.set_position(done as u64);
    bar.set_prefix(format!("{:<label_width$}", row.label));
    bar.set_message(row.text.clone());
    let started = first.and_then(text::status).and_then(|status| status.status.start_time.as_ref());
    if let Some(started) = started {
        let since = Timestamp::now().duration_since(started.0);
        bar.set_elapsed(Duration::try_from(since).unwrap_or_default());
    }
}
