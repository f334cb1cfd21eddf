//! From a method and a path to the handler of a resource.

use std::sync::Arc;

use futures::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::decode::{self, Origin, RequestBody};
use super::lifecycle::{self, Part};
use super::negotiate::{self, Input, Output, PatchType};
use super::path::ResourcePath;
use super::query::{DeleteOptions, ListOptions, Query, WriteOptions};
use super::respond::{self, Response};
use super::subresource::scale::{self, ScaleEdit};
use super::subresource::{binding, eviction};
use super::write::{Deleted, Edit, Ownership, Writer, Written};
use super::{Core, convert, list, meta, system, watch};
use crate::auth::UserInfo;
use crate::registry::Resource;
use crate::schema;
use crate::status::ApiError;

/// A request for a resource, before the resource is looked up.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) user: UserInfo,
}

/// Subresources that only a kubelet could answer.
const KUBELET: [(&str, &[&str]); 3] = [
    ("pods", &["attach", "exec", "log", "portforward", "proxy", "resize"]),
    ("nodes", &["proxy"]),
    ("services", &["proxy"]),
];

/// Deletions of a collection that run at once; enough to fill a group commit.
const PARALLEL_DELETIONS: usize = 32;

/// Answers a request for a resource.
pub(crate) async fn resource(
    core: &Arc<Core>,
    incoming: Incoming,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let Incoming { method, path, query, headers, user } = incoming;
    let group_version = &path.group_version;
    let resource =
        core.registry.resource(&group_version.group, &group_version.version, &path.plural);
    let resource = resource
        .filter(|resource| fits_scope(resource, &path))
        .ok_or_else(system::no_such_resource)?;
    let subresource = path.subresource.unwrap_or_default();
    if let Some(kubelet) = kubelet_subresource(&resource, &subresource) {
        return Err(kubelet);
    }
    if !subresource.is_empty() && resource.subresource(&subresource).is_none() {
        return Err(system::no_such_resource());
    }
    let shapes = resource.is_stored() && matches!(subresource.as_str(), "" | "status");
    let mut call = Call {
        output: negotiate::output(&headers, shapes)?,
        resource,
        namespace: path.namespace,
        name: path.name.unwrap_or_default(),
        subresource,
        query,
        headers,
        user,
    };
    match method {
        Method::GET | Method::HEAD => {
            if path.legacy_watch || call.query.flag("watch") == Some(true) {
                return watch_route(core, call, path.legacy_watch).await;
            }
            read(core, &call).await
        }
        Method::POST => post(core, &mut call, body).await,
        Method::PUT => put(core, &call, body).await,
        Method::PATCH => patch(core, &call, body).await,
        Method::DELETE if call.name.is_empty() => delete_collection(core, &call, body).await,
        Method::DELETE => delete(core, &call, body).await,
        _ => Err(call.method_not_allowed()),
    }
}

/// Cluster-scoped resources have no namespace in their path; single namespaced objects have one.
fn fits_scope(resource: &Resource, path: &ResourcePath) -> bool {
    match (&path.namespace, resource.namespaced) {
        (Some(_), true) | (None, false) => true,
        (None, true) => path.name.is_none(),
        (Some(_), false) => false,
    }
}

fn kubelet_subresource(resource: &Resource, subresource: &str) -> Option<ApiError> {
    let first = subresource.split('/').next().filter(|first| !first.is_empty())?;
    let (_, names) = KUBELET.iter().find(|(plural, _)| *plural == resource.storage.as_ref())?;
    if resource.custom || !names.contains(&first) {
        return None;
    }
    let text = format!("{}/{first} needs a kubelet, and this API server has none", resource.plural);
    Some(ApiError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", text).about(
        "",
        &resource.plural,
        "",
    ))
}

async fn watch_route(core: &Arc<Core>, mut call: Call, legacy: bool) -> Result<Response, ApiError> {
    if !call.resource.offers("watch") || !call.subresource.is_empty() {
        return Err(call.method_not_allowed());
    }
    let mut options = ListOptions::parse(&call.query, legacy)?;
    if !call.name.is_empty() {
        let own = format!("metadata.name={}", std::mem::take(&mut call.name));
        let others = options.field_selector.take().filter(|text| !text.is_empty());
        options.field_selector =
            Some(others.map_or(own.clone(), |others| format!("{own},{others}")));
    }
    watch::watch(core, call, &options).await
}

async fn read(core: &Core, call: &Call) -> Result<Response, ApiError> {
    if !call.resource.is_stored() {
        return Err(call.method_not_allowed());
    }
    match (call.name.as_str(), call.subresource.as_str()) {
        ("", _) => list::list(core, call, &ListOptions::parse(&call.query, false)?).await,
        (_, "" | "status" | "approval" | "ephemeralcontainers") => list::get(core, call).await,
        (_, "scale") => {
            let version = core
                .store
                .get(&call.resource.storage, &call.key())
                .ok_or_else(|| call.not_found())?;
            let scale =
                scale::scale_of(scale_paths(call)?, &convert::served(&call.resource, &version));
            Ok(respond::document(StatusCode::OK, call.output.format, &scale))
        }
        _ => Err(call.method_not_allowed()),
    }
}

fn scale_paths(call: &Call) -> Result<&crate::registry::Scale, ApiError> {
    call.resource.scale.as_ref().ok_or_else(system::no_such_resource)
}

/// Reads a body that is the resource's kind, drops unknown fields and treats them as the request wishes.
async fn read_object(
    writer: &Writer<'_>,
    call: &Call,
    body: RequestBody,
) -> Result<Value, ApiError> {
    let input = negotiate::input(&call.headers)?;
    let decode::Parsed { mut value, duplicates } =
        decode::parse(input, &decode::read(body).await?)?;
    decode::expect_kind(&call.resource, &mut value)?;
    let unknown = schema::prune(&call.resource.schema, &mut value);
    writer.check_fields(Origin::Body, &duplicates, &unknown)?;
    Ok(value)
}

async fn post(core: &Arc<Core>, call: &mut Call, body: RequestBody) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query)?;
    if !call.resource.offers("create") || (call.resource.namespaced && call.namespace.is_none()) {
        return Err(call.method_not_allowed());
    }
    if !call.subresource.is_empty() {
        return post_subresource(core, call, options, body).await;
    }
    if !call.name.is_empty() {
        return Err(call.method_not_allowed());
    }
    let writer = Writer::new(core, call, options);
    let mut object = read_object(&writer, call, body).await?;
    writer.check_place(&mut object)?;
    if !call.resource.is_stored() {
        return virtual_resource(core, call, object).await;
    }
    let written = writer.create(object, Ownership::Manager).await?;
    written_response(core, call, StatusCode::CREATED, &written, writer.into_warnings())
}

/// Answers resources that are never stored: bindings and reviews.
async fn virtual_resource(
    core: &Arc<Core>,
    call: &Call,
    object: Value,
) -> Result<Response, ApiError> {
    if call.resource.storage.as_ref() == "bindings" {
        let name = meta::text(&object, "name").to_owned();
        return bind(core, &Call { name, ..pod_call(core, call)? }, &object).await;
    }
    let review =
        core.auth.review(&call.resource.kind, call.namespace.as_deref(), &call.user, object)?;
    Ok(respond::document(StatusCode::CREATED, call.output.format, &review))
}

fn pod_call(core: &Core, call: &Call) -> Result<Call, ApiError> {
    let pods = core.registry.resource("", "v1", "pods").ok_or_else(system::no_such_resource)?;
    Ok(Call { resource: pods, subresource: "binding".to_owned(), ..call.clone() })
}

async fn post_subresource(
    core: &Arc<Core>,
    call: &Call,
    options: WriteOptions,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let input = negotiate::input(&call.headers)?;
    let mut value = decode::parse(input, &decode::read(body).await?)?.value;
    let subresource =
        call.resource.subresource(&call.subresource).ok_or_else(system::no_such_resource)?;
    if let (Some(api_version), Some(kind)) = (subresource.api_version, subresource.kind) {
        decode::expect_type(api_version, kind, &mut value)?;
    }
    match call.subresource.as_str() {
        "binding" => bind(core, call, &value).await,
        "eviction" => evict(core, call, options, &value).await,
        "token" => {
            let namespace = call.namespace.as_deref().unwrap_or_default();
            let token = core.auth.issue_token(namespace, &call.name, value)?;
            Ok(respond::document(StatusCode::CREATED, call.output.format, &token))
        }
        _ => Err(call.method_not_allowed()),
    }
}

async fn bind(core: &Core, call: &Call, object: &Value) -> Result<Response, ApiError> {
    let node = binding::node_of(object)?;
    let now = core.clock.now();
    let edit = Edit::With(Box::new(move |pod| binding::bound(pod, &node, now)));
    let writer = Writer::new(core, call, WriteOptions::parse(&call.query)?);
    writer.update(Part::Whole, &edit).await?;
    let success = binding::success(StatusCode::CREATED);
    Ok(respond::document(StatusCode::CREATED, call.output.format, &success))
}

async fn evict(
    core: &Core,
    call: &Call,
    options: WriteOptions,
    body: &Value,
) -> Result<Response, ApiError> {
    let pod =
        core.store.get(&call.resource.storage, &call.key()).ok_or_else(|| call.not_found())?;
    let pod = convert::served(&call.resource, &pod);
    let budgets = core.registry.resource("policy", "v1", "poddisruptionbudgets");
    let budgets = budgets.ok_or_else(system::no_such_resource)?;
    let of_namespace = crate::store::ListOptions {
        namespace: call.namespace.clone(),
        ..crate::store::ListOptions::default()
    };
    let page = core.store.list(&budgets.storage, &of_namespace);
    let page = page.map_err(|expired| ApiError::internal(expired.to_string()))?;
    let found: Vec<Value> = page.items.iter().map(|item| convert::served(&budgets, item)).collect();
    let mut delete_options = DeleteOptions::parse(&call.query, Some(&body["deleteOptions"]))?;
    delete_options.dry_run |= options.dry_run;
    let options = WriteOptions { dry_run: delete_options.dry_run, ..options };
    if let eviction::Eviction::Pay { budget } = eviction::decide(&pod, &found)? {
        let name = call.name.clone();
        let now = core.clock.now();
        let edit = Edit::With(Box::new(move |budget| eviction::charged(budget, &name, now)));
        let payer = Call {
            resource: budgets,
            name: budget,
            subresource: "status".to_owned(),
            ..call.clone()
        };
        Writer::new(core, &payer, options.clone()).update(Part::Status, &edit).await?;
    }
    let victim = Call { subresource: String::new(), ..call.clone() };
    Writer::new(core, &victim, options).delete(&delete_options).await?;
    let success = binding::success(StatusCode::CREATED);
    Ok(respond::document(StatusCode::CREATED, call.output.format, &success))
}

/// Returns the part that PUT and PATCH on a path write; nothing where the path takes neither.
fn part_of(call: &Call) -> Option<Part> {
    if !call.resource.is_stored() || call.name.is_empty() {
        return None;
    }
    match call.subresource.as_str() {
        "" | "ephemeralcontainers" => Some(Part::Main),
        "status" | "approval" => Some(Part::Status),
        "finalize" => Some(Part::Finalize),
        _ => None,
    }
}

async fn put(core: &Core, call: &Call, body: RequestBody) -> Result<Response, ApiError> {
    let writer = Writer::new(core, call, WriteOptions::parse(&call.query)?);
    if call.subresource == "scale" {
        let input = negotiate::input(&call.headers)?;
        let value = decode::parse(input, &decode::read(body).await?)?.value;
        return write_scale(core, call, writer, scale::edit_of_put(value)?).await;
    }
    let part = part_of(call).ok_or_else(|| call.method_not_allowed())?;
    let mut object = read_object(&writer, call, body).await?;
    writer.check_place(&mut object)?;
    let (written, created) = writer.update(part, &Edit::Replace(object)).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    written_response(core, call, status, &written, writer.into_warnings())
}

async fn patch(core: &Core, call: &Call, body: RequestBody) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query)?;
    let patch_type = negotiate::patch_type(&call.headers, call.resource.custom)?;
    let writer = Writer::new(core, call, options);
    let bytes = decode::read(body).await?;
    // Apply bodies are YAML, of which JSON is a subset; the other patches are JSON, and clients send YAML there too.
    let input = if patch_type == PatchType::Apply { Input::Yaml } else { Input::Json };
    let input = if bytes.first().is_some_and(|byte| matches!(byte, b'{' | b'[')) {
        Input::Json
    } else {
        input
    };
    let decode::Parsed { value, duplicates } = decode::parse(input, &bytes)?;
    writer.check_fields(Origin::Body, &duplicates, &[])?;
    if call.subresource == "scale" {
        let edit = match patch_type {
            PatchType::Json => ScaleEdit::JsonPatch(value),
            PatchType::Merge | PatchType::Strategic => ScaleEdit::MergePatch(value),
            PatchType::Apply => return Err(call.method_not_allowed()),
        };
        return write_scale(core, call, writer, edit).await;
    }
    let part = part_of(call).ok_or_else(|| call.method_not_allowed())?;
    let edit = match patch_type {
        PatchType::Json => Edit::JsonPatch(value),
        PatchType::Merge => Edit::MergePatch(value),
        PatchType::Strategic => Edit::StrategicMergePatch(value),
        PatchType::Apply => apply_edit(&writer, call, value)?,
    };
    let (written, created) = writer.update(part, &edit).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    written_response(core, call, status, &written, writer.into_warnings())
}

fn apply_edit(writer: &Writer<'_>, call: &Call, mut config: Value) -> Result<Edit, ApiError> {
    if writer.options.field_manager.is_none() {
        let cause = crate::status::Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value: is required for apply patch".into(),
            field: "fieldManager".into(),
        };
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
    }
    decode::expect_kind(&call.resource, &mut config)?;
    writer.check_place(&mut config)?;
    let unknown = schema::prune(&call.resource.schema, &mut config);
    writer.check_fields(Origin::Body, &[], &unknown)?;
    Ok(Edit::Apply { config, force: writer.options.force })
}

async fn write_scale(
    core: &Core,
    call: &Call,
    writer: Writer<'_>,
    edit: ScaleEdit,
) -> Result<Response, ApiError> {
    let paths = scale_paths(call)?.clone();
    let shown = paths.clone();
    let edit = Edit::With(Box::new(move |live| edit.apply(&paths, live)));
    let (written, _) = writer.update(Part::Main, &edit).await?;
    let scale = scale::scale_of(&shown, &written.served(&call.resource));
    let mut response = respond::document(StatusCode::OK, call.output.format, &scale);
    respond::add_warnings(&mut response, &writer.into_warnings());
    let _ = core;
    Ok(response)
}

/// Reads delete options, which come as a body, in the query, or not at all.
async fn delete_options(call: &Call, body: RequestBody) -> Result<DeleteOptions, ApiError> {
    let bytes = decode::read(body).await?;
    if bytes.is_empty() {
        return DeleteOptions::parse(&call.query, None);
    }
    let parsed = decode::parse(negotiate::input(&call.headers)?, &bytes)?;
    DeleteOptions::parse(&call.query, Some(&parsed.value))
}

async fn delete(core: &Core, call: &Call, body: RequestBody) -> Result<Response, ApiError> {
    if !call.subresource.is_empty() || !call.resource.offers("delete") {
        return Err(call.method_not_allowed());
    }
    let options = delete_options(call, body).await?;
    let writer = Writer::new(core, call, write_options_of(call, &options)?);
    let deleted = writer.delete(&options).await?;
    let warnings = writer.into_warnings();
    match deleted {
        Deleted::Pending(written) => {
            // Only the legacy way to ask tells the client to wait.
            let waits = options.orphan_dependents == Some(false);
            let status = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
            written_response(core, call, status, &written, warnings)
        }
        Deleted::Gone(last) => {
            let mut response = if lifecycle::returns_deleted_object(&call.resource) {
                list::value_response(core, call, StatusCode::OK, last)?
            } else {
                respond::document(StatusCode::OK, call.output.format, &gone(call, &last))
            };
            respond::add_warnings(&mut response, &warnings);
            Ok(response)
        }
    }
}

fn write_options_of(call: &Call, options: &DeleteOptions) -> Result<WriteOptions, ApiError> {
    Ok(WriteOptions { dry_run: options.dry_run, ..WriteOptions::parse(&call.query)? })
}

fn gone(call: &Call, last: &Value) -> Value {
    let mut details =
        json!({ "name": call.name, "kind": call.resource.plural, "uid": meta::text(last, "uid") });
    if !call.group().is_empty() {
        details["group"] = call.group().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

async fn delete_collection(
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
            Ok(Deleted::Pending(written)) => items.push(written.served(&call.resource)),
            Err(error) if error.code == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({
        "apiVersion": call.resource.group_version.to_string(),
        "kind": call.resource.list_kind,
        "metadata": { "resourceVersion": core.store.revision().to_string() },
        "items": items,
    });
    let format = Output { shape: negotiate::Shape::Object, ..call.output.clone() }.format;
    Ok(respond::document(StatusCode::OK, format, &list))
}

async fn delete_one(
    core: &Core,
    call: Call,
    write_options: WriteOptions,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    Writer::new(core, &call, write_options).delete(options).await
}

fn written_response(
    core: &Core,
    call: &Call,
    status: StatusCode,
    written: &Written,
    warnings: Vec<String>,
) -> Result<Response, ApiError> {
    let mut response = match written {
        Written::Stored(version) => list::object_response(core, call, status, version)?,
        Written::Dry(object) => list::value_response(core, call, status, object.clone())?,
    };
    respond::add_warnings(&mut response, &warnings);
    Ok(response)
}
