//! Propagation on the hub: what a placement selects is copied into snapshots, a scheduler picks members, a rollout moves
//! bindings one after the other, and each bound binding becomes Works in the namespace of its member.
//!
//! One controller does all of it, from one world ([`world`]). What it decides is in `stolos_core::placement`; here is
//! what it reads ([`feed`], [`catalogue`]), whom a change concerns ([`world`]), and how decisions become writes (one
//! module per item: [`selection`], [`schedule`], [`overrides`], [`rollout`], [`generate`],
//! [`report`], [`mirror`]).
//!
//! Nothing is deleted because something is missing; what seems to be is asked for by itself first ([`doubt`]). A snapshot goes because its placement is being deleted or has newer
//! ones; a binding because it is unscheduled or its placement is being deleted; a Work because its binding is being
//! deleted or a complete group of snapshots no longer needs it; a snapshot of an override because the override is being
//! deleted or has newer ones.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    ClusterResourceBinding, ClusterResourceOverride, ClusterResourceOverrideSnapshot,
    ClusterResourcePlacement, ClusterResourcePlacementStatus, ClusterResourceSnapshot,
    ClusterSchedulingPolicySnapshot, ResourceBinding, ResourceOverride, ResourceOverrideSnapshot,
    ResourcePlacement, ResourceSnapshot, SchedulingPolicySnapshot, Work,
};
use stolos_controller::{Options, Watches};
use stolos_core::placement::eligibility::Eligibility;

use crate::Metrics;

mod catalogue;
mod doubt;
mod feed;
mod generate;
mod mirror;
mod object;
mod overrides;
mod report;
mod rollout;
mod schedule;
mod selection;
#[cfg(test)]
mod tests;
mod world;

use object::Seen;
use world::World;

/// How placements are handled.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What may leave the hub.
    pub eligibility: Eligibility,
    /// Least time between two resource snapshots of a placement. Zero: a change goes out at once.
    pub snapshot_minimum_interval: Duration,
    /// Time for which changes are collected before a resource snapshot is made. Zero: a change goes out at once.
    pub snapshot_collection: Duration,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

/// Runs the controller of placements until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    let options = Options { name: "placement", ..options };
    let source = feed::feed(client.clone(), config.eligibility.clone()).map(Seen::Source);
    let watches: Watches<Seen> = Watches::default()
        .add("ClusterResourcePlacement", Api::<ClusterResourcePlacement>::all(client.clone()))
        .add("ResourcePlacement", Api::<ResourcePlacement>::all(client.clone()))
        .add(
            "ClusterSchedulingPolicySnapshot",
            Api::<ClusterSchedulingPolicySnapshot>::all(client.clone()),
        )
        .add("SchedulingPolicySnapshot", Api::<SchedulingPolicySnapshot>::all(client.clone()))
        .add("ClusterResourceSnapshot", Api::<ClusterResourceSnapshot>::all(client.clone()))
        .add("ResourceSnapshot", Api::<ResourceSnapshot>::all(client.clone()))
        .add("ClusterResourceBinding", Api::<ClusterResourceBinding>::all(client.clone()))
        .add("ResourceBinding", Api::<ResourceBinding>::all(client.clone()))
        .add("ClusterResourceOverride", Api::<ClusterResourceOverride>::all(client.clone()))
        .add("ResourceOverride", Api::<ResourceOverride>::all(client.clone()))
        .add(
            "ClusterResourceOverrideSnapshot",
            Api::<ClusterResourceOverrideSnapshot>::all(client.clone()),
        )
        .add("ResourceOverrideSnapshot", Api::<ResourceOverrideSnapshot>::all(client.clone()))
        .add(
            "ClusterResourcePlacementStatus",
            Api::<ClusterResourcePlacementStatus>::all(client.clone()),
        )
        .add("Work", Api::<Work>::all(client.clone()))
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()))
        .add_stream(source);
    config.metrics.workers(options.name, options.concurrency);
    let world = World::new(config, options.clock.clone());
    stolos_controller::run(world, client, watches, options).await;
}

/// Returns a duration of the configuration as a span of time.
fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
