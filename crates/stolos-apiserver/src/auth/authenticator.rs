//! Authentication: client certificate, then bearer token, then nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tracing::debug;

use super::token::{Claims, LegacyClaims, Reference, TokenError, TokenSigner, Verified};
use super::{Peer, UserInfo};
use crate::clock::Clock;
use crate::status::ApiError;
use crate::store::{ClusterStore, Key, ResourceId, Version};

/// Tokens whose signature has been verified and is not verified again. Above it the memory starts afresh, which costs
/// one verification per token in use.
const REMEMBERED_TOKENS: usize = 1024;

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

type TokenHash = [u8; 32];

/// Tells who is asking. Clones share everything.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    store: ClusterStore,
    signer: Arc<TokenSigner>,
    clock: Clock,
    /// Only hashes are kept: memory never shows a token, and looking one up takes no time that depends on it.
    static_tokens: RwLock<HashMap<TokenHash, UserInfo>>,
    remembered: Mutex<HashMap<TokenHash, Arc<Verified>>>,
}

impl Authenticator {
    /// Builds the authenticator of a logical cluster.
    #[must_use]
    pub fn new(store: ClusterStore, signer: Arc<TokenSigner>, clock: Clock) -> Self {
        let (static_tokens, remembered) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { store, signer, clock, static_tokens, remembered }))
    }

    /// Accepts a token, which must be long and random, as a user from here on.
    pub fn add_static_token(&self, token: &str, user: UserInfo) {
        let mut tokens = self.0.static_tokens.write().expect("inserting does not panic");
        tokens.insert(hash(token), user);
    }

    /// Accepts a static token no longer.
    pub fn remove_static_token(&self, token: &str) {
        let mut tokens = self.0.static_tokens.write().expect("removing does not panic");
        tokens.remove(&hash(token));
    }

    /// Tells who sends a request; without credentials that is the anonymous user.
    ///
    /// # Errors
    /// 401 when there are credentials and they are not good.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<UserInfo, ApiError> {
        if let Some(user) = peer.and_then(|peer| peer.certificate.clone()) {
            return Ok(user);
        }
        let Some(token) = bearer_token(headers)? else { return Ok(UserInfo::anonymous()) };
        let audiences = [self.0.signer.issuer().to_owned()];
        self.authenticate_token(token, &audiences).map(|(user, _)| user).map_err(|error| {
            debug!(%error, "refused a bearer token");
            ApiError::unauthorized()
        })
    }

    /// Tells whose token this is, and for which of the audiences it is good.
    pub fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(UserInfo, Vec<String>), TokenError> {
        let hash = hash(token);
        let static_tokens = self.0.static_tokens.read().expect("writers do not panic");
        if let Some(user) = static_tokens.get(&hash) {
            let own = self.0.signer.issuer();
            let good: Vec<_> =
                audiences.iter().filter(|audience| *audience == own).cloned().collect();
            return if good.is_empty() {
                Err(TokenError::Audience)
            } else {
                Ok((user.clone(), good))
            };
        }
        drop(static_tokens);
        let verified = self.verify(token, hash)?;
        let good = verified.check(audiences, self.0.signer.issuer(), self.0.clock.now())?;
        let user = match &*verified {
            Verified::Bound(claims) => self.bound_user(claims)?,
            Verified::Legacy(claims) => self.legacy_user(claims, token)?,
        };
        Ok((user, good))
    }

    /// Verifies a signature once per token: that is the slow part, and it never changes.
    fn verify(&self, token: &str, hash: TokenHash) -> Result<Arc<Verified>, TokenError> {
        let remembered = || self.0.remembered.lock().expect("the map is never left half written");
        if let Some(verified) = remembered().get(&hash) {
            return Ok(verified.clone());
        }
        let verified = Arc::new(self.0.signer.verify(token)?);
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED_TOKENS {
            remembered.clear();
        }
        remembered.insert(hash, verified.clone());
        Ok(verified)
    }

    /// Returns the service account of a token, unless it or what the token is bound to is gone.
    fn bound_user(&self, claims: &Claims) -> Result<UserInfo, TokenError> {
        let private = &claims.private;
        let namespace = &private.namespace;
        let account = &private.serviceaccount;
        self.check_alive("serviceaccounts", namespace, account, "service account")?;
        let mut user = UserInfo::service_account(namespace, &account.name, &account.uid);
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
        if let Some(secret) = &private.secret {
            self.check_alive("secrets", namespace, secret, "secret")?;
        }
        for (resource, scope, what, bound) in [
            ("pods", namespace.as_str(), "pod", &private.pod),
            ("nodes", "", "node", &private.node),
        ] {
            let Some(reference) = bound else { continue };
            self.check_alive(resource, scope, reference, what)?;
            for (field, value) in [("name", &reference.name), ("uid", &reference.uid)] {
                let key = format!("authentication.kubernetes.io/{what}-{field}");
                user.extra.insert(key, vec![value.clone()]);
            }
        }
        Ok(user)
    }

    /// Returns the service account of a token kept in a Secret, as long as the Secret holds this very token.
    fn legacy_user(&self, claims: &LegacyClaims, token: &str) -> Result<UserInfo, TokenError> {
        use base64::Engine;
        let LegacyClaims { namespace, service_account, uid, secret, .. } = claims;
        let account = Reference { name: service_account.clone(), uid: uid.clone() };
        self.check_alive("serviceaccounts", namespace, &account, "service account")?;
        let secret =
            self.find("secrets", namespace, secret).ok_or(TokenError::Gone("secret"))?.object();
        let kept = secret["data"]["token"].as_str().unwrap_or_default();
        let kept = base64::engine::general_purpose::STANDARD.decode(kept).unwrap_or_default();
        let is_this = Sha256::digest(kept) == Sha256::digest(token);
        if !is_this {
            return Err(TokenError::Gone("secret"));
        }
        Ok(UserInfo::service_account(namespace, service_account, uid))
    }

    fn check_alive(
        &self,
        resource: &str,
        namespace: &str,
        reference: &Reference,
        what: &'static str,
    ) -> Result<(), TokenError> {
        let found = self.find(resource, namespace, &reference.name);
        let same = found.is_some_and(|version| version.attributes.uid == reference.uid);
        if same { Ok(()) } else { Err(TokenError::Gone(what)) }
    }

    fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Version>> {
        self.0.store.get(&ResourceId::from(resource), &Key::namespaced(namespace, name))
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

/// Returns the bearer token; other schemes count as no credentials, as upstream has it.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| ApiError::unauthorized())?;
    let Some((scheme, token)) = value.trim().split_once(' ') else { return Ok(None) };
    let token = token.trim();
    Ok((scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token))
}

#[cfg(test)]
mod tests;
