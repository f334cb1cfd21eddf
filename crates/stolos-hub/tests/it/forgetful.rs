//! Ways to a cluster whose lists leave things out, or show what was once.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::rest::ApiService;
use tower::BoxError;

use crate::fleet::Fleet;

/// What lists of some kinds show instead of what is there.
#[derive(Clone)]
struct Lie {
    /// How the paths of these lists end.
    of: Vec<&'static str>,
    items: Value,
}

/// The way to a cluster whose lists lie.
#[derive(Clone)]
pub(crate) struct Forgetful {
    server: ApiService,
    lie: Arc<Lie>,
}

impl Forgetful {
    /// Returns a way by which lists of some kinds leave everything out.
    pub(crate) fn of(server: ApiService, kinds: &[&'static str]) -> Client {
        Self::telling(server, kinds, json!([]))
    }

    /// Returns a way by which lists of a kind show what another list showed.
    pub(crate) fn telling(server: ApiService, kinds: &[&'static str], items: Value) -> Client {
        let lie = Arc::new(Lie { of: kinds.to_vec(), items });
        Client::new(Self { server, lie }, "default")
    }
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
            let lies = way.lie.of.iter().any(|kind| path.ends_with(kind));
            let is_list = request.method() == Method::GET && !is_watch;
            let (parts, body) = way.server.call(request).await?.into_parts();
            if !(is_list && lies) {
                return Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()));
            }
            let bytes = body.collect().await.unwrap().to_bytes();
            let mut list: Value = serde_json::from_slice(&bytes).unwrap();
            list["items"] = way.lie.items.clone();
            let body = Full::from(serde_json::to_vec(&list).unwrap());
            Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
        })
    }
}

/// A process, and the cluster whose lists lie to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misled {
    /// The hub, by its own.
    Hub,
    /// The agent of a member, by those of the member.
    ByMember(&'static str),
    /// The agent of a member, by those of the hub.
    ByHub(&'static str),
}

impl Fleet {
    /// Starts a process anew, to which lists of a kind show these items.
    pub(crate) async fn mislead(&mut self, who: Misled, kind: &'static str, items: Value) {
        let lie = |server| Forgetful::telling(server, &[kind], items);
        match who {
            Misled::Hub => {
                self.stop_hub().await;
                self.start_hub_by(lie);
            }
            Misled::ByMember(name) => {
                self.stop_agent(name).await;
                let member = lie(self.member(name).server.as_user(UserInfo::internal("agent")));
                self.spawn_agent(name, self.as_agent(name), member);
            }
            Misled::ByHub(name) => {
                self.stop_agent(name).await;
                let hub = lie(self.hub_for(name));
                self.spawn_agent(name, hub, self.member(name).client.clone());
            }
        }
    }
}
