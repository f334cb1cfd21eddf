//! Nothing is created in namespaces that do not exist or are going away, and the system's own namespaces stay.

use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::registry::Resource;
use crate::status::{ApiError, Cause};
use crate::store::{ClusterStore, Key};

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
        // Who asks for rights is not to learn whether the namespace is there.
        if request.resource.group_version.group == "authorization.k8s.io" {
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
        _: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        Box::pin(std::future::ready(self.check(request).map(|()| false)))
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
