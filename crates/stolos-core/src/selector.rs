//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object that has none.
pub const NO_LABELS: &BTreeMap<String, String> = &BTreeMap::new();

/// Tells whether labels satisfy a selector. An empty selector selects everything; an unknown operator nothing.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal =
        selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    equal
        && expressions.iter().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = || {
                value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value))
            };
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
