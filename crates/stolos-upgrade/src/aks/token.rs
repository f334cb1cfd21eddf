//! Access tokens of Microsoft Entra ID for an application: by secret, certificate or federated token.
//!
//! The four lines of protocol are here, the cryptography is ring's. The official `azure_identity` was looked at: for
//! certificates it needs OpenSSL, and it brings a second HTTP stack.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::http::{self as wire, Body, Http, is_safe_url};

const DEFAULT_AUTHORITY: &str = "https://login.microsoftonline.com";
const DEFAULT_RESOURCE_MANAGER: &str = "https://management.azure.com";

/// How long before its end a token is replaced: a request that begins with it must not outlive it.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// How long an assertion that is signed for one request is valid (Entra allows ten minutes).
const ASSERTION_LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// What the hub's own environment allows members to use. Secrets are written by others, who must not be able to
/// have files of the hub sent to a place of their choice.
#[derive(Clone, Debug, Default)]
pub struct HostIdentity {
    /// The one file that `federatedTokenFile` may name.
    pub federated_token_file: Option<PathBuf>,
    /// Where its content may be sent to.
    pub authority: Option<String>,
}

impl HostIdentity {
    /// Reads `AZURE_FEDERATED_TOKEN_FILE` and `AZURE_AUTHORITY_HOST`, which Azure's workload identity sets.
    pub fn from_env() -> Self {
        Self {
            federated_token_file: std::env::var_os("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            authority: std::env::var("AZURE_AUTHORITY_HOST").ok(),
        }
    }
}

/// Credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The secret is not as it should be.
    #[error("secret `{secret}`: {problem}")]
    Secret {
        /// Name of the secret.
        secret: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An application of Entra ID and where it is known.
#[derive(Debug)]
pub struct Credentials {
    tenant: String,
    client: String,
    proof: Proof,
    authority: String,
    pub(super) resource_manager: String,
}

#[derive(Debug)]
enum Proof {
    Secret(Hidden),
    Certificate(Box<Certificate>),
    FederatedTokenFile(PathBuf),
}

struct Certificate {
    key: RsaKeyPair,
    /// SHA-256 of the certificate.
    thumbprint: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads credentials from a secret: `tenantId`, `clientId`, one of `clientSecret`, `clientCertificate` (PEM with
    /// certificate and RSA key) and `federatedTokenFile`, and optionally `resourceManagerUrl` and `authorityUrl`.
    ///
    /// # Errors
    /// When something is missing or cannot be used, with what would be right.
    pub fn read(secret: &Secret, host: &HostIdentity) -> Result<Self, CredentialsError> {
        Self::parse(secret, host).map_err(|problem| CredentialsError::Secret {
            secret: secret.metadata.name.clone().unwrap_or_default(),
            problem,
        })
    }

    fn parse(secret: &Secret, host: &HostIdentity) -> Result<Self, String> {
        let text = |key: &str| {
            let value = secret.data.as_ref().and_then(|data| data.get(key))?;
            Some(
                std::str::from_utf8(&value.0)
                    .map(|text| text.trim().to_owned())
                    .map_err(|_| format!("key `{key}` is not UTF-8 text")),
            )
        };
        let required = |key: &str| {
            let value = text(key).transpose()?.filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("has no key `{key}`"))
        };
        let url = |key: &str, default: &str| {
            let value = text(key).transpose()?.unwrap_or_else(|| default.to_owned());
            let value = value.trim_end_matches('/').to_owned();
            if is_safe_url(&value) {
                Ok(value)
            } else {
                Err(format!("`{key}` must be an https URL"))
            }
        };
        let tenant = required("tenantId")?;
        let client = required("clientId")?;
        if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') {
            return Err("`tenantId` must be a GUID or a domain".into());
        }
        let authority =
            url("authorityUrl", host.authority.as_deref().unwrap_or(DEFAULT_AUTHORITY))?;
        let resource_manager = url("resourceManagerUrl", DEFAULT_RESOURCE_MANAGER)?;
        let proofs = (text("clientSecret"), text("clientCertificate"), text("federatedTokenFile"));
        let proof = match proofs {
            (Some(secret), None, None) => Proof::Secret(Hidden(secret?)),
            (None, Some(pem), None) => Proof::Certificate(Box::new(certificate(&pem?)?)),
            (None, None, Some(file)) => federated(Path::new(&file?), &authority, host)?,
            _ => {
                return Err(
                    "must have exactly one of the keys `clientSecret`, `clientCertificate` and `federatedTokenFile`"
                        .into(),
                );
            }
        };
        Ok(Self { tenant, client, proof, authority, resource_manager })
    }

    fn token_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant)
    }

    /// Returns the form that asks for a token.
    async fn form(&self, now: Timestamp) -> Result<Vec<(&'static str, String)>, String> {
        const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let mut form = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", self.client.clone()),
            ("scope", format!("{}/.default", self.resource_manager)),
        ];
        let assertion = match &self.proof {
            Proof::Secret(secret) => {
                form.push(("client_secret", secret.0.clone()));
                return Ok(form);
            }
            Proof::Certificate(certificate) => {
                certificate.assertion(&self.client, &self.token_url(), now)?
            }
            Proof::FederatedTokenFile(file) => {
                let read = tokio::fs::read_to_string(file).await;
                let read = read.map_err(|error| format!("file of the federated token: {error}"))?;
                read.trim().to_owned()
            }
        };
        form.push(("client_assertion_type", JWT.to_owned()));
        form.push(("client_assertion", assertion));
        Ok(form)
    }
}

fn federated(file: &Path, authority: &str, host: &HostIdentity) -> Result<Proof, String> {
    if host.federated_token_file.as_deref() != Some(file) {
        return Err(
            "`federatedTokenFile` must be the file that AZURE_FEDERATED_TOKEN_FILE of the hub names"
                .into(),
        );
    }
    let trusted = host.authority.as_deref().unwrap_or(DEFAULT_AUTHORITY).trim_end_matches('/');
    if authority != trusted {
        return Err(format!(
            "a federated token is only sent to {trusted}, leave out `authorityUrl`"
        ));
    }
    Ok(Proof::FederatedTokenFile(file.to_owned()))
}

fn certificate(pem: &str) -> Result<Certificate, String> {
    let wrong = |what: &str| format!("`clientCertificate` {what}");
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| wrong("has no certificate in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| wrong("has no private key in PEM"))?;
    let key = match &key {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(wrong("has a key that is not RSA; Entra ID takes RSA keys only")),
    };
    let key =
        key.map_err(|error| wrong(&format!("has an RSA key that cannot be used: {error}")))?;
    Ok(Certificate { key, thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(&der)) })
}

impl Certificate {
    /// Signs an assertion that the application asks for a token (RFC 7523; Entra: "certificate credentials").
    fn assertion(&self, client: &str, audience: &str, now: Timestamp) -> Result<String, String> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| "the system gives no random numbers")?;
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let begin = now.as_second();
        let claims = json!({
            "aud": audience, "iss": client, "sub": client, "jti": hex::encode(id),
            "nbf": begin, "iat": begin, "exp": begin + ASSERTION_LIFETIME.as_secs(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| "the key of `clientCertificate` cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Gives tokens, and asks for a new one when the last is about to end.
pub(super) struct Tokens {
    pub(super) credentials: Credentials,
    current: Mutex<Option<(String, Timestamp)>>,
}

impl Tokens {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, current: Mutex::new(None) }
    }

    /// Returns a token that is valid for the next minutes.
    ///
    /// # Errors
    /// When Entra ID gives none, with its reason.
    pub(super) async fn get(&self, http: &Http) -> Result<String, wire::Error> {
        let now = Timestamp::now();
        // Held while a token is asked for: whoever else needs one waits for the same answer.
        let mut current = self.current.lock().await;
        if let Some((token, until)) = &*current
            && now < *until
        {
            return Ok(token.clone());
        }
        let refused = |message: String| wire::Error::Token { message };
        let form = self.credentials.form(now).await.map_err(refused)?;
        let answer =
            http.send(Method::POST, &self.credentials.token_url(), &[], Body::Form(form)).await?;
        let text = |key: &str| answer.body.get(key).and_then(Value::as_str);
        if !answer.status.is_success() {
            let why =
                text("error_description").or_else(|| text("error")).unwrap_or("no reason given");
            return Err(refused(format!("{}: {why}", answer.status)));
        }
        let token =
            text("access_token").ok_or_else(|| refused("no access_token in the answer".into()))?;
        let seconds = answer.body.get("expires_in").and_then(Value::as_i64).unwrap_or(0);
        // A token of one day is the longest that Entra gives.
        let lifetime = SignedDuration::from_secs(seconds.clamp(0, 86_400)) - RENEW_BEFORE;
        let until = now.saturating_add(lifetime).unwrap_or(now);
        *current = Some((token.to_owned(), until));
        Ok(token.to_owned())
    }

    /// Forgets a token that was not accepted.
    pub(super) async fn forget(&self) {
        *self.current.lock().await = None;
    }
}

/// Shortest wait between two requests for the same thing.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(10);
