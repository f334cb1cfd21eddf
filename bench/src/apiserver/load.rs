//! Creates and reads: each connection sends its next request when the last is answered.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use kube::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::sample;
use crate::report::Figures;
use crate::stats::percentile_ms;

/// What a load did.
pub(super) struct Load {
    /// Names of the objects it made.
    pub(super) names: Vec<String>,
    times: Vec<Duration>,
    took: Duration,
}

impl Load {
    /// Adds its rate and its latencies.
    pub(super) fn figures(&self, name: &str, figures: &mut Figures) -> anyhow::Result<()> {
        let count = u32::try_from(self.times.len())?;
        figures.add(format!("{name}_per_s"), f64::from(count) / self.took.as_secs_f64());
        let mut times = self.times.clone();
        for percent in [50, 99] {
            let value = percentile_ms(&mut times, percent).context("nothing was measured")?;
            figures.add(format!("{name}_p{percent}_ms"), value);
        }
        Ok(())
    }

    fn join(parts: Vec<Part>, begin: Instant) -> Self {
        let took = begin.elapsed();
        let (names, times): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        Self { names: names.concat(), times: times.concat(), took }
    }
}

/// Names and times of one connection.
type Part = (Vec<String>, Vec<Duration>);

/// Creates objects for some time, one at a time per client.
pub(super) async fn create(
    clients: Vec<Client>,
    prefix: &str,
    seed: u64,
    duration: Duration,
) -> anyhow::Result<Load> {
    let begin = Instant::now();
    let parts = (0..).zip(clients).map(|(index, client): (u64, Client)| {
        let prefix = format!("{prefix}-{index}");
        let mut random = StdRng::seed_from_u64(seed ^ index);
        spawned(async move {
            let (mut names, mut times) = Part::default();
            while begin.elapsed() < duration {
                let name = format!("{prefix}-{}", names.len());
                let body = sample::body(&name, &mut random);
                times.push(create_one(&client, sample::COLLECTION, body).await?);
                names.push(name);
            }
            Ok((names, times))
        })
    });
    Ok(Load::join(try_join_all(parts).await?, begin))
}

/// Creates this many objects, shared among the clients.
pub(super) async fn fill(clients: Vec<Client>, seed: u64, objects: u64) -> anyhow::Result<()> {
    let n_clients = clients.len();
    let parts = (0..).zip(clients).map(|(index, client): (u64, Client)| {
        let mut random = StdRng::seed_from_u64(seed ^ index);
        spawned(async move {
            for number in (index..objects).step_by(n_clients) {
                let body = sample::body(&format!("o{number:07}-filled"), &mut random);
                create_one(&client, sample::COLLECTION, body).await?;
            }
            Ok(Part::default())
        })
    });
    try_join_all(parts).await.map(drop)
}

/// Creates one object and returns how long the server took to answer.
pub(super) async fn create_one(
    client: &Client,
    collection: &str,
    body: Vec<u8>,
) -> anyhow::Result<Duration> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(collection)
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .context("a request cannot be made")?;
    let begin = Instant::now();
    client.request_text(request).await.context("a create was refused")?;
    Ok(begin.elapsed())
}

/// Reads objects in random order for some time, one at a time per client.
pub(super) async fn get(
    clients: Vec<Client>,
    names: &[String],
    seed: u64,
    duration: Duration,
) -> anyhow::Result<Load> {
    anyhow::ensure!(!names.is_empty(), "there is nothing to read");
    let names: std::sync::Arc<[String]> = names.into();
    let begin = Instant::now();
    let parts = (0..).zip(clients).map(|(index, client): (u64, Client)| {
        let names = std::sync::Arc::clone(&names);
        let mut random = StdRng::seed_from_u64(seed ^ index);
        spawned(async move {
            let mut times = Vec::new();
            while begin.elapsed() < duration {
                let name = &names[random.random_range(0..names.len())];
                let request = Request::get(format!("{}/{name}", sample::COLLECTION))
                    .body(Vec::new())
                    .context("a request cannot be made")?;
                let sent = Instant::now();
                client.request_text(request).await.context("a get was refused")?;
                times.push(sent.elapsed());
            }
            Ok((Vec::new(), times))
        })
    });
    Ok(Load::join(try_join_all(parts).await?, begin))
}

/// Runs a connection as a task, so that connections share the cores.
async fn spawned(
    connection: impl Future<Output = anyhow::Result<Part>> + Send + 'static,
) -> anyhow::Result<Part> {
    tokio::spawn(connection).await.context("a connection panicked")?
}
