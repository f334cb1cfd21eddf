//! A cluster in memory and clients for it.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use serde_json::{Value, json};
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::rest::ApiService;
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
        let store = Store::memory().cluster("test").unwrap();
        let server = ApiServer::start(store, Options::default()).await.unwrap();
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

    /// Sends any request and returns status and body; a body that is no JSON becomes a string.
    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let response = self.service.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}
