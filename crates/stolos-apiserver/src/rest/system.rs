//! Paths outside the resources: health, version, discovery, OpenAPI.

use http::request::Parts;
use http::{Method, StatusCode, Uri};
use serde_json::json;

use super::body::Body;
use super::negotiate::Format;
use super::respond::{self, Response};
use super::service::PathPrefix;
use super::{Core, openid};
use crate::status::ApiError;
use crate::{discovery, openapi};

/// Kubernetes minor version that the server announces.
const MINOR: &str = "34";
/// Minor version whose clients and objects are still understood.
const MIN_COMPATIBILITY_MINOR: &str = "33";

/// What is checked; each can be asked for by its name behind the path.
const CHECKS: [&str; 2] = ["ping", "store"];

/// Answers the health checks, which need no credentials; nothing for other paths.
pub(crate) fn health(core: &Core, method: &Method, uri: &Uri) -> Option<Response> {
    let mut segments = uri.path().trim_matches('/').splitn(2, '/');
    let check = segments.next()?;
    if !matches!(check, "healthz" | "livez" | "readyz") {
        return None;
    }
    let of_one = segments.next();
    let known = of_one.is_none_or(|one| CHECKS.contains(&one));
    if known && core.store.failure().is_some() {
        // Only a restart heals it, so the check for being alive fails too. Why it failed is in the log.
        let text = "[+]ping ok\n[-]store failed: reason withheld\nhealth check failed\n";
        return Some(respond::text(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    let mut asked = uri.query().into_iter().flat_map(|query| query.split('&'));
    let verbose = of_one.is_none() && asked.any(|one| one.split('=').next() == Some("verbose"));
    Some(match (known, matches!(*method, Method::GET | Method::HEAD)) {
        (true, true) if verbose => respond::text(StatusCode::OK, all_passed(check)),
        (true, true) => respond::text(StatusCode::OK, "ok"),
        (true, false) => respond::text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n"),
        (false, _) => respond::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    })
}

/// Lists the checks, as `?verbose` asks for.
fn all_passed(check: &str) -> String {
    let each: String = CHECKS.iter().map(|name| format!("[+]{name} ok\n")).collect();
    format!("{each}{check} check passed\n")
}

/// Answers every path that names no resource.
pub(crate) fn respond(core: &Core, parts: &Parts) -> Result<Response, ApiError> {
    let path = parts.uri.path();
    if path == "/version" || path == "/version/" {
        if parts.method != Method::GET {
            let text = "the server does not allow this method on the requested resource";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(ApiError::new(status, "MethodNotAllowed", text));
        }
        return Ok(respond::document(StatusCode::OK, Format::Json, &version()));
    }
    if path == "/metrics" && parts.method == Method::GET {
        return Ok(core.requested.respond());
    }
    if path == "/" {
        return Ok(respond::document(StatusCode::OK, Format::Json, &json!({ "paths": PATHS })));
    }
    if let Some(document) = openid::respond(core.auth.signer(), path, &parts.headers) {
        return Ok(document);
    }
    if let Some(document) = discovery::respond(&core.registry, path, &parts.headers)? {
        return Ok(document.map(Body::full));
    }
    let prefix = parts.extensions.get::<PathPrefix>().map_or("", |prefix| &*prefix.0);
    if let Some(document) = openapi::respond(&core.registry, prefix, &parts.uri, &parts.headers) {
        return Ok(document.map(Body::full));
    }
    let mut segments = path.trim_start_matches('/').split('/');
    match (segments.next(), segments.next()) {
        (Some("api"), Some(_)) => nothing_at(core, ""),
        (Some("apis"), Some(group)) => nothing_at(core, group),
        _ => Ok(page_not_found()),
    }
}

/// 404 for a path below a group: a Status where the group is built in, plain text elsewhere, as upstream.
pub(crate) fn nothing_at(core: &Core, group: &str) -> Result<Response, ApiError> {
    let snapshot = core.registry.snapshot();
    let built_in = snapshot.all().iter().any(|row| !row.custom && row.group_version.group == group);
    if built_in { Err(no_such_resource()) } else { Ok(page_not_found()) }
}

/// 404 for a path that is outside the API.
pub(crate) fn page_not_found() -> Response {
    respond::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

const PATHS: [&str; 9] = [
    "/api",
    "/api/v1",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v3",
    "/readyz",
    "/version",
];

fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": MIN_COMPATIBILITY_MINOR,
        "gitVersion": format!("v1.{MINOR}.0+stolos.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// 404 for a group, version or resource that is not served.
pub(crate) fn no_such_resource() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "NotFound",
        "the server could not find the requested resource",
    )
}
