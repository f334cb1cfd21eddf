//! Auto-upgrade profiles on the hub: reads them and what is around them, carries out what their engine plans.
//!
//! Runs are created before the status tells of them, under names that follow from what they are for; a crash between the
//! two makes no second run. A profile's runs do not belong to it: they stay when it is deleted. A strategy that a profile
//! names has a finalizer, and an admission policy refuses to delete it.

use kube::Client;
use kube::api::Api;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{AutoUpgradeProfile, UpdateRun, UpdateStrategy, VersionCatalogue};
use stolos_controller::{Key, Options, Watches};
use stolos_core::update::cluster::Inspection;
use tokio::sync::mpsc;

mod controller;
mod effect;
mod profile;
mod strategy;

use controller::Profiles;

use super::Config;

/// How the cluster of a member was seen.
pub(super) struct Sighting {
    pub(super) member: Key,
    pub(super) cluster: Inspection,
}

/// Runs the controller of auto-upgrade profiles until the future is dropped. `sightings` tell how clusters are.
pub(super) async fn run(
    client: Client,
    sightings: mpsc::Receiver<Sighting>,
    config: Config,
    options: Options,
) {
    let seen = futures::stream::unfold(sightings, |mut sightings| async {
        sightings.recv().await.map(|seen| (effect::Fact::Cluster(Box::new(seen)), sightings))
    });
    let watches = Watches::default()
        .add("AutoUpgradeProfile", Api::<AutoUpgradeProfile>::all(client.clone()))
        .add("FleetMember", Api::<FleetMember>::all(client.clone()))
        .add("UpdateRun", Api::<UpdateRun>::all(client.clone()))
        .add("UpdateStrategy", Api::<UpdateStrategy>::all(client.clone()))
        .add("VersionCatalogue", Api::<VersionCatalogue>::all(client.clone()))
        .add_stream(seen);
    let options = Options { name: "auto-upgrade", ..options };
    config.metrics.workers(options.name, options.concurrency);
    stolos_controller::run(Profiles::new(config), client, watches, options).await;
}
