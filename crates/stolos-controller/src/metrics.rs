//! Figures of a process, in the text format of Prometheus. What they are called and when they move is the owner's business.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

/// What is counted or measured under one name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// How it moves.
    pub kind: Kind,
}

/// How figures move.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
    /// Observations, by these upper bounds in ascending order.
    Histogram(&'static [f64]),
}

impl Family {
    /// Names a counter.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter }
    }

    /// Names a gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge }
    }

    /// Names a histogram.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, help, kind: Kind::Histogram(bounds) }
    }
}

/// Labels of a series, in the order in which they are printed.
pub type Labels = Vec<(&'static str, String)>;

/// The figures of a process.
#[derive(Debug)]
pub struct Registry {
    families: &'static [Family],
    series: Mutex<BTreeMap<&'static str, BTreeMap<Labels, Series>>>,
}

#[derive(Debug)]
enum Series {
    Number(f64),
    /// Observations up to each bound alone, and beyond the last one.
    Histogram {
        counts: Vec<u64>,
        sum: f64,
    },
}

impl Registry {
    /// Makes a registry of these families. What is said of others is not kept.
    #[must_use]
    pub fn new(families: &'static [Family]) -> Self {
        Self { families, series: Mutex::default() }
    }

    /// Counts one more.
    pub fn count(&self, family: &Family, labels: Labels) {
        self.change(family, labels, |number| *number += 1.0);
    }

    /// Moves a gauge.
    pub fn add(&self, family: &Family, labels: Labels, by: f64) {
        self.change(family, labels, |number| *number += by);
    }

    /// Sets a gauge.
    pub fn set(&self, family: &Family, labels: Labels, value: f64) {
        self.change(family, labels, |number| *number = value);
    }

    fn change(&self, family: &Family, labels: Labels, change: impl FnOnce(&mut f64)) {
        let mut series = self.series.lock().expect("no holder of this lock panics");
        let of_family = series.entry(family.name).or_default();
        let series = of_family.entry(labels).or_insert(Series::Number(0.0));
        if let Series::Number(number) = series {
            change(number);
        }
    }

    /// Adds an observation to a histogram.
    pub fn observe(&self, family: &Family, labels: Labels, value: f64) {
        let Kind::Histogram(bounds) = family.kind else { return };
        let mut series = self.series.lock().expect("no holder of this lock panics");
        let of_family = series.entry(family.name).or_default();
        let empty = || Series::Histogram { counts: vec![0; bounds.len() + 1], sum: 0.0 };
        if let Series::Histogram { counts, sum } = of_family.entry(labels).or_insert_with(empty) {
            let place = bounds.iter().position(|bound| value <= *bound);
            counts[place.unwrap_or(bounds.len())] += 1;
            *sum += value;
        }
    }

    /// Drops a series.
    pub fn forget(&self, family: &Family, labels: &Labels) {
        let mut series = self.series.lock().expect("no holder of this lock panics");
        if let Some(of_family) = series.get_mut(family.name) {
            of_family.remove(labels);
        }
    }

    /// Returns all of it as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        let series = self.series.lock().expect("no holder of this lock panics");
        let mut text = String::new();
        for family in self.families {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            let Family { name, help, .. } = family;
            line(&mut text, format_args!("# HELP {name} {help}"));
            line(&mut text, format_args!("# TYPE {name} {kind}"));
            for (labels, series) in series.get(name).into_iter().flatten() {
                write_series(&mut text, family, labels, series);
            }
        }
        text
    }
}

fn write_series(text: &mut String, family: &Family, labels: &Labels, series: &Series) {
    let name = family.name;
    match (series, family.kind) {
        (Series::Histogram { counts, sum }, Kind::Histogram(bounds)) => {
            let mut total = 0;
            let bounds = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(counts) {
                total += count;
                let labels: Labels = labels.iter().cloned().chain([("le", bound)]).collect();
                line(text, format_args!("{name}_bucket{} {total}", Braces(&labels)));
            }
            line(text, format_args!("{name}_sum{} {sum}", Braces(labels)));
            line(text, format_args!("{name}_count{} {total}", Braces(labels)));
        }
        (Series::Number(number), _) => {
            line(text, format_args!("{name}{} {number}", Braces(labels)));
        }
        (Series::Histogram { .. }, Kind::Counter | Kind::Gauge) => {}
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string");
}

/// Labels as they are printed.
struct Braces<'a>(&'a Labels);

impl std::fmt::Display for Braces<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let escaped =
            |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            self.0.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, "{{{}}}", labels.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: Family = Family::counter("seen_total", "Things seen");
    const GAUGE: Family = Family::gauge("last_seen_seconds", "When");
    const HISTOGRAM: Family = Family::histogram("wait_seconds", "How long", &[0.5, 1.0]);

    fn label(value: &str) -> Labels {
        vec![("kind", value.to_owned())]
    }

    #[test]
    fn figures_are_printed_as_prometheus_reads_them() {
        let registry = Registry::new(&[COUNTER, GAUGE, HISTOGRAM]);
        registry.count(&COUNTER, label("a\"b"));
        registry.count(&COUNTER, label("a\"b"));
        registry.set(&GAUGE, label("x"), 1_767_225_600.0);
        registry.set(&GAUGE, label("y"), 1.0);
        registry.forget(&GAUGE, &label("y"));
        for wait in [0.25, 0.5, 0.75, 4.0] {
            registry.observe(&HISTOGRAM, Vec::new(), wait);
        }
        let want = "\
# HELP seen_total Things seen
# TYPE seen_total counter
seen_total{kind=\"a\\\"b\"} 2
# HELP last_seen_seconds When
# TYPE last_seen_seconds gauge
last_seen_seconds{kind=\"x\"} 1767225600
# HELP wait_seconds How long
# TYPE wait_seconds histogram
wait_seconds_bucket{le=\"0.5\"} 2
wait_seconds_bucket{le=\"1\"} 3
wait_seconds_bucket{le=\"+Inf\"} 4
wait_seconds_sum 5.5
wait_seconds_count 4
";
        assert_eq!(registry.render(), want);
    }
}
