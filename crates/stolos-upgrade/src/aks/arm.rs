//! Requests to Azure's resource manager: tokens, throttling and operations that take long.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, IF_MATCH};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::credentials::Credentials;
use super::http::{Answer, Body, Error, Http};
use super::token::{Token, Tokens};

/// Version of the API of managed clusters that all requests name.
const API_VERSION: &str = "2026-06-01";

/// How often a request is sent again that Azure throttled or could not serve.
const MAX_RETRIES: u32 = 4;

/// First wait before that, where Azure names none; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Wait between two looks at a long operation for which Azure names none.
const OPERATION_INTERVAL: Duration = Duration::from_secs(10);

/// Shortest wait between two requests for the same thing.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// The resource manager as one application sees it.
pub(super) struct Arm {
    http: Http,
    tokens: Tokens,
    /// Multiplies waits; tests make it small.
    pace: f64,
}

/// A long operation of Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LongOperation {
    /// Where its state is told; without, the state of the cluster is all there is.
    pub(super) url: Option<String>,
    /// When to look again.
    pub(super) wait: Duration,
}

/// How a long operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Running { wait: Duration },
    Succeeded,
    Failed { code: String, message: String },
}

impl Arm {
    pub(super) fn new(credentials: Credentials, pace: f64) -> Result<Self, String> {
        let http = Http::new()?;
        Ok(Self { tokens: Tokens::new(credentials, http.clone()), http, pace })
    }

    /// Returns a wait in the pace of this client.
    pub(super) fn paced(&self, wait: Duration) -> Duration {
        wait.mul_f64(self.pace).max(SHORTEST_WAIT)
    }

    /// Reads a resource.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        Ok(self.read(&self.url(path)).await?.body)
    }

    /// Reads, and reads again after a while what Azure throttled or could not serve.
    async fn read(&self, url: &str) -> Result<Answer, Error> {
        let mut wait = FIRST_RETRY;
        for _ in 0..MAX_RETRIES {
            let answer = self.once(&Method::GET, url, None, Body::None).await?;
            if !is_worth_repeating(answer.status) {
                return answer.accepted();
            }
            let asked = answer.retry_after(Timestamp::now());
            tokio::time::sleep(self.paced(asked.unwrap_or(wait))).await;
            wait *= 2;
        }
        self.once(&Method::GET, url, None, Body::None).await?.accepted()
    }

    /// Changes something. A request that was throttled was not accepted and is sent again; after any other failure the
    /// caller looks at what there is before it decides anew.
    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: Option<&Value>,
    ) -> Result<LongOperation, Error> {
        let mut wait = FIRST_RETRY;
        let mut retries = 0;
        loop {
            let body = body.map_or(Body::None, Body::Json);
            let answer = self.once(&method, &self.url(path), if_match, body).await?;
            if answer.status != StatusCode::TOO_MANY_REQUESTS || retries >= MAX_RETRIES {
                return Ok(self.long_operation(&answer.accepted()?));
            }
            let asked = answer.retry_after(Timestamp::now());
            tokio::time::sleep(self.paced(asked.unwrap_or(wait))).await;
            wait *= 2;
            retries += 1;
        }
    }

    /// Looks at a long operation.
    pub(super) async fn poll(&self, url: &str) -> Result<Outcome, Error> {
        let answer = self.read(url).await?;
        let text = |pointer: &str| answer.body.pointer(pointer).and_then(Value::as_str);
        Ok(match text("/status") {
            Some("Succeeded") => Outcome::Succeeded,
            Some(ended @ ("Failed" | "Canceled")) => Outcome::Failed {
                code: text("/error/code").unwrap_or(ended).to_owned(),
                message: text("/error/message").unwrap_or("Azure gave no reason").to_owned(),
            },
            _ => {
                let asked = answer.retry_after(Timestamp::now());
                Outcome::Running { wait: self.paced(asked.unwrap_or(OPERATION_INTERVAL)) }
            }
        })
    }

    fn long_operation(&self, answer: &Answer) -> LongOperation {
        let url = answer.headers.get("azure-asyncoperation").and_then(|url| url.to_str().ok());
        // The token goes to nobody but the resource manager.
        let origin = format!("{}/", self.tokens.resource_manager());
        let url = url.filter(|url| url.starts_with(&origin)).map(str::to_owned);
        let asked = answer.retry_after(Timestamp::now());
        LongOperation { url, wait: self.paced(asked.unwrap_or(OPERATION_INTERVAL)) }
    }

    fn url(&self, path: &str) -> String {
        let base = self.tokens.resource_manager();
        format!("{base}{path}?api-version={API_VERSION}")
    }

    /// Sends a request. A token that is not accepted is replaced once: it may have been revoked before its end, or the
    /// clock of this machine been set back. Whoever is refused for his token has changed nothing.
    async fn once(
        &self,
        method: &Method,
        url: &str,
        if_match: Option<&str>,
        body: Body<'_>,
    ) -> Result<Answer, Error> {
        let token = self.tokens.get().await?;
        let answer = self.send(&token, method, url, if_match, body.clone()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.tokens.forget(&token);
        let token = self.tokens.get().await?;
        self.send(&token, method, url, if_match, body).await
    }

    async fn send(
        &self,
        token: &Token,
        method: &Method,
        url: &str,
        if_match: Option<&str>,
        body: Body<'_>,
    ) -> Result<Answer, Error> {
        let mut headers: Vec<(HeaderName, String)> = vec![(AUTHORIZATION, token.header())];
        headers.extend(if_match.map(|tag| (IF_MATCH, tag.to_owned())));
        self.http.send(method.clone(), url, &headers, body).await
    }
}

/// Whether a read that was answered like this may be answered otherwise soon.
fn is_worth_repeating(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}
