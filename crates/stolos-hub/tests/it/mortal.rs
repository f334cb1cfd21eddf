//! Processes that die at a chosen write.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::{self, BoxFuture};
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use stolos_apiserver::rest::ApiService;
use tokio::sync::Notify;
use tower::Service;

/// The way of one process to the hub. Its last write is carried out or not, and never answered.
#[derive(Clone)]
struct Mortal {
    server: ApiService,
    left: Arc<AtomicUsize>,
    dead: Arc<Notify>,
    /// Whether the last write is carried out.
    is_heard: bool,
}

impl Service<Request<Body>> for Mortal {
    type Response = Response<stolos_apiserver::rest::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut way = self.clone();
        Box::pin(async move {
            if request.method() == Method::GET {
                return way.server.call(request).await;
            }
            let less = |left: usize| left.checked_sub(1);
            let left = way.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            if left.is_ok_and(|left| left > 1) {
                return way.server.call(request).await;
            }
            if left.is_ok() {
                if way.is_heard {
                    let _unanswered = way.server.call(request).await;
                }
                way.dead.notify_one();
            }
            future::pending().await
        })
    }
}

/// Runs a process until it dies at its `n_writes`-th write, as `kill -9` would have it, or until `done`. Tells whether it died.
pub(crate) async fn run_until_write<F>(
    server: ApiService,
    n_writes: usize,
    process: impl FnOnce(Client) -> F,
    done: impl Future<Output = ()>,
) -> bool
where
    F: Future<Output = ()> + Send + 'static,
{
    let dead = Arc::new(Notify::new());
    let left = Arc::new(AtomicUsize::new(n_writes));
    let way = Mortal { server, left, dead: dead.clone(), is_heard: n_writes.is_multiple_of(2) };
    let process = tokio::spawn(process(Client::new(way, "default")));
    let died = tokio::select! {
        () = dead.notified() => true,
        () = done => false,
    };
    process.abort();
    let _aborted = process.await;
    died
}
