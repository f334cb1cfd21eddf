//! `stolos fleet list`.

use clap::Args;
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use stolos_api::cluster::fleet::Fleet;

use super::hub::explain;
use super::text;
use crate::cli::{HubClientArgs, Output};
use crate::connect;
use crate::exit::Exit;
use crate::output;
use crate::tree::SCREEN;

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Namespace of the fleets (their resource group)
    #[arg(short, long, default_value = "default", conflicts_with = "all_namespaces")]
    namespace: String,
    /// Fleets of every namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    hub: HubClientArgs,
}

const COLUMNS: [&str; 6] = ["NAMESPACE", "NAME", "KIND", "JOINED", "AGE", "LABELS"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let client = connect::hub(&args.hub).await?;
    let api: Api<Fleet> = if args.all_namespaces {
        Api::all(client)
    } else {
        Api::namespaced(client, &args.namespace)
    };
    let fleets = api.list(&ListParams::default()).await;
    let fleets = fleets.map_err(|error| explain("failed to list fleets", error))?.items;
    let name = |fleet: &Fleet| fleet.metadata.name.clone().unwrap_or_default();
    if output::list(&fleets, name, output)? {
        return Ok(Exit::Success);
    }
    if fleets.is_empty() {
        let place = if args.all_namespaces {
            String::new()
        } else {
            format!(" in namespace `{}`; -A looks into every one", args.namespace)
        };
        output::note(&format!("there are no fleets{place}"));
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    let skipped = usize::from(!args.all_namespaces);
    let rows: Vec<_> = fleets.iter().map(|fleet| row(fleet, now)[skipped..].to_vec()).collect();
    let width = if output == Output::Wide { usize::MAX } else { SCREEN };
    output::narrow_table(&COLUMNS[skipped..], &rows, width)?;
    Ok(Exit::Success)
}

fn row(fleet: &Fleet, now: Timestamp) -> Vec<String> {
    let status = fleet.status.clone().unwrap_or_default();
    let labels = fleet.metadata.labels.iter().flatten();
    vec![
        fleet.metadata.namespace.clone().unwrap_or_default(),
        fleet.metadata.name.clone().unwrap_or_default(),
        text::kind(fleet).to_owned(),
        format!("{}/{}", status.joined_members, status.members),
        output::since(fleet.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let fleet: Fleet = serde_json::from_value(json!({
            "metadata": { "name": "edge", "namespace": "shops", "labels": { "owner": "us" } },
            "spec": {}, "status": { "members": 3, "joinedMembers": 2 },
        }))
        .unwrap();
        let row = row(&fleet, Timestamp::UNIX_EPOCH);
        assert_eq!(row.len(), COLUMNS.len());
        assert_eq!(row.join(" "), "shops edge Hubless 2/3 - owner=us");
    }
}
