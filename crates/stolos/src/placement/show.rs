//! `stolos placement show`.

use jiff::Timestamp;
use stolos_api::placement::ClusterResourcePlacement;
use stolos_core::placement::explain::described;

use super::hub::{Hub, kind_of};
use super::{PlacementArgs, text};
use crate::cli::Output;
use crate::exit::Exit;
use crate::output;

/// Columns of a terminal.
const WIDTH: usize = 100;
/// Most objects shown without `-o wide`.
const MOST_OBJECTS: usize = 12;

pub(super) async fn run(args: PlacementArgs, output: Output) -> anyhow::Result<Exit> {
    let hub = Hub::connect(&args.hub).await?;
    let placement = hub.placement(&args).await?;
    print(&placement, output)?;
    Ok(Exit::Success)
}

/// Prints a placement.
pub(super) fn print(placement: &ClusterResourcePlacement, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Name => output::line(&text::full_name(placement)),
        Output::Json | Output::Yaml => {
            output::structured(&text::readable(placement), output).map(|_| ())
        }
        Output::Table | Output::Wide => {
            for line in screen(placement, output == Output::Wide, Timestamp::now()) {
                output::line(&line)?;
            }
            Ok(())
        }
    }
}

fn screen(placement: &ClusterResourcePlacement, wide: bool, now: Timestamp) -> Vec<String> {
    let status = placement.status.clone().unwrap_or_default();
    let mut lines = vec![
        format!(
            "{} {}   {}, {} old",
            kind_of(placement),
            text::full_name(placement),
            text::state(placement),
            text::age(&placement.metadata, now)
        ),
        format!("Policy     {}", text::policy(&placement.spec)),
        format!("Strategy   {}", text::strategy(&placement.spec)),
        format!("Snapshot   {}", index(&status.observed_resource_index)),
        String::new(),
        format!("Objects    {}", status.selected_resources.len()),
    ];
    let most = if wide { usize::MAX } else { MOST_OBJECTS };
    let mut objects: Vec<String> =
        status.selected_resources.iter().take(most).map(described).collect();
    let more = status.selected_resources.len() - objects.len();
    if more > 0 {
        objects.push(format!("and {more} more (-o wide)"));
    }
    if !objects.is_empty() {
        lines.push(text::wrapped(objects, 2, WIDTH));
    }
    lines.push(String::new());
    let clusters: Vec<_> = text::clusters(placement).collect();
    lines.push(format!("Clusters   {}", clusters.len()));
    let width = clusters.iter().map(|cluster| cluster.cluster_name.len()).max().unwrap_or(0);
    for cluster in clusters {
        let step = text::step_of(&placement.spec, cluster);
        let (state, message) = match step {
            None => ("Pending", String::new()),
            Some(step) if text::is_done(&placement.spec, cluster) => {
                (step.reason.as_str(), String::new())
            }
            Some(step) => (step.reason.as_str(), step.message.clone()),
        };
        let n_overrides = cluster.applicable_resource_overrides.len()
            + cluster.applicable_cluster_resource_overrides.len();
        let overrides = if n_overrides > 0 {
            format!(", {}", output::count(n_overrides, "override"))
        } else {
            String::new()
        };
        let line = format!("  {:<width$}   {state}{overrides}", cluster.cluster_name);
        let line = if message.is_empty() { line } else { format!("{line}: {message}") };
        lines.push(if wide { line } else { output::cut(&line, WIDTH) });
    }
    let unfilled: Vec<_> = status
        .per_cluster_placement_statuses
        .iter()
        .filter(|cluster| cluster.cluster_name.is_empty())
        .collect();
    for entry in unfilled {
        let why = entry.conditions.first().map(|found| found.message.clone()).unwrap_or_default();
        let line = format!("  not picked: {why}");
        lines.push(if wide { line } else { output::cut(&line, WIDTH) });
    }
    if !text::is_complete(placement) {
        let namespace = placement.metadata.namespace.as_ref();
        let namespace = namespace.map(|found| format!(" -n {found}")).unwrap_or_default();
        let name = placement.metadata.name.as_deref().unwrap_or_default();
        lines.push(String::new());
        lines.push(format!("`stolos explain placement {name}{namespace}` tells what it waits for"));
    }
    lines
}

fn index(index: &str) -> &str {
    if index.is_empty() { "-" } else { index }
}
