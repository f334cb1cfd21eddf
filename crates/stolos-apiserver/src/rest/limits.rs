//! Bounds of one logical cluster, and how long a request may take.

use std::time::Duration;

use http::StatusCode;

use super::query::Query;
use crate::status::ApiError;

/// Bounds of what one logical cluster does at once. Beyond them clients are asked to come back: a queue would only grow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in flight, watches aside. Clients retry those that are refused.
    pub requests: usize,
    /// Open watches.
    pub watches: usize,
    /// Time for a request that is no watch, body included.
    pub request_time: Duration,
}

impl Default for Limits {
    /// Returns the minute that upstream gives a request, and room for some thousand clients.
    fn default() -> Self {
        Self { requests: 1000, watches: 10_000, request_time: Duration::from_secs(60) }
    }
}

impl Limits {
    /// Returns how long a request may take: what it asks for in `timeout`, never more than the limit.
    pub(crate) fn time_for(&self, query: &Query) -> Result<Duration, ApiError> {
        let Some(text) = query.get("timeout") else { return Ok(self.request_time) };
        let asked = go_duration(text).ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            ))
        })?;
        Ok(if asked.is_zero() { self.request_time } else { asked.min(self.request_time) })
    }
}

/// 429: there is no room at the moment.
pub(crate) fn too_many_requests() -> ApiError {
    let text = "Too many requests, please try again later.";
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", text);
    error.retry_after_seconds = Some(1);
    error
}

/// 504: the request took too long; whether it changed something is unknown.
pub(crate) fn timed_out() -> ApiError {
    let text = "Timeout: request did not complete within the allotted timeout";
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", text)
}

/// Reads a duration as Go writes it, such as `1m30s`, `1.5h` or `0`; negative ones count as nothing.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, length) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * length;
        rest = &rest[unit.len()..];
    }
    if negative { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// Units and their seconds; a unit comes before those that begin like it.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn time_for(query: &str) -> Result<Duration, String> {
        let limits = Limits { request_time: Duration::from_secs(60), ..Limits::default() };
        limits.time_for(&Query::parse(Some(query))).map_err(|error| error.message)
    }

    #[test]
    fn a_request_may_shorten_its_time() {
        for (query, millis) in [
            ("", 60_000),
            ("timeout=5s", 5000),
            ("timeout=1h2m", 60_000),
            ("timeout=1.5s10ms", 1510),
            ("timeout=0", 60_000),
            ("timeout=0s", 60_000),
            ("timeout=-3s", 60_000),
        ] {
            assert_eq!(time_for(query), Ok(Duration::from_millis(millis)), "{query}");
        }
    }

    #[test]
    fn a_timeout_that_is_no_duration_is_refused_in_the_known_words() {
        for text in ["abc", "5", "s", ".s", "-", "5x", "1e9h", "99999999999999999999h"] {
            let want = format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            );
            assert_eq!(time_for(&format!("timeout={text}")), Err(want));
        }
    }
}
