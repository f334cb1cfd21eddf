//! A way to a cluster whose lists leave things out.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use stolos_apiserver::rest::ApiService;
use tower::BoxError;

/// The way to a cluster whose lists leave some kinds out.
#[derive(Clone)]
pub(crate) struct Forgetful {
    pub(crate) server: ApiService,
    pub(crate) forgets: &'static [&'static str],
}

impl tower::Service<Request<Body>> for Forgetful {
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut way = self.clone();
        Box::pin(async move {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let path = request.uri().path();
            let lies = way.forgets.iter().any(|kind| path.ends_with(kind));
            let is_list = request.method() == Method::GET && !is_watch;
            let (parts, body) = way.server.call(request).await?.into_parts();
            if !(is_list && lies) {
                return Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()));
            }
            let bytes = body.collect().await.unwrap().to_bytes();
            let mut list: Value = serde_json::from_slice(&bytes).unwrap();
            list["items"] = json!([]);
            let body = Full::from(serde_json::to_vec(&list).unwrap());
            Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
        })
    }
}
