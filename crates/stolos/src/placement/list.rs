//! `stolos placement list`.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use stolos_api::placement::ClusterResourcePlacement;

use super::hub::Hub;
use super::text;
use crate::cli::{HubClientArgs, Output};
use crate::exit::Exit;
use crate::output;

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Lists the ResourcePlacements of this namespace only
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    hub: HubClientArgs,
}

const COLUMNS: [&str; 6] = ["NAME", "POLICY", "CLUSTERS", "DONE", "STATE", "AGE"];
const MORE_COLUMNS: [&str; 3] = ["OBJECTS", "SNAPSHOT", "STRATEGY"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let hub = Hub::connect(&args.hub).await?;
    let placements = hub.all_placements(args.namespace.as_deref()).await?;
    match output {
        Output::Json | Output::Yaml => {
            let items: Vec<_> = placements.iter().map(text::readable).collect();
            output::structured(
                &json!({ "apiVersion": "v1", "kind": "List", "items": items }),
                output,
            )?;
        }
        Output::Name => {
            for placement in &placements {
                output::line(&text::full_name(placement))?;
            }
        }
        Output::Table | Output::Wide if placements.is_empty() => match &args.namespace {
            Some(namespace) => output::note(&format!("namespace `{namespace}` has no placements")),
            None => output::note("there are no placements"),
        },
        Output::Table | Output::Wide => {
            let wide = output == Output::Wide;
            let headings: Vec<&str> =
                COLUMNS.into_iter().chain(MORE_COLUMNS.into_iter().filter(|_| wide)).collect();
            let now = Timestamp::now();
            let rows: Vec<_> = placements.iter().map(|found| row(found, wide, now)).collect();
            output::table(&headings, &rows)?;
        }
    }
    Ok(Exit::Success)
}

fn row(placement: &ClusterResourcePlacement, wide: bool, now: Timestamp) -> Vec<String> {
    let clusters: Vec<_> = text::clusters(placement).collect();
    let n_done = clusters.iter().filter(|cluster| text::is_done(&placement.spec, cluster)).count();
    let mut row = vec![
        text::full_name(placement),
        text::policy(&placement.spec),
        clusters.len().to_string(),
        format!("{n_done}/{}", clusters.len()),
        text::state(placement),
        text::age(&placement.metadata, now),
    ];
    if wide {
        let status = placement.status.clone().unwrap_or_default();
        row.push(status.selected_resources.len().to_string());
        row.push(status.observed_resource_index);
        row.push(text::strategy(&placement.spec));
    }
    row
}
