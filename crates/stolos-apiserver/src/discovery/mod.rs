//! What the server serves, in the legacy and the aggregated form.
//!
//! Documents are rendered once per registry snapshot and shared by all clusters that serve the same resources.

mod documents;
mod version;

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::registry::{Registry, Snapshot};
use crate::status::ApiError;

pub use version::compare_versions;

/// Shape of a discovery document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// One document per level.
    Legacy,
    /// Everything below `/api` or `/apis` in one document, in this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
}

impl Form {
    /// Clients take an aggregated document for a legacy one unless the type repeats its parameters.
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Legacy => "application/json",
            Self::Aggregated("v2beta1") => {
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
            }
            Self::Aggregated(_) => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
        })
    }
}

/// A rendered document.
#[derive(Clone, Debug)]
struct Document {
    body: Bytes,
    etag: HeaderValue,
}

/// The documents rendered of one snapshot. Only paths that exist are kept, so its size is bounded by the registry.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<(String, Form), Document>>);

/// Answers a GET of `/api`, `/apis` or anything below that is a group or a version; nothing for every other path.
///
/// # Errors
/// 406 when the client takes none of the forms.
pub fn respond(
    registry: &Registry,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Response<Bytes>>, ApiError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let root = matches!(path, "/api" | "/apis");
    let snapshot = registry.snapshot();
    if !root && document(&snapshot, path, Form::Legacy).is_none() {
        return Ok(None);
    }
    let form = negotiate(headers, root)?;
    let Some(document) = document(&snapshot, path, form) else { return Ok(None) };
    Ok(Some(answer(&document, form, headers)))
}

fn document(snapshot: &Snapshot, path: &str, form: Form) -> Option<Document> {
    let mut cache = snapshot.discovery.0.lock().expect("rendering does not panic");
    let key = (path.to_owned(), form);
    if let Some(found) = cache.get(&key) {
        return Some(found.clone());
    }
    let json = documents::render(snapshot, path, form)?;
    let body = Bytes::from(json.to_string());
    let hash = hex::encode_upper(Sha256::digest(&body));
    let etag = HeaderValue::try_from(format!("\"{hash}\""))
        .expect("hex digits and quotes are visible ASCII");
    let document = Document { body, etag };
    cache.insert(key, document.clone());
    Some(document)
}

/// Clients can keep the aggregated form alone, as upstream has it.
fn answer(document: &Document, form: Form, headers: &HeaderMap) -> Response<Bytes> {
    let kept = matches!(form, Form::Aggregated(_));
    let known = |tag| knows(tag, &document.etag);
    let unchanged = kept && headers.get_all(IF_NONE_MATCH).iter().any(known);
    let mut response = Response::new(if unchanged { Bytes::new() } else { document.body.clone() });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    if !unchanged {
        out.insert(CONTENT_TYPE, form.content_type());
    }
    if kept {
        out.insert(ETAG, document.etag.clone());
        out.insert(VARY, HeaderValue::from_static("Accept"));
        // Clients may keep it but ask every time whether it is still current.
        out.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    }
    response
}

fn knows(if_none_match: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (if_none_match.to_str(), etag.to_str()) else { return false };
    known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// Takes the first clause of `Accept` that can be served. Only the roots have an aggregated form.
fn negotiate(headers: &HeaderMap, root: bool) -> Result<Form, ApiError> {
    let values: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let accept = values.join(",");
    if accept.trim().is_empty() {
        return Ok(Form::Legacy);
    }
    accept.split(',').find_map(|clause| form_of(clause, root)).ok_or_else(|| {
        let text = "only the following media types are accepted: application/json, application/json with \
                    as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2 at /api and /apis";
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", text)
    })
}

fn form_of(clause: &str, root: bool) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let mut parameters = [("as", ""), ("g", ""), ("v", "")];
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        if let Some(parameter) = parameters.iter_mut().find(|(known, _)| *known == name.trim()) {
            parameter.1 = value.trim();
        }
    }
    match parameters.map(|(_, value)| value) {
        ["", "", ""] => Some(Form::Legacy),
        ["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"] if root => {
            Some(Form::Aggregated("v2"))
        }
        ["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1"] if root => {
            Some(Form::Aggregated("v2beta1"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
