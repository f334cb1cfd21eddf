//! Nobody hands out rights that they do not have.

use futures::future::BoxFuture;
use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::auth::{Authorizer, RoleWrite};
use crate::status::ApiError;

/// Refuses roles and bindings that would give more than their author has.
pub struct RoleEscalation(Authorizer);

impl RoleEscalation {
    /// Builds the plugin on a cluster's authoriser.
    #[must_use]
    pub fn new(authorizer: Authorizer) -> Self {
        Self(authorizer)
    }

    fn check(&self, request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let rbac = !request.resource.custom
            && request.resource.group_version.group == "rbac.authorization.k8s.io";
        let Some(new) = object.filter(|_| writes && rbac) else { return Ok(()) };
        let resource = request.resource.plural.as_str();
        let write = RoleWrite { resource, namespace: request.namespace, new, old: request.old };
        self.0.check_role_write(request.user, &write)
    }
}

impl Plugin for RoleEscalation {
    fn validate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(self.check(request, object)))
    }
}
