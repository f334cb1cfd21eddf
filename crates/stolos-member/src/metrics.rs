//! What the agent counts, under KubeFleet's names (placement-agents 11.4), in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::condition as type_;
use stolos_api::placement::{ManifestCondition, WorkStatus};

const WORKS: &str = "fleet_work_processing_requests_total";
const MANIFESTS: &str = "fleet_manifest_processing_requests_total";
const JOINS: &str = "join_result_counter";
const LEAVES: &str = "leave_result_counter";

/// Name, what it says, in the order in which they are printed.
const COUNTERS: [(&str, &str); 4] = [
    (MANIFESTS, "Manifests that were processed, by what came of it"),
    (WORKS, "Works that were processed, by what came of it"),
    (JOINS, "Times that the agent has joined"),
    (LEAVES, "Times that the agent has left"),
];

/// Says that a kind of processing was not called for.
const SKIPPED: &str = "Skipped";

type Labels = Vec<(&'static str, String)>;

/// Counters of one agent.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<(&'static str, Labels), u64>>);

impl Metrics {
    /// Counts a Work that was gone through, and its manifests.
    pub(crate) fn processed(&self, status: &WorkStatus) {
        self.count(WORKS, families(&status.conditions));
        for manifest in &status.manifest_conditions {
            self.count(MANIFESTS, of_manifest(manifest));
        }
    }

    pub(crate) fn joined(&self) {
        self.count(JOINS, vec![("result", "success".to_owned())]);
    }

    pub(crate) fn left(&self) {
        self.count(LEAVES, vec![("result", "success".to_owned())]);
    }

    fn count(&self, name: &'static str, labels: Labels) {
        let mut counters = self.0.lock().expect("no holder of this lock panics");
        *counters.entry((name, labels)).or_default() += 1;
    }

    /// Returns the counters as Prometheus reads them.
    #[must_use]
    pub fn render(&self) -> String {
        let counters = self.0.lock().expect("no holder of this lock panics");
        let mut text = String::new();
        for (name, help) in COUNTERS {
            let of_name = counters.iter().filter(|((of, _), _)| *of == name);
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter")
                .expect("writing to a string");
            for ((_, labels), count) in of_name {
                let labels: Vec<_> =
                    labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
                writeln!(text, "{name}{{{}}} {count}", labels.join(","))
                    .expect("writing to a string");
            }
        }
        text
    }
}

/// Returns what conditions say of applying, availability and comparing.
fn families(conditions: &[Condition]) -> Labels {
    let reason = |type_: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == type_);
        found.map_or(SKIPPED, |condition| condition.reason.as_str()).to_owned()
    };
    vec![
        ("apply_status", reason(type_::APPLIED)),
        ("availability_status", reason(type_::AVAILABLE)),
        ("diff_reporting_status", reason(type_::DIFF_REPORTED)),
    ]
}

fn of_manifest(manifest: &ManifestCondition) -> Labels {
    let found = |is_found: bool| if is_found { "Found" } else { "NotFound" }.to_owned();
    let mut labels = families(&manifest.conditions);
    labels.push(("drift_detection_status", found(manifest.drift_details.is_some())));
    labels.push(("diff_detection_status", found(manifest.diff_details.is_some())));
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_outcome_is_counted_by_its_reasons() {
        let condition = |type_: &str, reason: &str| {
            json!({
                "type": type_, "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        };
        let status: WorkStatus = serde_json::from_value(json!({
            "conditions": [
                condition("Applied", "AllManifestsApplied"),
                condition("Available", "WorkNotTrackable"),
            ],
            "manifestConditions": [{
                "identifier": {"ordinal": 0},
                "conditions": [condition("DiffReported", "FoundDiff")],
                "diffDetails": {
                    "observationTime": "1970-01-01T00:00:00Z",
                    "firstDiffedObservedTime": "1970-01-01T00:00:00Z",
                },
            }],
        }))
        .expect("a status");
        let metrics = Metrics::default();
        metrics.processed(&status);
        metrics.processed(&status);
        metrics.joined();
        let text = metrics.render();
        for line in [
            "fleet_work_processing_requests_total{apply_status=\"AllManifestsApplied\",availability_status=\"WorkNotTrackable\",diff_reporting_status=\"Skipped\"} 2",
            "fleet_manifest_processing_requests_total{apply_status=\"Skipped\",availability_status=\"Skipped\",diff_reporting_status=\"FoundDiff\",drift_detection_status=\"NotFound\",diff_detection_status=\"Found\"} 2",
            "join_result_counter{result=\"success\"} 1",
            "# TYPE leave_result_counter counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
