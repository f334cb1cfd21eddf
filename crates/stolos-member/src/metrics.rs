//! What the agent counts, under KubeFleet's names (placement-agents 11.4).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::condition as type_;
use stolos_api::placement::{ManifestCondition, WorkStatus};
use stolos_controller::metrics::{Family, Labels, Registry};
use stolos_core::network::stamp::Measured;

const WORKS: Family = Family::counter(
    "fleet_work_processing_requests_total",
    "Works that were processed, by what came of it",
);
const MANIFESTS: Family = Family::counter(
    "fleet_manifest_processing_requests_total",
    "Manifests that were processed, by what came of it",
);
const JOINS: Family = Family::counter("join_result_counter", "Times that the agent has joined");
const LEAVES: Family = Family::counter("leave_result_counter", "Times that the agent has left");
const APPLY_TIME: Family = Family::histogram(
    "work_apply_time_seconds",
    "Time to bring the member in line with a Work, by name of the Work",
    &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0],
);

const EXPORT_TIME: Family = Family::histogram(
    "fleet_networking_service_export_duration_milliseconds",
    "Time from a Service being exported to its exporter being told about conflicts",
    NETWORK_BUCKETS,
);
const IMPORT_TIME: Family = Family::histogram(
    "fleet_networking_endpointslice_export_import_duration_milliseconds",
    "Time from endpoints being exported to their being there on this member",
    NETWORK_BUCKETS,
);
const EXACT_EXPORT_TIME: Family = Family::histogram(
    "stolos_service_export_duration_milliseconds",
    "Time from a Service being exported to its exporter being told about conflicts, to the millisecond",
    EXACT_BUCKETS,
);
const EXACT_IMPORT_TIME: Family = Family::histogram(
    "stolos_endpointslice_export_import_duration_milliseconds",
    "Time from endpoints being exported to their being there on this member, to the millisecond",
    EXACT_BUCKETS,
);
const EXACT_BUCKETS: &[f64] =
    &[5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];
const NETWORK_BUCKETS: &[f64] = &[1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 50_000.0];

/// Says that a kind of processing was not called for.
const SKIPPED: &str = "Skipped";

/// Figures of one agent.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Default for Metrics {
    fn default() -> Self {
        Self(Registry::new(&[
            MANIFESTS,
            WORKS,
            APPLY_TIME,
            JOINS,
            LEAVES,
            EXPORT_TIME,
            IMPORT_TIME,
            EXACT_EXPORT_TIME,
            EXACT_IMPORT_TIME,
        ]))
    }
}

impl Metrics {
    /// Counts a Work that was gone through, and its manifests.
    pub(crate) fn processed(&self, status: &WorkStatus) {
        self.0.count(&WORKS, families(&status.conditions));
        for manifest in &status.manifest_conditions {
            self.0.count(&MANIFESTS, of_manifest(manifest));
        }
    }

    /// Measures how long it took to bring the member in line with a Work.
    pub(crate) fn applied(&self, work: &str, took: Duration) {
        self.0.observe(&APPLY_TIME, of_work(work), took.as_secs_f64());
    }

    /// Forgets the figures of a Work that is gone.
    pub(crate) fn forget(&self, work: &str) {
        self.0.forget(&APPLY_TIME, &of_work(work));
    }

    pub(crate) fn joined(&self) {
        self.0.count(&JOINS, vec![("result", "success".to_owned())]);
    }

    pub(crate) fn left(&self) {
        self.0.count(&LEAVES, vec![("result", "success".to_owned())]);
    }

    /// Measures how long a Service of this member took until its exporter was told about conflicts.
    pub(crate) fn exported(&self, cluster: &str, took: Measured) {
        let labels = vec![("origin_cluster_id", cluster.to_owned())];
        self.took(&EXPORT_TIME, &EXACT_EXPORT_TIME, labels, took);
    }

    /// Measures how long endpoints of a member took to this one.
    pub(crate) fn imported(&self, from: &str, to: &str, took: Measured) {
        let labels = vec![
            ("origin_cluster_id", from.to_owned()),
            ("destination_cluster_id", to.to_owned()),
            ("is_first_import", took.is_first.to_string()),
        ];
        self.took(&IMPORT_TIME, &EXACT_IMPORT_TIME, labels, took);
    }

    fn took(&self, coarse: &Family, exact: &Family, labels: Labels, took: Measured) {
        if let Some(millis) = took.exact {
            self.0.observe(exact, labels.clone(), f64::from(millis));
        }
        self.0.observe(coarse, labels, took.millis());
    }

    /// Returns the figures as Prometheus reads them.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn of_work(name: &str) -> Labels {
    vec![("name", name.to_owned())]
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
        metrics.applied("web", Duration::from_millis(20));
        metrics.applied("gone", Duration::from_millis(20));
        metrics.forget("gone");
        metrics.imported("a", "b", Measured { millis: 1_000, exact: Some(12), is_first: true });
        metrics.exported("a", Measured { millis: 1_000, exact: None, is_first: true });
        let text = metrics.render();
        for line in [
            "fleet_work_processing_requests_total{apply_status=\"AllManifestsApplied\",availability_status=\"WorkNotTrackable\",diff_reporting_status=\"Skipped\"} 2",
            "fleet_manifest_processing_requests_total{apply_status=\"Skipped\",availability_status=\"Skipped\",diff_reporting_status=\"FoundDiff\",drift_detection_status=\"NotFound\",diff_detection_status=\"Found\"} 2",
            "join_result_counter{result=\"success\"} 1",
            "# TYPE leave_result_counter counter",
            "work_apply_time_seconds_bucket{name=\"web\",le=\"0.05\"} 1",
            "work_apply_time_seconds_count{name=\"web\"} 1",
            "fleet_networking_service_export_duration_milliseconds_sum{origin_cluster_id=\"a\"} 1000",
            "stolos_endpointslice_export_import_duration_milliseconds_bucket{origin_cluster_id=\"a\",destination_cluster_id=\"b\",is_first_import=\"true\",le=\"10\"} 0",
            "stolos_endpointslice_export_import_duration_milliseconds_bucket{origin_cluster_id=\"a\",destination_cluster_id=\"b\",is_first_import=\"true\",le=\"25\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gone"));
        assert!(!text.contains("stolos_service_export_duration_milliseconds_count"));
    }
}
