//! Pre-flight checks: what in a cluster speaks against beginning its upgrade.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use stolos_api::update::{RunState, State, UpdateRunSpec, UpdateRunStatus};

use super::cluster::RequestedApi;
use super::probe;
use super::version::Version;

/// Members whose pre-flight findings a run needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed<'a> {
    /// Every member of the fleet: the run has not chosen yet.
    Everybody,
    /// These members.
    Members(BTreeSet<&'a str>),
}

impl Needed<'_> {
    /// Whether the findings of a member are needed.
    pub fn contains(&self, member: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Members(names) => names.contains(member),
        }
    }
}

/// Returns the members whose pre-flight findings a run needs: those that it may still begin with.
pub fn needed<'a>(spec: &'a UpdateRunSpec, status: Option<&'a UpdateRunStatus>) -> Needed<'a> {
    let nobody = Needed::Members(BTreeSet::new());
    if spec.preflight.is_empty() || spec.state != RunState::Run {
        return nobody;
    }
    let Some(status) = status.filter(|status| !status.stages.is_empty()) else {
        return match &spec.members[..] {
            [] => Needed::Everybody,
            names => Needed::Members(names.iter().map(String::as_str).collect()),
        };
    };
    if matches!(status.status.state, State::Completed | State::Skipped | State::Failed) {
        return nobody;
    }
    let groups = status.stages.iter().flat_map(|stage| &stage.groups);
    let open = groups.flat_map(|group| &group.members).filter(|member| match member.status.state {
        State::NotStarted | State::Pending | State::Stopping | State::Stopped => true,
        State::Running | State::Skipped | State::Failed | State::Completed => false,
    });
    Needed::Members(open.map(|member| member.name.as_str()).collect())
}

/// Returns what is wrong with a node before an upgrade.
pub fn node_problem(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => {
            let reason = ready.reason.as_ref().filter(|reason| !reason.is_empty());
            let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
            Some(format!("is not ready{reason}"))
        }
        None => Some("does not say whether it is ready".into()),
    }
}

/// Returns why a budget would stop the draining of a node. One that covers no pod stops nothing.
pub fn budget_problem(budget: &PodDisruptionBudget) -> Option<String> {
    let status = budget.status.as_ref()?;
    let stops = status.expected_pods > 0 && status.disruptions_allowed <= 0;
    stops.then(|| {
        format!(
            "allows no disruption: {} of {} pods are healthy and {} must be",
            status.current_healthy, status.expected_pods, status.desired_healthy
        )
    })
}

/// Returns why an upgrade to a version would break somebody who asks for these APIs.
pub fn removed_apis(requested: &[RequestedApi], version: Version) -> Option<String> {
    let gone = requested.iter().filter(|api| api.removed_in.is_reached_by(version));
    let gone =
        gone.map(|api| format!("`{}` is asked for, and gone in {}", api.name, api.removed_in));
    probe::told(&gone.collect::<Vec<_>>())
}

/// The gauge of an API server that is 1 for each deprecated API that it was asked for since it started.
const REQUESTED_APIS: &str = "apiserver_requested_deprecated_apis";

/// Reads which APIs that will be removed an API server was asked for, from its metrics in Prometheus' text format. Those that
/// are deprecated without an end are left out.
///
/// # Errors
///
/// When a line about such an API is not as it should be, with the line.
pub fn requested_apis(metrics: &str) -> Result<Vec<RequestedApi>, String> {
    let of_gauge = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(REQUESTED_APIS)?;
        rest.starts_with(['{', ' ', '\t']).then_some((line, rest))
    });
    let read = of_gauge.map(|(line, rest)| {
        let unclear = || format!("a line of the metrics is unclear: {line}");
        let (labels, value) = series(rest).ok_or_else(unclear)?;
        let removed_in = labels.get("removed_release").filter(|release| !release.is_empty());
        let Some(removed_in) = removed_in.filter(|_| value >= 1.0) else { return Ok(None) };
        let removed_in = removed_in.parse().map_err(|_| unclear())?;
        Ok(Some(RequestedApi { name: name(&labels), removed_in }))
    });
    read.filter_map(Result::transpose).collect()
}

/// Returns an API as people call it: `<group>/<version> <resource>`.
fn name(labels: &BTreeMap<&str, String>) -> String {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let (group, subresource) = (label("group"), label("subresource"));
    let slash = |before: &str| if before.is_empty() { "" } else { "/" };
    format!(
        "{group}{}{} {}{}{subresource}",
        slash(group),
        label("version"),
        label("resource"),
        slash(subresource)
    )
}

/// Reads the labels and the value of a series; a time may follow.
fn series(text: &str) -> Option<(BTreeMap<&str, String>, f64)> {
    let (labels, rest) = labels(text.trim_start())?;
    Some((labels, rest.split_whitespace().next()?.parse().ok()?))
}

/// Reads `{name="value",…}` and returns what follows it. In values `\\`, `\"` and `\n` stand for a character.
fn labels(text: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text.strip_prefix('{')?;
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, value) = rest.split_once('=')?;
        let mut chars = value.trim_start().strip_prefix('"')?.chars();
        let mut text = String::new();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(match chars.next()? {
                    'n' => '\n',
                    other => other,
                }),
                other => text.push(other),
            }
        }
        labels.insert(name.trim(), text);
        rest = chars.as_str().trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn nodes_must_say_that_they_are_ready() {
        for (conditions, want) in [
            (json!([{"type": "Ready", "status": "True"}]), None),
            (
                json!([{"type": "Ready", "status": "False", "reason": "KubeletNotReady"}]),
                Some("is not ready (KubeletNotReady)"),
            ),
            (json!([{"type": "Ready", "status": "Unknown"}]), Some("is not ready")),
            (
                json!([{"type": "DiskPressure", "status": "True"}]),
                Some("does not say whether it is ready"),
            ),
            (Value::Null, Some("does not say whether it is ready")),
        ] {
            let node = json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
            let problem = node_problem(&serde_json::from_value(node).unwrap());
            assert_eq!(problem.as_deref(), want, "{conditions}");
        }
    }

    #[test]
    fn a_budget_stops_an_upgrade_only_when_it_covers_pods_and_allows_none_to_go() {
        for (expected, allowed, want) in [
            (0, 0, None),
            (3, 1, None),
            (3, 0, Some("allows no disruption: 2 of 3 pods are healthy and 3 must be")),
        ] {
            let budget = json!({"status": {
                "expectedPods": expected, "disruptionsAllowed": allowed,
                "currentHealthy": 2, "desiredHealthy": 3,
            }});
            let problem = budget_problem(&serde_json::from_value(budget).unwrap());
            assert_eq!(problem.as_deref(), want, "{expected} {allowed}");
        }
        let fresh = serde_json::from_value(json!({"metadata": {"name": "b"}})).unwrap();
        assert_eq!(budget_problem(&fresh), None, "its controller has not looked yet");
    }

    /// As kube-apiserver 1.34 writes it, and as nobody should.
    const METRICS: &str = r#"# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested.
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.32",resource="flowschemas",subresource="status",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="podsecuritypolicies",subresource="",version="v1beta1"} 0
apiserver_requested_deprecated_apis{ version = "v1beta1" , resource="ip\\addresses",group="networking.k8s.io",removed_release="1.37", } 1 1700000000000
apiserver_requested_deprecated_apis_total{removed_release="1.20"} 1
apiserver_request_total{code="200"} 12
"#;

    #[test]
    fn apis_that_the_wanted_version_does_not_have_are_told() {
        let requested = requested_apis(METRICS).unwrap();
        let names: Vec<&str> = requested.iter().map(|api| api.name.as_str()).collect();
        let ip_addresses = "networking.k8s.io/v1beta1 ip\\addresses";
        assert_eq!(
            names,
            ["flowcontrol.apiserver.k8s.io/v1beta3 flowschemas/status", ip_addresses]
        );
        let gone = |version: &str| removed_apis(&requested, version.parse().unwrap());
        assert_eq!(gone("1.31.9"), None);
        assert_eq!(
            gone("1.32.0").as_deref(),
            Some(
                "`flowcontrol.apiserver.k8s.io/v1beta3 flowschemas/status` is asked for, and gone in 1.32"
            )
        );
        assert!(gone("1.37.1").is_some_and(|text| text.ends_with("and gone in 1.37")));
        assert_eq!(requested_apis(""), Ok(Vec::new()));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        for rest in [
            " 1",
            "{",
            "{removed_release=1.2} 1",
            "{removed_release=\"1.25\"}",
            "{removed_release=\"soon\"} 1",
            "{a=\"\\",
        ] {
            let line = format!("{REQUESTED_APIS}{rest}");
            assert_eq!(
                requested_apis(&line),
                Err(format!("a line of the metrics is unclear: {line}"))
            );
        }
    }

    #[test]
    fn only_members_that_a_run_may_begin_with_are_looked_at() {
        let spec = |state: &str, preflight: Value, members: Value| -> UpdateRunSpec {
            serde_json::from_value(json!({
                "fleetName": "f", "state": state, "preflight": preflight, "members": members,
                "managedClusterUpdate": {"upgrade": {"type": "NodeImageOnly"}},
            }))
            .unwrap()
        };
        let status = |state: &str| -> UpdateRunStatus {
            let members: Vec<Value> = ["NotStarted", "Pending", "Running", "Skipped", "Completed"]
                .iter()
                .map(|state| json!({"name": state.to_lowercase(), "status": {"state": state}}))
                .collect();
            serde_json::from_value(json!({
                "status": {"state": state},
                "stages": [{"name": "s", "groups": [{"name": "g", "members": members}]}],
            }))
            .unwrap()
        };
        let asks = json!(["NodesReady"]);
        let named = |names: &[&'static str]| Needed::Members(names.iter().copied().collect());
        let run = spec("Run", asks.clone(), json!([]));
        assert_eq!(needed(&run, None), Needed::Everybody);
        assert_eq!(needed(&run, Some(&UpdateRunStatus::default())), Needed::Everybody);
        assert_eq!(needed(&run, Some(&status("Running"))), named(&["notstarted", "pending"]));
        assert_eq!(needed(&run, Some(&status("Completed"))), named(&[]));
        assert_eq!(needed(&spec("Run", asks.clone(), json!(["m"])), None), named(&["m"]));
        assert_eq!(needed(&spec("Run", json!([]), json!([])), None), named(&[]));
        assert_eq!(needed(&spec("Stop", asks, json!([])), None), named(&[]));
    }
}
