//! Service-account tokens: JSON web tokens signed with ES256 by the cluster's own key.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::serve::private_file;

const KEY_FILE: &str = "sa.key";
/// Issuer of tokens kept in Secrets, as upstream writes it.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Longer than any token we sign; longer input is not worth hashing.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Signs and verifies the tokens of one logical cluster.
pub struct TokenSigner {
    key: EcdsaKeyPair,
    key_id: String,
    issuer: String,
    random: SystemRandom,
}

/// An object that a token dies with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Object name.
    pub name: String,
    /// Object uid.
    pub uid: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom the token is.
    pub aud: Vec<String>,
    /// Second after which it is void.
    pub exp: i64,
    /// Second of issue.
    pub iat: i64,
    /// Who issued it.
    pub iss: String,
    /// Unique id.
    pub jti: String,
    /// First second in which it is good.
    pub nbf: i64,
    /// User name.
    pub sub: String,
    /// Which service account, and what it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub private: PrivateClaims,
}

/// The part of the claims that is Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateClaims {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: Reference,
    /// Pod that the token dies with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<Reference>,
    /// Secret that the token dies with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub secret: Option<Reference>,
    /// Node that the token dies with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<Reference>,
}

/// What a token that lives in a Secret says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyClaims {
    /// Who issued it.
    pub iss: String,
    /// User name.
    pub sub: String,
    /// Namespace of the service account and the Secret.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// The Secret.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    /// The service account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub service_account: String,
    /// Its uid.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
}

/// A token whose signature is ours. Whether it is still good depends on time, audience and the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Issued on request, for a time and an audience.
    Bound(Claims),
    /// Kept in a Secret, good as long as that exists.
    Legacy(LegacyClaims),
}

/// Why a token is refused. The texts go to logs and reviews, never more than 401 to the caller.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token of ours by form.
    #[error("the token is not a JSON web token of this server")]
    Form,
    /// It is signed by somebody else, or changed.
    #[error("the signature is not of this cluster's key")]
    Signature,
    /// Its time is over, or has not come.
    #[error("the token is not good at this time")]
    Time,
    /// It is for somebody else.
    #[error("the token is not for this audience")]
    Audience,
    /// The service account, or an object the token is bound to, is gone.
    #[error("the {0} of the token is gone")]
    Gone(&'static str),
}

/// The key cannot be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("failed to access the service-account key `{path}`")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold an ECDSA P-256 key in PEM.
    #[error("the service-account key is not an ECDSA P-256 key in PEM (PKCS #8)")]
    Malformed,
}

impl TokenSigner {
    /// Makes a signer whose tokens die with the process.
    pub fn generate(issuer: &str) -> Result<Self, KeyError> {
        let key = rcgen::KeyPair::generate().map_err(|_| KeyError::Malformed)?;
        Self::from_pem(&key.serialize_pem(), issuer)
    }

    /// Loads the key of a directory, or makes one there.
    pub fn load_or_create(directory: &Path, issuer: &str) -> Result<Self, KeyError> {
        let path = directory.join(KEY_FILE);
        let failed = |source| KeyError::File { path: path.display().to_string(), source };
        let pem = match std::fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = rcgen::KeyPair::generate().map_err(|_| KeyError::Malformed)?;
                let pem = key.serialize_pem();
                private_file::create(&path, pem.as_bytes()).map_err(failed)?;
                pem
            }
            Err(error) => return Err(failed(error)),
        };
        Self::from_pem(&pem, issuer)
    }

    /// Reads a key in PEM (PKCS #8).
    pub fn from_pem(pem: &str, issuer: &str) -> Result<Self, KeyError> {
        let pair = rcgen::KeyPair::from_pem(pem).map_err(|_| KeyError::Malformed)?;
        let random = SystemRandom::new();
        let pkcs8 = pair.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
            .map_err(|_| KeyError::Malformed)?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(Self { key, key_id, issuer: issuer.to_owned(), random })
    }

    /// Returns the issuer, which is also the audience of the API server itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs a token that is bound to a time, an audience, and perhaps an object.
    #[must_use]
    pub fn sign(
        &self,
        private: PrivateClaims,
        audiences: &[String],
        now: Timestamp,
        lifetime_seconds: i64,
    ) -> String {
        let now = now.as_second();
        let PrivateClaims { namespace, serviceaccount, .. } = &private;
        let claims = Claims {
            aud: audiences.to_vec(),
            exp: now.saturating_add(lifetime_seconds),
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{}", serviceaccount.name),
            private,
        };
        self.encode(&json!(claims))
    }

    /// Signs a token for a Secret of type `kubernetes.io/service-account-token`.
    #[must_use]
    pub fn sign_legacy(
        &self,
        namespace: &str,
        service_account: &Reference,
        secret: &str,
    ) -> String {
        self.encode(&json!(LegacyClaims {
            iss: LEGACY_ISSUER.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{}", service_account.name),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            service_account: service_account.name.clone(),
            uid: service_account.uid.clone(),
        }))
    }

    /// Verifies the signature and the issuer, and reads the claims.
    pub fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        // Only our algorithm, whatever the header wishes for.
        if decode(header)?["alg"] != "ES256" {
            return Err(TokenError::Form);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Form)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        let claims = decode(claims)?;
        if claims["iss"] == LEGACY_ISSUER {
            return LegacyClaims::deserialize(claims)
                .map(Verified::Legacy)
                .map_err(|_| TokenError::Form);
        }
        let claims = Claims::deserialize(claims).map_err(|_| TokenError::Form)?;
        if claims.iss == self.issuer { Ok(Verified::Bound(claims)) } else { Err(TokenError::Form) }
    }

    /// Returns the public key as a JSON web key set, for `/openid/v1/jwks`.
    #[must_use]
    pub fn key_set(&self) -> Value {
        // An uncompressed point: a tag, then the two coordinates.
        let point = &self.key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        json!({ "keys": [{
            "use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] })
    }

    /// Signs any claims.
    pub(crate) fn encode(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": self.key_id }).to_string();
        let claims = claims.to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(&self.random, signed.as_bytes());
        let signature = signature.expect("signing fails only without system randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Verified {
    /// Checks time and audience. A token from a Secret has neither: it is for the API server, for ever.
    pub fn check(
        &self,
        audiences: &[String],
        issuer: &str,
        now: Timestamp,
    ) -> Result<Vec<String>, TokenError> {
        let own = match self {
            Self::Bound(claims) => {
                let now = now.as_second();
                if now < claims.nbf || now >= claims.exp {
                    return Err(TokenError::Time);
                }
                claims.aud.clone()
            }
            Self::Legacy(_) => vec![issuer.to_owned()],
        };
        let common: Vec<String> =
            own.into_iter().filter(|audience| audiences.contains(audience)).collect();
        if common.is_empty() { Err(TokenError::Audience) } else { Ok(common) }
    }
}

fn decode(part: &str) -> Result<Value, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISSUER: &str = "https://test";

    fn claims() -> PrivateClaims {
        PrivateClaims {
            namespace: "ns".to_owned(),
            serviceaccount: Reference { name: "robot".to_owned(), uid: "u1".to_owned() },
            pod: None,
            secret: None,
            node: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_time_and_its_audience() {
        let signer = TokenSigner::generate(ISSUER).unwrap();
        let vault = vec!["vault".to_owned()];
        let token = signer.sign(claims(), &vault, at(1000), 600);
        let verified = signer.verify(&token).unwrap();
        assert_eq!(verified.check(&vault, ISSUER, at(1000)), Ok(vault.clone()));
        assert_eq!(verified.check(&vault, ISSUER, at(1599)), Ok(vault.clone()));
        assert_eq!(verified.check(&vault, ISSUER, at(1600)), Err(TokenError::Time));
        assert_eq!(verified.check(&vault, ISSUER, at(999)), Err(TokenError::Time));
        assert_eq!(
            verified.check(&[ISSUER.to_owned()], ISSUER, at(1000)),
            Err(TokenError::Audience)
        );
        let Verified::Bound(read) = verified else { panic!("{verified:?}") };
        assert_eq!((read.sub.as_str(), read.private), ("system:serviceaccount:ns:robot", claims()));
    }

    #[test]
    fn tokens_of_other_keys_other_issuers_and_other_algorithms_are_refused() {
        let signer = TokenSigner::generate(ISSUER).unwrap();
        let other = TokenSigner::generate(ISSUER).unwrap();
        let token = other.sign(claims(), &[], at(0), 600);
        assert_eq!(signer.verify(&token), Err(TokenError::Signature));
        let (_, rest) = token.split_once('.').unwrap();
        let none = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(signer.verify(&none), Err(TokenError::Form));
        let stranger = TokenSigner {
            issuer: "https://other".to_owned(),
            ..TokenSigner::generate("").unwrap()
        };
        let token = stranger.sign(claims(), &[], at(0), 600);
        assert_eq!(stranger.verify(&token).map(|_| ()), Ok(()));
        let same_key = TokenSigner { issuer: ISSUER.to_owned(), ..stranger };
        assert_eq!(same_key.verify(&token), Err(TokenError::Form));
    }

    #[test]
    fn keys_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let first = TokenSigner::load_or_create(directory.path(), ISSUER).unwrap();
        let token = first.sign_legacy("ns", &claims().serviceaccount, "robot-token");
        let again = TokenSigner::load_or_create(directory.path(), ISSUER).unwrap();
        let verified = again.verify(&token).unwrap();
        assert!(matches!(&verified, Verified::Legacy(claims) if claims.secret == "robot-token"));
        assert!(verified.check(&[ISSUER.to_owned()], ISSUER, at(0)).is_ok());
        std::fs::write(directory.path().join(KEY_FILE), "junk").unwrap();
        assert!(TokenSigner::load_or_create(directory.path(), ISSUER).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(at_byte: prop::sample::Index, byte in any::<u8>()) {
            let signer = TokenSigner::generate(ISSUER).unwrap();
            let token = signer.sign(claims(), &[], at(0), 600);
            let mut bytes = token.clone().into_bytes();
            let i = at_byte.index(bytes.len());
            bytes[i] = byte & 0x7f;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assume!(changed != token);
            prop_assert!(signer.verify(&changed).is_err());
        }

        #[test]
        fn no_text_is_a_token_by_chance(text in ".*") {
            prop_assert!(TokenSigner::generate(ISSUER).unwrap().verify(&text).is_err());
        }
    }
}
