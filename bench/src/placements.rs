//! Many placements over many members: pairs of placement and member per second, memory, CPU time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::{Api, ApiResource, ListParams, NotUsed, Object, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde::{Deserialize, Serialize};
use stolos_api::placement::names::condition;
use stolos_api::placement::{
    ClusterResourcePlacement, PlacementPolicy, PlacementSpec, ResourceSelectorTerm,
};

use crate::Common;
use crate::fleet::{self, Fleet, Keep};
use crate::report::Figures;
use crate::stats::percentile_ms;

/// On everything that a benchmark creates.
const LABEL: &str = "bench.stolos.dev/placed";

/// Requests under way at once while objects are created.
const PARALLEL: usize = 16;

/// Length of the text in each placed object; with its metadata it is about as large as a common config map.
const TEXT_BYTES: usize = 1024;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "The clock runs from the first placement created to the last one Available; \
their namespaces and config maps exist before. Afterwards every member is asked what it has.

Figures: seconds, pairs_per_s, available_p50_ms and available_p99_ms (from the creation of each \
placement), peak_rss_mib and cpu_s of the process, ready_ms of the fleet.

Examples:
  stolos-bench placements
  stolos-bench placements --placements 100 --members 50 --runs 3
  stolos-bench placements --placements 20 --members 5 --ephemeral"
)]
pub(crate) struct Args {
    /// Number of placements, each of a namespace with one config map
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) placements: u32,
    /// Number of simulated members; each placement goes to all of them
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) members: u32,
    /// Keeps everything in memory instead of on disk
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Seconds after which the benchmark gives up
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub(crate) give_up_after: u64,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let directory = scratch.path().join("data");
    let keep = if args.ephemeral { Keep::Memory } else { Keep::Directory(&directory) };
    let fleet = Fleet::start(common, args.members, keep, scratch.path()).await?;
    let ready = fleet.ready_after();
    let hub = fleet.client("hub").await?;
    let names: Vec<String> = (1..=args.placements).map(|n| format!("bench-{n}")).collect();
    let text = "x".repeat(TEXT_BYTES);
    stream::iter(&names)
        .map(|name| create_source(&hub, name, &text))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;

    let before = fleet.usage()?;
    let begin = Instant::now();
    let create = stream::iter(&names)
        .map(|name| async { create(&hub, name).await.map(|()| (name.clone(), Instant::now())) })
        .buffer_unordered(PARALLEL)
        .try_collect::<BTreeMap<String, Instant>>();
    let give_up = Duration::from_secs(args.give_up_after);
    let (created, available) =
        tokio::try_join!(create, wait_until_available(&hub, names.len(), give_up))?;
    let end = available.values().max().copied().unwrap_or(begin);
    let after = fleet.usage()?;
    check_members(&fleet, names.len()).await?;
    fleet.kill().await?;

    let mut waits: Vec<Duration> = created
        .iter()
        .filter_map(|(name, at)| Some(available.get(name)?.saturating_duration_since(*at)))
        .collect();
    let seconds = end.saturating_duration_since(begin).as_secs_f64();
    let pairs = f64::from(args.placements) * f64::from(args.members);
    let mut figures = Figures::default();
    figures.add("seconds", seconds);
    figures.add("pairs_per_s", pairs / seconds);
    for percent in [50, 99] {
        let value = percentile_ms(&mut waits, percent).context("nothing was measured")?;
        figures.add(format!("available_p{percent}_ms"), value);
    }
    figures.add("peak_rss_mib", after.peak_rss_mib);
    figures.add("cpu_s", after.cpu_s - before.cpu_s);
    figures.add("ready_ms", ready.as_secs_f64() * 1000.0);
    Ok(figures)
}

/// Creates a namespace and a config map of the same name in it.
pub(crate) async fn create_source(hub: &Client, name: &str, value: &str) -> anyhow::Result<()> {
    let namespace = Namespace { metadata: labelled(name), ..Namespace::default() };
    let created = Api::all(hub.clone()).create(&PostParams::default(), &namespace).await;
    created.with_context(|| format!("failed to create namespace `{name}`"))?;
    let config_map = ConfigMap {
        metadata: labelled(name),
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    };
    let api = Api::namespaced(hub.clone(), name);
    let created = api.create(&PostParams::default(), &config_map).await;
    created.map(drop).with_context(|| format!("failed to create config map `{name}`"))
}

/// Creates a placement of the namespace of its name on every member.
pub(crate) async fn create(hub: &Client, name: &str) -> anyhow::Result<()> {
    let spec = PlacementSpec {
        resource_selectors: vec![ResourceSelectorTerm {
            version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: name.to_owned(),
            ..ResourceSelectorTerm::default()
        }],
        policy: Some(PlacementPolicy::default()),
        ..PlacementSpec::default()
    };
    let mut placement = ClusterResourcePlacement::new(name, spec);
    placement.metadata = labelled(name);
    let created = Api::all(hub.clone()).create(&PostParams::default(), &placement).await;
    created.map(drop).with_context(|| format!("failed to create placement `{name}`"))
}

fn labelled(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(LABEL.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    }
}

/// The part of a placement's status that is looked at. Reading all of it, with an entry per member, would cost this
/// program a good part of the machine that it measures.
#[derive(Clone, Debug, Default, Deserialize)]
struct Progress {
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// Waits until `count` placements are available and returns when each became so.
pub(crate) async fn wait_until_available(
    hub: &Client,
    count: usize,
    give_up_after: Duration,
) -> anyhow::Result<BTreeMap<String, Instant>> {
    let resource = ApiResource::erase::<ClusterResourcePlacement>(&());
    let api: Api<Object<NotUsed, Progress>> = Api::all_with(hub.clone(), &resource);
    let config = watcher::Config::default().labels(LABEL);
    let mut changes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    let mut available = BTreeMap::new();
    let all = async {
        while let Some(change) = changes.next().await {
            // The watcher makes up for what went wrong, and the time is bounded.
            let Ok(placement) = change else { continue };
            if is_available(&placement) {
                let name = placement.metadata.name.unwrap_or_default();
                available.entry(name).or_insert_with(Instant::now);
            }
            if available.len() == count {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(give_up_after, all).await;
    if available.len() < count {
        let why = if waited.is_err() { "in time" } else { "when the watch ended" };
        bail!("{} of {count} placements were available {why}", available.len());
    }
    Ok(available)
}

fn is_available(placement: &Object<NotUsed, Progress>) -> bool {
    let wanted = condition::of_kind("ClusterResourcePlacement", condition::AVAILABLE);
    let conditions = placement.status.as_ref().map_or(&[][..], |status| &status.conditions);
    conditions.iter().any(|condition| {
        condition.type_ == wanted
            && condition.status == "True"
            && condition.observed_generation == placement.metadata.generation
    })
}

/// Fails unless every member has exactly the objects that were placed.
async fn check_members(fleet: &Fleet, count: usize) -> anyhow::Result<()> {
    for member in fleet.members() {
        let api: Api<ConfigMap> = Api::all(fleet.client(member).await?);
        let placed = api
            .list_metadata(&ListParams::default().labels(LABEL))
            .await
            .with_context(|| format!("failed to ask `{member}` what it has"))?;
        let namespaces: BTreeSet<_> =
            placed.items.into_iter().filter_map(|object| object.metadata.namespace).collect();
        if namespaces.len() != count {
            bail!(
                "member `{member}` has {} of {count} objects although all are said to be available",
                namespaces.len()
            );
        }
    }
    Ok(())
}
