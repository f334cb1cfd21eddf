//! Figures of DNS names and of what is behind them, under fleet-networking's names (networking 8.2).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_controller::Key;
use stolos_controller::metrics::{Family, Labels};

use super::{Metrics, seconds, text};
use crate::traffic::TrafficKind;

pub(super) const PROFILES: Family = Family::gauge(
    "fleet_networking_traffic_manager_profile_status_last_timestamp_seconds",
    "When a TrafficManagerProfile came to say what its condition says",
);
pub(super) const BACKENDS: Family = Family::gauge(
    "fleet_networking_traffic_manager_backend_status_last_timestamp_seconds",
    "When a TrafficManagerBackend came to say what its condition says",
);

/// The series that each object has.
pub(super) type Series = BTreeMap<(TrafficKind, Key), Labels>;

impl Metrics {
    /// Notes what an object says of itself. It has one series.
    pub(crate) fn traffic(
        &self,
        kind: TrafficKind,
        key: &Key,
        conditions: &[Condition],
        now: Timestamp,
    ) {
        let Some(condition) = conditions.first() else { return };
        let labels = vec![
            ("namespace", text(&key.namespace)),
            ("name", text(&key.name)),
            ("generation", condition.observed_generation.unwrap_or(0).to_string()),
            ("condition", text(&condition.type_)),
            ("status", text(&condition.status)),
            ("reason", text(&condition.reason)),
        ];
        let mut series = self.traffic.lock().expect("no holder of this lock panics");
        let before = series.insert((kind, key.clone()), labels.clone());
        if before.as_ref() == Some(&labels) {
            return;
        }
        if let Some(before) = before {
            self.registry.forget(family(kind), &before);
        }
        self.registry.set(family(kind), labels, seconds(now));
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget_traffic(&self, kind: TrafficKind, key: &Key) {
        let mut series = self.traffic.lock().expect("no holder of this lock panics");
        if let Some(labels) = series.remove(&(kind, key.clone())) {
            self.registry.forget(family(kind), &labels);
        }
    }
}

fn family(kind: TrafficKind) -> &'static Family {
    match kind {
        TrafficKind::Profile => &PROFILES,
        TrafficKind::Backend => &BACKENDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_one_series_that_moves_with_its_condition() {
        let metrics = Metrics::default();
        let key = Key::namespaced("app", "shop");
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let told = |generation, status: &str, reason: &str, now| {
            let condition =
                stolos_core::condition::new("Programmed", status, reason, "", generation, now);
            metrics.traffic(TrafficKind::Profile, &key, &[condition], now);
        };
        let shown = || {
            let text = metrics.render();
            let shown = text.lines().filter(|line| line.starts_with(PROFILES.name));
            shown.map(str::to_owned).collect::<Vec<_>>()
        };
        told(1, "Unknown", "Pending", at(5));
        told(1, "True", "Programmed", at(6));
        told(1, "True", "Programmed", at(7));
        assert_eq!(
            shown(),
            [
                "fleet_networking_traffic_manager_profile_status_last_timestamp_seconds{namespace=\"app\",name=\"shop\",generation=\"1\",condition=\"Programmed\",status=\"True\",reason=\"Programmed\"} 6"
            ]
        );
        metrics.forget_traffic(TrafficKind::Profile, &key);
        assert_eq!(shown(), Vec::<String>::new());
    }
}
