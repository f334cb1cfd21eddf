//! Disruption budgets.

use serde_json::Value;

use super::selector::selector;
use crate::schema::causes::{invalid, not_supported};
use crate::status::Cause;

const PERCENT_TEXT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
     '93%', regex used for validation is '[0-9]+%')";

pub(super) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        causes.push(invalid("spec", spec, why));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        check_share(&spec[field], &format!("spec.{field}"), causes);
    }
    let policy = &spec["unhealthyPodEvictionPolicy"];
    if !policy.is_null() && policy != "AlwaysAllow" && policy != "IfHealthyBudget" {
        let known = ["AlwaysAllow", "IfHealthyBudget"].map(Value::from);
        causes.push(not_supported("spec.unhealthyPodEvictionPolicy", policy, &known));
    }
    selector("spec.selector", &spec["selector"], causes);
}

/// Checks a number of pods, or a share of them.
fn check_share(share: &Value, path: &str, causes: &mut Vec<Cause>) {
    match share {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            causes.push(invalid(path, share, "must be greater than or equal to 0"));
        }
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                causes.push(invalid(path, share, PERCENT_TEXT));
            } else if digits.parse::<u64>().is_ok_and(|percent| percent > 100) {
                causes.push(invalid(path, share, "must not be greater than 100%"));
            }
        }
        _ => {}
    }
}
