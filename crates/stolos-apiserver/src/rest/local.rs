//! A client for the server's own controllers: JSON in, JSON out, no sockets and no login.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::{Core, service};
use crate::auth::UserInfo;
use crate::status::ApiError;

/// Name under which the server itself writes.
const SELF: &str = "system:apiserver";

/// Program that owns the fields which the server itself sets, as clients know it.
const PROGRAM: &str = "kube-apiserver";

/// Calls the API from inside, as the server itself. Clones are cheap.
#[derive(Clone)]
pub struct LocalClient {
    core: Arc<Core>,
    user: Arc<UserInfo>,
    admits: bool,
}

impl LocalClient {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, user: Arc::new(UserInfo::internal(SELF)), admits: true }
    }

    /// Returns a client whose writes admission is not asked about: for what upstream does beneath its API, and which a
    /// webhook that is down must not stop.
    #[must_use]
    pub(crate) fn without_admission(&self) -> Self {
        Self { admits: false, ..self.clone() }
    }

    /// Makes a request with a JSON body and returns the JSON answer.
    ///
    /// # Errors
    /// What a client over the network would get as a Status.
    pub async fn call(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Value>,
    ) -> Result<Value, ApiError> {
        self.request(method, path_and_query, "application/json", body).await
    }

    /// Makes a PATCH whose content type says what the body means.
    ///
    /// # Errors
    /// As [`LocalClient::call`].
    pub async fn patch(
        &self,
        path_and_query: &str,
        content_type: &str,
        patch: Value,
    ) -> Result<Value, ApiError> {
        self.request(Method::PATCH, path_and_query, content_type, Some(patch)).await
    }

    async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        content_type: &str,
        body: Option<Value>,
    ) -> Result<Value, ApiError> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(CONTENT_TYPE, content_type)
            .header(USER_AGENT, PROGRAM)
            .body(Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
            .map_err(|error| {
                ApiError::internal(format!("cannot call `{path_and_query}`: {error}"))
            })?;
        if !self.admits {
            request.extensions_mut().insert(service::Unjudged);
        }
        let response = service::handle(&self.core, Some(Arc::clone(&self.user)), request).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|abandoned| ApiError::internal(abandoned.to_string()))?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
            return Err(ApiError::new(status, "", text));
        }
        serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            ApiError::internal(format!("`{path_and_query}` answered no JSON: {error}"))
        })
    }
}
