//! DELETE of one object and of a collection.

use futures::{StreamExt, stream};
use http::StatusCode;
use serde_json::{Value, json};

use super::written_response;
use crate::rest::call::Call;
use crate::rest::decode::{self, RequestBody};
use crate::rest::query::{DeleteOptions, ListOptions, WriteOptions};
use crate::rest::respond::{self, Response};
use crate::rest::write::{Deleted, Writer};
use crate::rest::{Core, list, meta, negotiate};
use crate::status::ApiError;

/// Deletions of a collection that run at once; enough to fill a group commit.
const PARALLEL_DELETIONS: usize = 32;

/// Says so when jobs go whose pods would stay behind, because that surprises.
fn warn_of_orphans(call: &Call, options: &DeleteOptions) {
    let unsaid = options.propagation.is_none() && options.orphan_dependents.is_none();
    if unsaid && *call.resource.storage == *"jobs.batch" && !call.resource.custom {
        call.warnings.add([ORPHANED_PODS.to_owned()]);
    }
}

const ORPHANED_PODS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background \
    to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Answers a DELETE of one object.
pub(super) async fn delete(
    core: &Core,
    call: &Call,
    body: RequestBody,
) -> Result<Response, ApiError> {
    if !call.subresource.is_empty() || !call.resource.offers("delete") {
        return Err(call.method_not_allowed());
    }
    let options = delete_options(call, body).await?;
    let writer = Writer::new(core, call, write_options_of(call, &options)?);
    let deleted = writer.delete(&options).await?;
    warn_of_orphans(call, &options);
    match deleted {
        Deleted::Pending(written) => {
            // Only the legacy way to ask tells the client to wait.
            let waits = options.orphan_dependents == Some(false);
            let status = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
            written_response(core, call, status, &written).await
        }
        Deleted::Gone(last) => {
            if call.resource.returns_deleted {
                return list::value_response(core, call, StatusCode::OK, last);
            }
            Ok(respond::document(StatusCode::OK, call.output.format, &gone(call, &last)))
        }
    }
}

/// Reads delete options, which come as a body, in the query, or not at all.
async fn delete_options(call: &Call, body: RequestBody) -> Result<DeleteOptions, ApiError> {
    let bytes = decode::read(body).await?;
    if bytes.is_empty() {
        return DeleteOptions::parse(&call.query, None);
    }
    let parsed = decode::parse(negotiate::input(&call.headers)?, &bytes)?;
    let kind = parsed.value["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = parsed.value["apiVersion"].as_str().unwrap_or_default();
        return Err(ApiError::unclassified(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:110\""
        )));
    }
    DeleteOptions::parse(&call.query, Some(&parsed.value))
}

fn write_options_of(call: &Call, options: &DeleteOptions) -> Result<WriteOptions, ApiError> {
    Ok(WriteOptions {
        dry_run: options.dry_run,
        ..WriteOptions::parse(&call.query, "DeleteOptions")?
    })
}

fn gone(call: &Call, last: &Value) -> Value {
    let mut details =
        json!({ "name": call.name, "kind": call.resource.plural, "uid": meta::text(last, "uid") });
    if !call.group().is_empty() {
        details["group"] = call.group().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Answers a DELETE of a collection with the objects it deleted.
pub(super) async fn delete_collection(
    core: &Core,
    call: &Call,
    body: RequestBody,
) -> Result<Response, ApiError> {
    if !call.resource.offers("deletecollection")
        || (call.resource.namespaced && call.namespace.is_none())
    {
        return Err(call.method_not_allowed());
    }
    let list_options = ListOptions::parse(&call.query, false)?;
    let mut options = delete_options(call, body).await?;
    (options.uid, options.resource_version) = (None, None);
    let write_options = write_options_of(call, &options)?;
    let selectors = list::selectors(call, &list_options)?;
    let page = list::page(core, call, &list_options, &selectors).await?;
    let mut deletions = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let one = Call { name: item.key.name.clone(), ..call.clone() };
        deletions.push(delete_one(core, one, write_options.clone(), &options));
    }
    let results: Vec<_> = stream::iter(deletions).buffered(PARALLEL_DELETIONS).collect().await;
    let mut items = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(Deleted::Gone(last)) => items.push(last),
            Ok(Deleted::Pending(written)) => items.push(written.served(&call.resource).await?),
            Err(error) if error.code == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    warn_of_orphans(call, &options);
    let list = json!({
        "apiVersion": call.resource.group_version.to_string(),
        "kind": call.resource.list_kind,
        "metadata": { "resourceVersion": core.store.revision().to_string() },
        "items": items,
    });
    Ok(respond::document(StatusCode::OK, call.output.format, &list))
}

/// Deletes one object of a collection.
async fn delete_one(
    core: &Core,
    call: Call,
    write_options: WriteOptions,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    Writer::new(core, &call, write_options).of_collection().delete(options).await
}
