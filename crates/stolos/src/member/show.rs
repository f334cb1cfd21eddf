//! `stolos member show`.

use jiff::Timestamp;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::cluster::names::agent;

use super::MemberName;
use super::hub::{self, Hub};
use crate::cli::Output;
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::fleet::text;
use crate::output;
use crate::windows;

/// Columns of a terminal.
const WIDTH: usize = 100;

pub(super) async fn run(args: MemberName, output: Output) -> anyhow::Result<Exit> {
    if let Some(fleet) = args.fleet.arguments(&args.hub) {
        return of_fleet(&Fleet::connect(&fleet).await?, &args.name, output).await;
    }
    let hub = Hub::connect(&args.hub).await?;
    let member = hub.member(&args.name).await?;
    if output == Output::Name {
        output::line(&args.name)?;
    } else if !output::structured(&hub::readable(&member)?, output)? {
        let placed = hub.placed().await?;
        let placed: Vec<_> = placed
            .into_iter()
            .filter(|(cluster, _)| *cluster == args.name)
            .map(|(_, p)| p)
            .collect();
        for line in screen(&member, &placed, Timestamp::now()) {
            output::line(&output::cut(&line, WIDTH))?;
        }
    }
    Ok(Exit::Success)
}

/// Shows what a fleet knows of its member.
async fn of_fleet(fleet: &Fleet, name: &str, output: Output) -> anyhow::Result<Exit> {
    let member: FleetMember = fleet.get(name).await?;
    let page = fleet_screen(name, &member, Timestamp::now()).join("\n");
    output::outcome(name, &member, &page, output)?;
    Ok(Exit::Success)
}

fn fleet_screen(name: &str, member: &FleetMember, now: Timestamp) -> Vec<String> {
    let status = member.status.clone().unwrap_or_default();
    let state = text::member_state(member).name();
    let why = text::why_not_joined(member).map(|why| format!(": {why}")).unwrap_or_default();
    let mut lines = vec![
        ("member", name.to_owned()),
        ("state", format!("{state}{why}")),
        ("cluster", text::cluster(member)),
        ("group", member.spec.group.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    lines.extend(status.kubernetes_version.map(|version| ("version", version)));
    lines.extend(status.location.map(|location| ("location", location)));
    lines.extend(status.update_lease.map(|lease| {
        let since = output::age(lease.acquired_time.0, now);
        ("updating", format!("by update run {}, for {since}", lease.update_run))
    }));
    let set = member.spec.maintenance_windows.clone().unwrap_or_default();
    for (kind, window) in [("kubernetes", set.kubernetes), ("node images", set.node_image)] {
        lines
            .extend(window.map(|window| ("window", format!("{kind}: {}", windows::text(&window)))));
    }
    let automatic = status.labels.iter().filter(|(key, _)| !member.spec.labels.contains_key(*key));
    for (heading, (key, value)) in std::iter::once("labels")
        .chain(std::iter::repeat(""))
        .zip(member.spec.labels.iter().chain(automatic))
    {
        lines.push((heading, format!("{key}={value}")));
    }
    lines.iter().map(|(key, value)| format!("{key:<10} {value}")).collect()
}

fn screen(member: &MemberCluster, placed: &[String], now: Timestamp) -> Vec<String> {
    let status = member.status.clone().unwrap_or_default();
    let (state, why) = hub::state(member, now);
    let heard = status.agent(agent::MEMBER_AGENT).and_then(|a| a.last_received_heartbeat.clone());
    let heard = heard.map_or_else(
        || "its agent was never heard of".to_owned(),
        |at| format!("its agent was heard of {} ago", output::age(at.0, now)),
    );
    let name = member.metadata.name.as_deref().unwrap_or_default();
    let mut lines = vec![format!("Member {name}   {state}, {heard}")];
    lines.extend(why);
    let mut section = |title: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(items.into_iter().map(|item| format!("  {item}")));
        }
    };
    let labels = member.metadata.labels.iter().flatten();
    section("Labels", labels.map(|(key, value)| format!("{key}={value}")).collect());
    section("Taints", member.spec.taints.iter().map(hub::taint).collect());
    let properties = status.properties.iter();
    let properties = properties.map(|(name, property)| format!("{name}: {}", property.value));
    section("Properties", properties.collect());
    if status.resource_usage.is_some() {
        let free = ["cpu", "memory"].map(|name| format!("{name}: {}", hub::amount(member, name)));
        section("Free of what can be used", free.into());
    }
    let condition = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        format!("{} {} ({})", c.type_, c.status, c.reason)
    };
    section("Conditions", status.conditions.iter().map(condition).collect());
    section("Placements", placed.to_vec());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::text::tests::member;

    #[test]
    fn maintenance_windows_are_shown_as_they_are_given() {
        let mut shop = member("shop", "True", "Joined", "");
        let windows = stolos_api::update::MaintenanceWindows {
            kubernetes: Some(windows::parse("last sunday 02:00/4h").unwrap()),
            node_image: Some(windows::parse("daily 02:00/4h").unwrap()),
        };
        shop.spec.maintenance_windows = Some(windows);
        let lines = fleet_screen("shop", &shop, Timestamp::UNIX_EPOCH);
        let shown: Vec<_> = lines.iter().filter(|line| line.starts_with("window")).collect();
        assert_eq!(
            shown,
            [
                "window     kubernetes: last sunday 02:00/4h",
                "window     node images: daily 02:00/4h"
            ]
        );
    }

    #[test]
    fn a_member_of_a_fleet_says_why_it_is_not_joined() {
        let taken = "the cluster is member `local.a` already; a cluster is in at most one fleet";
        let shop = member("shop", "False", "ClusterAlreadyJoinedAnotherFleet", taken);
        insta::assert_snapshot!(fleet_screen("shop", &shop, Timestamp::UNIX_EPOCH).join("\n"), @"
        member     shop
        state      Refused: the cluster is member `local.a` already; a cluster is in at most one fleet
        cluster    cluster-api://default/shop
        group      shops
        version    1.34.1
        labels     tier=gold
        ");
    }
}
