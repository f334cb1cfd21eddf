//! Many placements over many members: pairs of placement and member per second, memory, CPU time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
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
    ClusterResourcePlacement, PlacementPolicy, PlacementSpec, PlacementType, ResourceSelectorTerm,
};

use crate::Common;
use crate::fleet::{self, Fleet};
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
their namespaces and config maps exist before. Afterwards every member is asked what it has, and \
a fleet that was started here on a disk is killed and started again.

Figures: seconds, pairs_per_s, available_p50_ms, available_p90_ms and available_p99_ms (from the \
creation of each placement), cpu_ms_per_pair, writes_per_pair, stored_bytes_per_pair, peak_rss_mib of \
the process, ready_ms of the fleet; restart_ready_ms, and restart_cpu_s, restart_writes and \
restart_rss_mib at the end of the 10 s after that.

Examples:
  stolos-bench placements
  stolos-bench placements --placements 100 --members 50 --runs 3
  stolos-bench placements --placements 20 --members 5 --ephemeral
  stolos-bench placements --placements 10 --members 1000 --pick 100"
)]
pub(crate) struct Args {
    /// Number of placements, each of a namespace with one config map
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) placements: u32,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: fleet::Which,
    /// How many members each placement goes to [default: all of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pick: Option<i32>,
    /// Seconds after which the benchmark gives up
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub(crate) give_up_after: u64,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// After a restart with everything in place: how long it is looked at.
const AT_REST: Duration = Duration::from_secs(10);

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let fleet = args.fleet.start(common, scratch.path()).await?;
    let hub = fleet.client("hub").await?;
    let names: Vec<String> = (1..=args.placements).map(|n| format!("bench-{n}")).collect();
    let text = "x".repeat(TEXT_BYTES);
    stream::iter(&names)
        .map(|name| create_source(&hub, name, &text))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;

    let data = Some(scratch.path().join("data")).filter(|data| data.is_dir());
    let stored = || data.as_deref().map(fleet::bytes_on_disk).transpose();
    let before = (fleet.usage()?, fleet.writes().await?, stored()?);
    let begin = Instant::now();
    let create = stream::iter(&names)
        .map(|name| async {
            let begun = Instant::now();
            create(&hub, name, args.pick).await.map(|()| (name.clone(), begun))
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<BTreeMap<String, Instant>>();
    let give_up = Duration::from_secs(args.give_up_after);
    let (created, available) =
        tokio::try_join!(create, wait_until_available(&hub, names.len(), give_up))?;
    let end = available.values().max().copied().unwrap_or(begin);
    let after = (fleet.usage()?, fleet.writes().await?, stored()?);
    let n_pairs = check_members(&fleet, &names, args.pick).await?;

    let mut waits: Vec<Duration> = created
        .iter()
        .filter_map(|(name, at)| Some(available.get(name)?.saturating_duration_since(*at)))
        .collect();
    let seconds = end.saturating_duration_since(begin).as_secs_f64();
    let pairs = f64::from(u32::try_from(n_pairs)?);
    let mut figures = Figures::default();
    figures.add("seconds", seconds);
    figures.add("pairs_per_s", pairs / seconds);
    for percent in [50, 90, 99] {
        let value = percentile_ms(&mut waits, percent).context("nothing was measured")?;
        figures.add(format!("available_p{percent}_ms"), value);
    }
    figures.add("peak_rss_mib", after.0.peak_rss_mib);
    figures.add("cpu_ms_per_pair", (after.0.cpu_s - before.0.cpu_s) * 1000.0 / pairs);
    figures.add("writes_per_pair", (after.1 - before.1) / pairs);
    if let (Some(before), Some(after)) = (before.2, after.2) {
        let bytes = u32::try_from(after.saturating_sub(before) / n_pairs as u64)?;
        figures.add("stored_bytes_per_pair", f64::from(bytes));
    }
    figures.add("ready_ms", fleet.ready_after().as_secs_f64() * 1000.0);
    fleet.kill().await?;
    if data.is_some() {
        restart(common, args, scratch.path(), &mut figures).await?;
    }
    Ok(figures)
}

/// Starts the fleet again with everything in place.
async fn restart(
    common: &Common,
    args: &Args,
    scratch: &Path,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let fleet = args.fleet.start(common, scratch).await?;
    let before = fleet.writes().await?;
    tokio::time::sleep(AT_REST).await;
    let (after, usage) = (fleet.writes().await?, fleet.usage()?);
    figures.add("restart_ready_ms", fleet.ready_after().as_secs_f64() * 1000.0);
    figures.add("restart_writes", after - before);
    figures.add("restart_cpu_s", usage.cpu_s);
    figures.add("restart_rss_mib", usage.rss_mib);
    fleet.kill().await
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

/// Creates a placement of the namespace of its name on so many members, or on every one.
pub(crate) async fn create(hub: &Client, name: &str, pick: Option<i32>) -> anyhow::Result<()> {
    let policy = PlacementPolicy {
        placement_type: pick.map_or(PlacementType::PickAll, |_| PlacementType::PickN),
        number_of_clusters: pick,
        ..PlacementPolicy::default()
    };
    let spec = PlacementSpec {
        resource_selectors: vec![ResourceSelectorTerm {
            version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: name.to_owned(),
            ..ResourceSelectorTerm::default()
        }],
        policy: Some(policy),
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

/// Fails unless every placement is on as many members as it should be; returns the pairs of placement and member.
async fn check_members(
    fleet: &Fleet,
    names: &[String],
    pick: Option<i32>,
) -> anyhow::Result<usize> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for member in fleet.members() {
        let api: Api<ConfigMap> = Api::all(fleet.client(member).await?);
        let placed = api
            .list_metadata(&ListParams::default().labels(LABEL))
            .await
            .with_context(|| format!("failed to ask `{member}` what it has"))?;
        let namespaces: BTreeSet<_> =
            placed.items.into_iter().filter_map(|object| object.metadata.namespace).collect();
        for name in namespaces {
            *found.entry(name).or_default() += 1;
        }
    }
    let wanted = pick.map_or(Ok(fleet.members().len()), usize::try_from)?;
    for name in names {
        let n = found.get(name).copied().unwrap_or_default();
        if n != wanted {
            bail!("`{name}` is on {n} of {wanted} members although it is said to be available");
        }
    }
    Ok(wanted * names.len())
}
