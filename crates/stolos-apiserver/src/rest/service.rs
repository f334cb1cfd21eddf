//! The tower service: who is asking, may they, and is there room.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use tracing::{debug, error};
use uuid::Uuid;

use super::decode::{BoxError, RequestBody};
use super::query::Query;
use super::respond::{self, Response};
use super::{Core, limits, negotiate, path, route, system};
use crate::auth::{Access, Peer, UserInfo};
use crate::selector::FieldSelector;
use crate::status::ApiError;

/// What the paths of a cluster begin with on a port that it shares with others; an extension of the request.
#[derive(Clone, Debug)]
pub(crate) struct PathPrefix(pub(crate) Arc<str>);

/// The API of one logical cluster as a tower service. Clones share the cluster.
#[derive(Clone)]
pub struct ApiService {
    core: Arc<Core>,
    /// Set for clients inside the process, which need not log in.
    user: Option<Arc<UserInfo>>,
}

impl ApiService {
    /// Returns a service that reads the user from each request.
    pub(crate) fn authenticating(core: Arc<Core>) -> Self {
        Self { core, user: None }
    }

    /// Returns a service whose requests all come from one user.
    pub(crate) fn trusting(core: Arc<Core>, user: UserInfo) -> Self {
        Self { core, user: Some(Arc::new(user)) }
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let (core, user) = (Arc::clone(&self.core), self.user.clone());
        Box::pin(async move { Ok(answer(&core, user, request).await) })
    }
}

async fn answer(
    core: &Arc<Core>,
    user: Option<Arc<UserInfo>>,
    request: Request<RequestBody>,
) -> Response {
    let audit_id = audit_id(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = respond_to(core, user, request).await;
    let headers = response.headers_mut();
    headers.insert(AUDIT_ID, audit_id);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

/// Names the request in logs of clients and servers; a client may bring a name.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

fn audit_id(request: &Request<RequestBody>) -> HeaderValue {
    let brought = request.headers().get(AUDIT_ID).filter(|id| !id.is_empty());
    brought.cloned().unwrap_or_else(|| {
        let fresh = Uuid::new_v4().to_string();
        HeaderValue::try_from(fresh).expect("a UUID is ASCII")
    })
}

async fn respond_to(
    core: &Arc<Core>,
    user: Option<Arc<UserInfo>>,
    request: Request<RequestBody>,
) -> Response {
    if let Some(health) = system::health(core, request.method(), request.uri()) {
        return health;
    }
    let format = negotiate::error_format(request.headers());
    let answered = within_limits(core, user, request).await;
    answered.unwrap_or_else(|error| respond::error_in(format, &error))
}

/// Handles a request if there is room for it, and in the time it has. Watches have bounds of their own.
async fn within_limits(
    core: &Arc<Core>,
    user: Option<Arc<UserInfo>>,
    request: Request<RequestBody>,
) -> Result<Response, ApiError> {
    if is_watch(&request) {
        return handle(core, user, request).await;
    }
    let _room = core.in_flight.try_acquire().map_err(|_| limits::too_many_requests())?;
    let time = core.limits.time_for(&Query::parse(request.uri().query()))?;
    tokio::time::timeout(time, handle(core, user, request))
        .await
        .unwrap_or_else(|_| Err(limits::timed_out()))
}

fn is_watch(request: &Request<RequestBody>) -> bool {
    request.method() == Method::GET
        && path::parse(request.uri().path()).is_some_and(|path| {
            path.legacy_watch
                || (path.name.is_none()
                    && Query::parse(request.uri().query()).flag("watch") == Some(true))
        })
}

/// Marks a request of the server itself about which admission is not asked. It travels as an extension, which no client
/// can send.
#[derive(Clone, Copy)]
pub(crate) struct Unjudged;

/// Handles a request of a user who is known or still has to log in. A panic is an error of ours like any other.
pub(crate) async fn handle(
    core: &Arc<Core>,
    user: Option<Arc<UserInfo>>,
    request: Request<RequestBody>,
) -> Result<Response, ApiError> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    AssertUnwindSafe(identify_and_route(core, user, request)).catch_unwind().await.unwrap_or_else(
        |_| {
            error!(%method, path, "the handler of a request panicked");
            Err(panicked())
        },
    )
}

/// 500: a bug of ours, which the log tells more about.
pub(crate) fn panicked() -> ApiError {
    ApiError::internal("This request caused apiserver to panic. Look in the logs for details.")
}

async fn identify_and_route(
    core: &Arc<Core>,
    user: Option<Arc<UserInfo>>,
    request: Request<RequestBody>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let user = match user {
        Some(user) => (*user).clone(),
        None => core.auth.identify(&parts.headers, parts.extensions.get::<Peer>())?,
    };
    let path = parts.uri.path();
    let query = Query::parse(parts.uri.query());
    let resource_path = path::parse(path);
    let access = match &resource_path {
        Some(resource) => resource_access(&parts.method, resource, &query),
        None => Access::path(&parts.method.as_str().to_ascii_lowercase(), path),
    };
    core.auth.authorize(&user, &access)?;
    match resource_path {
        Some(path) => {
            let admits = parts.extensions.get::<Unjudged>().is_none();
            let request = route::Incoming {
                method: parts.method,
                path,
                query,
                headers: parts.headers,
                user,
                admits,
            };
            route::resource(core, request, body).await
        }
        None => system::respond(core, &parts),
    }
}

/// Says in the words of authorisation what a request for a resource does.
fn resource_access(method: &Method, path: &path::ResourcePath, query: &Query) -> Access {
    let one = path.name.is_some();
    let watch = path.legacy_watch || (!one && query.flag("watch").unwrap_or(false));
    let verb = match method.as_str() {
        "GET" | "HEAD" if watch => "watch",
        "GET" | "HEAD" if one => "get",
        "GET" | "HEAD" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if one => "delete",
        "DELETE" => "deletecollection",
        other => other,
    };
    let selected = if one { None } else { selected_name(query) };
    let name = path.name.as_deref().or(selected.as_deref()).unwrap_or_default();
    let is_namespace = path.plural == "namespaces" && path.group_version.group.is_empty();
    let in_itself = path.name.as_deref().filter(|_| is_namespace);
    let namespace = in_itself.or(path.namespace.as_deref()).unwrap_or_default();
    let access = Access::resource(verb, &path.group_version.group, &path.plural, namespace, name);
    match &path.subresource {
        Some(subresource) => {
            access.on_subresource(subresource.split('/').next().unwrap_or_default())
        }
        None => access,
    }
}

/// Returns the name that a collection is narrowed to: whoever may see one object may list and watch just it.
fn selected_name(query: &Query) -> Option<String> {
    let selector = FieldSelector::parse(query.get("fieldSelector")?).ok()?;
    selector.name().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(method: &Method, uri: &str) -> Access {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        resource_access(method, &path::parse(path).unwrap(), &Query::parse(Some(query)))
    }

    #[test]
    fn verbs_follow_method_name_and_watch() {
        for (method, uri, verb) in [
            (Method::GET, "/api/v1/pods", "list"),
            (Method::GET, "/api/v1/pods?watch=1", "watch"),
            (Method::GET, "/api/v1/namespaces/a/pods/p", "get"),
            (Method::DELETE, "/api/v1/namespaces/a/pods", "deletecollection"),
            (Method::DELETE, "/api/v1/namespaces/a/pods/p", "delete"),
            (Method::POST, "/api/v1/namespaces/a/pods/p/eviction", "create"),
        ] {
            assert_eq!(access(&method, uri).verb, verb, "{uri}");
        }
    }

    #[test]
    fn a_collection_narrowed_to_one_name_is_about_that_object() {
        let want = Access::resource("watch", "", "secrets", "a", "s");
        let uri = "/api/v1/namespaces/a/secrets?watch=1&fieldSelector=metadata.name%3Ds";
        assert_eq!(access(&Method::GET, uri), want);
        let other = "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name!%3Ds";
        assert_eq!(access(&Method::GET, other).verb, "list");
        assert_eq!(access(&Method::GET, other), Access::resource("list", "", "secrets", "a", ""));
    }

    #[test]
    fn a_namespace_lies_in_itself() {
        let want = Access::resource("get", "", "namespaces", "a", "a");
        assert_eq!(access(&Method::GET, "/api/v1/namespaces/a"), want);
    }
}
