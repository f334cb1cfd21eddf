//! Access tokens of Microsoft Entra ID.
//!
//! `azure_identity` asks for tokens, keeps them until shortly before their end and lets all callers wait for the same new
//! one. It does so through our HTTP client, and what it would lose or take at its word is looked at there
//! (docs/adr/0004).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{
    AsyncRawResponse, ClientMethodOptions, ClientOptions, HttpClient, Request, RetryOptions,
    StatusCode, Transport,
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions,
};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::credentials::{Credentials, Proof};
use super::http::{self as wire, Answer, Body, Http, chain};

/// Longest life of a token in seconds that is believed; Entra's have at most a day.
const LONGEST_LIFE: i64 = 86_400;

/// How much of Entra's words is shown.
const MAX_WORDS: usize = 600;

/// A token and who gave it.
pub(super) struct Token {
    access: AccessToken,
    giver: Arc<dyn TokenCredential>,
}

impl Token {
    /// Returns the value of the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.access.token.secret())
    }
}

/// Gives tokens, and asks for a new one when the last is about to end.
pub(super) struct Tokens {
    entra: Arc<Entra>,
    /// Keeps its token itself.
    giver: Mutex<Option<Arc<dyn TokenCredential>>>,
}

impl Tokens {
    pub(super) fn new(credentials: Credentials, http: Http) -> Self {
        Self { entra: Arc::new(Entra { credentials, http }), giver: Mutex::new(None) }
    }

    /// Returns where the resource manager is.
    pub(super) fn resource_manager(&self) -> &str {
        &self.entra.credentials.resource_manager
    }

    /// Returns a token that is valid for the next minutes.
    ///
    /// # Errors
    /// When there is none, with who asked, what Entra ID said and what may help.
    pub(super) async fn get(&self) -> Result<Token, wire::Error> {
        let scope = format!("{}/.default", self.resource_manager());
        let giver = self.giver().map_err(|error| self.entra.reason(&error))?;
        match giver.get_token(&[&scope], None).await {
            Ok(access) => Ok(Token { access, giver }),
            Err(error) => Err(self.entra.reason(&error)),
        }
    }

    /// Forgets a token that was not accepted, unless that has happened already.
    pub(super) fn forget(&self, refused: &Token) {
        let mut giver = self.giver.lock().unwrap_or_else(PoisonError::into_inner);
        giver.take_if(|giver| Arc::ptr_eq(giver, &refused.giver));
    }

    fn giver(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut giver = self.giver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(giver) = &*giver {
            return Ok(giver.clone());
        }
        let made = self.entra.clone().giver()?;
        *giver = Some(made.clone());
        Ok(made)
    }
}

/// Entra ID as one application sees it.
struct Entra {
    credentials: Credentials,
    http: Http,
}

impl fmt::Debug for Entra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entra").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Entra {
    fn giver(self: Arc<Self>) -> azure_core::Result<Arc<dyn TokenCredential>> {
        // The library takes https alone, but a proxy on this machine may be asked without. Nothing is sent there by its
        // URL: see `execute_request`.
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = "https://login.invalid".into();
        let client_options = ClientOptions {
            transport: Some(Transport::new(self.clone())),
            // Its retries would wait as long as an answer says, without an end. Whoever follows a cluster tries again.
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(cloud.into())),
            ..ClientOptions::default()
        };
        let Credentials { tenant, client, proof, .. } = &self.credentials;
        Ok(match proof {
            Proof::Secret(secret) => {
                let (client, secret) = (client.clone(), Secret::new(secret.0.clone()));
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(tenant, client, secret, Some(options))?
            }
            Proof::Certificate(_) | Proof::FederatedTokenFile(_) => {
                let (tenant, client) = (tenant.clone(), client.clone());
                let options = ClientAssertionCredentialOptions { client_options };
                ClientAssertionCredential::new(tenant, client, Assertions(self), Some(options))?
            }
        })
    }

    fn no_token(&self, message: String) -> wire::Error {
        let identity = self.credentials.identity();
        wire::Error::Token { identity, message, retry_after: None }
    }

    /// Returns our own error from within one of the library.
    fn reason(&self, error: &azure_core::Error) -> wire::Error {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(own) = error.downcast_ref::<wire::Error>() {
                return own.clone();
            }
            cause = error.source();
        }
        self.no_token(chain(error))
    }

    /// Returns what Entra said. The library loses descriptions with line breaks in them.
    fn refusal(&self, answer: &Answer) -> wire::Error {
        let text = |key: &str| answer.body.get(key).and_then(Value::as_str);
        let said = text("error_description").or_else(|| text("error")).unwrap_or("no reason given");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(MAX_WORDS).collect();
        let code = answer.body.pointer("/error_codes/0").and_then(Value::as_u64);
        let advice = code.and_then(advice).map_or(String::new(), |advice| format!(" ({advice})"));
        let message = format!("Entra ID answered {}: {said}{advice}", answer.status);
        let identity = self.credentials.identity();
        wire::Error::Token { identity, message, retry_after: answer.retry_after(Timestamp::now()) }
    }
}

fn failed(error: wire::Error) -> azure_core::Error {
    azure_core::Error::new(ErrorKind::Credential, error)
}

#[async_trait]
impl HttpClient for Entra {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let form: Bytes = request.body().into();
        let url = self.credentials.token_url();
        let answer = self.http.send(Method::POST, &url, &[], Body::Form(form)).await;
        let answer = answer.map_err(failed)?;
        if !answer.status.is_success() {
            return Err(failed(self.refusal(&answer)));
        }
        let token = answer.body.get("access_token").and_then(Value::as_str);
        let token = token
            .ok_or_else(|| failed(self.no_token("no access_token in Entra ID's answer".into())))?;
        // The library would add any number of seconds to the time, and panic.
        let life = answer.body.get("expires_in").and_then(Value::as_i64).unwrap_or(0);
        let body = json!({
            "access_token": token, "token_type": "Bearer",
            "expires_in": life.clamp(0, LONGEST_LIFE),
        });
        let body = body.to_string();
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body))
    }
}

/// Proves who the application is, anew for each token.
#[derive(Debug)]
struct Assertions(Arc<Entra>);

#[async_trait]
impl ClientAssertion for Assertions {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let Credentials { client, proof, .. } = &self.0.credentials;
        let url = self.0.credentials.token_url();
        let made = match proof {
            Proof::Certificate(certificate) => {
                certificate.assertion(client, &url, Timestamp::now())
            }
            // Kubernetes replaces the file; the library's own credential would read it every ten minutes only.
            Proof::FederatedTokenFile(file) => match tokio::fs::read_to_string(file).await {
                Ok(token) if !token.trim().is_empty() => Ok(token.trim().to_owned()),
                Ok(_) => Err("the file of the federated token is empty".to_owned()),
                Err(error) => Err(format!("the file of the federated token: {error}")),
            },
            Proof::Secret(_) => Err("a secret needs no assertion".to_owned()),
        };
        made.map_err(|problem| failed(self.0.no_token(problem)))
    }
}

/// Returns what to do about an error of Entra ID ("Microsoft Entra authentication and authorization error codes").
fn advice(code: u64) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "`clientSecret` must be the value of a secret of the application, not its id",
        7_000_222 => "the secret has ended: make a new one and store it as `clientSecret`",
        700_016 => "`clientId` must be an application of the tenant",
        90_002 | 900_023 => "`tenantId` must be the id or a domain of a tenant",
        700_024 => "the clock of the hub must be right, and a federated token fresh",
        700_027 => "the certificate must be one that the application lists, and not have ended",
        70_021 | 700_211 | 700_212 | 700_213 => {
            "the application needs a federated credential for the issuer, subject and audience of the hub's token"
        }
        500_011 => "`resourceManagerUrl` must be the resource manager of the tenant's cloud",
        _ => return None,
    })
}
