//! `stolos demo`: a guided tour on a fleet of its own that checks itself.
//!
//! Every step does something as a user would, waits for what must follow, and checks what must not. The tour ends at
//! the first step that does not hold: the later ones build on it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::cli::{DemoArgs, UpArgs};
use crate::dns_options::DnsOptions;
use crate::exit::Exit;
use crate::hub_options::ServiceImporters;
use crate::limit_options::LimitOptions;
use crate::output;
use crate::up;

mod expect;
mod manifests;
mod placement;
mod services;
mod tour;
mod update;
mod world;

use tour::Tour;
use world::World;

/// Members of the fleet.
const MEMBERS: u32 = 3;

/// Short, so that the tour is; not zero, so that things really happen one after another.
const POD_DELAY: Duration = Duration::from_millis(50);

/// Long enough for an order of updates to be seen.
const NODE_UPGRADE_TIME: Duration = Duration::from_millis(200);

/// Runs the tour.
pub(crate) async fn run(_: DemoArgs) -> anyhow::Result<Exit> {
    let mut tour = Tour::begin();
    let arguments = arguments();
    // The start of a whole fleet is a large future.
    let fleet = Box::pin(up::Fleet::start(&arguments));
    let title = "a hub and three members start, and the members join";
    let Some(fleet) = tour.step(title, fleet).await? else { return Ok(Exit::Failure) };
    let held = show(&mut tour, &fleet).await;
    fleet.stop().await;
    if !held? {
        return Ok(Exit::Failure);
    }
    output::line(&tour.summary())?;
    Ok(Exit::Success)
}

/// Takes the steps; returns whether all of them held.
async fn show(tour: &mut Tour, fleet: &up::Fleet) -> anyhow::Result<bool> {
    let world = World::of(fleet)?;
    let steps: [(&str, BoxFuture<'_, anyhow::Result<()>>); 12] = [
        ("somebody else has an object on every member", Box::pin(placement::strangers(&world))),
        (
            "a namespace with its content is placed on 3 members, and its Deployment runs",
            Box::pin(placement::place(&world)),
        ),
        ("a ClusterRole is placed on all members", Box::pin(placement::place_everywhere(&world))),
        ("a change on the hub reaches every member", Box::pin(placement::change(&world))),
        ("an object that is deleted on a member comes back", Box::pin(placement::restore(&world))),
        (
            "narrowed to 2 members, the placement leaves one, and nothing else there",
            Box::pin(placement::narrow(&world)),
        ),
        (
            "an update run brings nodes to a new version, each once, the canary first",
            Box::pin(update::update(&world)),
        ),
        (
            "the placements are deleted: what they placed goes, the rest stays",
            Box::pin(placement::withdraw(&world)),
        ),
        (
            "a Service of 2 members has one address on the third, and both clusters answer",
            Box::pin(services::share(&world)),
        ),
        (
            "with weight 3 against 1, one cluster takes three of four connections",
            Box::pin(services::weigh(&world)),
        ),
        (
            "a cluster with weight 0 gets no more connections, and no request fails",
            Box::pin(services::drain(&world)),
        ),
        (
            "a cluster loses power: the other one answers, and no request fails",
            Box::pin(services::lose(&world, fleet)),
        ),
    ];
    for (title, work) in steps {
        if tour.step(title, work).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn arguments() -> UpArgs {
    UpArgs {
        members: Some(MEMBERS),
        data_dir: PathBuf::new(),
        ephemeral: true,
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        base_port: 0,
        kubeconfig: None,
        merge: false,
        pod_delay: POD_DELAY,
        node_upgrade_time: NODE_UPGRADE_TIME,
        enable_networking_features: true,
        service_importers: ServiceImporters::One,
        enable_mcs_api: false,
        dns: DnsOptions::default(),
        limits: LimitOptions::default(),
    }
}
