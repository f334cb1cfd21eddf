//! Label selectors, which many kinds have.

use serde_json::Value;

use super::list as items;
use crate::name_rules::{label_value_problems, qualified_problems};
use crate::schema::causes::{forbidden, invalid, required};
use crate::status::Cause;

/// Checks a label selector.
pub(crate) fn selector(at: &str, selector: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        let at = format!("{at}.matchLabels");
        let problems = qualified_problems(key);
        causes.extend(problems.iter().map(|why| invalid(&at, &key.as_str().into(), why)));
        let problems = label_value_problems(value.as_str().unwrap_or_default());
        causes.extend(problems.iter().map(|why| invalid(&at, value, why)));
    }
    for (n, expression) in items(selector, "matchExpressions").enumerate() {
        requirement(&format!("{at}.matchExpressions[{n}]"), expression, causes);
    }
}

fn requirement(at: &str, requirement: &Value, causes: &mut Vec<Cause>) {
    let has_values = items(requirement, "values").next().is_some();
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if !has_values => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            causes.push(required(&format!("{at}.values"), why));
        }
        "Exists" | "DoesNotExist" if has_values => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            causes.push(forbidden(&format!("{at}.values"), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let why = "not a valid selector operator";
            causes.push(invalid(&format!("{at}.operator"), &other.into(), why));
        }
    }
    let key = requirement["key"].as_str().unwrap_or_default();
    let problems = qualified_problems(key);
    causes.extend(problems.iter().map(|why| invalid(&format!("{at}.key"), &key.into(), why)));
    for (n, value) in items(requirement, "values").enumerate() {
        let problems = label_value_problems(value.as_str().unwrap_or_default());
        let at = format!("{at}.values[{n}]");
        causes.extend(problems.iter().map(|why| invalid(&at, value, why)));
    }
}
