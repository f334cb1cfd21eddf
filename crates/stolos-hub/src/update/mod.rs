//! Update runs on the hub: reads them and the clusters of their members, carries out what the engine plans.
//!
//! For one run, in this order: take the leases of members that begin, write the run's status, make gates agree with it,
//! start the upgrades, give back leases. A crash between any two leaves a state from which the same plan follows, and
//! starting an upgrade twice does it once; so no cluster is upgraded twice.

use std::sync::Arc;

use futures::FutureExt;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, UpdateRun, UpdateStrategy};
use stolos_controller::{Options, Watches};
use stolos_core::update::StrategyLimits;
use tokio::sync::{mpsc, watch};

use crate::Metrics;

mod clusters;
mod controller;
mod effect;
mod health;
mod members;
mod profiles;
mod runs;
#[cfg(test)]
mod tests;
mod views;

use controller::Updates;
use effect::Fact;
use profiles::Sighting;

/// News of clusters that wait to be read. Each holds a whole observation, so this bounds memory; a full queue slows the
/// watches down.
const NEWS_BOUND: usize = 256;

pub use clusters::Connect;

/// How update runs are handled.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How big strategies may be.
    pub strategy_limits: StrategyLimits,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

/// Runs the controllers of update runs and auto-upgrade profiles until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    let connect: Connect =
        Arc::new(|secret| async move { stolos_upgrade::connect(&secret).await }.boxed());
    run_with(client, connect, config, options).await;
}

/// Like [`run`], with another way to the clusters of members.
pub async fn run_with(client: Client, connect: Connect, config: Config, options: Options) {
    let (sender, receiver) = mpsc::channel(NEWS_BOUND);
    let (seen, sightings) = mpsc::channel(NEWS_BOUND);
    let news = futures::stream::unfold((receiver, seen), |(mut receiver, seen)| async {
        let news = receiver.recv().await?;
        if let Fact::Cluster(news) = &news {
            let cluster = news.observation.cluster.clone();
            // Fails only when everything ends.
            let _ended = seen.send(Sighting { member: news.member.clone(), cluster }).await;
        }
        Some((news, (receiver, seen)))
    });
    let watches = Watches::default()
        .add("UpdateRun", Api::<UpdateRun>::all(client.clone()))
        .add("UpdateStrategy", Api::<UpdateStrategy>::all(client.clone()))
        .add("Gate", Api::<Gate>::all(client.clone()))
        .add("FleetMember", Api::<FleetMember>::all(client.clone()))
        .add_stream(news);
    let profiles = profiles::run(client.clone(), sightings, config.clone(), options.clone());
    let clock = options.clock.clone();
    let options = Options { name: "update-run", ..options };
    config.metrics.workers(options.name, options.concurrency);
    let control = stolos_controller::run(Updates::new(config), client.clone(), watches, options);
    let (offered, providers) = watch::channel(health::Providers::new());
    let health = health::follow(client.clone(), providers, sender.clone(), clock);
    let clusters = clusters::follow(client, connect, offered, sender);
    tokio::join!(control, clusters, health, profiles);
}
