//! POST: creation, and subresources that are actions.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::{read_object, read_subresource_object, written_response};
use crate::auth;
use crate::names::GroupVersion;
use crate::registry::Resource;
use crate::rest::call::Call;
use crate::rest::decode::RequestBody;
use crate::rest::lifecycle::Part;
use crate::rest::query::{DeleteOptions, WriteOptions};
use crate::rest::respond::{self, Response};
use crate::rest::subresource::{binding, eviction};
use crate::rest::write::{Edit, Ownership, Writer};
use crate::rest::{Core, convert, meta, system};
use crate::schema;
use crate::status::ApiError;
use crate::store;

/// Answers a POST.
pub(super) async fn post(
    core: &Arc<Core>,
    call: &Call,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
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
        return virtual_resource(core, call, writer, object).await;
    }
    let written = writer.create(object, Ownership::Manager).await?;
    written_response(core, call, StatusCode::CREATED, &written).await
}

/// Answers resources that are never stored: bindings and reviews.
async fn virtual_resource(
    core: &Arc<Core>,
    call: &Call,
    writer: Writer<'_>,
    mut object: Value,
) -> Result<Response, ApiError> {
    let name = meta::text(&object, "name").to_owned();
    if shows_owners(&call.resource) {
        writer.own_action(&call.resource.schema, &mut object);
    }
    writer.admit_action(&name, &mut object).await?;
    let response = if call.resource.storage.as_ref() == "bindings" {
        bind(core, &Call { name, ..pod_call(core, call)? }, &object).await?
    } else {
        let namespace = call.namespace.as_deref();
        let mut review = core.auth.review(&call.resource.kind, namespace, &call.user, object)?;
        // The only review that says when it was answered.
        if call.resource.kind == "SelfSubjectReview" {
            review["metadata"]["creationTimestamp"] = meta::seconds(core.clock.now()).into();
        }
        respond::document(StatusCode::CREATED, call.output.format, &review)
    };
    Ok(response)
}

/// A binding is not answered with itself, and one review with nothing but its answer.
fn shows_owners(resource: &Resource) -> bool {
    resource.storage.as_ref() != "bindings" && resource.kind != "SelfSubjectRulesReview"
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
    let mut options = options;
    let mut writer = Writer::new(core, call, options.clone());
    let mut value = read_subresource_object(&writer, call, body).await?;
    let subresource = call.resource.subresource(&call.subresource);
    if let Some((api_version, kind)) =
        subresource.and_then(|subresource| subresource.api_version.zip(subresource.kind))
    {
        schema::builtin::default_object(&GroupVersion::parse(api_version), kind, &mut value);
    }
    if call.subresource == "eviction" {
        options.dry_run |=
            DeleteOptions::parse(&call.query, Some(&value["deleteOptions"]))?.dry_run;
    }
    writer.options.dry_run = options.dry_run;
    if call.subresource == "token" {
        let schema = schema::builtin::kind("authentication.k8s.io", "v1", "TokenRequest");
        if let Some(schema) = schema {
            writer.own_action(&schema, &mut value);
        }
        auth::complete_token_request(core.auth.signer(), &mut value);
    }
    writer.check_place(&mut value)?;
    writer.admit_action(&call.name, &mut value).await?;
    let response = match call.subresource.as_str() {
        "binding" => bind(core, call, &value).await?,
        "eviction" => evict(core, call, options, &value).await?,
        "token" => {
            let namespace = call.namespace.as_deref().unwrap_or_default();
            let token = core.auth.issue_token(namespace, &call.name, value)?;
            respond::document(StatusCode::CREATED, call.output.format, &token)
        }
        _ => return Err(call.method_not_allowed()),
    };
    Ok(response)
}

async fn bind(core: &Core, call: &Call, object: &Value) -> Result<Response, ApiError> {
    let node = binding::node_of(object)?;
    let now = core.clock.now();
    let edit = Edit::Unowned(Box::new(move |pod| binding::bound(pod, &node, now)));
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let writer = Writer::new(core, call, options).without_admission();
    writer.update(Part::Whole, &edit).await?;
    let success = binding::success(StatusCode::CREATED);
    Ok(respond::document(StatusCode::CREATED, call.output.format, &success))
}

/// Owns the count of disruptions that evictions write into budgets.
const PAYER: &str = "kube-apiserver";

async fn evict(
    core: &Core,
    call: &Call,
    options: WriteOptions,
    body: &Value,
) -> Result<Response, ApiError> {
    let pod =
        core.store.get(&call.resource.storage, &call.key()).ok_or_else(|| call.not_found())?;
    let pod = convert::served(&call.resource, &pod).await?;
    let budgets = core.registry.resource("policy", "v1", "poddisruptionbudgets");
    let budgets = budgets.ok_or_else(system::no_such_resource)?;
    let of_namespace =
        store::ListOptions { namespace: call.namespace.clone(), ..store::ListOptions::default() };
    let page = core.store.list(&budgets.storage, &of_namespace);
    let page = page.map_err(|expired| ApiError::internal(expired.to_string()))?;
    let found = convert::all_served(&budgets, &page.items).await?;
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
        let own = WriteOptions { field_manager: Some(PAYER.to_owned()), ..options.clone() };
        let writer = Writer::new(core, &payer, own).without_admission();
        writer.update(Part::Status, &edit).await?;
    }
    let victim = Call { subresource: String::new(), ..call.clone() };
    if !delete_options.dry_run {
        let now = core.clock.now();
        let edit = Edit::Unowned(Box::new(move |pod| Ok(eviction::announced(pod, now))));
        let writer = Writer::new(core, &victim, options.clone()).without_admission();
        writer.update(Part::Status, &edit).await?;
    }
    Writer::new(core, &victim, options).without_admission().delete(&delete_options).await?;
    let success = binding::success(StatusCode::CREATED);
    Ok(respond::document(StatusCode::CREATED, call.output.format, &success))
}
