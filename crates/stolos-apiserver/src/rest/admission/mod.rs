//! Admission: what may still change or refuse a write after it is authorised.
//!
//! Plugins run in order, first all that change the object, then, once it is complete and valid, all that only judge it.
//! The last ones are what users configure: webhooks, and policies in the Common Expression Language.

mod catalog;
mod certificates;
mod defaults;
mod expression;
mod matching;
mod namespace_lifecycle;
mod policy;
mod role_escalation;
mod rules;
mod validate;
mod webhook;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use crate::auth::UserInfo;
use crate::registry::Resource;
use crate::rest::{Warnings, meta};
use crate::status::{ApiError, Cause};

pub(crate) use catalog::Catalog;
pub use certificates::CertificateRequests;
pub use defaults::Defaults;
pub use namespace_lifecycle::NamespaceLifecycle;
pub(crate) use namespace_lifecycle::terminating;
pub(crate) use policy::{Policies, type_check};
pub use role_escalation::RoleEscalation;
pub(crate) use validate::validate;
pub(crate) use webhook::{MutatingWebhooks, ValidatingWebhooks};

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object or of a part of it.
    Update,
    /// A deletion.
    Delete,
    /// An action that is not stored, such as an eviction.
    Connect,
}

impl Operation {
    /// Returns the name that rules and reviews use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write under admission.
pub struct Request<'a> {
    /// What is being done.
    pub operation: Operation,
    /// To which resource, in the version of the request.
    pub resource: &'a Arc<Resource>,
    /// To which part; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster-scoped objects. A namespace lies in itself.
    pub namespace: &'a str,
    /// Object name; empty while it is not generated.
    pub name: &'a str,
    /// By whom, after impersonation.
    pub user: &'a UserInfo,
    /// The stored object, for updates and deletions.
    pub old: Option<&'a Value>,
    /// `CreateOptions`, `UpdateOptions` or `DeleteOptions`.
    pub options: &'a Value,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Warnings for the client.
    pub warnings: &'a Warnings,
}

impl Request<'_> {
    /// Adds a warning for the client.
    pub fn warn(&self, warning: String) {
        self.warnings.add([warning]);
    }

    /// Returns whether the object configures admission. Such objects are exempt from what they configure: otherwise a
    /// broken webhook could keep itself from being repaired.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        !self.resource.custom && self.resource.group_version.group == GROUP
    }

    /// 403 in the words of admission: the name stands for an object that may have none yet.
    #[must_use]
    pub fn forbidden(&self, object: Option<&Value>, why: &str) -> ApiError {
        let named = |field: &str| {
            object.map(|object| meta::text(object, field)).filter(|name| !name.is_empty())
        };
        let name = Some(self.name).filter(|name| !name.is_empty());
        let name = name.or_else(|| named("name")).or_else(|| named("generateName"));
        let resource = self.resource;
        let name = name.unwrap_or("Unknown");
        ApiError::forbidden(&resource.group_version.group, &resource.plural, name, why)
    }
}

/// Group of the objects that configure admission.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// 500 that repeats its text as a cause, as upstream's internal errors do.
pub(crate) fn internal(why: &str) -> ApiError {
    let mut error = ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        format!("Internal error occurred: {why}"),
    );
    error.causes =
        vec![Cause { reason: String::new(), message: why.to_owned(), field: String::new() }];
    error
}

/// A plugin. Implementations that call the server again must not hold locks while they do.
pub trait Plugin: Send + Sync {
    /// Changes the object and tells whether it did, or refuses the write; there is no object for deletions.
    fn mutate<'a>(
        &'a self,
        _request: &'a Request<'a>,
        _object: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Judges the write; `object` is what would be stored, and absent for deletions.
    fn validate<'a>(
        &'a self,
        _request: &'a Request<'a>,
        _object: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
