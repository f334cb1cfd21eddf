//! Policies say in their status what is wrong with the types of their expressions.

use serde_json::json;

use super::Context;
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::rest::admission::type_check;
use crate::status::ApiError;
use crate::store::{Key, ResourceId};

const POLICIES: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
/// Name under which upstream's controller writes.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Runs until the store closes.
pub(super) async fn run(context: Context) {
    let queue = Queue::new();
    let policies = ResourceId::from(POLICIES);
    let following = follow(&context.store, &policies, |seen| match seen {
        Seen::Listed(version) => queue.push(version.key.clone()),
        Seen::Changed(event) if !event.deleted => queue.push(event.current.key.clone()),
        Seen::Changed(_) | Seen::Missed => {}
    });
    tokio::select! {
        () = following => {}
        () = queue.run(1, |key| check(&context, &policies, key)) => {}
    }
}

async fn check(context: &Context, policies: &ResourceId, key: Key) -> Result<Next, ApiError> {
    let Some(version) = context.store.get(policies, &key) else { return Ok(Next::Done) };
    let policy = version.object();
    let generation = &policy["metadata"]["generation"];
    if policy["status"]["observedGeneration"] == *generation {
        return Ok(Next::Done);
    }
    let warnings = type_check(&context.registry, &policy);
    let checked =
        if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    let api_version = "admissionregistration.k8s.io/v1";
    let status = json!({
        "apiVersion": api_version, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": key.name },
        "status": { "observedGeneration": generation, "typeChecking": checked },
    });
    let path = format!(
        "/apis/{api_version}/validatingadmissionpolicies/{}/status?fieldManager={MANAGER}&force=true",
        key.name
    );
    context.api.apply(&path, status).await?;
    Ok(Next::Done)
}
