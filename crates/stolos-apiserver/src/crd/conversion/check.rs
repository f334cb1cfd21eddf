//! Whether the conversion of a definition can be accepted, in upstream's words. They name fields as an older version of
//! definitions does.

use serde_json::Value;

use crate::conditions;
use crate::schema::causes::{forbidden, invalid, not_supported, required};
use crate::status::Cause;
use crate::webhook;

const CONFIG: &str = "spec.conversion.webhookClientConfig";
const VERSIONS: &str = "spec.conversion.conversionReviewVersions";

/// Adds what is wrong with `spec.conversion`.
pub(in crate::crd) fn check(crd: &Value, causes: &mut Vec<Cause>) {
    let strategy = &crd["spec"]["conversion"]["strategy"];
    match strategy.as_str().unwrap_or_default() {
        "" | "None" => {
            if !crd["spec"]["conversion"]["webhook"].is_null() {
                let why = "should not be set when strategy is not set to Webhook";
                causes.extend([CONFIG, VERSIONS].map(|field| forbidden(field, why)));
            }
        }
        "Webhook" => check_webhook(crd, causes),
        _ => {
            let known = [Value::from("None"), Value::from("Webhook")];
            causes.push(not_supported("spec.conversion.strategy", strategy, &known));
        }
    }
}

fn check_webhook(crd: &Value, causes: &mut Vec<Cause>) {
    let webhook = &crd["spec"]["conversion"]["webhook"];
    let config = &webhook["clientConfig"];
    if config.is_object() {
        causes.extend(webhook::check_client_config(CONFIG, config));
        // A bundle may be filled in by others until the definition is in use.
        if conditions::is_true(crd, "Established") {
            causes.extend(webhook::check_bundle(CONFIG, config));
        }
    } else {
        causes.push(required(CONFIG, "required when strategy is set to Webhook"));
    }
    let list = &webhook["conversionReviewVersions"];
    let versions = list.as_array().map_or(&[][..], Vec::as_slice);
    if versions.is_empty() {
        return causes.push(required(VERSIONS, ""));
    }
    let repeated = |(n, version): &(usize, &Value)| versions[..*n].contains(version);
    for (n, version) in versions.iter().enumerate().filter(repeated) {
        causes.push(invalid(&format!("{VERSIONS}[{n}]"), version, "duplicate version"));
    }
    if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        causes.push(invalid(VERSIONS, list, "must include at least one of v1, v1beta1"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(conversion: Value) -> Vec<String> {
        let mut causes = Vec::new();
        check(&json!({"spec": {"conversion": conversion}}), &mut causes);
        causes.into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn conversion_webhooks_need_an_address_and_a_review_version() {
        assert_eq!(fields(json!({"strategy": "Webhook"})), [CONFIG, VERSIONS]);
        let with = |webhook: &Value| fields(json!({"strategy": "Webhook", "webhook": webhook}));
        let url = json!({"url": "https://localhost/convert"});
        let good = json!({"clientConfig": url, "conversionReviewVersions": ["v1"]});
        assert_eq!(with(&good), Vec::<String>::new());
        let odd = json!({"clientConfig": url, "conversionReviewVersions": ["v9", "v9"]});
        assert_eq!(with(&odd), [&format!("{VERSIONS}[1]"), VERSIONS]);
        let unused = fields(json!({"strategy": "None", "webhook": good}));
        assert_eq!(unused, [CONFIG, VERSIONS]);
        assert_eq!(fields(json!({"strategy": "Magic"})), ["spec.conversion.strategy"]);
    }
}
