//! ValidatingAdmissionPolicy: judging writes by expressions.

mod definition;
mod evaluate;
mod params;
mod type_check;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use self::definition::{Binding, Policy};
use self::evaluate::Decision;
use super::expression::{ABSENT, Rights, request_json};
use super::matching::Surroundings;
use super::rules::is_namespaces;
use super::{Catalog, Plugin, Request};
use crate::auth::Authorizer;
use crate::registry::{Registry, Resource};
use crate::rest::convert;
use crate::status::{ApiError, Cause};
use crate::store::{ClusterStore, Key};

pub(super) use definition::{Binding as PolicyBinding, Policy as CompiledPolicy};
pub(crate) use type_check::type_check;

/// Judges writes by the policies that bindings put into force.
pub(crate) struct Policies {
    pub(crate) store: ClusterStore,
    pub(crate) registry: Registry,
    pub(crate) catalog: Catalog,
    pub(crate) authorizer: Authorizer,
}

/// A write that a policy refuses.
struct Denial {
    policy: String,
    /// Absent when the policy itself is at fault.
    binding: Option<String>,
    decision: Decision,
}

impl Policies {
    async fn judge(&self, request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
        if request.is_configuration() || is_review(request.resource) {
            return Ok(());
        }
        let in_force = self.catalog.in_force();
        let around = Surroundings { store: &self.store, registry: &self.registry };
        let mut denials = Vec::new();
        for policy in &in_force.policies {
            let resource = match policy.criteria.matches(&around, request, object) {
                Ok(Some(resource)) => resource,
                Ok(None) => continue,
                Err(error) => {
                    denials.extend(policy.misconfigured(None, &error.message));
                    continue;
                }
            };
            if let Err(why) = policy.find_params(&self.registry) {
                denials.extend(policy.misconfigured(None, &why));
                continue;
            }
            let bindings = in_force.bindings.iter().filter(|binding| binding.policy == policy.name);
            for binding in bindings {
                match binding.criteria.matches(&around, request, object) {
                    Ok(Some(_)) => {}
                    Ok(None) => continue,
                    Err(error) => {
                        denials.extend(policy.misconfigured(Some(&binding.name), &error.message));
                        continue;
                    }
                }
                self.apply(policy, binding, request, &resource, object, &mut denials).await?;
            }
        }
        match denials.first() {
            Some(denial) => Err(denial.to_error(request, object)),
            None => Ok(()),
        }
    }

    /// Judges a write by one policy as one binding puts it into force.
    async fn apply(
        &self,
        policy: &Policy,
        binding: &Binding,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        object: Option<&Value>,
        denials: &mut Vec<Denial>,
    ) -> Result<(), ApiError> {
        let params = match self.params(policy, binding, request).await {
            Ok(params) => params,
            Err(why) => {
                denials.extend(policy.misconfigured(Some(&binding.name), &why));
                return Ok(());
            }
        };
        if params.is_empty() {
            return Ok(());
        }
        let object = convert::optional(request.resource, resource, object).await?;
        let old = convert::optional(request.resource, resource, request.old).await?;
        let asked = request_json(request, resource);
        let namespace = self.namespace_of(request)?;
        let subject = evaluate::Subject {
            object: object.as_ref(),
            old: old.as_ref(),
            request: &asked,
            namespace: namespace.as_ref().unwrap_or(&ABSENT),
            rights: Rights::new(&self.authorizer, request),
        };
        for param in &params {
            for decision in policy.evaluate(&subject, param) {
                if binding.warns {
                    request.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, decision.message
                    ));
                }
                if binding.denies {
                    let (policy, binding) = (policy.name.clone(), Some(binding.name.clone()));
                    denials.push(Denial { policy, binding, decision });
                }
            }
        }
        Ok(())
    }

    fn namespace_of(&self, request: &Request<'_>) -> Result<Option<Value>, ApiError> {
        if request.namespace.is_empty() || is_namespaces(request.resource) {
            return Ok(None);
        }
        let key = Key::cluster_scoped(request.namespace);
        let namespace = self.store.get(&"namespaces".into(), &key);
        let namespace =
            namespace.ok_or_else(|| ApiError::not_found("", "namespaces", request.namespace))?;
        Ok(Some(namespace.object()))
    }
}

/// Reviews are not judged: whoever could not ask for rights could not do anything.
fn is_review(resource: &Resource) -> bool {
    let group = resource.group_version.group.as_str();
    !resource.custom && matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
}

impl Policy {
    /// Refuses a write because the configuration is at fault, unless failures are ignored.
    fn misconfigured(&self, binding: Option<&str>, why: &str) -> Option<Denial> {
        if self.fails_open {
            return None;
        }
        let what = if binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {why}");
        Some(Denial {
            policy: self.name.clone(),
            binding: binding.map(str::to_owned),
            decision: Decision { message, reason: String::new() },
        })
    }
}

impl Denial {
    fn to_error(&self, request: &Request<'_>, object: Option<&Value>) -> ApiError {
        let with = self.binding.as_ref().map(|binding| format!(" with binding '{binding}'"));
        let message = format!(
            "ValidatingAdmissionPolicy '{}'{} denied request: {}",
            self.policy,
            with.unwrap_or_default(),
            self.decision.message
        );
        let mut error = request.forbidden(object, &message);
        (error.reason, error.code) = match self.decision.reason.as_str() {
            "Forbidden" => ("Forbidden", StatusCode::FORBIDDEN),
            "Unauthorized" => ("Unauthorized", StatusCode::UNAUTHORIZED),
            "RequestEntityTooLarge" => ("RequestEntityTooLarge", StatusCode::PAYLOAD_TOO_LARGE),
            _ => ("Invalid", StatusCode::UNPROCESSABLE_ENTITY),
        };
        error.causes = vec![Cause { reason: String::new(), message, field: String::new() }];
        error
    }
}

impl Plugin for Policies {
    fn validate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.judge(request, object))
    }
}
