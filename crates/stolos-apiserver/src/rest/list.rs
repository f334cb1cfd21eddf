//! GET and LIST: bodies are put together from stored bytes wherever nothing has to be changed in them.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::Core;
use super::body::Body;
use super::call::Call;
use super::continue_token::ContinueToken;
use super::convert;
use super::negotiate::{Format, Shape};
use super::query::{ListOptions, Match};
use super::respond::{self, Response};
use crate::registry::Resource;
use crate::selector::Selectors;
use crate::status::{ApiError, Cause};
use crate::store::{self, At, Page, Version};
use crate::table::{self, IncludeObject};

/// How long a read waits for a revision it was asked not to be older than, as upstream.
const FRESHNESS_WAIT: Duration = Duration::from_secs(3);
/// Lists up to this size are one buffer; larger ones are streamed in chunks of the same size.
const CHUNK_BYTES: usize = 64 * 1024;

/// Answers a GET of one object.
pub(crate) async fn get(core: &Core, call: &Call) -> Result<Response, ApiError> {
    if let Some(version) = call.query.get("resourceVersion") {
        core.wait_until(super::query::resource_version(version)?).await?;
    }
    let version =
        core.store.get(&call.resource.storage, &call.key()).ok_or_else(|| call.not_found())?;
    object_response(core, call, StatusCode::OK, &version).await
}

/// Answers with a stored object in the negotiated form.
pub(crate) async fn object_response(
    core: &Core,
    call: &Call,
    status: StatusCode,
    version: &Version,
) -> Result<Response, ApiError> {
    if call.output.shape == Shape::Object && call.output.format == Format::Json {
        return Ok(respond::json_bytes(
            status,
            convert::served_bytes(&call.resource, version).await?,
        ));
    }
    value_response(core, call, status, convert::served(&call.resource, version).await?)
}

/// Answers with an object at hand in the negotiated form.
pub(crate) fn value_response(
    core: &Core,
    call: &Call,
    status: StatusCode,
    object: Value,
) -> Result<Response, ApiError> {
    value_response_as(core, call, &call.resource, status, object)
}

/// Like [`value_response`], for an object that is of another kind than the resource.
pub(crate) fn value_response_as(
    core: &Core,
    call: &Call,
    resource: &Resource,
    status: StatusCode,
    object: Value,
) -> Result<Response, ApiError> {
    let shaped = match &call.output.shape {
        Shape::Object => object,
        Shape::Metadata => convert::metadata_only(object),
        Shape::Table { version } => {
            let meta = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
            render_table_as(core, call, resource, version, &[object], meta, true)?
        }
    };
    Ok(respond::document(status, call.output.format, &shaped))
}

/// Renders a table in the version that the client asked for.
pub(crate) fn render_table(
    core: &Core,
    call: &Call,
    version: &str,
    objects: &[Value],
    meta: Value,
    with_columns: bool,
) -> Result<Value, ApiError> {
    render_table_as(core, call, &call.resource, version, objects, meta, with_columns)
}

fn render_table_as(
    core: &Core,
    call: &Call,
    resource: &Resource,
    version: &str,
    objects: &[Value],
    meta: Value,
    with_columns: bool,
) -> Result<Value, ApiError> {
    let include = call.query.get("includeObject").unwrap_or_default();
    let include = IncludeObject::parse(include).ok_or_else(|| {
        ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))
    })?;
    let mut table = table::render(resource, objects, core.clock.now(), include, meta, with_columns);
    if version != "v1" {
        let api_version = format!("meta.k8s.io/{version}");
        for row in table["rows"].as_array_mut().into_iter().flatten() {
            if row["object"]["kind"] == "PartialObjectMetadata" {
                row["object"]["apiVersion"] = api_version.as_str().into();
            }
        }
        table["apiVersion"] = api_version.into();
    }
    Ok(table)
}

/// Answers a LIST.
pub(crate) async fn list(
    core: &Core,
    call: &Call,
    options: &ListOptions,
) -> Result<Response, ApiError> {
    let selectors = selectors(call, options)?;
    let page = page(core, call, options, &selectors).await?;
    let meta = list_meta(call, &page);
    match &call.output.shape {
        Shape::Object if call.output.format == Format::Json => {
            let items = convert::all_served_bytes(&call.resource, &page.items).await?;
            Ok(json_list(
                &call.resource.group_version.to_string(),
                &call.resource.list_kind,
                items,
                &meta,
                core.limits.request_time,
            ))
        }
        Shape::Object => {
            let items = convert::all_served(&call.resource, &page.items).await?;
            let list = json!({
                "apiVersion": call.resource.group_version.to_string(),
                "kind": call.resource.list_kind,
                "metadata": meta,
                "items": items,
            });
            Ok(respond::document(StatusCode::OK, call.output.format, &list))
        }
        Shape::Metadata => {
            let items = convert::all_served(&call.resource, &page.items).await?;
            let items = items.into_iter().map(metadata_bytes).collect();
            let within = core.limits.request_time;
            Ok(json_list("meta.k8s.io/v1", "PartialObjectMetadataList", items, &meta, within))
        }
        Shape::Table { version } => {
            let items = convert::all_served(&call.resource, &page.items).await?;
            let table = render_table(core, call, version, &items, meta, true)?;
            Ok(respond::document(StatusCode::OK, call.output.format, &table))
        }
    }
}

/// Reads the selectors of a request and checks them against what the resource can be selected by.
pub(crate) fn selectors(call: &Call, options: &ListOptions) -> Result<Selectors, ApiError> {
    Selectors::parse(
        options.label_selector.as_deref(),
        options.field_selector.as_deref(),
        |label| call.resource.selects_by(label),
    )
    .map_err(|error| ApiError::bad_request(selector_error(&call.resource, error.to_string())))
}

/// Kinds that can be selected by nothing but name and namespace say so.
fn selector_error(resource: &Resource, text: String) -> String {
    let plain = !resource.custom && resource.selectable_fields.is_empty();
    match text.strip_prefix("field label not supported: ").filter(|_| plain) {
        Some(field) => format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
        None => text,
    }
}

/// Reads the page that the options ask for.
pub(crate) async fn page(
    core: &Core,
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
) -> Result<Page, ApiError> {
    let of = list_identity(call);
    let token = options
        .continue_token
        .as_deref()
        .map(|token| ContinueToken::decode(token, &of))
        .transpose()?;
    if token.is_some() && options.resource_version.is_some_and(|revision| revision != 0) {
        let why = "specifying resource version is not allowed when using continue";
        return Err(ApiError::bad_request(why));
    }
    let at = match (&token, options.resource_version) {
        (Some(ContinueToken { revision: Some(revision), .. }), _) => At::Exact(*revision),
        (Some(ContinueToken { revision: None, .. }), _) | (None, None | Some(0)) => At::Latest,
        (None, Some(revision)) => {
            core.wait_until(revision).await?;
            let exact = options.version_match == Some(Match::Exact)
                || (options.version_match.is_none() && options.limit.is_some());
            if exact { At::Exact(revision) } else { At::Latest }
        }
    };
    let matches = |version: &Version| selectors.matches(&version.key, &version.attributes);
    let list = store::ListOptions {
        namespace: call.namespace.clone(),
        at,
        after: token.as_ref().map(|token| token.after.clone()),
        limit: options.limit,
        filter: if selectors.is_everything() { None } else { Some(&matches) },
    };
    core.store.list(&call.resource.storage, &list).map_err(|expired| match &token {
        Some(token) => expired_continuation(token, &of),
        None => ApiError::new(
            StatusCode::GONE,
            "Expired",
            format!("The resourceVersion for the provided list is too old: {expired}"),
        ),
    })
}

fn expired_continuation(token: &ContinueToken, of: &str) -> ApiError {
    let text = "The provided continue parameter is too old to display a consistent list result. Start a new list \
                without it, or use the continue token of this response to go on with the latest state; what changed \
                in between may then be missing or appear twice.";
    let mut error = ApiError::new(StatusCode::GONE, "Expired", text);
    error.continue_token =
        Some(ContinueToken { revision: None, after: token.after.clone() }.encode(of).into());
    error
}

fn list_identity(call: &Call) -> String {
    format!("{}/{}", call.resource.storage, call.namespace.as_deref().unwrap_or_default())
}

fn list_meta(call: &Call, page: &Page) -> Value {
    let mut meta = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(after) = &page.next {
        let token = ContinueToken { revision: Some(page.revision), after: after.clone() };
        meta["continue"] = token.encode(&list_identity(call)).into();
        if let Some(remaining) = page.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
    } else if call.resource.custom && matches!(call.output.shape, Shape::Object) {
        // Lists that upstream writes without a type of its own name every field.
        meta["continue"] = "".into();
    }
    meta
}

fn metadata_bytes(object: Value) -> Bytes {
    serde_json::to_vec(&convert::metadata_only(object))
        .expect("JSON values always serialise")
        .into()
}

/// Puts a list together without looking into the items.
pub(crate) fn json_list(
    api_version: &str,
    kind: &str,
    items: Vec<Bytes>,
    meta: &Value,
    within: Duration,
) -> Response {
    let head = format!("{{\"apiVersion\":\"{api_version}\",\"items\":[");
    let tail = format!("],\"kind\":\"{kind}\",\"metadata\":{meta}}}\n");
    let commas = items.len().saturating_sub(1);
    let length = head.len() + tail.len() + commas + items.iter().map(Bytes::len).sum::<usize>();
    let pieces = std::iter::once(Bytes::from(head))
        .chain(items.into_iter().enumerate().flat_map(|(index, item)| {
            let comma = (index > 0).then_some(Bytes::from_static(b","));
            comma.into_iter().chain(std::iter::once(item))
        }))
        .chain(std::iter::once(Bytes::from(tail)));
    let mut chunks = Chunks { pieces: pieces.peekable() };
    let body = if length <= CHUNK_BYTES {
        Body::full(chunks.next().unwrap_or_default())
    } else {
        Body::chunks(chunks, length as u64, within)
    };
    respond::with_type(StatusCode::OK, "application/json", body)
}

/// Joins small pieces into chunks that are worth a write.
struct Chunks<I: Iterator<Item = Bytes>> {
    pieces: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Bytes>> Iterator for Chunks<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let first = self.pieces.next()?;
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES.max(first.len()));
        chunk.put(first);
        while let Some(piece) =
            self.pieces.next_if(|piece| chunk.len() + piece.len() <= CHUNK_BYTES)
        {
            chunk.put(piece);
        }
        Some(chunk.freeze())
    }
}

impl Core {
    /// Waits until the store shows a revision; 504 when it does not come in time.
    pub(crate) async fn wait_until(&self, revision: u64) -> Result<(), ApiError> {
        if self.store.wait_for(revision, FRESHNESS_WAIT).await {
            return Ok(());
        }
        let text = format!(
            "Timeout: Too large resource version: {revision}, current: {}",
            self.store.revision()
        );
        let mut error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", text);
        error.causes = vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }];
        error.retry_after_seconds = Some(1);
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn collected(items: Vec<Bytes>) -> (Option<u64>, String) {
        let response = json_list(
            "v1",
            "ConfigMapList",
            items,
            &json!({ "resourceVersion": "5" }),
            Duration::from_secs(60),
        );
        let exact = http_body::Body::size_hint(response.body()).exact();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (exact, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn lists_are_put_together_from_bytes() {
        let (length, text) =
            collected(vec![Bytes::from_static(b"{}"), Bytes::from_static(b"[]")]).await;
        let want = "{\"apiVersion\":\"v1\",\"items\":[{},[]],\"kind\":\"ConfigMapList\",\
                    \"metadata\":{\"resourceVersion\":\"5\"}}\n";
        assert_eq!(text, want);
        assert_eq!(length, Some(want.len() as u64));
    }

    #[tokio::test]
    async fn large_lists_stream_with_a_known_length() {
        let item = Bytes::from(format!("\"{}\"", "x".repeat(1000)));
        let (length, text) = collected(vec![item; 200]).await;
        assert_eq!(length, Some(text.len() as u64));
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["items"].as_array().unwrap().len(), 200);
    }
}
