//! OpenAPI documents for kubectl, client-go and code generators, each built when first asked for: of version 3 one per
//! group-version, of version 2 one for everything.
//!
//! The index names every document with a hash, so clients keep documents until the hash changes. The hash is taken of
//! what a document is made from, which is cheaper than making it.

mod components;
mod gnostic;
mod names;
mod paths;
mod version_2;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::names::GroupVersion;
use crate::registry::{Registry, Resource};

const ROOT: &str = "/openapi/v3";

/// Part of every hash; it changes whenever documents are rendered differently.
const FORM: &str = concat!("2 ", env!("CARGO_PKG_VERSION"));

/// Most documents kept. Built-in groups make about 25; every group of custom resources adds one per version.
const MAX_DOCUMENTS: usize = 128;

/// Answers a GET of `/openapi/v3`, a document below it, or `/openapi/v2`; nothing for other paths.
///
/// `prefix` is what the client's paths begin with when several logical clusters share a port, such as
/// `/clusters/hub`; it is empty otherwise.
#[must_use]
pub fn respond(
    registry: &Registry,
    prefix: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Response<Bytes>> {
    if uri.path() == "/openapi/v2" {
        return Some(respond_version_2(registry, headers));
    }
    let path = uri.path().strip_prefix(ROOT)?;
    if path.is_empty() || path == "/" {
        let body = index(registry, prefix).to_string();
        return Some(json_response(body.into()));
    }
    let group_version = parse_path(path.strip_prefix('/')?)?;
    let resources = resources_of(registry, &group_version);
    if resources.is_empty() {
        return None;
    }
    let hash = hash(&group_version, &resources);
    let asked = uri.query().unwrap_or_default().split('&').find_map(|p| p.strip_prefix("hash="));
    if asked.is_some_and(|asked| asked != hash) {
        return Some(redirect(&format!("{prefix}{}", url(&group_version, &hash))));
    }
    let etag = format!("\"{hash}\"");
    let known = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(&etag));
    let mut response = if headers.get_all(IF_NONE_MATCH).iter().any(known) {
        let mut response = json_response(Bytes::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json_response(document(&group_version, &resources, &hash))
    };
    let out = response.headers_mut();
    out.insert(ETAG, HeaderValue::try_from(etag).expect("hex digits and quotes are visible ASCII"));
    let keep =
        if asked.is_some() { "public, max-age=31536000, immutable" } else { "no-cache, private" };
    out.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    Some(response)
}

/// A version 2 document in both of its forms; few clients want the second.
struct Version2 {
    hash: String,
    json: Bytes,
    protobuf: OnceLock<Bytes>,
}

/// Version 2 documents that were asked for, oldest first. They are large, and seldom wanted.
static VERSION_2: LazyLock<Mutex<VecDeque<Arc<Version2>>>> = LazyLock::new(Mutex::default);

/// Most version 2 documents kept, of a few megabytes each.
const MAX_VERSION_2: usize = 2;

/// How a version 2 document may be sent, and what asks for it. Go clients ask for the second form only.
const VERSION_2_FORMS: [(&str, &str); 3] = [
    ("application/json", "application/json"),
    ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", VERSION_2_PROTOBUF),
    (VERSION_2_PROTOBUF, VERSION_2_PROTOBUF),
];
const VERSION_2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

fn respond_version_2(registry: &Registry, headers: &HeaderMap) -> Response<Bytes> {
    let Some(form) = accepted_form(headers) else {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        return response;
    };
    let document = version_2(registry);
    let etag = format!("\"{}\"", document.hash);
    let known = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(&etag));
    let mut response = Response::new(Bytes::new());
    if headers.get_all(IF_NONE_MATCH).iter().any(known) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if form == VERSION_2_PROTOBUF {
        *response.body_mut() = document.protobuf().clone();
    } else {
        *response.body_mut() = document.json.clone();
    }
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(form));
    out.insert(VARY, HeaderValue::from_static("Accept"));
    out.insert(ETAG, HeaderValue::try_from(etag).expect("hex digits and quotes are visible ASCII"));
    response
}

/// Takes the first clause of `Accept` that names a form, or leaves it open.
fn accepted_form(headers: &HeaderMap) -> Option<&'static str> {
    let values: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = values.join(",");
    if accept.trim().is_empty() {
        return Some(VERSION_2_FORMS[0].1);
    }
    accept.split(',').find_map(|clause| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        let open = matches!(media, "*/*" | "application/*");
        VERSION_2_FORMS.iter().find(|(asked, _)| open || *asked == media).map(|(_, form)| *form)
    })
}

fn version_2(registry: &Registry) -> Arc<Version2> {
    let all = registry.all();
    let groups = all.chunk_by(|a, b| a.group_version == b.group_version);
    let mut hasher = Sha256::new();
    groups.for_each(|group| hasher.update(hash(&group[0].group_version, group)));
    let hash = hex::encode_upper(hasher.finalize());
    let cached = || VERSION_2.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = cached().iter().find(|document| document.hash == hash) {
        return Arc::clone(found);
    }
    let json = Bytes::from(render_version_2(&all).to_string());
    let document = Arc::new(Version2 { hash, json, protobuf: OnceLock::new() });
    let mut documents = cached();
    if documents.len() >= MAX_VERSION_2 {
        documents.pop_front();
    }
    documents.push_back(Arc::clone(&document));
    document
}

impl Version2 {
    fn protobuf(&self) -> &Bytes {
        self.protobuf.get_or_init(|| {
            let json =
                serde_json::from_slice(&self.json).expect("the document was written as JSON");
            gnostic::document(&json).into()
        })
    }
}

/// Builds the version 2 document of some resources.
#[must_use]
pub fn render_version_2(resources: &[Arc<Resource>]) -> Value {
    let mut components = components::Components::default();
    let mut paths = Map::new();
    for resource in resources {
        paths::add(&mut paths, &mut components, resource);
    }
    version_2::document(FORM, &paths, components.finish())
}

/// Lists the documents with their addresses.
#[must_use]
pub fn index(registry: &Registry, prefix: &str) -> Value {
    let mut groups: BTreeMap<GroupVersion, Vec<Arc<Resource>>> = BTreeMap::new();
    for resource in registry.all() {
        groups.entry(resource.group_version.clone()).or_default().push(resource);
    }
    let mut paths = Map::new();
    for (group_version, resources) in groups {
        let url = url(&group_version, &hash(&group_version, &resources));
        let address = json!({ "serverRelativeURL": format!("{prefix}{url}") });
        paths.insert(path_of(&group_version), address);
    }
    json!({ "paths": paths })
}

fn resources_of(registry: &Registry, group_version: &GroupVersion) -> Vec<Arc<Resource>> {
    let mut all = registry.all();
    all.retain(|resource| resource.group_version == *group_version);
    all
}

/// Writes `api/v1` or `apis/apps/v1`.
fn path_of(group_version: &GroupVersion) -> String {
    let root = if group_version.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{group_version}")
}

fn parse_path(path: &str) -> Option<GroupVersion> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", version] => Some(GroupVersion::new("", version)),
        ["apis", group, version] => Some(GroupVersion::new(group, version)),
        _ => None,
    }
}

fn url(group_version: &GroupVersion, hash: &str) -> String {
    format!("{ROOT}/{}?hash={hash}", path_of(group_version))
}

/// Hashes what a document is made from.
fn hash(group_version: &GroupVersion, resources: &[Arc<Resource>]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{FORM} {group_version}"));
    for resource in resources {
        let names = (&resource.plural, &resource.kind, resource.namespaced, resource.verbs);
        hasher.update(format!("{names:?} {:?}", resource.subresources()));
        if resource.custom
            && let Some(source) = &resource.schema.source
        {
            hasher.update(source.fingerprint());
        }
    }
    hex::encode_upper(hasher.finalize())
}

/// Rendered documents by hash, oldest first. They are shared by all clusters that serve the same resources.
static DOCUMENTS: LazyLock<Mutex<VecDeque<(String, Bytes)>>> = LazyLock::new(Mutex::default);

fn document(group_version: &GroupVersion, resources: &[Arc<Resource>], hash: &str) -> Bytes {
    let cached = || DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, body)) = cached().iter().find(|(known, _)| known == hash) {
        return body.clone();
    }
    let body = Bytes::from(render(group_version, resources).to_string());
    let mut documents = cached();
    if documents.len() >= MAX_DOCUMENTS {
        documents.pop_front();
    }
    documents.push_back((hash.to_owned(), body.clone()));
    body
}

/// Builds the document of a group-version from its resources.
#[must_use]
pub fn render(group_version: &GroupVersion, resources: &[Arc<Resource>]) -> Value {
    let mut components = components::Components::default();
    let mut paths = Map::new();
    for resource in resources {
        paths::add(&mut paths, &mut components, resource);
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": format!("Kubernetes-compatible API {group_version}"), "version": FORM },
        "paths": paths,
        "components": { "schemas": components.finish() },
    })
}

fn json_response(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn redirect(location: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests;
