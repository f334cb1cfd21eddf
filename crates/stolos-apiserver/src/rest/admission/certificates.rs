//! Who may approve certificate signing requests, sign them, and ask for what.

use futures::future::BoxFuture;
use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::auth::{Access, Authorizer};
use crate::rest::lifecycle::is_signing_request;
use crate::schema::builtin::organizations_of_request;
use crate::status::ApiError;

/// Signer of certificates for clients of this server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Lets only those approve or sign requests who have the right to do so for the signer.
pub struct CertificateRequests(Authorizer);

impl CertificateRequests {
    /// Builds the plugin on a cluster's authoriser.
    #[must_use]
    pub fn new(authorizer: Authorizer) -> Self {
        Self(authorizer)
    }

    fn check(&self, request: &Request<'_>, object: Option<&Value>) -> Result<(), ApiError> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let Some(new) = object.filter(|_| writes && is_signing_request(request.resource)) else {
            return Ok(());
        };
        let refused = |why: String| {
            let resource = request.resource;
            Err(ApiError::forbidden(
                &resource.group_version.group,
                &resource.plural,
                request.name,
                &why,
            ))
        };
        let signer = request.old.unwrap_or(new)["spec"]["signerName"].as_str().unwrap_or_default();
        match (request.subresource, request.old) {
            ("approval", Some(_)) if !self.may(request, "approve", signer) => refused(format!(
                "user not permitted to approve requests with signerName \"{signer}\""
            )),
            ("status", Some(old)) if signs(old, new) && !self.may(request, "sign", signer) => {
                refused(format!("user not permitted to sign requests with signerName \"{signer}\""))
            }
            ("", None) if signer == CLIENT_SIGNER && asks_for_everything(new) => refused(format!(
                "use of {CLIENT_SIGNER} signer with system:masters group is not allowed"
            )),
            _ => Ok(()),
        }
    }

    /// Looks for a right over this signer, or over all signers of its domain.
    fn may(&self, request: &Request<'_>, verb: &str, signer: &str) -> bool {
        let domain = signer.split('/').next().unwrap_or_default();
        [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
            let access = Access::resource(verb, "certificates.k8s.io", "signers", "", name);
            self.0.authorize(request.user, &access).is_ok()
        })
    }
}

fn signs(old: &Value, new: &Value) -> bool {
    ["certificate", "conditions"].iter().any(|field| old["status"][field] != new["status"][field])
}

fn asks_for_everything(request: &Value) -> bool {
    let organizations = organizations_of_request(&request["spec"]["request"]);
    organizations.iter().any(|organization| organization == crate::auth::user::MASTERS)
}

impl Plugin for CertificateRequests {
    fn validate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(self.check(request, object)))
    }
}
