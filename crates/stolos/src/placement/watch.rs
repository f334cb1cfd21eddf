//! `stolos placement watch`: follows a placement until it is in place.

use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use jiff::Zoned;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
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
            tell(&latest, &line, output)?;
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

fn tell(placement: &ClusterResourcePlacement, line: &str, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::line(&event(placement, line, jiff::Timestamp::now()).to_string());
    }
    let name = text::full_name(placement);
    output::note(&format!("{}  {name}: {line}", Zoned::now().strftime("%H:%M:%S")));
    Ok(())
}

/// What programs read, a line for each change.
fn event(placement: &ClusterResourcePlacement, line: &str, now: jiff::Timestamp) -> Value {
    let mut event = json!({"placement": name_of(placement), "standing": line, "time": now});
    if let Some(namespace) = &placement.metadata.namespace {
        event["namespace"] = json!(namespace);
    }
    event
}

#[cfg(test)]
mod tests {
    use stolos_api::placement::PlacementSpec;

    use super::*;

    #[test]
    fn the_placement_of_a_namespace_is_told_with_its_namespace() {
        let mut placement = ClusterResourcePlacement::new("content", PlacementSpec::default());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let told = |placement: &_| event(placement, "Complete", now).to_string();
        assert_eq!(
            told(&placement),
            r#"{"placement":"content","standing":"Complete","time":"1970-01-01T00:00:00Z"}"#
        );
        placement.metadata.namespace = Some("shop".to_owned());
        assert!(told(&placement).contains(r#""namespace":"shop""#));
    }
}
