//! Several logical clusters on one port, each below `/clusters/<name>`.
//!
//! Whoever the port's certificate authority vouches for is the same user in each of the clusters; what the user may do there
//! is each cluster's own matter. Tokens are good in the cluster that issued them and in no other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use tower::{BoxError, Service};

use crate::rest::{ApiService, PathPrefix, Response, page_not_found};

const ROOT: &str = "/clusters/";

/// The clusters of a port. Clones share them, so that clusters can come and go while the port is open.
#[derive(Clone, Default)]
pub struct Clusters {
    /// Answers every path that is below no cluster.
    root: Option<ApiService>,
    named: Arc<RwLock<BTreeMap<String, ApiService>>>,
}

impl Clusters {
    /// Returns a port without clusters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a port that serves one cluster at its root, and others below it.
    #[must_use]
    pub fn with_root(root: ApiService) -> Self {
        Self { root: Some(root), named: Arc::default() }
    }

    /// Serves a cluster below `/clusters/<name>` from here on, in place of another of the same name.
    pub fn insert(&self, name: &str, service: ApiService) {
        self.named.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), service);
    }

    /// Serves a cluster no longer. Its open watches go on until the cluster stops.
    pub fn remove(&self, name: &str) {
        self.named.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Returns the cluster that a path leads to, with the path within it, which begins with a slash.
    fn find(&self, path: &str) -> Option<(String, ApiService, String)> {
        let rest = path.strip_prefix(ROOT)?;
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let service = named.get(name)?.clone();
        Some((format!("{ROOT}{name}"), service, format!("/{rest}")))
    }
}

impl<B> Service<Request<B>> for Clusters
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let answer = |response| futures::future::ready(Ok(response)).boxed();
        match (self.find(request.uri().path()), &mut self.root) {
            (Some((prefix, mut service, path)), _) => match with_path(request.uri(), &path) {
                Ok(uri) => {
                    *request.uri_mut() = uri;
                    request.extensions_mut().insert(PathPrefix(prefix.into()));
                    service.call(request)
                }
                Err(_) => answer(page_not_found()),
            },
            (None, Some(root)) if !request.uri().path().starts_with(ROOT) => root.call(request),
            (None, _) => answer(page_not_found()),
        }
    }
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, http::Error> {
    let path_and_query = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}"))?,
        None => PathAndQuery::try_from(path)?,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    Ok(Uri::from_parts(parts)?)
}
