//! `stolos member leave`.

use std::time::Duration;

use clap::Args;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::wait::await_condition;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::cluster::names::member_namespace;
use stolos_api::cluster::{InternalMemberCluster, MemberCluster};
use stolos_core::cluster::fleet::made_for;

use crate::arguments;
use crate::cli::{FleetArgs, Output, duration};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::{Fleet, explain};
use crate::fleet::members::{self, Verb};
use crate::output;

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos member leave shop --fleet edge
  stolos member leave shop mall --fleet edge --timeout 15m
  stolos member leave shop --force

The cluster and what was placed on it live on. In a fleet with a hub, the agent takes leave first; --force does not wait
for it.";

#[derive(Args)]
pub(crate) struct LeaveArgs {
    /// Names of the members within their fleet
    #[arg(required = true, value_name = "NAME", value_parser = arguments::name)]
    names: Vec<String>,
    /// Gives up on an agent that does not answer: the hub forgets the member at once
    #[arg(long)]
    force: bool,
    /// How long to wait until the members are gone
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: LeaveArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let mut leaving: Vec<FleetMember> = Vec::new();
    // A name that is wrong lets none of the others go.
    for name in &args.names {
        leaving.push(fleet.get(name).await?);
    }
    for member in &leaving {
        let name = fleet.short_name(member);
        for warning in warnings(name, member, args.force) {
            output::note(&warning);
        }
        delete(&fleet, name, member).await?;
        if args.force {
            give_up_agent(&fleet, name, member, args.timeout).await?;
        }
    }
    let is_gone = |members: &members::Members, member: &FleetMember| {
        let there = members.get(fleet.short_name(member));
        there.is_none_or(|there| there.metadata.uid != member.metadata.uid)
    };
    let all_gone =
        |members: &members::Members| leaving.iter().all(|member| is_gone(members, member));
    let (members, done) = members::wait(&fleet, args.timeout, Verb::Leave, all_gone).await?;
    for member in leaving.iter().filter(|member| is_gone(&members, member)) {
        let name = fleet.short_name(member);
        output::outcome(name, member, &format!("member `{name}` has left {fleet}"), output)?;
    }
    if done {
        return Ok(Exit::Success);
    }
    let late: Vec<String> = leaving
        .iter()
        .filter(|member| !is_gone(&members, member))
        .map(|member| fleet.short_name(member).to_owned())
        .collect();
    Err(Hinted::error(
        format!(
            "after {} s these members are still leaving: {}",
            args.timeout.as_secs(),
            members::named(late.iter())
        ),
        "does the agent of each run, and `stolos hub`? --force gives up on the agent",
    ))
}

/// Returns what the user should know before a member leaves.
fn warnings(name: &str, member: &FleetMember, force: bool) -> Vec<String> {
    let lease = member.status.as_ref().and_then(|status| status.update_lease.as_ref());
    let updating = lease.map(|lease| {
        format!(
            "warning: update run `{}` is updating `{name}`; the upgrade that has begun is not interrupted, \
             and the run counts the member as skipped",
            lease.update_run
        )
    });
    let forced = force.then(|| {
        format!(
            "warning: the agent of `{name}` is not asked to take leave; what was placed on the cluster stays there, \
             and an agent that comes back has no rights on the hub any more"
        )
    });
    updating.into_iter().chain(forced).collect()
}

async fn delete(fleet: &Fleet, name: &str, member: &FleetMember) -> anyhow::Result<()> {
    let preconditions = Preconditions { uid: member.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match fleet.api::<FleetMember>().delete(&fleet.object_name(name), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(explain(&format!("failed to let member `{name}` leave"), error)),
    }
}

/// Takes away what the hub waits for the agent with: without an InternalMemberCluster nobody can take leave, so the hub
/// cleans up. It must not go before the MemberCluster is on its way out, or the hub would make it anew.
async fn give_up_agent(
    fleet: &Fleet,
    name: &str,
    member: &FleetMember,
    within: Duration,
) -> anyhow::Result<()> {
    let clusters: Api<MemberCluster> = Api::all(fleet.client.clone());
    let doing = format!("failed to see how far member `{name}` is");
    let cluster = clusters.get_opt(name).await.map_err(|error| explain(&doing, error))?;
    let ours = |cluster: &MemberCluster| made_for(cluster) == member.metadata.uid.as_deref();
    if !cluster.is_some_and(|cluster| ours(&cluster)) {
        return Ok(());
    }
    let is_leaving = |cluster: Option<&MemberCluster>| {
        cluster.is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some())
    };
    let seen = tokio::time::timeout(within, await_condition(clusters, name, is_leaving)).await;
    if !matches!(seen, Ok(Ok(_))) {
        return Err(Hinted::error(
            format!("the hub has not begun to let member `{name}` go after {} s", within.as_secs()),
            "is `stolos hub` or `stolos up` running?",
        ));
    }
    let internal: Api<InternalMemberCluster> =
        Api::namespaced(fleet.client.clone(), &member_namespace(name));
    match internal.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(explain(&format!("failed to give up the agent of `{name}`"), error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::text::tests::member;

    #[test]
    fn leaving_by_force_or_while_updating_comes_with_a_warning() {
        let mut shop = member("shop", "True", "Joined", "");
        assert!(warnings("shop", &shop, false).is_empty());
        assert!(warnings("shop", &shop, true)[0].contains("is not asked to take leave"));
        shop.status.as_mut().unwrap().update_lease = Some(
            serde_json::from_value(json!({
                "updateRun": "june", "updateRunUid": "u", "operationId": "o",
                "acquiredTime": "2026-06-01T10:00:00Z",
            }))
            .unwrap(),
        );
        let warnings = warnings("shop", &shop, false);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("warning: update run `june` is updating `shop`;"));
    }
}
