//! Webhooks that may change the object; they are called one after the other.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::review::{self, Verdict};
use super::{Failure, REQUEST_TIMEOUT, Webhook};
use crate::auth::Authorizer;
use crate::registry::{Registry, Resource};
use crate::rest::admission::catalog::InForce;
use crate::rest::admission::matching::Surroundings;
use crate::rest::admission::{Catalog, Plugin, Request, internal};
use crate::rest::convert;
use crate::schema;
use crate::status::{ApiError, Cause};
use crate::store::ClusterStore;

/// Calls mutating webhooks.
pub(crate) struct MutatingWebhooks {
    pub(crate) store: ClusterStore,
    pub(crate) registry: Registry,
    pub(crate) catalog: Catalog,
    pub(crate) authorizer: Authorizer,
}

/// Which webhooks are to be called a second time, because the object changed after their turn.
#[derive(Default)]
struct Reinvocation {
    /// Called so far, and wanting to see what comes after.
    waiting: BTreeSet<String>,
    due: BTreeSet<String>,
    /// The object is not what it was at the beginning.
    changed: bool,
}

impl Reinvocation {
    fn object_changed(&mut self) {
        self.changed = true;
        self.due.append(&mut self.waiting);
    }
}

impl MutatingWebhooks {
    async fn change(
        &self,
        request: &Request<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<bool, ApiError> {
        if request.is_configuration() {
            return Ok(false);
        }
        let in_force = self.catalog.in_force();
        if in_force.mutating.is_empty() {
            return Ok(false);
        }
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut again = Reinvocation::default();
        self.round(request, &mut object, &in_force, deadline, &mut again, false).await?;
        if !again.due.is_empty() {
            self.round(request, &mut object, &in_force, deadline, &mut again, true).await?;
        }
        Ok(again.changed)
    }

    /// Calls every webhook that is concerned, or in the second round every one that is due.
    async fn round(
        &self,
        request: &Request<'_>,
        object: &mut Option<&mut Value>,
        in_force: &InForce,
        deadline: Instant,
        again: &mut Reinvocation,
        is_second: bool,
    ) -> Result<(), ApiError> {
        let around = Surroundings { store: &self.store, registry: &self.registry };
        for webhook in &in_force.mutating {
            if is_second && !again.due.contains(&webhook.id) {
                continue;
            }
            let matched = webhook.criteria.matches(&around, request, object.as_deref())?;
            let Some(resource) = matched else { continue };
            let changed =
                call(&self.authorizer, webhook, request, &resource, object, deadline).await?;
            let Some(changed) = changed else { continue };
            if changed {
                again.object_changed();
            }
            if webhook.reinvoked {
                again.waiting.insert(webhook.id.clone());
            }
        }
        Ok(())
    }
}

/// Calls one webhook and tells whether it changed the object; nothing if it does not want to be called.
async fn call(
    authorizer: &Authorizer,
    webhook: &Webhook,
    request: &Request<'_>,
    resource: &Resource,
    object: &mut Option<&mut Value>,
    deadline: Instant,
) -> Result<Option<bool>, ApiError> {
    let shown = convert::optional(request.resource, resource, object.as_deref()).await?;
    let old = convert::optional(request.resource, resource, request.old).await?;
    if !webhook.is_wanted(authorizer, request, resource, shown.as_ref(), old.as_ref())? {
        return Ok(None);
    }
    let verdict = webhook.ask(request, resource, shown.as_ref(), old.as_ref(), deadline).await;
    let operations = match verdict.and_then(|verdict| accept(webhook, request, verdict)) {
        Ok(operations) => operations,
        Err(failure) => return webhook.settle(failure).map(|()| Some(false)),
    };
    let Some(operations) = operations else { return Ok(Some(false)) };
    let (Some(shown), Some(object)) = (shown, object.as_mut()) else {
        return Err(internal(&format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            webhook.name
        )));
    };
    let mut patched = review::patched(&shown, &operations)?;
    complete(resource, request.subresource, &mut patched).map_err(|why| internal(&why))?;
    let changed = patched != shown;
    if changed {
        **object = convert::between(resource, request.resource, patched).await?;
    }
    Ok(Some(changed))
}

/// Takes a verdict: its warnings, its refusal or its patch.
fn accept(
    webhook: &Webhook,
    request: &Request<'_>,
    verdict: Verdict,
) -> Result<Option<Value>, Failure> {
    let problem = webhook.version.and_then(|version| verdict.check_mutation(version).err());
    if let Some(why) = problem {
        return Err(webhook.failed(&format!("received invalid webhook response: {why}")));
    }
    verdict.warnings.iter().for_each(|warning| request.warn(warning.clone()));
    if !verdict.allowed {
        return Err(Failure::Final(webhook.denial(&verdict.result)));
    }
    if verdict.patch.is_empty() {
        return Ok(None);
    }
    let operations: Value = serde_json::from_slice(&verdict.patch).map_err(|error| {
        webhook.failed(&format!("received undecodable patch in webhook response: {error}"))
    })?;
    if operations.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    if verdict.patch_type != "JSONPatch" {
        let found = verdict.patch_type.as_str().unwrap_or_default();
        return Err(webhook.failed(&format!("unsupported patch type {found:?}")));
    }
    Ok(Some(operations))
}

/// Brings what a webhook made into the form of its kind: without unknown fields, with defaults. The error names a value
/// that a built-in kind cannot hold at all.
fn complete(resource: &Resource, subresource: &str, object: &mut Value) -> Result<(), String> {
    let (group_version, kind) = resource.kind_of(subresource);
    if resource.custom && kind == resource.kind {
        schema::prune(&resource.schema, object);
        schema::default(&resource.schema, object);
        return Ok(());
    }
    let builtin = schema::builtin::kind(&group_version.group, &group_version.version, &kind);
    if let Some(schema) = builtin {
        schema::prune(&schema, object);
        schema::builtin::default_object(&group_version, &kind, object);
    }
    let causes = schema::builtin::validate(&group_version, &kind, object, None);
    let wrong = causes.into_iter().find(|cause| cause.reason == "FieldValueTypeInvalid");
    wrong.map_or(Ok(()), |cause| Err(unreadable(&kind, &cause)))
}

/// Says in the words of Go's decoder that a value is of the wrong type.
fn unreadable(kind: &str, cause: &Cause) -> String {
    let quoted: Vec<&str> = cause.message.split('"').collect();
    let found = match quoted.get(1).copied().unwrap_or_default() {
        "integer" | "number" => "number",
        "boolean" => "bool",
        other => other,
    };
    let expected = match cause.message.split(" must be of type ").nth(1).unwrap_or_default() {
        text if text.starts_with("integer") => "int32",
        text if text.starts_with("boolean") => "bool",
        text if text.starts_with("object") => "map[string]string",
        text if text.starts_with("array") => "[]string",
        _ => "string",
    };
    let field = &cause.field;
    format!("json: cannot unmarshal {found} into Go struct field {kind}.{field} of type {expected}")
}

impl Plugin for MutatingWebhooks {
    fn mutate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        Box::pin(self.change(request, object))
    }
}
