//! Selectors as text.

use serde_json::Value;

use super::read::{NONE, at, list, or, text, texts};

/// Writes a map of labels: `app=web,tier=front`.
pub(super) fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    or(&pairs.join(","), NONE).to_owned()
}

/// Writes a label selector, empty for one without requirements. `None` when an operator is unknown.
pub(super) fn expression(selector: &Value) -> Option<String> {
    let matched = at(selector, "matchLabels").as_object().into_iter().flatten();
    let mut requirements: Vec<(&str, String)> = matched
        .map(|(key, value)| (key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for requirement in list(selector, "matchExpressions") {
        let key = text(requirement, "key");
        let mut values = texts(requirement, "values");
        values.sort_unstable();
        let values = values.join(",");
        let written = match text(requirement, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        };
        requirements.push((key, written));
    }
    requirements.sort_by_key(|(key, _)| *key);
    Some(requirements.into_iter().map(|(_, written)| written).collect::<Vec<_>>().join(","))
}

/// Writes a label selector for a cell.
pub(super) fn cell(selector: &Value) -> Value {
    match expression(selector) {
        None => "<error>".into(),
        Some(expression) => or(&expression, NONE).into(),
    }
}
