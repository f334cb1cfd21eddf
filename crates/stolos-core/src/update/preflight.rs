//! Pre-flight checks: what in a cluster speaks against beginning its upgrade.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use stolos_api::update::{RunState, State, UpdateRunSpec, UpdateRunStatus};

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
