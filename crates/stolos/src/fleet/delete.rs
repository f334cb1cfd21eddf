//! `stolos fleet delete`.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::wait::{await_condition, conditions};
use stolos_api::cluster::fleet::{Fleet as FleetObject, FleetMember};

use super::hub::{Fleet, explain};
use super::members::{self, Verb};
use super::{FleetName, show};
use crate::cli::{Output, duration};
use crate::exit::{Exit, Hinted};
use crate::output;

/// What the fleet itself may take when its members are gone.
const AFTER_MEMBERS: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    fleet: FleetName,
    /// Lets the members that the fleet has leave it
    #[arg(long)]
    with_members: bool,
    /// How long to wait for the members to leave
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(args: DeleteArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet.arguments()).await?;
    let object = show::get(&fleet).await?;
    let members: Vec<FleetMember> = fleet.list().await?;
    if !members.is_empty() && !args.with_members {
        let names: Vec<String> =
            members.iter().map(|member| fleet.short_name(member).to_owned()).collect();
        return Err(Hinted::error(
            format!(
                "{fleet} has {}: {}",
                output::count(members.len(), "member"),
                members::named(names.iter())
            ),
            "--with-members lets them leave as well; the clusters and what runs on them live on",
        ));
    }
    let name = &args.fleet.name;
    delete(&fleet, &object, args.timeout).await?;
    output::outcome(name, &object, &format!("fleet `{name}` deleted"), output)?;
    Ok(Exit::Success)
}

async fn delete(fleet: &Fleet, object: &FleetObject, within: Duration) -> anyhow::Result<()> {
    let api: Api<FleetObject> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&fleet.name, &params).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(explain(&format!("failed to delete {fleet}"), error)),
    }
    let began = Instant::now();
    let (left, done) =
        members::wait(fleet, within, Verb::Leave, members::Members::is_empty).await?;
    if !done {
        return Err(Hinted::error(
            format!(
                "{fleet} is marked for deletion, but after {} s these members have not left: {}",
                within.as_secs(),
                members::named(left.keys())
            ),
            "`stolos member leave NAME --force` gives up on an agent that does not answer",
        ));
    }
    let rest = within.saturating_sub(began.elapsed()).max(AFTER_MEMBERS);
    let gone = await_condition(api, &fleet.name, conditions::is_deleted(&uid));
    match tokio::time::timeout(rest, gone).await {
        Ok(gone) => {
            gone.with_context(|| format!("failed to see whether {fleet} is gone")).map(|_| ())
        }
        Err(_) => Err(Hinted::error(
            format!("{fleet} is marked for deletion and has no members, but is not gone"),
            "is `stolos hub` or `stolos up` running? `stolos fleet show` tells what the fleet has",
        )),
    }
}
