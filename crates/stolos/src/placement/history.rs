//! `stolos placement history`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use stolos_api::placement::{BindingState, ClusterResourceBinding, ClusterResourceSnapshot};
use stolos_core::placement::snapshot::{Snapshot, resources};

use super::PlacementArgs;
use super::hub::Hub;
use crate::cli::Output;
use crate::exit::Exit;
use crate::output;

/// An earlier state of what a placement selects.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revision {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    latest: bool,
    n_objects: usize,
    /// Clusters that have it.
    clusters: Vec<String>,
}

pub(super) async fn run(args: PlacementArgs, output: Output) -> anyhow::Result<Exit> {
    let hub = Hub::connect(&args.hub).await?;
    let placement = hub.placement(&args).await?;
    let snapshots = hub.snapshots(&placement).await?;
    let bindings = hub.bindings(&placement).await?;
    let revisions = revisions(&snapshots, &bindings);
    if output == Output::Name {
        for revision in &revisions {
            output::line(&revision.index.to_string())?;
        }
    } else if output::structured(&revisions, output)? {
    } else if revisions.is_empty() {
        output::note(&format!("placement `{}` has no resource snapshots yet", args.name));
    } else {
        let wide = output == Output::Wide;
        let now = Timestamp::now();
        let rows: Vec<_> = revisions.iter().map(|revision| row(revision, wide, now)).collect();
        output::table(&["SNAPSHOT", "CREATED", "OBJECTS", "CLUSTERS", "LATEST"], &rows)?;
    }
    Ok(Exit::Success)
}

/// Returns the states that are kept, the newest first.
fn revisions(
    snapshots: &[ClusterResourceSnapshot],
    bindings: &[ClusterResourceBinding],
) -> Vec<Revision> {
    let views: Vec<_> = snapshots
        .iter()
        .map(|found| Snapshot { metadata: &found.metadata, spec: &found.spec })
        .collect();
    let mut on: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for binding in bindings.iter().filter(|b| b.spec.state != BindingState::Scheduled) {
        let clusters = on.entry(&binding.spec.resource_snapshot_name).or_default();
        clusters.push(binding.spec.target_cluster.clone());
        clusters.sort();
    }
    let groups = resources::groups(&views);
    let latest = groups.keys().next_back().copied();
    let revision = |(index, group): (&u64, &resources::Group<'_>)| {
        let master = group.master()?.metadata;
        Some(Revision {
            index: *index,
            created: master.creation_timestamp.as_ref().map(|time| time.0),
            latest: latest == Some(*index),
            n_objects: group.identifiers().len(),
            clusters: on.get(master.name.as_deref()?).cloned().unwrap_or_default(),
        })
    };
    groups.iter().rev().filter_map(revision).collect()
}

fn row(revision: &Revision, wide: bool, now: Timestamp) -> Vec<String> {
    let clusters =
        if wide { revision.clusters.join(" ") } else { revision.clusters.len().to_string() };
    vec![
        revision.index.to_string(),
        revision.created.map_or_else(|| "-".to_owned(), |at| output::age(at, now) + " ago"),
        revision.n_objects.to_string(),
        clusters,
        if revision.latest { "yes" } else { "" }.to_owned(),
    ]
}
