//! One update run over many members whose upgrades take no time: transitions per second, writes, memory, CPU time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use kube::Client;
use kube::api::{Api, ApiResource, NotUsed, Object, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stolos_api::update::{State, UpdateRun};

use crate::Common;
use crate::fleet;
use crate::report::Figures;

/// Namespace and name of the fleet of `stolos up`.
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const FLEET: &str = "local";

/// What the members are brought to; they begin at 1.34.1.
const VERSION: &str = "1.35.0";

/// Each member begins, and ends.
const TRANSITIONS: u32 = 2;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "The clock runs from the creation of the run to its status saying Completed, as a watch of \
it shows. Nodes take no time to be upgraded; their objects are written all the same, as are those with which an \
upgrade is asked for.

Figures: seconds, transitions_per_s (each member begins, and ends), status_writes of the run, writes_per_member on \
all clusters, cpu_s, cpu_ms_per_member and peak_rss_mib of the process, ready_ms of the fleet.

Examples:
  stolos-bench updates --members 100
  stolos-bench updates --members 1000 --runs 1"
)]
pub(crate) struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: fleet::Which,
    /// Most members that are updated at a time: a number up to 50, or a percentage
    #[arg(long, default_value = "50", value_name = "N")]
    pub(crate) at_once: String,
    /// Seconds after which the benchmark gives up
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    pub(crate) give_up_after: u64,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let fleet = args.fleet.start_with(common, scratch.path(), &AT_ONCE_DONE).await?;
    let hub = fleet.client("hub").await?;
    let before = (fleet.usage()?, fleet.writes().await?);
    let begin = Instant::now();
    let stage = all_members(json!({"maxConcurrency": args.at_once}));
    create(&hub, "bench", VERSION, &json!({"strategy": {"stages": [stage]}})).await?;
    let give_up = Duration::from_secs(args.give_up_after);
    let n_writes = wait_until_over(&hub, "bench", give_up).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let after = (fleet.usage()?, fleet.writes().await?);
    let n_members = u32::try_from(fleet.members().len())?;
    check(&hub, n_members).await?;
    let ready_after = fleet.ready_after();
    fleet.kill().await?;

    let members = f64::from(n_members);
    let cpu_s = after.0.cpu_s - before.0.cpu_s;
    let mut figures = Figures::default();
    figures.add("seconds", seconds);
    figures.add("transitions_per_s", f64::from(TRANSITIONS) * members / seconds);
    figures.add("status_writes", f64::from(n_writes));
    figures.add("writes_per_member", (after.1 - before.1) / members);
    figures.add("cpu_s", cpu_s);
    figures.add("cpu_ms_per_member", cpu_s * 1000.0 / members);
    figures.add("peak_rss_mib", after.0.peak_rss_mib);
    figures.add("ready_ms", ready_after.as_secs_f64() * 1000.0);
    Ok(figures)
}

/// Arguments of `stolos up` with which upgrades take no time.
pub(crate) const AT_ONCE_DONE: [&str; 2] = ["--node-upgrade-time", "0s"];

/// Returns a stage of all members of the fleet of `stolos up`; `rules` are more fields of it.
pub(crate) fn all_members(rules: Value) -> Value {
    let groups = ["canary", "europe", "world"];
    let groups = groups.map(|name| json!({"name": name, "maxConcurrency": "100%"}));
    let mut stage = json!({"name": "all", "groups": groups});
    if let (Some(stage), Value::Object(rules)) = (stage.as_object_mut(), rules) {
        stage.extend(rules);
    }
    stage
}

/// Creates a run of the fleet that begins at once; `rules` are more fields of its spec.
pub(crate) async fn create(
    hub: &Client,
    name: &str,
    version: &str,
    rules: &Value,
) -> anyhow::Result<()> {
    let mut spec = json!({
        "fleetName": FLEET,
        "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": version}},
        "state": "Run",
    });
    for (field, value) in rules.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let run =
        json!({"metadata": {"name": object_name(name), "namespace": NAMESPACE}, "spec": spec});
    let run: UpdateRun = serde_json::from_value(run).context("the run is not well formed")?;
    let runs: Api<UpdateRun> = Api::namespaced(hub.clone(), NAMESPACE);
    let created = runs.create(&PostParams::default(), &run).await;
    created.map(drop).with_context(|| format!("failed to create update run `{name}`"))
}

pub(crate) fn object_name(name: &str) -> String {
    stolos_api::cluster::fleet::object_name(FLEET, name)
}

/// The part of a run's status that is looked at. Reading all of it, with an entry per member, would cost this program a
/// good part of the machine that it measures.
#[derive(Clone, Debug, Default, Deserialize)]
struct Progress {
    #[serde(default)]
    status: Standing,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Standing {
    #[serde(default)]
    state: State,
}

/// Waits until a run is completed and returns how many of its states were seen: each is a write.
pub(crate) async fn wait_until_over(
    hub: &Client,
    name: &str,
    give_up_after: Duration,
) -> anyhow::Result<u32> {
    let resource = ApiResource::erase::<UpdateRun>(&());
    let api: Api<Object<NotUsed, Progress>> =
        Api::namespaced_with(hub.clone(), NAMESPACE, &resource);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", object_name(name)));
    let mut changes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    let mut n_seen = 0;
    let over = async {
        while let Some(change) = changes.next().await {
            // The watcher makes up for what went wrong, and the time is bounded.
            let Ok(run) = change else { continue };
            n_seen += 1;
            match run.status.unwrap_or_default().status.state {
                State::Completed => return Ok(()),
                state @ (State::Failed | State::Stopped | State::Skipped) => {
                    bail!("update run `{name}` has ended as {state:?}")
                }
                State::NotStarted | State::Running | State::Pending | State::Stopping => {}
            }
        }
        bail!("the watch of the update run ended")
    };
    let seconds = give_up_after.as_secs();
    let waited = tokio::time::timeout(give_up_after, over).await;
    waited.with_context(|| format!("update run `{name}` is not over after {seconds} s"))??;
    Ok(n_seen)
}

/// Checks that the run has upgraded every member once.
async fn check(hub: &Client, n_members: u32) -> anyhow::Result<()> {
    let api: Api<UpdateRun> = Api::namespaced(hub.clone(), NAMESPACE);
    let run = api.get(&object_name("bench")).await.context("failed to read the update run")?;
    let status = run.status.unwrap_or_default();
    let members = status.stages.iter().flat_map(|stage| &stage.groups).flat_map(|g| &g.members);
    let done = members.filter(|m| m.status.state == State::Completed && m.attempt == 1).count();
    if u32::try_from(done) != Ok(n_members) {
        bail!("{done} of {n_members} members were upgraded once");
    }
    Ok(())
}
