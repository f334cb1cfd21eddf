//! The step about update runs.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::TryStreamExt;
use futures::future::{try_join, try_join_all};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use stolos_api::cluster::fleet::{FleetMember, object_name};
use stolos_api::update::{StageStatus, State, UpdateRun};
use stolos_sim::{UPGRADE_LABEL, UPGRADES_ANNOTATION};

use super::expect::{ensure, present};
use super::manifests::{self, CANARY, FLEET, FLEET_NAMESPACE, RUN, VERSION};
use super::world::{Member, World};

const HUB: &str = "hub";

/// How long a member may take to be reached by the run.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// Updates all members in two stages.
pub(super) async fn update(world: &World) -> anyhow::Result<()> {
    let (canary, rest) = sort(world).await?;
    ensure(
        !canary.is_empty() && !rest.is_empty(),
        HUB,
        "members inside and outside the canary group",
        "none",
    )?;
    for member in &world.members {
        for node in nodes(member).await? {
            let version = version(&node).to_owned();
            ensure(version != wanted(), &member.name, "nodes of an older version", version)?;
        }
    }
    let order = try_join_all(rest.iter().map(|member| canary_is_done_before(&canary, member)));
    let (run, _) = try_join(complete(world), order).await?;
    ensure_order(&run)?;
    for member in &world.members {
        for node in nodes(member).await? {
            let (version, upgrades) = (version(&node), upgrades(&node));
            ensure(
                version == wanted() && upgrades == "1",
                &member.name,
                &format!("every node at {} after exactly one upgrade", wanted()),
                format!("node `{}` at {version} after {upgrades}", name(&node)),
            )?;
        }
    }
    Ok(())
}

/// Returns the members of the canary group and the others.
async fn sort(world: &World) -> anyhow::Result<(Vec<&Member>, Vec<&Member>)> {
    let api = world.hub_in::<FleetMember>(FLEET_NAMESPACE);
    let fleet_members =
        api.list(&ListParams::default()).await.context("failed to list the members")?;
    let is_canary = |member: &&Member| {
        let object = object_name(FLEET, &member.name);
        let mut found =
            fleet_members.iter().filter(|found| found.metadata.name.as_ref() == Some(&object));
        found.any(|found| found.spec.group.as_deref() == Some(CANARY))
    };
    Ok(world.members.iter().partition(is_canary))
}

/// Creates the run, started, and waits for its end.
async fn complete(world: &World) -> anyhow::Result<UpdateRun> {
    let runs = world.hub_in::<UpdateRun>(FLEET_NAMESPACE);
    let created = runs.create(&PostParams::default(), &manifests::update_run()).await;
    created.context("failed to create the update run")?;
    let judge = |run: &UpdateRun| match &run.status {
        Some(status) if status.status.state == State::Completed => Ok(()),
        Some(status) => {
            let error = status.status.error.as_ref().map(|error| format!(": {}", error.message));
            let progress = status.progress.as_deref().unwrap_or_default();
            Err(format!(
                "{:?}, {progress} members done{}",
                status.status.state,
                error.unwrap_or_default()
            ))
        }
        None => Err("no status".to_owned()),
    };
    present(HUB, runs, &object_name(FLEET, RUN), "a completed update run", judge).await
}

/// Waits until an upgrade is asked for on a member, and checks that the canary was done by then.
async fn canary_is_done_before(canary: &[&Member], member: &Member) -> anyhow::Result<()> {
    let requests: Api<ConfigMap> = member.within("kube-system");
    let seen = async {
        let only_requests = watcher::Config::default().labels(UPGRADE_LABEL);
        let mut requests = pin!(watcher(requests, only_requests).applied_objects());
        requests
            .try_next()
            .await
            .with_context(|| format!("failed to watch upgrades of `{}`", member.name))
    };
    match tokio::time::timeout(REACHED_WITHIN, seen).await {
        Ok(request) => request?,
        Err(_) => {
            return ensure(
                false,
                &member.name,
                "an upgrade",
                format!("none, {} s later", REACHED_WITHIN.as_secs()),
            );
        }
    };
    for canary in canary {
        for node in nodes(canary).await? {
            let version = version(&node);
            ensure(
                version == wanted(),
                &canary.name,
                &format!(
                    "all canary nodes at {} before an upgrade of `{}` begins",
                    wanted(),
                    member.name
                ),
                format!("node `{}` at {version}", name(&node)),
            )?;
        }
    }
    Ok(())
}

/// Checks the order that the run itself has noted.
fn ensure_order(run: &UpdateRun) -> anyhow::Result<()> {
    let stages = run.status.as_ref().map(|status| status.stages.as_slice()).unwrap_or_default();
    let [canary, rest] = stages else { bail!("the run has {} stages instead of 2", stages.len()) };
    let last_end = members(canary)
        .filter_map(|status| status.completed_time.as_ref())
        .map(|time| time.0)
        .max();
    let first_start =
        members(rest).filter_map(|status| status.start_time.as_ref()).map(|time| time.0).min();
    ensure(
        last_end.is_some() && last_end <= first_start,
        HUB,
        "the canary's end before any other member's start",
        format!("canary ended {last_end:?}, others started {first_start:?}"),
    )
}

fn members(stage: &StageStatus) -> impl Iterator<Item = &stolos_api::update::UpdateStatus> {
    stage.groups.iter().flat_map(|group| &group.members).map(|member| &member.status)
}

async fn nodes(member: &Member) -> anyhow::Result<Vec<Node>> {
    let nodes = member.all::<Node>().list(&ListParams::default()).await;
    let nodes =
        nodes.with_context(|| format!("failed to list the nodes of `{}`", member.name))?.items;
    ensure(!nodes.is_empty(), &member.name, "nodes", "none")?;
    Ok(nodes)
}

fn wanted() -> String {
    format!("v{VERSION}")
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn version(node: &Node) -> &str {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.map(|info| info.kubelet_version.as_str()).unwrap_or_default()
}

fn upgrades(node: &Node) -> &str {
    let annotations = node.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(UPGRADES_ANNOTATION))
        .map_or("0", String::as_str)
}
