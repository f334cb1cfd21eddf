//! `stolos fleet show`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::Api;
use stolos_api::cluster::fleet::{Fleet as FleetObject, FleetMember};
use stolos_api::update::{State, UpdateRun, UpdateStrategy};

use super::FleetName;
use super::hub::{Fleet, explain};
use super::text::{self, MEMBER_COLUMNS, MORE_MEMBER_COLUMNS};
use crate::cli::{FleetArgs, Output};
use crate::connect::there_are;
use crate::exit::{Exit, Hinted};
use crate::output;
use crate::tree::SCREEN;

/// Members shown without `-o wide`; `stolos member list --fleet` shows all.
const MOST_MEMBERS: usize = 30;

impl FleetName {
    /// Returns the fleet as other commands name it.
    pub(super) fn arguments(&self) -> FleetArgs {
        let Self { name, namespace, hub } = self;
        FleetArgs { hub: hub.clone(), namespace: namespace.clone(), fleet: name.clone() }
    }
}

/// Returns the object of a fleet, or says which fleets there are.
pub(super) async fn get(fleet: &Fleet) -> anyhow::Result<FleetObject> {
    let api: Api<FleetObject> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let found = api.get_opt(&fleet.name).await;
    if let Some(found) = found.map_err(|error| explain(&format!("failed to get {fleet}"), error))? {
        return Ok(found);
    }
    let all = api.list(&kube::api::ListParams::default()).await;
    let all = all.map_err(|error| explain("failed to list fleets", error))?.items;
    let names = all.iter().filter_map(|found| found.metadata.name.as_ref());
    let names = names.map(|name| format!("`{name}`")).collect();
    let there = there_are(names, "fleets", "`stolos fleet list -A` looks into every namespace");
    let there =
        there.replacen("it has", "the namespace has", 1).replacen("its", "the namespace's", 1);
    Err(Hinted::error(format!("there is no {fleet}"), there))
}

pub(super) async fn run(args: FleetName, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.arguments()).await?;
    let object = get(&fleet).await?;
    if !matches!(output, Output::Table | Output::Wide) {
        output::outcome(&args.name, &object, "", output)?;
        return Ok(Exit::Success);
    }
    let members: Vec<FleetMember> = fleet.list().await?;
    let runs: Vec<UpdateRun> = fleet.list().await?;
    let strategies: Vec<UpdateStrategy> = fleet.list().await?;
    let names: Vec<&str> = strategies.iter().map(|found| fleet.short_name(found)).collect();
    for line in head(&object, &members, &runs, &names) {
        output::line(&output::cut(&line, SCREEN))?;
    }
    if members.is_empty() {
        return Ok(Exit::Success);
    }
    output::line("")?;
    let now = Timestamp::now();
    let rows: Vec<_> = members
        .iter()
        .map(|member| text::member_row(fleet.short_name(member), member, now))
        .collect();
    if output == Output::Wide {
        output::table(&[&MEMBER_COLUMNS[..], &MORE_MEMBER_COLUMNS[..]].concat(), &rows)?;
        return Ok(Exit::Success);
    }
    let shown = &rows[..rows.len().min(MOST_MEMBERS)];
    let shown: Vec<_> = shown.iter().map(|row| row[..MEMBER_COLUMNS.len()].to_vec()).collect();
    output::narrow_table(&MEMBER_COLUMNS, &shown, SCREEN)?;
    if rows.len() > shown.len() {
        let more = rows.len() - shown.len();
        output::line(&format!("… {more} more; `stolos member list --fleet {}`", fleet.name))?;
    }
    Ok(Exit::Success)
}

fn head(
    fleet: &FleetObject,
    members: &[FleetMember],
    runs: &[UpdateRun],
    strategies: &[&str],
) -> Vec<String> {
    let mut states = BTreeMap::new();
    for member in members {
        *states.entry(text::member_state(member).name()).or_insert(0) += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mut lines = vec![
        ("fleet", fleet.metadata.name.clone().unwrap_or_default()),
        ("kind", kind(fleet).to_owned()),
        ("members", if states.is_empty() { "none".to_owned() } else { states.join(", ") }),
    ];
    let under_way = runs.iter().filter(|run| is_under_way(run)).count();
    lines.push((
        "runs",
        format!("{}, {under_way} under way", output::count(runs.len(), "update run")),
    ));
    if !strategies.is_empty() {
        lines.push(("strategies", strategies.join(", ")));
    }
    let labels: Vec<String> = fleet
        .metadata
        .labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() {
        lines.push(("labels", labels.join(",")));
    }
    if fleet.metadata.deletion_timestamp.is_some() {
        lines.push(("deleted", "it goes when everything of it is gone".to_owned()));
    }
    lines.iter().map(|(key, value)| format!("{key:<10} {value}")).collect()
}

fn kind(fleet: &FleetObject) -> &'static str {
    match text::kind(fleet) {
        "Hubful" => "Hubful: places workloads on its members and updates them",
        _ => "Hubless: updates its members",
    }
}

fn is_under_way(run: &UpdateRun) -> bool {
    let state = run.status.as_ref().map_or(State::NotStarted, |status| status.status.state);
    matches!(state, State::Running | State::Pending | State::Stopping)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::text::tests::member;

    #[test]
    fn the_head_counts_members_by_state() {
        let fleet: FleetObject = serde_json::from_value(json!({
            "metadata": { "name": "edge", "labels": { "owner": "shops" } }, "spec": {},
        }))
        .unwrap();
        let members = [
            member("a", "True", "Joined", ""),
            member("b", "True", "Joined", ""),
            member("c", "False", "ClusterAlreadyJoinedAnotherFleet", "taken"),
        ];
        insta::assert_snapshot!(head(&fleet, &members, &[], &["rings", "slow"]).join("\n"), @"
        fleet      edge
        kind       Hubless: updates its members
        members    2 Joined, 1 Refused
        runs       0 update runs, 0 under way
        strategies rings, slow
        labels     owner=shops
        ");
    }
}
