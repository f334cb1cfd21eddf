//! Hub controllers: clusters, placements, updates.

use kube::Client;
use stolos_controller::Options;

pub mod cluster;

/// How the hub's controllers behave.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Members.
    pub cluster: cluster::Config,
}

/// Runs every controller of the hub until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    tokio::join!(
        cluster::run(client.clone(), config.cluster, options.clone()),
        cluster::fleet::run(client, options),
    );
}
