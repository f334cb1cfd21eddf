//! `/healthz`, `/readyz` and `/metrics` of a role, over plain HTTP.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use stolos_controller::Readiness;
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

/// Serves until the future is dropped. `metrics` returns the text of `/metrics`.
///
/// # Errors
/// When nothing can listen on the address.
pub(crate) async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: impl Fn() -> String + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    answer(listener, readiness, metrics).await
}

async fn answer(
    listener: TcpListener,
    readiness: Readiness,
    metrics: impl Fn() -> String + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let (metrics, room) = (Arc::new(metrics), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let permit = room.clone().acquire_owned().await.context("nothing closes the semaphore")?;
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (readiness, metrics) = (readiness.clone(), metrics.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = respond(request.uri().path(), &readiness, &*metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            // A client that goes away in the middle is nobody's concern.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            drop(permit);
        });
    }
}

fn respond(path: &str, readiness: &Readiness, metrics: &dyn Fn() -> String) -> Response<String> {
    let (status, body) = match path {
        "/healthz" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" => match readiness.missing() {
            missing if missing.is_empty() => (StatusCode::OK, "ok".to_owned()),
            missing => (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n"),
        },
        "/metrics" => (StatusCode::OK, metrics()),
        _ => {
            (StatusCode::NOT_FOUND, "not found; there is /healthz, /readyz and /metrics".to_owned())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let text = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, text);
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
        let server = tokio::spawn(answer(listener, Readiness::default(), || "m 1\n".to_owned()));
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers and closes");
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("\r\n\r\nm 1\n"), "{text}");
        server.abort();
    }

    #[test]
    fn who_is_not_ready_says_what_is_missing_and_is_alive_all_the_same() {
        let readiness = Readiness::default();
        readiness.waits_for("placement", ["Work", "MemberCluster"]);
        let respond = |path| respond(path, &readiness, &String::new);
        let response = respond("/readyz");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.body(), "placement waits for Work, MemberCluster\n");
        assert_eq!(respond("/healthz").status(), StatusCode::OK);
        readiness.has("placement");
        assert_eq!(respond("/readyz").body(), "ok");
    }

    #[test]
    fn unknown_paths_are_not_found() {
        let metrics = || "m 1\n".to_owned();
        let respond = |path| respond(path, &Readiness::default(), &metrics);
        assert_eq!(respond("/metrics").body(), "m 1\n");
        assert_eq!(respond("/healthz").status(), StatusCode::OK);
        assert_eq!(respond("/readyz").status(), StatusCode::OK);
        assert_eq!(respond("/other").status(), StatusCode::NOT_FOUND);
    }
}
