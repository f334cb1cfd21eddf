//! A cluster in memory and clients for it.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use serde_json::{Value, json};
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::rest::{ApiService, Response};
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;
use tower::ServiceExt;

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    service: ApiService,
}

impl Cluster {
    /// Starts an empty cluster with the namespace `default`.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts a cluster without controllers.
    pub(crate) async fn bare() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let store = Store::memory().cluster("test").unwrap();
        let server = ApiServer::start(store, options).await.unwrap();
        let service = server.as_user(UserInfo::internal("tester"));
        let cluster = Self { server, service };
        let namespace = json!({"metadata": {"name": "default"}});
        cluster.send(Method::POST, "/api/v1/namespaces", Some(namespace)).await;
        cluster
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
