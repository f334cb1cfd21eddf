//! Cluster roles put together from others by label.

use serde_json::{Value, json};

use crate::selector::LabelSelector;
use crate::store::Attributes;

/// Returns whether the rules of a cluster role come from other roles.
#[must_use]
pub fn is_aggregated(role: &Value) -> bool {
    role["aggregationRule"].is_object()
}

/// Decides the `rules` that an aggregated cluster role should have: those of every other role that one of its
/// selectors matches, in order of selectors and names, without repetition. Nothing for a role that is not aggregated.
#[must_use]
pub fn aggregated_rules(role: &Value, all: &[Value]) -> Option<Value> {
    if !is_aggregated(role) {
        return None;
    }
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors.into_iter().flatten() {
        // A selector that cannot be read selects nothing, rather than everything.
        let Ok(Some(selector)) = LabelSelector::from_object(selector) else { continue };
        let mut matching: Vec<&Value> = all
            .iter()
            .filter(|other| other["metadata"]["name"] != role["metadata"]["name"])
            .filter(|other| selector.matches(&Attributes::of(other).labels))
            .collect();
        matching.sort_by_key(|other| other["metadata"]["name"].as_str());
        for rule in matching.into_iter().filter_map(|other| other["rules"].as_array()).flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(json!(rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, label: &str, verb: &str) -> Value {
        json!({
            "metadata": {"name": name, "labels": {"to": label}},
            "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}],
        })
    }

    #[test]
    fn matching_roles_are_put_together_in_order_and_once() {
        let mut sum = role("sum", "edit", "x");
        sum["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "edit"}}]});
        let all = [
            role("b", "edit", "list"),
            role("a", "edit", "get"),
            role("c", "edit", "get"),
            role("d", "no", "no"),
            sum.clone(),
        ];
        let rules = aggregated_rules(&sum, &all).unwrap();
        let verbs: Vec<_> =
            rules.as_array().unwrap().iter().map(|rule| &rule["verbs"][0]).collect();
        assert_eq!(verbs, ["get", "list"]);
        assert_eq!(aggregated_rules(&all[0], &all), None);
    }

    #[test]
    fn a_selector_that_cannot_be_read_selects_nothing() {
        let sum = json!({"aggregationRule": {"clusterRoleSelectors": [
            {"matchExpressions": [{"key": "to", "operator": "Sometimes"}]}, null,
        ]}});
        assert_eq!(aggregated_rules(&sum, &[role("a", "edit", "get")]), Some(json!([])));
    }
}
