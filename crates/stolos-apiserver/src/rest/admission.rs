//! Admission: what may still change or refuse a write after it is authorised.
//!
//! Plugins run in order, first all that change the object, then, once it is complete and valid, all that only judge it.

use std::sync::Mutex;

use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use crate::auth::UserInfo;
use crate::registry::Resource;
use crate::status::{ApiError, Cause};
use crate::store::{ClusterStore, Key};

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

/// Namespaces that cannot be deleted.
const UNDELETABLE: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Refuses objects in namespaces that do not exist or are going away, and the deletion of the system's own namespaces.
pub struct NamespaceLifecycle(ClusterStore);

impl NamespaceLifecycle {
    /// Builds the plugin on a cluster's store.
    #[must_use]
    pub fn new(store: ClusterStore) -> Self {
        Self(store)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), ApiError> {
        let namespaces =
            !request.resource.custom && request.resource.storage.as_ref() == "namespaces";
        if namespaces
            && request.operation == Operation::Delete
            && UNDELETABLE.contains(&request.name)
        {
            return Err(ApiError::forbidden(
                "",
                "namespaces",
                request.name,
                "this namespace may not be deleted",
            ));
        }
        if request.operation != Operation::Create || !request.resource.namespaced || namespaces {
            return Ok(());
        }
        let key = Key { namespace: String::new(), name: request.namespace.to_owned() };
        match self.0.get(&"namespaces".into(), &key) {
            None => Err(ApiError::not_found("", "namespaces", request.namespace)),
            Some(namespace) if namespace.attributes.deleting => {
                Err(terminating(request.resource, request.namespace, request.name))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Plugin for NamespaceLifecycle {
    fn mutate<'a>(
        &'a self,
        request: &'a Request<'a>,
        _: &'a mut Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(self.check(request)))
    }

    fn validate<'a>(
        &'a self,
        request: &'a Request<'a>,
        _: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        let deletion = request.operation == Operation::Delete;
        Box::pin(std::future::ready(if deletion { self.check(request) } else { Ok(()) }))
    }
}

/// 403: the namespace is going away.
pub(crate) fn terminating(resource: &Resource, namespace: &str, name: &str) -> ApiError {
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut error =
        ApiError::forbidden(&resource.group_version.group, &resource.plural, name, &why);
    error.code = StatusCode::FORBIDDEN;
    error.causes = vec![Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    }];
    error
}
