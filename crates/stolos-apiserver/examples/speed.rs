//! Measures one cluster in this process, without sockets: creations, reads, lists, watches.
//!
//! `cargo run --release -p stolos-apiserver --example speed -- [DATA_DIR]`; without a directory, in memory. Prints one
//! JSON line.

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::rest::{Abandoned, ApiService, Body};
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use tower::ServiceExt;

/// Any error.
type Failure = Box<dyn Error + Send + Sync>;

const OBJECTS: usize = 10_000;
const GETS: usize = 50_000;
const LISTS: usize = 20;
const WATCHERS: usize = 100;
const WRITERS: usize = 16;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let data = std::env::args().nth(1);
    let store = match &data {
        Some(directory) => Store::open(Path::new(directory))?,
        None => Store::memory(),
    };
    let server = ApiServer::start(store.cluster("speed")?, Options::default()).await?;
    let api = server.as_user(UserInfo::internal("speed"));

    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        let body =
            send(&api, Method::GET, &format!("{MAPS}?watch=1&labelSelector=speed"), None).await?;
        watches.push(tokio::spawn(count_events(body)));
    }
    let started = Instant::now();
    create_all(&api).await?;
    let created = started.elapsed();
    let mut events = 0;
    for watch in watches {
        events += watch.await??;
    }
    let watched = started.elapsed();

    let started = Instant::now();
    for n in 0..GETS {
        let body = send(&api, Method::GET, &format!("{MAPS}/object-{}", n % OBJECTS), None).await?;
        body.collect().await?;
    }
    let read = started.elapsed();

    let started = Instant::now();
    let mut listed_bytes = 0;
    for _ in 0..LISTS {
        listed_bytes +=
            send(&api, Method::GET, MAPS, None).await?.collect().await?.to_bytes().len();
    }
    let listed = started.elapsed();

    println!(
        "{}",
        json!({
            "durable": data.is_some(), "writers": WRITERS, "watchers": WATCHERS,
            "creates_per_s": per_second(OBJECTS, created), "watch_events_per_s": per_second(events, watched),
            "gets_per_s": per_second(GETS, read), "lists_mb_per_s": per_second(listed_bytes / 1_000_000, listed),
        })
    );
    Ok(())
}

async fn create_all(api: &ApiService) -> Result<(), Failure> {
    let mut creations = stream::iter(0..OBJECTS)
        .map(|n| async move {
            let object = json!({
                "metadata": {"name": format!("object-{n}"), "labels": {"speed": "yes"}},
                "data": {"text": "x".repeat(1000)},
            });
            send(api, Method::POST, MAPS, Some(object.to_string())).await.map(drop)
        })
        .buffer_unordered(WRITERS);
    while let Some(created) = creations.next().await {
        created?;
    }
    Ok(())
}

async fn count_events(mut body: Body) -> Result<usize, Abandoned> {
    let mut events = 0;
    while events < OBJECTS
        && let Some(frame) = body.frame().await
    {
        let frame = frame?.into_data().unwrap_or_default();
        events += frame.split(|byte| *byte == b'\n').count() - 1;
    }
    Ok(events)
}

async fn send(
    api: &ApiService,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<Body, Failure> {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    let response = api.clone().oneshot(request).await?;
    if matches!(response.status(), StatusCode::OK | StatusCode::CREATED) {
        return Ok(response.into_body());
    }
    let text = response.into_body().collect().await?.to_bytes();
    Err(String::from_utf8_lossy(&text).into_owned().into())
}

/// Returns whole units per second.
fn per_second(n: usize, time: Duration) -> u128 {
    n as u128 * 1_000_000 / time.as_micros().max(1)
}
