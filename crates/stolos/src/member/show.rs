//! `stolos member show`.

use jiff::Timestamp;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::agent;

use super::MemberName;
use super::hub::{self, Hub};
use crate::cli::Output;
use crate::exit::Exit;
use crate::output;

/// Columns of a terminal.
const WIDTH: usize = 100;

pub(super) async fn run(args: MemberName, output: Output) -> anyhow::Result<Exit> {
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
