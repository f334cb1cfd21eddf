//! One exchange with a webhook.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use serde_json::Value;

use super::connect::Dialler;
use super::error::{CallError, transport_text};
use super::target::{ServiceResolver, Target};

/// Largest answer: a patch or converted objects of a request body of 3 MiB, in base64, with room to grow.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Connections kept for later calls, per webhook.
const MAX_IDLE: usize = 16;
/// How long a connection is kept for later calls; shorter than the idle timeouts of common servers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of an answer that is no Status an error quotes, as upstream.
const MAX_QUOTED_BYTES: usize = 2048;

/// A webhook's address with its connections.
pub(super) struct Endpoint {
    target: Target,
    http: Client<HttpsConnector<Dialler>, Full<Bytes>>,
}

impl Endpoint {
    pub(super) fn new(
        target: Target,
        trust: ClientConfig,
        services: Option<ServiceResolver>,
    ) -> Self {
        let dialler = Dialler { service: target.service.clone(), services };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_only()
            .enable_http1()
            .wrap_connector(dialler);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        Self { target, http }
    }

    /// Returns what is called, with the time it may take, as webhooks expect to be told.
    pub(super) fn url(&self, timeout: Duration) -> String {
        let Target { authority, path, .. } = &self.target;
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        format!("https://{authority}{path}?timeout={seconds}s")
    }

    pub(super) async fn post(&self, body: Bytes, timeout: Duration) -> Result<Value, CallError> {
        let url = self.url(timeout);
        let request = Request::post(&url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| CallError::Unusable(format!("Unparsable URL: {error}")))?;
        let answer = self.http.request(request).await;
        let answer = answer.map_err(|error| CallError::failed(url, transport_text(&error)))?;
        let status = answer.status();
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(str::to_owned);
        let bytes = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let bytes = bytes.map_err(|error| CallError::Answered(body_text(&*error)))?.to_bytes();
        if status.is_success() {
            return parse(&bytes, status, media_type.as_deref().unwrap_or("application/json"));
        }
        let is_text = media_type.is_none_or(|media_type| media_type.starts_with("text/"));
        Err(refused(status, &bytes, is_text))
    }
}

fn body_text(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    if error.is::<LengthLimitError>() {
        return format!("the response is larger than {MAX_ANSWER_BYTES} bytes");
    }
    format!(
        "unexpected error when reading response body. Please retry. Original error: {}",
        transport_text(error)
    )
}

fn parse(bytes: &[u8], status: StatusCode, media_type: &str) -> Result<Value, CallError> {
    if bytes.is_empty() {
        return Err(CallError::Answered(format!(
            "0-length response with status code: {} and content type: {media_type}",
            status.as_u16()
        )));
    }
    let answer = serde_json::from_slice(bytes);
    let found = match &answer {
        Ok(Value::Object(_)) => {
            return answer.map_err(|error| CallError::Answered(error.to_string()));
        }
        Ok(Value::Array(_)) => "array",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        // What is no JSON is read as YAML upstream, where nearly everything is a text.
        Ok(Value::String(_) | Value::Null) | Err(_) => "string",
    };
    Err(CallError::Answered(format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ \
         APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    )))
}

/// Says what an answer means whose status is no success: its own words, if it is a Status, else those of client-go.
fn refused(status: StatusCode, bytes: &[u8], is_text: bool) -> CallError {
    if let Ok(answer) = serde_json::from_slice::<Value>(bytes)
        && answer["kind"] == "Status"
    {
        return CallError::Answered(text_of(&answer));
    }
    let quoted = &bytes[..bytes.len().min(MAX_QUOTED_BYTES)];
    let quoted = if is_text { String::from_utf8_lossy(quoted) } else { "unknown".into() };
    let quoted = quoted.trim();
    CallError::Answered(match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 415 => quoted.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later"
            .to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be \
                processing the request"
            .to_owned(),
        500.. => {
            format!("an error on the server ({quoted:?}) has prevented the request from succeeding")
        }
        code => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    })
}

fn text_of(status: &Value) -> String {
    let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
    text("message").or_else(|| text("reason")).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_success_are_worded_as_by_client_go() {
        let text = |code, body: &str, is_text| {
            let status = StatusCode::from_u16(code).unwrap();
            refused(status, body.as_bytes(), is_text).to_string()
        };
        assert_eq!(
            text(500, "boom\n", true),
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(
            text(404, "404 page not found", true),
            "failed to call webhook: the server could not find the requested resource"
        );
        assert_eq!(
            text(403, r#"{"kind":"Status","message":"not you"}"#, false),
            "failed to call webhook: not you"
        );
        assert!(text(502, "{}", false).contains("(\"unknown\")"));
        assert!(text(302, "", true).contains("status code 302"));
    }
}
