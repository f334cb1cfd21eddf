//! Who is asking (client certificate, bearer token) and whether they may (RBAC).
//!
//! [`Auth`] is what a server needs of all this; the parts can be used alone.

mod access;
mod authenticator;
mod authorizer;
mod certificate;
mod impersonation;
pub mod rbac;
mod reviews;
pub mod token;
mod token_request;
pub mod token_secret;
pub mod user;

use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use crate::clock::Clock;
use crate::status::ApiError;
use crate::store::ClusterStore;

pub use access::{Access, Decision, Target};
pub use authenticator::Authenticator;
pub use authorizer::{Authorizer, RoleWrite};
pub use certificate::{Peer, user_of_certificate};
pub use impersonation::impersonated;
pub use reviews::Reviews;
pub use token::TokenSigner;
pub use token_request::issue_token;
pub(crate) use token_request::{complete_token_request, stamp_token_request};
pub use user::UserInfo;

/// Issuer of service-account tokens unless told otherwise.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Authentication and authorisation of one logical cluster. Clones share everything.
#[derive(Clone)]
pub struct Auth {
    store: ClusterStore,
    clock: Clock,
    signer: Arc<TokenSigner>,
    authenticator: Authenticator,
    authorizer: Authorizer,
    reviews: Reviews,
}

impl Auth {
    /// Builds it over the cluster's store and the key that signs its service-account tokens.
    #[must_use]
    pub fn new(store: ClusterStore, signer: Arc<TokenSigner>, clock: Clock) -> Self {
        let authenticator = Authenticator::new(store.clone(), signer.clone(), clock.clone());
        let authorizer = Authorizer::new(store.clone());
        let reviews = Reviews::new(authenticator.clone(), authorizer.clone(), signer.issuer());
        Self { store, clock, signer, authenticator, authorizer, reviews }
    }

    /// Tells as whom a request acts: its certificate or token, then its impersonation headers.
    ///
    /// # Errors
    /// 401 for credentials that are not good; 403 for an impersonation that is not allowed.
    pub fn identify(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<UserInfo, ApiError> {
        let user = self.authenticator.authenticate(headers, peer)?;
        impersonated(&self.authorizer, user, headers)
    }

    /// Lets a user do something, or says why not.
    ///
    /// # Errors
    /// 403 for a user who may not.
    pub fn authorize(&self, user: &UserInfo, access: &Access) -> Result<(), ApiError> {
        self.authorizer.authorize(user, access)
    }

    /// Answers a review; see [`Reviews::review`].
    pub fn review(
        &self,
        kind: &str,
        namespace: Option<&str>,
        user: &UserInfo,
        body: Value,
    ) -> Result<Value, ApiError> {
        self.reviews.review(kind, namespace, user, body)
    }

    /// Issues a service-account token; see [`issue_token`].
    pub fn issue_token(
        &self,
        namespace: &str,
        name: &str,
        request: Value,
    ) -> Result<Value, ApiError> {
        issue_token(&self.store, &self.signer, (namespace, name), request, self.clock.now())
    }

    /// Returns the authenticator, which also takes static tokens.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Returns the authoriser, which also checks role writes for escalation.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Returns the signer, which also makes tokens for Secrets.
    #[must_use]
    pub fn signer(&self) -> &TokenSigner {
        &self.signer
    }
}
