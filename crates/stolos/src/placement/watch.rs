//! `stolos placement watch`: follows a placement until it is in place.

use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use jiff::Zoned;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::json;
use stolos_api::placement::{ClusterResourcePlacement, ResourcePlacement};
use tokio::time::Instant;

use super::hub::{Hub, cluster_scoped, name_of};
use super::{PlacementArgs, show, text};
use crate::cli::{Output, duration};
use crate::exit::Exit;
use crate::follow::{Follower, Looks};
use crate::output;

#[derive(Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    placement: PlacementArgs,
    /// Gives up after this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

pub(super) async fn run(args: WatchArgs, output: Output) -> anyhow::Result<Exit> {
    let hub = Hub::connect(&args.placement.hub).await?;
    let placement = hub.placement(&args.placement).await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let (placement, exit) = follow(hub.client.clone(), placement, deadline, output).await?;
    // Programs have read the end as the last change.
    if output != Output::Json {
        show::print(&placement, output)?;
    }
    Ok(exit)
}

async fn follow(
    client: Client,
    placement: ClusterResourcePlacement,
    deadline: Option<Instant>,
    output: Output,
) -> anyhow::Result<(ClusterResourcePlacement, Exit)> {
    let name = name_of(&placement).to_owned();
    let looks = looks(client, &placement);
    let mut follower = Follower::new(format!("placement `{name}`"), &placement, looks, deadline);
    let mut latest = placement;
    let mut told = None;
    loop {
        let line = standing(&latest);
        if told.as_ref() != Some(&line) {
            tell(&name, &line, output)?;
            told = Some(line);
        }
        if text::is_complete(&latest) {
            return Ok((latest, Exit::Success));
        }
        match follower.next(output::note).await? {
            Some(next) => latest = next,
            None => return Ok((latest, Exit::PlacementIncomplete)),
        }
    }
}

fn looks(client: Client, placement: &ClusterResourcePlacement) -> Looks<ClusterResourcePlacement> {
    let name = name_of(placement);
    match &placement.metadata.namespace {
        None => watch_object(Api::<ClusterResourcePlacement>::all(client), name)
            .default_backoff()
            .boxed(),
        Some(namespace) => {
            let api = Api::<ResourcePlacement>::namespaced(client, namespace);
            let looks = watch_object(api, name).default_backoff();
            looks.map_ok(|found| found.map(cluster_scoped)).boxed()
        }
    }
}

/// Returns how a placement stands, in one line that changes only when something a person waits for does.
fn standing(placement: &ClusterResourcePlacement) -> String {
    let clusters: Vec<_> = text::clusters(placement).collect();
    let done: Vec<_> =
        clusters.iter().filter(|cluster| text::is_done(&placement.spec, cluster)).collect();
    format!("{}, {}/{} clusters done", text::state(placement), done.len(), clusters.len())
}

fn tell(name: &str, line: &str, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let time = jiff::Timestamp::now();
        return output::line(
            &json!({"placement": name, "standing": line, "time": time}).to_string(),
        );
    }
    output::note(&format!("{}  {name}: {line}", Zoned::now().strftime("%H:%M:%S")));
    Ok(())
}
