//! Watch events: many watchers of one collection, counted where they arrive.
//!
//! The watchers count lines and do not read the objects: the figure is what the server sends and a client receives.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::try_join_all;
use http::header::ACCEPT;
use http::{Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::client::Body;
use memchr::memchr_iter;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::load::create_one;
use super::sample;
use super::server::Target;

/// Connections that create what is watched.
const WRITERS: usize = 16;

/// What clients send that want metadata only.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// How long the events may take. Only lost ones take this long.
const ARRIVE_WITHIN: Duration = Duration::from_secs(120);

/// Creates objects under the eyes of `watchers` watchers until `events` events are delivered, and returns events per
/// second from the first create to the last event.
pub(super) async fn fan_out(
    target: &Target,
    watchers: usize,
    events: u64,
    metadata: bool,
    seed: u64,
) -> anyhow::Result<f64> {
    let per_watcher = usize::try_from(events)?.div_ceil(watchers.max(1));
    let namespace = format!("watched-by-{watchers}-{seed}");
    let collection = format!("/apis/bench.stolos.dev/v1/namespaces/{namespace}/samples");
    let client = target.client().await?;
    create_namespace(&client, &namespace).await?;
    let from = revision(&client, &collection).await?;
    let writers = target.clients(WRITERS).await?;

    let open = (0..watchers).map(|_| open(&client, &collection, &from, metadata));
    let streams = try_join_all(open).await?;
    let counts: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(tokio::time::timeout(ARRIVE_WITHIN, count(stream, per_watcher))))
        .collect();

    let begin = Instant::now();
    let writes = (0..).zip(writers).map(|(index, writer): (usize, Client)| {
        let collection = collection.clone();
        let mut random = StdRng::seed_from_u64(seed ^ (index as u64));
        tokio::spawn(async move {
            for n in (index..per_watcher).step_by(WRITERS) {
                let body = sample::body(&format!("w{n}"), &mut random);
                create_one(&writer, &collection, body).await?;
            }
            anyhow::Ok(())
        })
    });
    for written in try_join_all(writes).await.context("a writer panicked")? {
        written?;
    }
    for counted in try_join_all(counts).await.context("a watcher panicked")? {
        counted.context("a watcher did not get its events in time")??;
    }
    let took = begin.elapsed();
    let delivered = u32::try_from(per_watcher * watchers)?;
    Ok(f64::from(delivered) / took.as_secs_f64())
}

async fn create_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await;
    created.map(drop).with_context(|| format!("failed to create namespace `{name}`"))
}

/// Returns the revision to watch from.
async fn revision(client: &Client, collection: &str) -> anyhow::Result<String> {
    let request = Request::get(collection).body(Vec::new()).context("a request cannot be made")?;
    let list: Value = client.request(request).await.context("failed to list")?;
    let revision = list["metadata"]["resourceVersion"].as_str();
    Ok(revision.context("the list has no resource version")?.to_owned())
}

/// Opens a watch; on return the server has accepted it.
async fn open(
    client: &Client,
    collection: &str,
    from: &str,
    metadata: bool,
) -> anyhow::Result<Response<Body>> {
    let accept = if metadata { METADATA } else { "application/json" };
    let request = Request::get(format!("{collection}?watch=true&resourceVersion={from}"))
        .header(ACCEPT, accept)
        .body(Body::empty())
        .context("a request cannot be made")?;
    let response = client.send(request).await.context("failed to open a watch")?;
    if !response.status().is_success() {
        bail!("a watch was refused with {}", response.status());
    }
    Ok(response)
}

/// Reads events until there are enough.
async fn count(stream: Response<Body>, wanted: usize) -> anyhow::Result<()> {
    let mut body = stream.into_body();
    let mut seen = 0;
    let mut at_start = true;
    while seen < wanted {
        let Some(frame) = body.frame().await else {
            bail!("a watch ended after {seen} of {wanted} events");
        };
        let frame = frame.context("a watch broke")?;
        let Some(bytes) = frame.data_ref() else { continue };
        if at_start && bytes.starts_with(br#"{"type":"ERROR""#) {
            bail!("a watch was told: {}", String::from_utf8_lossy(bytes).trim());
        }
        seen += memchr_iter(b'\n', bytes).count();
        at_start = bytes.ends_with(b"\n");
    }
    Ok(())
}
