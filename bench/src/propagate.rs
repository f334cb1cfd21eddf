//! A change on the hub until its watch event on the members, one object at a time.
//!
//! The clock starts before the request is sent to the hub and stops when a client of the member has the event, so the
//! figure holds both clients, TLS, every write to disk and every controller between.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fleet;
use crate::report::Figures;
use crate::stats::percentile_ms;
use crate::{Common, placements};

/// Changes before the counted ones: connections open, caches fill.
const WARM_UP: u32 = 10;

/// How long a change may take. Only a lost one takes this long.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// Name of the placement, its namespace and its config map.
const NAME: &str = "bench-propagate";

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Figures: first_* until the event on the member that has it first, all_* on \
the last of them, write_* until the hub has answered the write; each p50 and p99 in ms.

Examples:
  stolos-bench propagate
  stolos-bench propagate --members 3 --changes 200 --runs 3
  stolos-bench propagate --ephemeral"
)]
pub(crate) struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: fleet::Which,
    /// Changes, one after the other
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) changes: u32,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// A value has arrived on a member.
struct Arrival {
    member: usize,
    value: String,
    at: Instant,
}

/// Times of the counted changes.
#[derive(Default)]
struct Times {
    write: Vec<Duration>,
    first: Vec<Duration>,
    all: Vec<Duration>,
}

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let fleet = args.fleet.start(common, scratch.path()).await?;
    let hub = fleet.client("hub").await?;
    placements::create_source(&hub, NAME, "0").await?;
    placements::create(&hub, NAME, None).await?;
    placements::wait_until_available(&hub, 1, ARRIVES_WITHIN).await?;

    let (arrived, mut arrivals) = mpsc::channel(64);
    let mut watches = JoinSet::new();
    for (index, member) in fleet.members().iter().enumerate() {
        let client = fleet.client(member).await?;
        watches.spawn(watch(client, index, arrived.clone()));
    }
    drop(arrived);
    let n_members = fleet.members().len();
    wait_for("0", n_members, &mut arrivals).await.context("the placed object is not there")?;

    let mut random = StdRng::seed_from_u64(common.seed);
    let mut times = Times::default();
    let sources: Api<ConfigMap> = Api::namespaced(hub, NAME);
    for change in 0..WARM_UP + args.changes {
        let value = format!("{change}-{:016x}", random.random::<u64>());
        let begin = Instant::now();
        let patch = Patch::Merge(json!({ "data": { "value": &value } }));
        sources
            .patch(NAME, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("change {change} was refused"))?;
        let written = begin.elapsed();
        let (first, last) = wait_for(&value, n_members, &mut arrivals)
            .await
            .with_context(|| format!("change {change} got lost"))?;
        if change >= WARM_UP {
            times.write.push(written);
            times.first.push(first.saturating_duration_since(begin));
            times.all.push(last.saturating_duration_since(begin));
        }
    }
    let usage = fleet.usage()?;
    watches.shutdown().await;
    fleet.kill().await?;

    let mut figures = Figures::default();
    for (name, times) in
        [("write", &mut times.write), ("first", &mut times.first), ("all", &mut times.all)]
    {
        for percent in [50, 99] {
            let value = percentile_ms(times, percent).context("nothing was measured")?;
            figures.add(format!("{name}_p{percent}_ms"), value);
        }
    }
    figures.add("peak_rss_mib", usage.peak_rss_mib);
    figures.add("cpu_s", usage.cpu_s);
    Ok(figures)
}

/// Reports every value of the placed object on one member, until nobody listens.
async fn watch(client: Client, member: usize, arrived: mpsc::Sender<Arrival>) {
    let api: Api<ConfigMap> = Api::namespaced(client, NAME);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut changes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    while let Some(change) = changes.next().await {
        let at = Instant::now();
        // The watcher makes up for what went wrong; a change that stays away is noticed by whoever waits for it.
        let Ok(object) = change else { continue };
        let value = object.data.and_then(|mut data| data.remove("value")).unwrap_or_default();
        if arrived.send(Arrival { member, value, at }).await.is_err() {
            return;
        }
    }
}

/// Waits until every member has a value and returns when the first and when the last of them got it.
async fn wait_for(
    value: &str,
    n_members: usize,
    arrivals: &mut mpsc::Receiver<Arrival>,
) -> anyhow::Result<(Instant, Instant)> {
    let mut at: Vec<Option<Instant>> = vec![None; n_members];
    let all = async {
        while at.iter().any(Option::is_none) {
            let arrival = arrivals.recv().await.context("the watches of the members ended")?;
            if arrival.value == value {
                at[arrival.member].get_or_insert(arrival.at);
            }
        }
        anyhow::Ok(())
    };
    if let Ok(ended) = tokio::time::timeout(ARRIVES_WITHIN, all).await {
        ended?;
    }
    let arrived: Vec<Instant> = at.into_iter().flatten().collect();
    if arrived.len() < n_members {
        let (n_missing, seconds) = (n_members - arrived.len(), ARRIVES_WITHIN.as_secs());
        bail!("{n_missing} of {n_members} members do not have it after {seconds} s");
    }
    let first = arrived.iter().min().copied().context("there are no members")?;
    let last = arrived.iter().max().copied().context("there are no members")?;
    Ok((first, last))
}
