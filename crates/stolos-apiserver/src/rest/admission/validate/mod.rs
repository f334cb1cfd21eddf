//! Whether objects that configure admission can be accepted, in upstream's words.

mod parts;
mod policy;
mod webhooks;

use serde_json::Value;

use crate::status::Cause;

/// Returns what is wrong with an object of the group, given its stored state for an update.
pub(crate) fn validate(kind: &str, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    match kind {
        "MutatingWebhookConfiguration" => webhooks::check(new, old, true),
        "ValidatingWebhookConfiguration" => webhooks::check(new, old, false),
        "ValidatingAdmissionPolicy" => policy::check(new, old),
        "ValidatingAdmissionPolicyBinding" => policy::check_binding(new),
        _ => Vec::new(),
    }
}
