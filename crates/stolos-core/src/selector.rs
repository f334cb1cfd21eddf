//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object that has none.
pub const NO_LABELS: &BTreeMap<String, String> = &BTreeMap::new();

/// Tells whether labels satisfy a selector. An empty selector selects everything.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    matches_by(selector, |key| labels.get(key).map(String::as_str))
}

/// Tells whether a selector selects something whose labels are looked up by key.
///
/// A requirement with an operator that does not exist matches nothing; selectors are validated
/// where they enter.
pub fn matches_by<'a>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    let labels_match = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value.as_str()));
    labels_match
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            let found = label(&requirement.key);
            let is_listed = found.is_some_and(|found| values.iter().any(|value| value == found));
            match requirement.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_requirement_must_hold() {
        let label = |key: &str| (key == "env").then_some("prod");
        for (selector, want) in [
            (json!({}), true),
            (json!({"matchLabels": {"env": "prod"}}), true),
            (json!({"matchLabels": {"env": "test"}}), false),
            (json!({"matchLabels": {"tier": ""}}), false),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}), false),
            (json!({"matchExpressions": [{"key": "env", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "env", "operator": "Is"}]}), false),
            (
                json!({
                    "matchLabels": {"env": "prod"},
                    "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}],
                }),
                false,
            ),
        ] {
            let parsed = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches_by(&parsed, label), want, "{selector}");
        }
    }
}
