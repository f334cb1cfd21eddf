//! `stolos placement watch`: follows a placement until it is in place.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Zoned;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use serde_json::json;
use stolos_api::placement::{ClusterResourcePlacement, ResourcePlacement};
use tokio::time::Instant;

use super::hub::{Hub, cluster_scoped, name_of};
use super::{PlacementArgs, show, text};
use crate::cli::{Output, duration};
use crate::connect::explain;
use crate::exit::Exit;
use crate::output;

/// How long the hub may not answer before watching it ends. A restart of the hub takes less.
const LOST_FOR: Duration = Duration::from_mins(5);

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
    let mut looks = looks(client, &placement);
    let mut latest = placement;
    let mut told = None;
    let mut lost_since: Option<Instant> = None;
    loop {
        let line = standing(&latest);
        if told.as_ref() != Some(&line) {
            tell(&name, &line, output)?;
            told = Some(line);
        }
        if text::is_complete(&latest) {
            return Ok((latest, Exit::Success));
        }
        let lost_at = lost_since.map(|since| since + LOST_FOR);
        let until = [deadline, lost_at].into_iter().flatten().min();
        let look = match until {
            None => looks.next().await,
            Some(until) => match tokio::time::timeout_at(until, looks.next()).await {
                Ok(look) => look,
                Err(_) if deadline == Some(until) => {
                    return Ok((latest, Exit::PlacementIncomplete));
                }
                Err(_) => bail!(
                    "lost the hub: it has not answered for {} minutes",
                    LOST_FOR.as_secs() / 60
                ),
            },
        };
        match look {
            Some(Ok(Some(next))) if next.metadata.uid == latest.metadata.uid => {
                lost_since = None;
                latest = next;
            }
            Some(Ok(_)) => bail!("placement `{name}` was deleted while it was watched"),
            Some(Err(error)) => {
                let doing = format!("failed to watch placement `{name}`");
                let error = match error {
                    watcher::Error::InitialListFailed(error)
                    | watcher::Error::WatchStartFailed(error)
                    | watcher::Error::WatchFailed(error) => error,
                    watcher::Error::WatchError(status) => kube::Error::Api(status),
                    error @ watcher::Error::NoResourceVersion => {
                        return Err(anyhow::Error::from(error).context(doing));
                    }
                };
                if matches!(&error, kube::Error::Api(status) if matches!(status.code, 400..=404)) {
                    return Err(explain(&doing, error));
                }
                if lost_since.is_none() {
                    lost_since = Some(Instant::now());
                    output::note(&format!(
                        "lost the hub, trying again: {}",
                        explain(&doing, error)
                    ));
                }
            }
            None => bail!("the watch of placement `{name}` has ended by itself"),
        }
    }
}

type Looks = BoxStream<'static, Result<Option<ClusterResourcePlacement>, watcher::Error>>;

fn looks(client: Client, placement: &ClusterResourcePlacement) -> Looks {
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
