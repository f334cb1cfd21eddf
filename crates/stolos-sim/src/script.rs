//! What goes wrong in a simulated cluster, and how long its upgrades take, by the ConfigMap `simulated-cluster`.
//!
//! | key | meaning |
//! |---|---|
//! | `failUpgrades` | every upgrade fails with this message |
//! | `failAttempts` | numbers separated by commas: these upgrades of the cluster fail, counted from 1 |
//! | `busyUntil` | a time (RFC 3339): until then no upgrade goes on, and the cluster reports itself as busy |
//! | `power` | `stopped`: the cluster is switched off |
//! | `kubernetesVersions`, `nodeImages` | what the cluster is offered, separated by commas |
//! | `unavailable` | versions and images of those lists that the region does not have yet, separated by commas |
//! | `unavailableUntil` | a time from which on it has them |
//! | `apiErrorsUntil` | a time: until then the cluster counts as not reachable, and no upgrade goes on |
//! | `versionRollback` | `true`: the cluster reports that its Kubernetes version can be taken back after an upgrade |
//! | `upgradeSeed` | a number: the upgrade of each node takes between half and one and a half times as long as usual, always the same for the same seed, upgrade and node |
//!
//! The simulation takes away what has come to its time, so whoever reads the ConfigMap needs no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::meta::hash;

/// The script of a cluster. What cannot be read counts as absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    fail_always: Option<String>,
    fail_attempts: BTreeSet<usize>,
    ends: BTreeMap<&'static str, Timestamp>,
    seed: Option<u64>,
}

/// Keys with a time, and the keys that go away with it.
const TIMES: [(&str, &[&str]); 3] = [
    ("apiErrorsUntil", &["apiErrorsUntil"]),
    ("busyUntil", &["busyUntil"]),
    ("unavailableUntil", &["unavailable", "unavailableUntil"]),
];

/// Keys that keep upgrades from going on.
const HOLDS: [&str; 2] = ["apiErrorsUntil", "busyUntil"];

/// What the script says about an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Wait(Timestamp),
    Fail(String),
}

impl Script {
    pub(crate) fn read(facts: &ConfigMap) -> Self {
        let value = |key: &str| facts.data.as_ref()?.get(key).map(|text| text.trim());
        let attempts = value("failAttempts").unwrap_or_default().split(',');
        Self {
            fail_always: value("failUpgrades").map(str::to_owned),
            fail_attempts: attempts.filter_map(|number| number.trim().parse().ok()).collect(),
            ends: (TIMES.iter())
                .filter_map(|(key, _)| Some((*key, value(key)?.parse().ok()?)))
                .collect(),
            seed: value("upgradeSeed").and_then(|seed| seed.parse().ok()),
        }
    }

    /// Decides about the upgrade with this number.
    pub(crate) fn verdict(&self, attempt: usize, now: Timestamp) -> Verdict {
        if let Some(message) = &self.fail_always {
            return Verdict::Fail(message.clone());
        }
        if self.fail_attempts.contains(&attempt) {
            return Verdict::Fail(format!("the script lets upgrade {attempt} fail"));
        }
        let held = HOLDS.iter().filter_map(|key| self.ends.get(key)).max();
        match held {
            Some(until) if *until > now => Verdict::Wait(*until),
            _ => Verdict::GoOn,
        }
    }

    /// Returns the change of the ConfigMap that takes away what has come to its time.
    pub(crate) fn expired(&self, now: Timestamp) -> Option<Value> {
        let over = TIMES.iter().filter(|(key, _)| self.ends.get(key).is_some_and(|at| *at <= now));
        let gone = over.flat_map(|(_, keys)| *keys).map(|key| ((*key).to_owned(), Value::Null));
        let gone: serde_json::Map<String, Value> = gone.collect();
        (!gone.is_empty()).then_some(Value::Object(gone))
    }

    /// Returns when the next of them does.
    pub(crate) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.ends.values().copied().filter(|at| *at > now).min()
    }

    /// Returns how long the node that is at work in an upgrade takes.
    pub(crate) fn node_time(&self, request: &ConfigMap, usual: Duration) -> Duration {
        let Some(seed) = self.seed else { return usual };
        let node = request.data.as_ref().and_then(|data| data.get("node"));
        let upgrade = request.metadata.name.as_deref().unwrap_or_default();
        let place = format!("{upgrade} {}", node.map_or("", String::as_str));
        let mut random = StdRng::seed_from_u64(seed ^ hash(&place));
        usual.mul_f64(random.random_range(0.5..1.5))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(name: &str, data: serde_json::Value) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
    }

    #[test]
    fn a_script_decides_by_attempt_and_time() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-03-01T13:00:00Z".parse().unwrap();
        let fail = |text: &str| Verdict::Fail(text.into());
        for (data, attempt, want) in [
            (json!({}), 1, Verdict::GoOn),
            (json!({"failUpgrades": "no quota"}), 1, fail("no quota")),
            (json!({"failAttempts": "1, 3"}), 1, fail("the script lets upgrade 1 fail")),
            (json!({"failAttempts": "1, 3"}), 2, Verdict::GoOn),
            (json!({"failAttempts": "x"}), 1, Verdict::GoOn),
            (json!({"busyUntil": later.to_string()}), 1, Verdict::Wait(later)),
            (json!({"busyUntil": now.to_string()}), 1, Verdict::GoOn),
        ] {
            let script = Script::read(&map("simulated-cluster", data.clone()));
            assert_eq!(script.verdict(attempt, now), want, "{data} {attempt}");
        }
    }

    #[test]
    fn what_has_come_to_its_time_goes_away() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let data = json!({
            "busyUntil": "2026-03-01T12:00:00Z", "unavailable": "1.34.1",
            "unavailableUntil": "2026-03-01T14:00:00Z",
        });
        let script = Script::read(&map("simulated-cluster", data));
        let early = at("2026-03-01T11:00:00Z");
        assert_eq!(script.expired(early), None);
        assert_eq!(script.next_end(early), Some(at("2026-03-01T12:00:00Z")));
        let noon = at("2026-03-01T12:00:00Z");
        assert_eq!(script.expired(noon), Some(json!({"busyUntil": null})));
        assert_eq!(script.next_end(noon), Some(at("2026-03-01T14:00:00Z")));
        let late = at("2026-03-01T15:00:00Z");
        let all = json!({"busyUntil": null, "unavailable": null, "unavailableUntil": null});
        assert_eq!(script.expired(late), Some(all));
        assert_eq!(script.next_end(late), None);
    }

    #[test]
    fn durations_follow_from_the_seed() {
        let usual = Duration::from_secs(10);
        let time = |seed: &str, node: &str| {
            let script = Script::read(&map("simulated-cluster", json!({"upgradeSeed": seed})));
            script.node_time(&map("upgrade-x", json!({"node": node})), usual)
        };
        assert_eq!(time("7", "a"), time("7", "a"));
        assert_ne!(time("7", "a"), time("7", "b"));
        assert_ne!(time("7", "a"), time("8", "a"));
        let limits = Duration::from_secs(5)..Duration::from_secs(15);
        assert!((0..100).all(|node| limits.contains(&time("7", &node.to_string()))));
        let script = Script::read(&map("simulated-cluster", json!({})));
        assert_eq!(script.node_time(&map("upgrade-x", json!({"node": "a"})), usual), usual);
    }
}
