//! HTTP responses.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::body::Body;
use super::negotiate::Format;
use crate::status::ApiError;

/// What the server answers.
pub type Response = http::Response<Body>;

/// Answers with a JSON or YAML document.
pub(crate) fn document(status: StatusCode, format: Format, value: &Value) -> Response {
    match format {
        Format::Json => json_bytes(
            status,
            serde_json::to_vec(value).expect("JSON values always serialise").into(),
        ),
        Format::Yaml => yaml(status, value),
    }
}

/// Answers with JSON at hand.
pub(crate) fn json_bytes(status: StatusCode, bytes: Bytes) -> Response {
    with_type(status, "application/json", Body::full(bytes))
}

fn yaml(status: StatusCode, value: &Value) -> Response {
    match serde_saphyr::to_string(value) {
        Ok(text) => with_type(status, "application/yaml", Body::full(text)),
        Err(error) => self::error(&ApiError::internal(format!("failed to write YAML: {error}"))),
    }
}

/// Answers with plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    with_type(status, "text/plain; charset=utf-8", Body::full(text))
}

/// Answers with a failed `v1 Status`.
pub(crate) fn error(error: &ApiError) -> Response {
    error_in(Format::Json, error)
}

/// Answers with a failed `v1 Status` in the format that the client takes.
pub(crate) fn error_in(format: Format, error: &ApiError) -> Response {
    let mut response = document(error.code, format, &error.to_status());
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    add_warnings(&mut response, &error.warnings);
    response
}

/// Answers with a body of the given content type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Most characters of all warnings together, so that headers stay within what clients accept.
const MAX_WARNINGS: usize = 4096;
/// Most characters of one warning when all together are too many.
const MAX_TRUNCATED: usize = 256;

/// Adds `Warning` headers, each once. Too many are cut short, and the last ones left out, as upstream does.
pub(crate) fn add_warnings(response: &mut Response, warnings: &[String]) {
    for warning in fitting(warnings) {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

fn fitting(warnings: &[String]) -> Vec<String> {
    let mut different: Vec<&String> = Vec::new();
    // A header has no room for several lines.
    let is_sent = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    for warning in warnings.iter().filter(|warning| is_sent(warning)) {
        if !different.contains(&warning) {
            different.push(warning);
        }
    }
    let length = |text: &str| text.chars().count();
    if different.iter().map(|text| length(text)).sum::<usize>() <= MAX_WARNINGS {
        return different.into_iter().cloned().collect();
    }
    let mut written = 0;
    let short = different.into_iter().map(|text| text.chars().take(MAX_TRUNCATED).collect());
    short
        .take_while(|text: &String| {
            let fits = written < MAX_WARNINGS;
            written += length(text);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_said_once() {
        let mut response = text(StatusCode::OK, "ok");
        let warning = "unknown field \"spec.x\"".to_owned();
        add_warnings(&mut response, &[warning.clone(), warning]);
        let values: Vec<_> = response.headers().get_all(WARNING).iter().collect();
        assert_eq!(values, ["299 - \"unknown field \\\"spec.x\\\"\""]);
    }

    #[test]
    fn warnings_of_several_lines_are_left_out() {
        assert_eq!(fitting(&["two\nlines".to_owned(), "one".to_owned()]), ["one"]);
    }

    /// Pitfall: a body with many unknown fields makes headers that clients refuse to read.
    #[test]
    fn too_many_warnings_are_cut_short() {
        let long: Vec<String> = (0..40).map(|n| format!("{n}{}", "x".repeat(300))).collect();
        let kept = fitting(&long);
        assert_eq!(kept.len(), 16);
        assert!(kept.iter().all(|text| text.len() == MAX_TRUNCATED));
        assert_eq!(fitting(&long[..3]), long[..3], "few long ones stay whole");
    }

    #[test]
    fn errors_carry_retry_after() {
        let mut busy = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "busy");
        busy.retry_after_seconds = Some(1);
        assert_eq!(error(&busy).headers()[RETRY_AFTER], "1");
    }
}
