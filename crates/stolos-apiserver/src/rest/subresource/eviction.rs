//! `pods/eviction`: a deletion that asks the disruption budgets first.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::conditions;
use crate::rest::meta;
use crate::selector::LabelSelector;
use crate::status::{ApiError, Cause};

/// What an eviction needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Eviction {
    /// No budget has a say.
    Free,
    /// This budget pays for one disruption.
    Pay {
        /// Name of the budget.
        budget: String,
    },
}

/// Decides whether a pod may be evicted, given the budgets of its namespace.
pub(crate) fn decide(pod: &Value, budgets: &[Value]) -> Result<Eviction, ApiError> {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
        || meta::is_deleting(pod)
    {
        return Ok(Eviction::Free);
    }
    let matching: Vec<&Value> = budgets.iter().filter(|budget| covers(budget, pod)).collect();
    match matching.as_slice() {
        [] => Ok(Eviction::Free),
        [budget] => {
            allows(budget)?;
            Ok(Eviction::Pay { budget: meta::text(budget, "name").to_owned() })
        }
        _ => Err(ApiError::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

/// Takes one disruption from a budget for a pod.
pub(crate) fn charged(budget: &Value, pod: &str, now: Timestamp) -> Result<Value, ApiError> {
    allows(budget)?;
    let mut budget = budget.clone();
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = (status["disruptionsAllowed"].as_i64().unwrap_or(0) - 1).into();
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = meta::seconds(now).into();
    if status["disruptionsAllowed"] == 0 {
        let (type_, reason) = ("DisruptionAllowed", "InsufficientPods");
        conditions::set(&mut budget, type_, "False", reason, "", now);
        observed(&mut budget, type_);
    }
    Ok(budget)
}

/// Notes which generation of the budget a condition speaks of.
fn observed(budget: &mut Value, type_: &str) {
    let generation = budget["metadata"]["generation"].clone();
    let conditions = budget["status"]["conditions"].as_array_mut().into_iter().flatten();
    for condition in conditions.filter(|condition| condition["type"] == type_) {
        condition["observedGeneration"] = generation.clone();
    }
}

/// Returns the pod with the reason of its end, for whoever counts failures.
pub(crate) fn announced(pod: &Value, now: Timestamp) -> Value {
    let mut pod = pod.clone();
    let reason = "EvictionByEvictionAPI";
    conditions::set(&mut pod, "DisruptionTarget", "True", reason, "Eviction API: evicting", now);
    pod
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
    match LabelSelector::from_object(&budget["spec"]["selector"]) {
        Ok(Some(selector)) => selector.matches(&labels),
        Ok(None) | Err(_) => false,
    }
}

fn allows(budget: &Value) -> Result<(), ApiError> {
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let name = meta::text(budget, "name");
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let message =
            format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(message, Some(10)));
    }
    if number("disruptionsAllowed") > 0 {
        return Ok(());
    }
    let message = format!(
        "The disruption budget {name} needs {} healthy pods and has {} currently",
        number("desiredHealthy"),
        number("currentHealthy")
    );
    Err(refused(message, None))
}

fn refused(message: String, retry_after_seconds: Option<u32>) -> ApiError {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", text);
    error.causes = vec![Cause { reason: "DisruptionBudget".into(), message, field: String::new() }];
    error.retry_after_seconds = retry_after_seconds;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "status": {"phase": "Running"}})
    }

    fn budget(allowed: i64) -> Value {
        json!({
            "metadata": {"name": "b", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": allowed, "observedGeneration": 1, "desiredHealthy": 2, "currentHealthy": 2},
        })
    }

    #[test]
    fn pods_without_budget_go_freely() {
        assert_eq!(decide(&pod(), &[]).unwrap(), Eviction::Free);
        let other = json!({"spec": {"selector": {"matchLabels": {"app": "db"}}}});
        assert_eq!(decide(&pod(), &[other]).unwrap(), Eviction::Free);
    }

    #[test]
    fn a_budget_pays_while_it_can() {
        assert_eq!(decide(&pod(), &[budget(1)]).unwrap(), Eviction::Pay { budget: "b".into() });
        let error = decide(&pod(), &[budget(0)]).unwrap_err();
        assert_eq!(
            (error.code.as_u16(), error.causes[0].reason.as_str()),
            (429, "DisruptionBudget")
        );
        let charged = charged(&budget(1), "p", "2026-01-02T03:04:05Z".parse().unwrap()).unwrap();
        assert_eq!(charged["status"]["disruptionsAllowed"], 0);
        assert_eq!(charged["status"]["disruptedPods"]["p"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn two_budgets_over_one_pod_are_refused() {
        assert_eq!(decide(&pod(), &[budget(1), budget(1)]).unwrap_err().reason, "InternalError");
    }
}
