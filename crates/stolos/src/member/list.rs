//! `stolos member list`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::cluster::names::agent;
use stolos_core::update::selector::Selector;

use super::OfFleet;
use super::hub::{self, Hub};
use crate::cli::{HubClientArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::fleet::text;
use crate::output;
use crate::tree::SCREEN;

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Label selector, as in `region=europe,tier!=test`
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    selector: String,
    #[command(flatten)]
    fleet: OfFleet,
    #[command(flatten)]
    hub: HubClientArgs,
}

const COLUMNS: [&str; 8] =
    ["NAME", "STATE", "NODES", "CPU FREE", "MEMORY FREE", "PLACEMENTS", "TAINTS", "SEEN"];
const MORE_COLUMNS: [&str; 3] = ["AGE", "LABELS", "WHY NOT READY"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    if let Some(fleet) = args.fleet.arguments(&args.hub) {
        return of_fleet(&Fleet::connect(&fleet).await?, &args.selector, output).await;
    }
    let hub = Hub::connect(&args.hub).await?;
    let members = hub.list(&args.selector).await?;
    match output {
        Output::Json | Output::Yaml => {
            let items = members.iter().map(hub::readable).collect::<anyhow::Result<Vec<_>>>()?;
            output::structured(
                &json!({ "apiVersion": "v1", "kind": "List", "items": items }),
                output,
            )?;
        }
        Output::Name => {
            for member in &members {
                output::line(member.metadata.name.as_deref().unwrap_or_default())?;
            }
        }
        Output::Table | Output::Wide if members.is_empty() => output::note("there are no members"),
        Output::Table | Output::Wide => {
            let placed = hub.placed().await?;
            let wide = output == Output::Wide;
            let headings: Vec<&str> =
                COLUMNS.into_iter().chain(MORE_COLUMNS.into_iter().filter(|_| wide)).collect();
            let now = Timestamp::now();
            let row = |member: &MemberCluster| {
                let name = member.metadata.name.as_deref().unwrap_or_default();
                let n_placed = placed.iter().filter(|(cluster, _)| cluster == name).count();
                row(member, n_placed, wide, now)
            };
            output::table(&headings, &members.iter().map(row).collect::<Vec<_>>())?;
        }
    }
    Ok(Exit::Success)
}

/// Lists the members of one fleet, which needs no hub.
async fn of_fleet(fleet: &Fleet, selector: &str, output: Output) -> anyhow::Result<Exit> {
    // Without a selector there is nothing to meet.
    let requirements = Some(selector).filter(|selector| !selector.trim().is_empty());
    let selector = requirements.map(str::parse::<Selector>).transpose().map_err(|error| {
        Hinted::error(format!("--selector: {error}"), "several stand with commas between them")
    })?;
    let mut members: Vec<FleetMember> = fleet.list().await?;
    members.retain(|member| selector.as_ref().is_none_or(|wanted| wanted.matches(&labels(member))));
    if output::list(&members, |member| fleet.short_name(member).to_owned(), output)? {
        return Ok(Exit::Success);
    }
    if members.is_empty() {
        fleet.require().await?;
        output::note(&format!("{fleet} has no such members"));
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    let row = |member: &FleetMember| text::member_row(fleet.short_name(member), member, now);
    let rows: Vec<_> = members.iter().map(row).collect();
    if output == Output::Wide {
        let columns = [&text::MEMBER_COLUMNS[..], &text::MORE_MEMBER_COLUMNS[..]].concat();
        output::table(&columns, &rows)?;
    } else {
        let n_columns = text::MEMBER_COLUMNS.len();
        let rows: Vec<_> = rows.iter().map(|row| row[..n_columns].to_vec()).collect();
        output::narrow_table(&text::MEMBER_COLUMNS, &rows, SCREEN)?;
    }
    Ok(Exit::Success)
}

/// Returns the labels that selectors of update strategies see: the member's own and the automatic ones.
fn labels(member: &FleetMember) -> BTreeMap<String, String> {
    let observed = member.status.as_ref().map(|status| status.labels.clone()).unwrap_or_default();
    member.spec.labels.clone().into_iter().chain(observed).collect()
}

fn row(member: &MemberCluster, n_placed: usize, wide: bool, now: Timestamp) -> Vec<String> {
    let status = member.status.clone().unwrap_or_default();
    let (state, why) = hub::state(member, now);
    let nodes = status.properties.get(hub::NODE_COUNT).map(|property| property.value.clone());
    let heard = status.agent(agent::MEMBER_AGENT).and_then(|a| a.last_received_heartbeat.clone());
    let since =
        |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |at| output::age(at, now));
    let mut row = vec![
        member.metadata.name.clone().unwrap_or_default(),
        state.to_owned(),
        nodes.unwrap_or_else(|| "-".to_owned()),
        hub::amount(member, "cpu"),
        hub::amount(member, "memory"),
        n_placed.to_string(),
        member.spec.taints.len().to_string(),
        since(heard.map(|at| at.0)),
    ];
    if wide {
        row.push(since(member.metadata.creation_timestamp.as_ref().map(|at| at.0)));
        let labels = member.metadata.labels.iter().flatten();
        row.push(labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","));
        row.push(why.unwrap_or_default());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_every_column_and_says_why_a_member_is_not_ready() {
        let member: MemberCluster = serde_json::from_value(json!({
            "metadata": {"name": "east", "labels": {"region": "europe"}},
            "spec": {
                "identity": {"kind": "User", "name": "x"},
                "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
            },
            "status": {
                "properties": {"kubernetes-fleet.io/node-count": {"value": "3", "observationTime": "2026-01-01T00:00:00Z"}},
                "resourceUsage": {"allocatable": {"cpu": "4"}, "available": {"cpu": "3500m"}},
            },
        }))
        .unwrap();
        let row = |wide| row(&member, 2, wide, Timestamp::UNIX_EPOCH);
        assert_eq!(row(false), ["east", "NotReady", "3", "3500m/4", "-/-", "2", "1", "-"]);
        assert_eq!(row(true).len(), COLUMNS.len() + MORE_COLUMNS.len());
        assert_eq!(
            row(true)[10],
            "cluster is not connected to the fleet: member agent not online yet"
        );
    }
}
