//! `/healthz`, `/readyz` and `/metrics` of a role, over plain HTTP; of a data plane also `/figures`.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use stolos_controller::Readiness;
use stolos_dataplane::{Figures, Proxy};
use stolos_member::balance;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Scrapes and probes under way at once; more wait.
const CONNECTIONS: usize = 16;

/// Longest wait for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads an address such as `:8090`, `127.0.0.1:8090` or `[::1]:8090`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("`{text}` is not an address such as :8090 or 127.0.0.1:8090");
    match text.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().map_err(|_| wrong())?;
            Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
        }
        None => text.parse().map_err(|_| wrong()),
    }
}

/// What a role says of itself at the moment.
type Page = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// What a role says of itself besides its health.
#[derive(Clone)]
pub(crate) struct Pages {
    /// `/metrics`, for Prometheus.
    metrics: Page,
    /// `/figures`, as JSON.
    figures: Option<Page>,
}

impl Pages {
    /// Returns the pages of a role that only has metrics.
    pub(crate) fn metrics(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let metrics = move || futures::future::ready(render()).boxed();
        Self { metrics: Arc::new(metrics), figures: None }
    }

    /// Returns the pages of a data plane.
    pub(crate) fn of_plane(plane: &Arc<Proxy>) -> Self {
        let page = |show: fn(&Figures) -> String| -> Page {
            let plane = plane.clone();
            Arc::new(move || {
                let plane = plane.clone();
                async move { show(&Figures::of(&*plane).await) }.boxed()
            })
        };
        let json = |figures: &Figures| serde_json::to_string(figures).unwrap_or_default();
        Self { metrics: page(balance::metrics::render), figures: Some(page(json)) }
    }
}

/// Serves until the future is dropped.
///
/// # Errors
/// When nothing can listen on the address.
pub(crate) async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    pages: Pages,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    answer(listener, readiness, pages).await
}

/// As [`serve`], where something listens already.
pub(crate) async fn answer(
    listener: TcpListener,
    readiness: Readiness,
    pages: Pages,
) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = room.clone().acquire_owned().await.context("nothing closes the semaphore")?;
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (readiness, pages) = (readiness.clone(), pages.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let (readiness, pages) = (readiness.clone(), pages.clone());
                async move {
                    Ok::<_, Infallible>(respond(request.uri().path(), &readiness, &pages).await)
                }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            // A client that goes away in the middle is nobody's concern.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            drop(permit);
        });
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

async fn respond(path: &str, readiness: &Readiness, pages: &Pages) -> Response<String> {
    let (status, content_type, body) = match (path, &pages.figures) {
        ("/healthz", _) => (StatusCode::OK, TEXT, "ok".to_owned()),
        ("/readyz", _) => match readiness.missing() {
            missing if missing.is_empty() => (StatusCode::OK, TEXT, "ok".to_owned()),
            missing => (StatusCode::SERVICE_UNAVAILABLE, TEXT, missing.join("\n") + "\n"),
        },
        ("/metrics", _) => (StatusCode::OK, TEXT, (pages.metrics)().await),
        ("/figures", Some(figures)) => (StatusCode::OK, JSON, figures().await),
        _ => {
            let there_is = match pages.figures {
                Some(_) => "not found; there is /healthz, /readyz, /metrics and /figures",
                None => "not found; there is /healthz, /readyz and /metrics",
            };
            (StatusCode::NOT_FOUND, TEXT, there_is.to_owned())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn an_address_may_be_a_port_alone() {
        assert_eq!(address(":8090").map(|a| a.to_string()).as_deref(), Ok("0.0.0.0:8090"));
        assert_eq!(address("127.0.0.1:1").map(|a| a.to_string()).as_deref(), Ok("127.0.0.1:1"));
        assert!(address("8090").is_err_and(|error| error.contains(":8090")));
    }

    #[tokio::test]
    async fn a_scrape_gets_the_metrics() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = tokio::spawn(answer(
            listener,
            Readiness::default(),
            Pages::metrics(|| "m 1\n".to_owned()),
        ));
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers and closes");
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("\r\n\r\nm 1\n"), "{text}");
        server.abort();
    }

    #[tokio::test]
    async fn who_is_not_ready_says_what_is_missing_and_is_alive_all_the_same() {
        let readiness = Readiness::default();
        readiness.waits_for("placement", ["Work", "MemberCluster"]);
        let pages = Pages::metrics(String::new);
        let respond = async |path| respond(path, &readiness, &pages).await;
        let response = respond("/readyz").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.body(), "placement waits for Work, MemberCluster\n");
        assert_eq!(respond("/healthz").await.status(), StatusCode::OK);
        readiness.has("placement");
        assert_eq!(respond("/readyz").await.body(), "ok");
    }

    #[tokio::test]
    async fn unknown_paths_are_not_found() {
        let pages = Pages::metrics(|| "m 1\n".to_owned());
        let respond = async |path| respond(path, &Readiness::default(), &pages).await;
        assert_eq!(respond("/metrics").await.body(), "m 1\n");
        assert_eq!(respond("/healthz").await.status(), StatusCode::OK);
        assert_eq!(respond("/readyz").await.status(), StatusCode::OK);
        assert_eq!(respond("/other").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(respond("/figures").await.status(), StatusCode::NOT_FOUND);
    }
}
