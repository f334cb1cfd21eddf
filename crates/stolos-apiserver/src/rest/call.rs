//! One request for a resource, read and authorised.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::negotiate::Output;
use super::query::Query;
use super::warnings::Warnings;
use crate::auth::UserInfo;
use crate::registry::Resource;
use crate::status::ApiError;
use crate::store::Key;

/// A request for a resource.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) resource: Arc<Resource>,
    /// Namespace of the path; absent for cluster-scoped resources and for lists over all namespaces.
    pub(crate) namespace: Option<String>,
    /// Name of the path; empty for collections.
    pub(crate) name: String,
    /// Subresource of the path; empty for the object itself.
    pub(crate) subresource: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) output: Output,
    pub(crate) user: UserInfo,
    /// Admission is asked about writes. It is not when the server itself keeps house.
    pub(crate) admits: bool,
    pub(crate) warnings: Warnings,
}

impl Call {
    /// Returns the store's key of the object that the path names.
    #[must_use]
    pub(crate) fn key(&self) -> Key {
        self.key_of(&self.name)
    }

    /// Returns the store's key of another object in the same namespace.
    #[must_use]
    pub(crate) fn key_of(&self, name: &str) -> Key {
        Key { namespace: self.namespace.clone().unwrap_or_default(), name: name.to_owned() }
    }

    /// Returns the API group.
    #[must_use]
    pub(crate) fn group(&self) -> &str {
        &self.resource.group_version.group
    }

    /// 404 for the object that the path names.
    #[must_use]
    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(self.group(), &self.resource.plural, &self.name)
    }

    /// 409 for the object that the path names.
    #[must_use]
    pub(crate) fn conflict(&self, why: &str) -> ApiError {
        ApiError::conflict(self.group(), &self.resource.plural, &self.name, why)
    }

    /// 405: the resource exists and does not take this method.
    #[must_use]
    pub(crate) fn method_not_allowed(&self) -> ApiError {
        let text = "the server does not allow this method on the requested resource";
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", text)
    }

    /// Returns who writes, for field ownership: the parameter, else the program's name in `User-Agent`.
    #[must_use]
    pub(crate) fn field_manager(&self) -> String {
        if let Some(manager) = self.query.get("fieldManager") {
            return manager.to_owned();
        }
        let agent =
            self.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
        let program = agent.unwrap_or_default().split('/').next().unwrap_or_default();
        let manager: String = program.chars().filter(|c| !c.is_control()).take(128).collect();
        if manager.is_empty() { "unknown".to_owned() } else { manager }
    }
}
