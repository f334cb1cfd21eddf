//! Who asks Azure: an application of Microsoft Entra ID and its proof, as a secret of the fleet says.

use std::fmt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;

use super::certificate::Certificate;
use super::http::is_safe_url;

/// Keys of the secret, one of which it must have.
const CLIENT_SECRET: &str = "clientSecret";
const CLIENT_CERTIFICATE: &str = "clientCertificate";
const FEDERATED_TOKEN_FILE: &str = "federatedTokenFile";

const DEFAULT_AUTHORITY: &str = "https://login.microsoftonline.com";
const DEFAULT_RESOURCE_MANAGER: &str = "https://management.azure.com";

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
pub(super) struct Hidden(pub(super) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An application of Entra ID and where it is known.
#[derive(Debug)]
pub struct Credentials {
    /// Name of the secret that they were read from.
    secret: String,
    pub(super) tenant: String,
    pub(super) client: String,
    pub(super) proof: Proof,
    authority: String,
    pub(super) resource_manager: String,
}

#[derive(Debug)]
pub(super) enum Proof {
    Secret(Hidden),
    Certificate(Box<Certificate>),
    FederatedTokenFile(PathBuf),
}

impl Credentials {
    /// Reads credentials from a secret: `tenantId`, `clientId`, one of `clientSecret`, `clientCertificate` (PEM with
    /// certificate and RSA key) and `federatedTokenFile`, and optionally `resourceManagerUrl` and `authorityUrl`.
    ///
    /// # Errors
    /// When something is missing or cannot be used, with what would be right.
    pub fn read(secret: &Secret, host: &HostIdentity) -> Result<Self, CredentialsError> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        Self::parse(secret, name.clone(), host)
            .map_err(|problem| CredentialsError::Secret { secret: name, problem })
    }

    fn parse(secret: &Secret, name: String, host: &HostIdentity) -> Result<Self, String> {
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
        let proofs = (text(CLIENT_SECRET), text(CLIENT_CERTIFICATE), text(FEDERATED_TOKEN_FILE));
        let proof = match proofs {
            (Some(_), None, None) => Proof::Secret(Hidden(required(CLIENT_SECRET)?)),
            (None, Some(pem), None) => {
                let read = Certificate::read(&pem?);
                let read = read.map_err(|problem| format!("`{CLIENT_CERTIFICATE}` {problem}"))?;
                Proof::Certificate(Box::new(read))
            }
            (None, None, Some(file)) => federated(Path::new(&file?), &authority, host)?,
            _ => {
                return Err(
                    "must have exactly one of the keys `clientSecret`, `clientCertificate` and `federatedTokenFile`"
                        .into(),
                );
            }
        };
        Ok(Self { secret: name, tenant, client, proof, authority, resource_manager })
    }

    /// Returns where tokens are asked for.
    pub(super) fn token_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant)
    }

    /// Returns who asks, by what, and where that is kept.
    pub(super) fn identity(&self) -> String {
        let Self { secret, tenant, client, .. } = self;
        format!(
            "application `{client}` of tenant `{tenant}` by `{}` of secret `{secret}`",
            self.proof.key()
        )
    }
}

impl Proof {
    /// Returns the key of the secret that holds the proof.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Secret(_) => CLIENT_SECRET,
            Self::Certificate(_) => CLIENT_CERTIFICATE,
            Self::FederatedTokenFile(_) => FEDERATED_TOKEN_FILE,
        }
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
