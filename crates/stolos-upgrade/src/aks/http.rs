//! HTTP with bounds: JSON and forms out, JSON in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde_json::Value;

/// Longest answer that is read; a managed cluster with a hundred pools has a twentieth of it.
const MAX_ANSWER: usize = 8 << 20;

/// Longest wait for an answer. Azure ends its own at sixty seconds.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Longest `Retry-After` that is taken at its word.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// No connection, or it broke.
    #[error("no answer from {host}: {message}")]
    Connection { host: String, message: String },
    /// Entra ID gave no token.
    #[error("no access token for {identity}: {message}")]
    Token { identity: String, message: String, retry_after: Option<Duration> },
    /// The server refused.
    #[error("{status} {code}: {message}")]
    Refused { status: StatusCode, code: String, message: String, retry_after: Option<Duration> },
}

impl Error {
    /// Returns when whoever answered wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Connection { .. } => None,
            Self::Token { retry_after, .. } | Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

/// What a request carries.
#[derive(Clone, Debug)]
pub(super) enum Body<'a> {
    None,
    Json(&'a Value),
    /// A form that is encoded already.
    Form(Bytes),
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// Returns when the server wants to be asked again.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        let wait = if let Ok(seconds) = text.parse::<u64>() {
            Duration::from_secs(seconds)
        } else {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        };
        Some(wait.min(LONGEST_RETRY_AFTER))
    }

    /// Returns the answer of a request that was accepted.
    pub(super) fn accepted(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let text = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_str);
        let either =
            |name: &str| text(&format!("/error/{name}")).or_else(|| text(&format!("/{name}")));
        Err(Error::Refused {
            status: self.status,
            code: either("code").unwrap_or("Unknown").to_owned(),
            message: either("message").unwrap_or("no reason given").to_owned(),
            retry_after: self.retry_after(Timestamp::now()),
        })
    }
}

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// Returns a client that trusts what the machine trusts.
    pub(super) fn new() -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Sends a request and reads the answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, String)],
        body: Body<'_>,
    ) -> Result<Answer, Error> {
        let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        let host = host.unwrap_or_else(|| "the server".into());
        let lost = |message: String| Error::Connection { host: host.clone(), message };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (kind, bytes) = match body {
            Body::None => (None, Bytes::new()),
            Body::Json(value) => (Some("application/json"), value.to_string().into()),
            Body::Form(form) => (Some("application/x-www-form-urlencoded"), form),
        };
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(bytes)).map_err(|error| lost(error.to_string()))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| lost(chain(&error)))?;
            let (parts, body) = answer.into_parts();
            let bytes = Limited::new(body, MAX_ANSWER).collect().await;
            let bytes = bytes.map_err(|error| lost(error.to_string()))?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        answer.unwrap_or_else(|_| Err(lost(format!("nothing within {} s", TIMEOUT.as_secs()))))
    }
}

/// Returns an error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether secrets may be sent to a URL: over TLS, or to this machine.
pub(super) fn is_safe_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let local =
        || uri.host().is_some_and(|host| matches!(host, "127.0.0.1" | "localhost" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => local(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_the_machine() {
        for (url, safe) in [
            ("https://management.azure.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://management.azure.com", false),
            ("http://127.0.0.1.evil.example", false),
            ("file:///etc/passwd", false),
            ("management", false),
        ] {
            assert_eq!(is_safe_url(url), safe, "{url}");
        }
    }

    #[test]
    fn a_server_may_ask_for_patience_up_to_a_bound() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for (header, seconds) in [
            ("7", Some(7)),
            ("Thu, 01 Jan 2026 00:00:30 GMT", Some(30)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", Some(0)),
            ("999999999999", Some(600)),
            ("Fri, 01 Jan 2100 00:00:00 GMT", Some(600)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, header.parse().unwrap())]);
            let answer =
                Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Value::Null };
            assert_eq!(answer.retry_after(now), seconds.map(Duration::from_secs), "{header}");
        }
    }
}
