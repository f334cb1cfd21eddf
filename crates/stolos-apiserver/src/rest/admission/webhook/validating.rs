//! Webhooks that only judge; all of a write are asked at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use serde_json::Value;
use tokio::time::Instant;

use super::{Failure, Invocation, REQUEST_TIMEOUT};
use crate::auth::Authorizer;
use crate::registry::{Registry, Resource};
use crate::rest::admission::matching::Surroundings;
use crate::rest::admission::{Catalog, Plugin, Request};
use crate::rest::convert;
use crate::status::ApiError;
use crate::store::ClusterStore;

/// Asks validating webhooks.
pub(crate) struct ValidatingWebhooks {
    pub(crate) store: ClusterStore,
    pub(crate) registry: Registry,
    pub(crate) catalog: Catalog,
    pub(crate) authorizer: Authorizer,
}

/// The objects of a write in one version.
struct Versioned {
    object: Option<Value>,
    old: Option<Value>,
}

impl ValidatingWebhooks {
    async fn judge(&self, request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
        if request.is_configuration() {
            return Ok(());
        }
        let in_force = self.catalog.in_force();
        let around = Surroundings { store: &self.store, registry: &self.registry };
        let mut invocations = Vec::new();
        for webhook in &in_force.validating {
            if let Some(resource) = webhook.criteria.matches(&around, request, object)? {
                invocations.push(Invocation { webhook: Arc::clone(webhook), resource });
            }
        }
        if invocations.is_empty() {
            return Ok(());
        }
        let versions = self.in_versions(request, object, &invocations).await?;
        let mut wanted = Vec::with_capacity(invocations.len());
        for invocation in &invocations {
            let Invocation { webhook, resource } = invocation;
            let Versioned { object, old } = &versions[&version_of(resource)];
            let (object, old) = (object.as_ref(), old.as_ref());
            if webhook.is_wanted(&self.authorizer, request, resource, object, old)? {
                wanted.push(invocation);
            }
        }
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let calls = wanted.into_iter().map(|invocation| {
            ask(invocation, request, &versions[&version_of(&invocation.resource)], deadline)
        });
        // All are heard before one decides; of several refusals the first in order counts.
        join_all(calls).await.into_iter().collect()
    }

    /// Converts the objects once to each version that a webhook wants to see.
    async fn in_versions(
        &self,
        request: &Request<'_>,
        object: Option<&Value>,
        invocations: &[Invocation],
    ) -> Result<BTreeMap<String, Versioned>, ApiError> {
        let mut versions = BTreeMap::new();
        for invocation in invocations {
            let resource = &*invocation.resource;
            let version = version_of(resource);
            if versions.contains_key(&version) {
                continue;
            }
            let versioned = Versioned {
                object: convert::optional(request.resource, resource, object).await?,
                old: convert::optional(request.resource, resource, request.old).await?,
            };
            versions.insert(version, versioned);
        }
        Ok(versions)
    }
}

fn version_of(resource: &Resource) -> String {
    resource.group_version.to_string()
}

async fn ask(
    invocation: &Invocation,
    request: &Request<'_>,
    objects: &Versioned,
    deadline: Instant,
) -> Result<(), ApiError> {
    let Invocation { webhook, resource } = invocation;
    let (object, old) = (objects.object.as_ref(), objects.old.as_ref());
    let verdict = webhook.ask(request, resource, object, old, deadline).await;
    let checked = verdict.and_then(|verdict| {
        let problem = webhook.version.and_then(|version| verdict.check_validation(version).err());
        match problem {
            Some(why) => Err(webhook.failed(&format!("received invalid webhook response: {why}"))),
            None => Ok(verdict),
        }
    });
    match checked {
        Err(failure) => webhook.settle(failure),
        Ok(verdict) => {
            verdict.warnings.into_iter().for_each(|warning| request.warn(warning));
            if verdict.allowed {
                return Ok(());
            }
            webhook.settle(Failure::Final(webhook.denial(&verdict.result)))
        }
    }
}

impl Plugin for ValidatingWebhooks {
    fn validate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.judge(request, object))
    }
}
