//! How soon an update run begins after what it waits for: the approval of a gate, the opening of a maintenance window.
//!
//! An upgrade has begun when a client of the member has the watch event of the object that asks for it. Between the two
//! lie, for an approval, the write of the gate, the hub's decision, the lease of the member, the run's status and the
//! request to the member. All times are taken on this machine: approvals from just before the request is sent,
//! openings from the full minute of the clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde::Serialize;
use serde_json::json;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, GateState, UpdateRun};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::report::Figures;
use crate::stats::percentile_ms;
use crate::updates::{self, NAMESPACE, object_name};
use crate::{Common, fleet};

/// What members are brought to, one after the other, each from the one before; they begin at 1.34.1.
const VERSIONS: [&str; 5] = ["1.34.2", "1.34.4", "1.35.0", "1.35.1", "1.36.0"];

/// How long anything may take. Only a lost change takes this long.
const WITHIN: Duration = Duration::from_secs(120);

/// Requests under way at once while things are prepared.
const PARALLEL: usize = 8;

/// Label of the objects with which upgrades are asked for.
const UPGRADE_LABEL: &str = "sim.stolos.dev/upgrade";

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Each approval is of a run of its own over one member of the fleet, one after the other. \
At each opening all the members of its share have the window, each with a run of its own, and all of them wait for the \
same minute: the figures hold what they wait for each other.

Figures: approval_* and opening_* until the upgrade is asked for on the member, each p50, p90 and p99 in ms.

Examples:
  stolos-bench reaction
  stolos-bench reaction --members 100 --approvals 200 --openings 3 --at-once 10"
)]
pub(crate) struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: fleet::Which,
    /// Approvals; with the openings at most five for each member
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) approvals: u32,
    /// Minutes at which windows open
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) openings: u32,
    /// Members whose windows open at one such minute
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: u32,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// An upgrade was asked for on a member.
struct Asked {
    member: String,
    at: Instant,
}

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let fleet = args.fleet.start_with(common, scratch.path(), &updates::AT_ONCE_DONE).await?;
    let hub = fleet.client("hub").await?;
    let names = fleet.members();
    let n_upgrades = args.approvals + args.openings * args.at_once;
    if n_upgrades as usize > names.len() * VERSIONS.len() || args.at_once as usize > names.len() {
        bail!(
            "{} members can be upgraded {} times each, which is not enough",
            names.len(),
            VERSIONS.len()
        );
    }
    let (asked, mut requests) = mpsc::channel(64);
    let mut watches = JoinSet::new();
    for name in names {
        watches.spawn(watch_requests(fleet.client(name).await?, name.clone(), asked.clone()));
    }
    drop(asked);

    // Who is next, and to which version.
    let mut turns =
        VERSIONS.iter().flat_map(|version| names.iter().map(move |name| (name, *version)));
    let mut figures = Figures::default();
    let mut approvals = Vec::new();
    for (member, version) in turns.by_ref().take(args.approvals as usize) {
        approvals.push(approve(&hub, member, version, &mut requests).await?);
    }
    let mut openings = Vec::new();
    for _ in 0..args.openings {
        let share: Vec<_> = turns.by_ref().take(args.at_once as usize).collect();
        openings.extend(open(&hub, &share, &mut requests).await?);
    }
    watches.shutdown().await;
    fleet.kill().await?;
    for (name, times) in [("approval", &mut approvals), ("opening", &mut openings)] {
        for percent in [50, 90, 99] {
            let value = percentile_ms(times, percent).context("nothing was measured")?;
            figures.add(format!("{name}_p{percent}_ms"), value);
        }
    }
    Ok(figures)
}

/// Reports every upgrade that is asked for on a member, until nobody listens.
async fn watch_requests(client: Client, member: String, asked: mpsc::Sender<Asked>) {
    let api: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let config = watcher::Config::default().labels(UPGRADE_LABEL);
    let mut seen = std::collections::BTreeSet::new();
    let mut changes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    while let Some(change) = changes.next().await {
        let at = Instant::now();
        // The watcher makes up for what went wrong; a request that stays away is noticed by whoever waits for it.
        let Ok(request) = change else { continue };
        let is_new = seen.insert(request.metadata.name.unwrap_or_default());
        if is_new && asked.send(Asked { member: member.clone(), at }).await.is_err() {
            return;
        }
    }
}

/// Lets a run over one member arrive at a gate, approves the gate, and returns how long the member takes to begin.
async fn approve(
    hub: &Client,
    member: &str,
    version: &str,
    requests: &mut mpsc::Receiver<Asked>,
) -> anyhow::Result<Duration> {
    let name = run_name(member, version);
    let stage = updates::all_members(json!({"beforeGates": [{"type": "Approval"}]}));
    let rules = json!({"members": [member], "strategy": {"stages": [stage]}});
    updates::create(hub, &name, version, &rules).await?;
    let gates: Api<Gate> = Api::namespaced(hub.clone(), NAMESPACE);
    let gate = pending_gate(&gates, &name).await?;
    let begin = Instant::now();
    let approval = Patch::Merge(json!({"spec": {"state": "Completed"}}));
    let approved = gates.patch(&gate, &PatchParams::default(), &approval).await;
    approved.with_context(|| format!("failed to approve gate `{gate}`"))?;
    let at = wait_for(&[member], requests).await?;
    finish(hub, &name).await?;
    Ok(at[member].saturating_duration_since(begin))
}

async fn pending_gate(gates: &Api<Gate>, run: &str) -> anyhow::Result<String> {
    let changes = watcher(gates.clone(), watcher::Config::default());
    let mut changes = std::pin::pin!(changes.default_backoff().applied_objects());
    let found = async {
        while let Some(change) = changes.next().await {
            let Ok(gate) = change else { continue };
            let state = gate.status.as_ref().map(|status| status.state);
            if gate.spec.target.update_run == run && state == Some(GateState::Pending) {
                return gate.metadata.name.context("a gate has no name");
            }
        }
        bail!("the watch of gates ended")
    };
    let found = tokio::time::timeout(WITHIN, found).await;
    found.with_context(|| format!("update run `{run}` arrives at no gate"))?
}

/// Lets runs wait for windows that open at the next full minute, and returns how long their members take to begin.
async fn open(
    hub: &Client,
    share: &[(&String, &str)],
    requests: &mut mpsc::Receiver<Asked>,
) -> anyhow::Result<Vec<Duration>> {
    // Far enough ahead for everybody to be in line.
    let ahead = SignedDuration::from_secs(20);
    let opens = (Timestamp::now() + ahead)
        .round(jiff::TimestampRound::new().smallest(Unit::Minute).mode(jiff::RoundMode::Ceil))
        .context("there is no next minute")?;
    stream::iter(share)
        .map(|(member, version)| async move {
            set_window(hub, member, Some(opens)).await?;
            let stage = updates::all_members(json!({}));
            let rules = json!({"members": [member], "strategy": {"stages": [stage]}});
            updates::create(hub, &run_name(member, version), version, &rules).await
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
    let wait = opens.duration_since(Timestamp::now());
    if !wait.is_positive() {
        bail!("the windows opened before every run was made");
    }
    let opening = Instant::now() + wait.unsigned_abs();
    let members: Vec<&str> = share.iter().map(|(member, _)| member.as_str()).collect();
    let at = wait_for(&members, requests).await?;
    if at.values().any(|at| *at < opening) {
        bail!("a member began before its window opened");
    }
    for (member, version) in share {
        finish(hub, &run_name(member, version)).await?;
        set_window(hub, member, None).await?;
    }
    Ok(at.into_values().map(|at| at.saturating_duration_since(opening)).collect())
}

async fn set_window(hub: &Client, member: &str, opens: Option<Timestamp>) -> anyhow::Result<()> {
    let window = opens.map(|opens| {
        json!({
            "schedule": {"daily": {"intervalDays": 1}},
            "durationHours": 4,
            "startTime": opens.strftime("%H:%M").to_string(),
        })
    });
    let windows = window.map(|window| json!({"kubernetes": window}));
    let patch = Patch::Merge(json!({"spec": {"maintenanceWindows": windows}}));
    let members: Api<FleetMember> = Api::namespaced(hub.clone(), NAMESPACE);
    let set = members.patch(&object_name(member), &PatchParams::default(), &patch).await;
    set.map(drop).with_context(|| format!("failed to set the window of member `{member}`"))
}

/// Waits until an upgrade was asked for on each of the members, and returns when.
async fn wait_for(
    members: &[&str],
    requests: &mut mpsc::Receiver<Asked>,
) -> anyhow::Result<BTreeMap<String, Instant>> {
    let mut at = BTreeMap::new();
    let all = async {
        while members.iter().any(|member| !at.contains_key(*member)) {
            let asked = requests.recv().await.context("the watches of the members ended")?;
            if members.contains(&asked.member.as_str()) {
                at.insert(asked.member, asked.at);
            }
        }
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(WITHIN, all).await;
    waited.with_context(|| format!("not all of the members {members:?} began"))??;
    Ok(at)
}

/// Waits until a run is over and deletes it, so that later ones find the hub as it was.
async fn finish(hub: &Client, name: &str) -> anyhow::Result<()> {
    updates::wait_until_over(hub, name, WITHIN).await?;
    let runs: Api<UpdateRun> = Api::namespaced(hub.clone(), NAMESPACE);
    let deleted = runs.delete(&object_name(name), &DeleteParams::default()).await;
    deleted.map(drop).with_context(|| format!("failed to delete update run `{name}`"))
}

fn run_name(member: &str, version: &str) -> String {
    format!("{member}-{}", version.replace('.', "-"))
}
