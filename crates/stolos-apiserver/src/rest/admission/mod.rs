//! Admission: what may still change or refuse a write after it is authorised.
//!
//! Plugins run in order, first all that change the object, then, once it is complete and valid, all that only judge it.

use std::sync::Mutex;

mod namespace_lifecycle;
mod role_escalation;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::auth::UserInfo;
use crate::registry::Resource;
use crate::status::ApiError;

pub use namespace_lifecycle::NamespaceLifecycle;
pub(crate) use namespace_lifecycle::terminating;
pub use role_escalation::RoleEscalation;

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

/// A write under admission.
pub struct Request<'a> {
    /// What is being done.
    pub operation: Operation,
    /// To which resource, in the version of the request.
    pub resource: &'a Resource,
    /// To which part; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Object name; empty while it is not generated.
    pub name: &'a str,
    /// By whom.
    pub user: &'a UserInfo,
    /// The stored object, for updates and deletions.
    pub old: Option<&'a Value>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Warnings for the client.
    pub warnings: &'a Mutex<Vec<String>>,
}

/// A plugin. Implementations that call the server again must not hold locks while they do.
pub trait Plugin: Send + Sync {
    /// Changes the object, or refuses the write.
    fn mutate<'a>(
        &'a self,
        _request: &'a Request<'a>,
        _object: &'a mut Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(Ok(())))
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
