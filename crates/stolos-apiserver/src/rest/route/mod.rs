//! From a method and a path to the handler of a resource.

mod change;
mod post;
mod remove;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::call::Call;
use super::decode::{self, RequestBody};
use super::negotiate::{self, Returns};
use super::path::ResourcePath;
use super::query::{ListOptions, Query};
use super::respond::{self, Response};
use super::strict::Origin;
use super::subresource::scale;
use super::warnings::Warnings;
use super::write::{Writer, Written};
use super::{Core, convert, list, system, watch};
use crate::auth::UserInfo;
use crate::names::GroupVersion;
use crate::registry::Resource;
use crate::schema;
use crate::status::ApiError;
use crate::table;

/// A request for a resource, before the resource is looked up.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) user: UserInfo,
    /// Admission is asked about writes.
    pub(crate) admits: bool,
}

/// Subresources that only a kubelet could answer.
const KUBELET: [(&str, &[&str]); 3] = [
    ("pods", &["attach", "exec", "log", "portforward", "proxy", "resize"]),
    ("nodes", &["proxy"]),
    ("services", &["proxy"]),
];

/// Answers a request for a resource.
pub(crate) async fn resource(
    core: &Arc<Core>,
    incoming: Incoming,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let path = &incoming.path;
    let group_version = &path.group_version;
    let resource =
        core.registry.resource(&group_version.group, &group_version.version, &path.plural);
    let Some(resource) = resource.filter(|resource| fits_scope(resource, path)) else {
        return system::nothing_at(core, &group_version.group);
    };
    core.requested.note(&resource, path.subresource.as_deref());
    let warnings = Warnings::default();
    warnings.add(resource.deprecation.clone());
    match served(core, resource, incoming, body, &warnings).await {
        Ok(mut response) => {
            respond::add_warnings(&mut response, &warnings.take());
            Ok(response)
        }
        Err(error) => Err(ApiError { warnings: warnings.take().into(), ..error }),
    }
}

async fn served(
    core: &Arc<Core>,
    resource: Arc<Resource>,
    incoming: Incoming,
    body: RequestBody,
    warnings: &Warnings,
) -> Result<Response, ApiError> {
    let Incoming { method, path, query, headers, user, admits } = incoming;
    let subresource = path.subresource.unwrap_or_default();
    if let Some(kubelet) = kubelet_subresource(&resource, &subresource) {
        return Err(kubelet);
    }
    if !subresource.is_empty() && resource.subresource(&subresource).is_none() {
        return Err(no_such_subresource(&resource, path.name.as_deref().unwrap_or_default()));
    }
    let watches = path.legacy_watch || (path.name.is_none() && query.flag("watch") == Some(true));
    let is_read = method == Method::GET;
    let returns =
        if !resource.is_stored() || !matches!(subresource.as_str(), "" | "scale" | "status") {
            Returns::Plain
        } else if is_read && watches {
            Returns::Events
        } else if is_read && path.name.is_none() {
            Returns::List
        } else {
            Returns::Object
        };
    let call = Call {
        output: negotiate::output(&headers, returns, || upstream_type(&resource))?,
        resource,
        namespace: path.namespace,
        name: path.name.unwrap_or_default(),
        subresource,
        query,
        headers,
        user,
        admits,
        warnings: warnings.clone(),
    };
    match method {
        Method::GET => {
            if watches {
                return watch_route(core, call, path.legacy_watch).await;
            }
            read(core, &call).await
        }
        Method::POST => post::post(core, &call, body).await,
        Method::PUT => change::put(core, &call, body).await,
        Method::PATCH => change::patch(core, &call, body).await,
        Method::DELETE if call.name.is_empty() => {
            remove::delete_collection(core, &call, body).await
        }
        Method::DELETE => remove::delete(core, &call, body).await,
        _ => Err(call.method_not_allowed()),
    }
}

/// 404: for custom resources upstream names the object, for others nothing.
fn no_such_subresource(resource: &Resource, name: &str) -> ApiError {
    if resource.custom {
        ApiError::not_found(&resource.group_version.group, &resource.plural, name)
    } else {
        system::no_such_resource()
    }
}

/// Names a kind as error texts of upstream do, by its type there.
fn upstream_type(resource: &Resource) -> String {
    if resource.custom {
        return "*unstructured.Unstructured".to_owned();
    }
    let group = resource.group_version.group.split('.').next().unwrap_or_default();
    let package = if group.is_empty() { "core" } else { group };
    format!("*{package}.{}", resource.kind)
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
            scale_response(core, call, &convert::served(&call.resource, &version).await?)
        }
        _ => Err(call.method_not_allowed()),
    }
}

/// Answers with the Scale of an object in the negotiated form.
fn scale_response(core: &Core, call: &Call, object: &Value) -> Result<Response, ApiError> {
    let scale = scale::scale_of(scale_paths(call)?, object);
    let (group_version, kind) = (GroupVersion::new("autoscaling", "v1"), "Scale".to_owned());
    let mut columns = table::builtin_columns(&group_version.group, &kind);
    if call.resource.custom
        && let Some(age) = Arc::make_mut(&mut columns).last_mut()
    {
        "date".clone_into(&mut age.type_);
    }
    let row = (*call.resource).clone();
    let as_scale = Resource { group_version, kind, columns, custom: false, ..row };
    list::value_response_as(core, call, &as_scale, StatusCode::OK, scale)
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
    let bytes = decode::read(body).await?;
    let decode::Parsed { mut value, problems } =
        decode::parse_object(&call.resource, input, &bytes)?;
    decode::expect_kind(&call.resource, &mut value)?;
    writer.judge_fields(Origin::body_of(&call.resource), &problems)?;
    check_types(&call.resource, &value)?;
    Ok(value)
}

/// Reads a body of the kind that a subresource has, such as an Eviction.
async fn read_subresource_object(
    writer: &Writer<'_>,
    call: &Call,
    body: RequestBody,
) -> Result<Value, ApiError> {
    let subresource = call.resource.subresource(&call.subresource);
    let subresource = subresource.ok_or_else(system::no_such_resource)?;
    let (Some(api_version), Some(kind)) = (subresource.api_version, subresource.kind) else {
        return Err(call.method_not_allowed());
    };
    let GroupVersion { group, version } = GroupVersion::parse(api_version);
    let schema =
        schema::builtin::kind(&group, &version, kind).ok_or_else(system::no_such_resource)?;
    let input = negotiate::input(&call.headers)?;
    let bytes = decode::read(body).await?;
    let decode::Parsed { mut value, problems } = decode::parse_builtin(&schema, input, &bytes)?;
    decode::expect_type(api_version, kind, &mut value)?;
    writer.judge_fields(Origin::Body { kind, version: &version }, &problems)?;
    Ok(value)
}

/// 400: a built-in kind has no room for a value of this type.
fn check_types(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let (group_version, kind) = (&resource.group_version, &resource.kind);
    let wrong = if resource.custom {
        None
    } else {
        schema::builtin::wrong_type(group_version, kind, object)
    };
    wrong.map_or(Ok(()), |cause| {
        Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {}: {}",
            group_version.version, cause.field, cause.message
        )))
    })
}

async fn written_response(
    core: &Core,
    call: &Call,
    status: StatusCode,
    written: &Written,
) -> Result<Response, ApiError> {
    match written {
        Written::Stored(version) => list::object_response(core, call, status, version).await,
        Written::Dry(object) => list::value_response(core, call, status, object.clone()),
    }
}
