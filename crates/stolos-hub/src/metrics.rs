//! What the hub counts and measures, under KubeFleet's names where it has them (placement-agents 11.4).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use stolos_controller::metrics::{Family, Labels, Registry};
use stolos_controller::{Round, RoundResult};
use stolos_core::placement::status::Progress;

mod traffic;
mod update;

const PLACEMENTS: Family = Family::gauge(
    "fleet_workload_placement_status_last_timestamp_seconds",
    "When a placement got as far as it is, by the first of its conditions that is not True",
);
const CYCLES: Family = Family::histogram(
    "scheduling_cycle_duration_milliseconds",
    "Time to schedule a placement and to write its bindings",
    &[10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10000.0, 50000.0],
);
const SCHEDULING: Family =
    Family::gauge("scheduling_active_workers", "Scheduling cycles that are under way");
const RECONCILES: Family = Family::counter(
    "fleet_workload_reconcile_total",
    "Rounds of a controller, by what came of them",
);
const ERRORS: Family =
    Family::counter("fleet_workload_reconcile_errors_total", "Rounds of a controller that failed");
const TIMES: Family = Family::histogram(
    "fleet_workload_reconcile_time_seconds",
    "Time of a round of a controller, from its plan to its last write",
    &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0],
);
const ACTIVE: Family =
    Family::gauge("fleet_workload_active_workers", "Rounds of a controller that are under way");
const MOST_ACTIVE: Family = Family::gauge(
    "fleet_workload_max_concurrent_reconciles",
    "Most rounds of a controller that can be under way",
);
const JOINS: Family = Family::counter("join_result_counter", "Members that have joined");
const LEAVES: Family = Family::counter("leave_result_counter", "Members that have left");

/// Figures of a hub.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The series that each placement has, by namespace and name.
    placements: Mutex<BTreeMap<(String, String), Labels>>,
    /// The series of update runs and gates.
    updates: Mutex<update::Series>,
    /// The series of DNS names and of what is behind them.
    traffic: Mutex<traffic::Series>,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new(&[
            PLACEMENTS,
            CYCLES,
            SCHEDULING,
            RECONCILES,
            ERRORS,
            TIMES,
            ACTIVE,
            MOST_ACTIVE,
            JOINS,
            LEAVES,
            update::RUNS,
            update::STARTS,
            update::STAGES,
            update::GROUPS,
            update::MEMBERS,
            update::PENDING,
            update::WAITS,
            update::PENDING_GATES,
            update::GATE_WAITS,
            update::ATTEMPTS,
            update::FAILURES,
            update::UPGRADES,
            traffic::PROFILES,
            traffic::BACKENDS,
        ]);
        // Whoever looks before the first cycle finds that there is none.
        registry.set(&SCHEDULING, Vec::new(), 0.0);
        Self {
            registry,
            placements: Mutex::default(),
            updates: Mutex::default(),
            traffic: Mutex::default(),
        }
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

impl Metrics {
    /// Returns the figures as Prometheus reads them.
    #[must_use]
    pub fn render(&self) -> String {
        self.registry.render()
    }

    /// Notes how far a placement got. It has one series.
    pub(crate) fn placement(
        &self,
        (namespace, name): (&str, &str),
        generation: i64,
        progress: Progress,
        now: Timestamp,
    ) {
        let labels = vec![
            ("namespace", text(namespace)),
            ("name", text(name)),
            ("generation", generation.to_string()),
            ("conditionType", progress.type_),
            ("status", progress.status),
            ("reason", progress.reason),
        ];
        let mut placements = self.placements.lock().expect("no holder of this lock panics");
        let before = placements.insert((text(namespace), text(name)), labels.clone());
        if let Some(before) = before.filter(|before| *before != labels) {
            self.registry.forget(&PLACEMENTS, &before);
        }
        self.registry.set(&PLACEMENTS, labels, seconds(now));
    }

    /// Forgets a placement that is gone.
    pub(crate) fn forget_placement(&self, (namespace, name): (&str, &str)) {
        let mut placements = self.placements.lock().expect("no holder of this lock panics");
        if let Some(labels) = placements.remove(&(text(namespace), text(name))) {
            self.registry.forget(&PLACEMENTS, &labels);
        }
    }

    /// Notes that a scheduling cycle begins.
    pub(crate) fn scheduling(&self) {
        self.registry.add(&SCHEDULING, Vec::new(), 1.0);
    }

    /// Notes a scheduling cycle that began. Ours need no second one, unless they are planned on outdated state.
    pub(crate) fn scheduled(&self, result: RoundResult, took: Duration) {
        let labels = vec![
            ("is_failed", (result == RoundResult::Failed).to_string()),
            ("needs_requeue", (result == RoundResult::Outdated).to_string()),
        ];
        self.registry.observe(&CYCLES, labels, took.as_secs_f64() * 1000.0);
        self.registry.add(&SCHEDULING, Vec::new(), -1.0);
    }

    /// Notes a round of a controller.
    pub(crate) fn round<I>(&self, controller: &'static str, round: &Round<'_, I>) {
        let of = || vec![("controller", text(controller))];
        let result = match round.result {
            RoundResult::Success if round.wake_at.is_some() => "requeue_after",
            RoundResult::Success => "success",
            RoundResult::Outdated => "requeue",
            RoundResult::Failed => {
                self.registry.count(&ERRORS, of());
                "error"
            }
        };
        let labels = vec![("controller", text(controller)), ("result", text(result))];
        self.registry.count(&RECONCILES, labels);
        self.registry.observe(&TIMES, of(), round.took.as_secs_f64());
        self.registry.set(&ACTIVE, of(), number(round.n_running));
    }

    /// Notes how many rounds of a controller can be under way at most.
    pub(crate) fn workers(&self, controller: &'static str, most: usize) {
        self.registry.set(&MOST_ACTIVE, vec![("controller", text(controller))], number(most));
    }

    pub(crate) fn joined(&self) {
        self.registry.count(&JOINS, vec![("result", text("success"))]);
    }

    pub(crate) fn left(&self) {
        self.registry.count(&LEAVES, vec![("result", text("success"))]);
    }
}

fn number(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Returns a moment as Prometheus has it, to the millisecond.
fn seconds(at: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of any year to come are exact")]
    let milliseconds = at.as_millisecond() as f64;
    milliseconds / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(result: RoundResult, wake_at: Option<Timestamp>) -> Round<'static, ()> {
        Round { item: &(), result, took: Duration::from_millis(20), wake_at, n_running: 3 }
    }

    #[test]
    fn a_placement_has_one_series_until_it_is_gone() {
        let metrics = Metrics::default();
        let progress = |type_: &str, status: &str, reason: &str| Progress {
            type_: text(type_),
            status: text(status),
            reason: text(reason),
        };
        let now = Timestamp::from_second(5).unwrap();
        let shown = || {
            let text = metrics.render();
            let shown = text.lines().filter(|line| line.starts_with(PLACEMENTS.name));
            shown.map(str::to_owned).collect::<Vec<_>>()
        };
        metrics.placement(("", "crp"), 1, progress("Scheduled", "nil", "nil"), now);
        metrics.placement(("", "crp"), 2, progress("Completed", "True", "Completed"), now);
        metrics.placement(("app", "crp"), 1, progress("Applied", "False", "ApplyFailed"), now);
        assert_eq!(
            shown(),
            [
                "fleet_workload_placement_status_last_timestamp_seconds{namespace=\"\",name=\"crp\",generation=\"2\",conditionType=\"Completed\",status=\"True\",reason=\"Completed\"} 5",
                "fleet_workload_placement_status_last_timestamp_seconds{namespace=\"app\",name=\"crp\",generation=\"1\",conditionType=\"Applied\",status=\"False\",reason=\"ApplyFailed\"} 5",
            ]
        );
        metrics.forget_placement(("", "crp"));
        metrics.forget_placement(("app", "crp"));
        assert_eq!(shown(), Vec::<String>::new());
    }

    #[test]
    fn every_figure_is_in_the_reference() {
        let page = include_str!("../../../docs/reference/metrics.md");
        let text = Metrics::default().render();
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for name in names.filter_map(|line| line.split(' ').next()) {
            assert!(page.contains(&format!("| `{name}` |")), "{name} is not in the reference");
        }
    }

    #[test]
    fn rounds_are_counted_by_what_came_of_them() {
        let metrics = Metrics::default();
        metrics.workers("placement", 8);
        metrics.round("placement", &round(RoundResult::Success, None));
        metrics.round("placement", &round(RoundResult::Success, Some(Timestamp::UNIX_EPOCH)));
        metrics.round("placement", &round(RoundResult::Outdated, None));
        metrics.round("placement", &round(RoundResult::Failed, None));
        metrics.scheduling();
        metrics.scheduling();
        metrics.scheduled(RoundResult::Success, Duration::from_millis(20));
        let text = metrics.render();
        for line in [
            "fleet_workload_reconcile_total{controller=\"placement\",result=\"success\"} 1",
            "fleet_workload_reconcile_total{controller=\"placement\",result=\"requeue_after\"} 1",
            "fleet_workload_reconcile_total{controller=\"placement\",result=\"requeue\"} 1",
            "fleet_workload_reconcile_total{controller=\"placement\",result=\"error\"} 1",
            "fleet_workload_reconcile_errors_total{controller=\"placement\"} 1",
            "fleet_workload_reconcile_time_seconds_count{controller=\"placement\"} 4",
            "fleet_workload_active_workers{controller=\"placement\"} 3",
            "fleet_workload_max_concurrent_reconciles{controller=\"placement\"} 8",
            "scheduling_active_workers 1",
            "scheduling_cycle_duration_milliseconds_bucket{is_failed=\"false\",needs_requeue=\"false\",le=\"50\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
