//! `etcd`: answers health checks until it is told to stop. It stores nothing; the API server keeps its own objects.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use stolos_apiserver::serve::{Limits, Server};
use tokio::net::{TcpListener, lookup_host};

use crate::flags::{Flag, Flags};
use crate::{Program, told_to_stop};

const DEFAULT_URL: &str = "http://localhost:2379";

/// Health checks take no time; nothing else is in flight when the process stops.
const GRACE: Duration = Duration::from_millis(100);

/// The program.
pub const PROGRAM: Program = Program {
    usage: "etcd for envtest suites that run on the embedded API server.\n\n\
            It answers GET /health and stores nothing. Other flags of etcd are accepted and ignored.",
    version: concat!("etcd Version: 3.6.4+stolos.", env!("CARGO_PKG_VERSION")),
    flags: &[
        Flag {
            name: "listen-client-urls",
            value: "urls",
            help: "Where to listen, as http://host:port[,...].",
        },
        Flag { name: "listen-peer-urls", value: "urls", help: "Accepted and ignored." },
        Flag { name: "advertise-client-urls", value: "urls", help: "Accepted and ignored." },
        Flag { name: "data-dir", value: "directory", help: "Accepted and ignored." },
        Flag { name: "unsafe-no-fsync", value: "", help: "Accepted and ignored." },
        Flag { name: "version", value: "", help: "Print the version and exit." },
        Flag { name: "help", value: "", help: "Print this help and exit." },
    ],
    run: |flags| Box::pin(run(flags)),
};

async fn run(flags: Flags) -> anyhow::Result<()> {
    let mut urls: Vec<&str> = flags.list("listen-client-urls").collect();
    if urls.is_empty() {
        urls.push(DEFAULT_URL);
    }
    let mut servers = Vec::new();
    for url in urls {
        let address = address_of(url).await?;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on `{url}` of --listen-client-urls"))?;
        let service = tower::service_fn(|request: Request<Incoming>| {
            ready(Ok::<_, Infallible>(answer(&request)))
        });
        servers.push(Server::start(listener, None, service, Limits::default())?);
    }
    told_to_stop().await.context("failed to wait for signals")?;
    for server in servers {
        server.stop(GRACE).await;
    }
    Ok(())
}

async fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let Some(host) = url.strip_prefix("http://") else {
        bail!("--listen-client-urls: `{url}` is not of the form http://host:port");
    };
    let mut found = lookup_host(host.trim_end_matches('/'))
        .await
        .with_context(|| format!("--listen-client-urls: `{url}` names no address with a port"))?;
    found.next().with_context(|| format!("--listen-client-urls: `{url}` names no address"))
}

fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/health" => (StatusCode::OK, r#"{"health":"true","reason":""}"#),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}
