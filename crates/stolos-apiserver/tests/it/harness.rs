//! A cluster in memory and clients for it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use serde_json::Value;
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::rest::{ApiService, Response};
use stolos_apiserver::server::Options;
use stolos_apiserver::store::{ClusterStore, Store};
use tower::ServiceExt;

/// How long the next change of a cluster that is about to settle may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) store: ClusterStore,
    service: ApiService,
}

impl Cluster {
    /// Starts an empty cluster with the controllers that every API server has.
    pub(crate) async fn start() -> Self {
        Self::start_with(Controllers::api_server_only()).await
    }

    /// Starts an empty cluster without controllers; not even the namespaces that every cluster has are there.
    pub(crate) async fn bare() -> Self {
        Self::start_with(Controllers::none()).await
    }

    /// Starts an empty cluster with some controllers.
    pub(crate) async fn start_with(controllers: Controllers) -> Self {
        let store = Store::memory().cluster("test").unwrap();
        Self::start_on(store, Options { controllers, ..Options::default() }).await
    }

    /// Starts a cluster on what a store holds.
    pub(crate) async fn start_on(store: ClusterStore, options: Options) -> Self {
        let server = ApiServer::start(store.clone(), options).await.unwrap();
        let service = server.as_user(UserInfo::internal("tester"));
        Self { server, store, service }
    }

    /// Waits until a condition holds. It is looked at again after each change of the cluster.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        loop {
            let seen = self.store.revision();
            if holds().await {
                return;
            }
            assert!(self.store.wait_for(seen + 1, PATIENCE).await, "in vain: {what}");
        }
    }

    /// Sends a request that must succeed and returns the body.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, body) = self.send(method, path, body).await;
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// Merges a patch into an object and returns the object.
    pub(crate) async fn merge(&self, path: &str, patch: Value) -> Value {
        let content_type = "application/merge-patch+json";
        let (status, body) = self.send_as(Method::PATCH, path, content_type, Some(patch)).await;
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// Tells whether there is an object under this path.
    pub(crate) async fn exists(&self, path: &str) -> bool {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert!(matches!(status, StatusCode::OK | StatusCode::NOT_FOUND), "{path}: {body}");
        status == StatusCode::OK
    }

    /// Waits until there is nothing under a path.
    pub(crate) async fn until_gone(&self, path: &str) {
        self.until(&format!("{path} is gone"), async || !self.exists(path).await).await;
    }

    /// Returns a kube client without sockets.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.service.clone(), "default")
    }

    /// Sends a JSON request and returns status and body.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.send_as(method, path, "application/json", body).await
    }

    /// Sends a request with a content type and returns status and body.
    pub(crate) async fn send_as(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request =
            Request::builder().method(method).uri(path).header("content-type", content_type);
        let request =
            request.header("user-agent", "tests/1").body(Full::new(Bytes::from(body))).unwrap();
        self.request(request).await
    }

    /// Sends a JSON request over the authenticating service, with a bearer token.
    pub(crate) async fn with_token(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"));
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        read(self.server.service().oneshot(request).await.unwrap()).await
    }

    /// Watches until the server ends the watch, and returns the events.
    pub(crate) async fn watch(&self, path: &str) -> Vec<Value> {
        let request = Request::builder().uri(path).body(Full::new(Bytes::new())).unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let events = serde_json::Deserializer::from_slice(&bytes).into_iter();
        events.map(Result::unwrap).collect()
    }

    /// Sends any request and returns the response as it is.
    pub(crate) async fn respond(&self, request: Request<Full<Bytes>>) -> Response {
        self.service.clone().oneshot(request).await.unwrap()
    }

    /// Sends a JSON request and returns status, headers and body.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, http::HeaderMap, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        let headers = response.headers().clone();
        let (status, body) = read(response).await;
        (status, headers, body)
    }

    /// Creates a CustomResourceDefinition and waits until it is served.
    pub(crate) async fn define(&self, definition: Value) {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.ok(Method::POST, path, Some(definition)).await;
        crate::crds::until_established(self, &name).await;
    }

    /// Sends any request and returns status and body; a body that is no JSON becomes a string.
    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        read(self.service.clone().oneshot(request).await.unwrap()).await
    }
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    // Of a watch, the first event.
    let first = serde_json::Deserializer::from_str(&text).into_iter().next().and_then(Result::ok);
    (status, first.unwrap_or(Value::String(text)))
}
