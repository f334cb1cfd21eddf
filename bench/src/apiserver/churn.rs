//! The load of a soak: what comes and goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::sample;
use super::soak::Counts;

/// Objects in a page of a list.
const PAGE: usize = 500;
/// How many steps of a worker come before it lists everything.
const STEPS_PER_LIST: u64 = 1000;
/// How long a watch lasts, in seconds.
const WATCH_SECONDS: std::ops::Range<u64> = 20..120;
/// How long a watch that nobody reads stays open.
const STALLED: Duration = Duration::from_secs(90);
const BETWEEN_NAMESPACES: Duration = Duration::from_secs(5);
const BETWEEN_DEFINITIONS: Duration = Duration::from_secs(30);

/// A worker with objects of its own.
pub(super) struct Churn {
    client: Client,
    worker: usize,
    slots: usize,
    there: BTreeSet<usize>,
    random: StdRng,
    steps: u64,
    counts: Arc<Counts>,
}

impl Churn {
    pub(super) fn new(
        client: Client,
        worker: usize,
        slots: usize,
        seed: u64,
        counts: Arc<Counts>,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (worker as u64));
        Self { client, worker, slots, there: BTreeSet::new(), random, steps: 0, counts }
    }

    /// Makes one request; an object that is not there is created, another one changed, read or deleted.
    pub(super) async fn step(&mut self) {
        self.steps += 1;
        let done = if self.steps.is_multiple_of(STEPS_PER_LIST) {
            list_all(&self.client).await
        } else {
            self.touch().await
        };
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = done {
            self.counts.failed(&error);
        }
    }

    async fn touch(&mut self) -> anyhow::Result<()> {
        let slot = self.random.random_range(0..self.slots);
        let name = format!("w{}-{slot}", self.worker);
        let path = format!("{}/{name}", sample::COLLECTION);
        if self.there.insert(slot) {
            let body = sample::body(&name, &mut self.random);
            return send(&self.client, Method::POST, sample::COLLECTION, "application/json", body)
                .await;
        }
        match self.random.random_range(0..10) {
            0 => {
                self.there.remove(&slot);
                send(&self.client, Method::DELETE, &path, "application/json", Vec::new()).await
            }
            1..5 => {
                let replicas = self.random.random_range(0..10);
                let patch = json!({ "spec": { "replicas": replicas } }).to_string().into_bytes();
                send(&self.client, Method::PATCH, &path, "application/merge-patch+json", patch)
                    .await
            }
            5..7 => {
                let path = format!("{path}?fieldManager=soak-{}&force=true", slot % 3);
                let body = sample::body(&name, &mut self.random);
                send(&self.client, Method::PATCH, &path, "application/apply-patch+yaml", body).await
            }
            _ => send(&self.client, Method::GET, &path, "application/json", Vec::new()).await,
        }
    }
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> anyhow::Result<()> {
    let what = format!("{method} {path}");
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type);
    let request = request.body(body).context("a request cannot be made")?;
    client.request_text(request).await.map(drop).context(what)
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    let request = Request::get(path).body(Vec::new()).context("a request cannot be made")?;
    client.request(request).await.with_context(|| format!("GET {path}"))
}

async fn list_all(client: &Client) -> anyhow::Result<()> {
    let mut token = String::new();
    loop {
        let path = format!("{}?limit={PAGE}&continue={token}", sample::COLLECTION);
        let list = get(client, &path).await?;
        match list["metadata"]["continue"].as_str() {
            // Lists of custom resources end with an empty token, others with none.
            None | Some("") => return Ok(()),
            Some(next) => next.clone_into(&mut token),
        }
    }
}

/// Opens one watch after the other for ever. One that reads nothing must cost the server nothing.
pub(super) async fn watch(client: Client, n: u64, stalls: bool, counts: Arc<Counts>) {
    let mut random = StdRng::seed_from_u64(n);
    loop {
        let seconds = random.random_range(WATCH_SECONDS);
        let watched = tokio::time::timeout(
            Duration::from_secs(2 * WATCH_SECONDS.end),
            watch_once(&client, n, seconds, stalls, &counts),
        );
        counts.watches.fetch_add(1, Ordering::Relaxed);
        match watched.await.context("a watch did not end in time").flatten() {
            Ok(()) => {}
            Err(error) => {
                counts.failed(&error);
                // What is broken now is not asked again at once.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

#[expect(clippy::naive_bytecount, reason = "the compiler makes it fast enough without a crate")]
async fn watch_once(
    client: &Client,
    n: u64,
    seconds: u64,
    stalls: bool,
    counts: &Counts,
) -> anyhow::Result<()> {
    let begin = if n.is_multiple_of(2) {
        "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    } else {
        ""
    };
    let selector = if n.is_multiple_of(3) { "&labelSelector=part%3Dw" } else { "" };
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}{begin}{selector}",
        sample::COLLECTION
    );
    let mut request = Request::get(path);
    if n.is_multiple_of(5) {
        let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        request = request.header(http::header::ACCEPT, metadata);
    }
    let request = request.body(Body::empty()).context("a request cannot be made")?;
    let mut body = client.send(request).await.context("failed to open a watch")?.into_body();
    if stalls {
        tokio::time::sleep(STALLED).await;
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.context("a watch broke")?;
        let Some(bytes) = frame.data_ref() else { continue };
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        counts.events.fetch_add(lines as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Fills and deletes one namespace after the other for ever.
pub(super) async fn namespaces(client: Client, counts: Arc<Counts>) {
    for n in 0_u64.. {
        if let Err(error) = namespace(&client, n).await {
            counts.failed(&error);
        }
        tokio::time::sleep(BETWEEN_NAMESPACES).await;
    }
}

async fn namespace(client: &Client, n: u64) -> anyhow::Result<()> {
    let name = format!("soak-{n}");
    let object = json!({ "metadata": { "name": name } }).to_string().into_bytes();
    let json = "application/json";
    send(client, Method::POST, "/api/v1/namespaces", json, object).await?;
    for key in 0..5 {
        let map = json!({ "metadata": { "name": format!("m-{key}") }, "data": { "k": "v" } });
        let path = format!("/api/v1/namespaces/{name}/configmaps");
        send(client, Method::POST, &path, json, map.to_string().into_bytes()).await?;
    }
    send(client, Method::DELETE, &format!("/api/v1/namespaces/{name}"), json, Vec::new()).await
}

/// Installs and deletes one definition after the other for ever.
pub(super) async fn definitions(client: Client, counts: Arc<Counts>) {
    for n in 0_u64.. {
        if let Err(error) = definition(&client, n).await {
            counts.failed(&error);
        }
        tokio::time::sleep(BETWEEN_DEFINITIONS).await;
    }
}

async fn definition(client: &Client, n: u64) -> anyhow::Result<()> {
    let plural = format!("soaks{n}");
    let schema = json!({ "type": "object", "properties": { "spec": {
        "type": "object", "properties": { "a": { "type": "string", "maxLength": 100 } },
        "x-kubernetes-validations": [{ "rule": "!has(self.a) || self.a != 'x'" }],
    } } });
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema },
    });
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.soak.stolos.dev") },
        "spec": {
            "group": "soak.stolos.dev", "scope": "Cluster", "versions": [version],
            "names": { "plural": plural, "kind": format!("Soak{n}") },
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let json = "application/json";
    send(client, Method::POST, path, json, object.to_string().into_bytes()).await?;
    get(client, "/openapi/v3").await?;
    get(client, "/apis").await?;
    send(client, Method::DELETE, &format!("{path}/{plural}.soak.stolos.dev"), json, Vec::new())
        .await
}
