//! Hub controllers: clusters, placements, updates.

use kube::Client;
use stolos_controller::Options;

pub mod admission;
pub mod cluster;
mod look;
mod metrics;
pub mod network;
pub mod notify;
pub mod placement;
pub mod traffic;
pub mod update;

pub use metrics::Metrics;
use stolos_controller::event;

/// How the hub's controllers behave.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Members.
    pub cluster: cluster::Config,
    /// Placements.
    pub placement: placement::Config,
    /// Update runs.
    pub update: update::Config,
    /// Services across clusters.
    pub network: network::Config,
    /// Services of the clusterset.
    pub clusterset: network::clusterset::Config,
    /// Balancing by DNS.
    pub traffic: traffic::Config,
}

/// Installs the admission policies, then runs every controller of the hub until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    let Config { cluster, placement, network, clusterset, traffic, update } = config;
    // They take over once the policies are in place.
    for controller in [
        "member-cluster",
        "fleet",
        "placement",
        network::NAME,
        network::clusterset::NAME,
        traffic::NAME,
        "update-run",
    ] {
        options.readiness.waits_for(controller, ["the admission policies"]);
    }
    admission::install(&client, network.enabled).await;
    let profiles = async {
        if cluster.cluster_profiles {
            let patience = cluster.cluster_unhealthy_threshold;
            cluster::profile::run(client.clone(), patience, options.clone()).await;
        }
    };
    tokio::join!(
        cluster::run(client.clone(), cluster.clone(), options.clone()),
        profiles,
        cluster::fleet::run(client.clone(), cluster.member_limits, options.clone()),
        placement::run(client.clone(), placement, options.clone()),
        network::run(client.clone(), network, options.clone()),
        network::clusterset::run(client.clone(), clusterset, options.clone()),
        traffic::run(client.clone(), traffic, options.clone()),
        update::run(client.clone(), update, options.clone()),
        notify::run(client.clone(), options.clone()),
    );
}
