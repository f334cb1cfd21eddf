//! What tests of all providers need.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Client;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use stolos_core::update::cluster::{Cluster, Inspection, Operation};
use stolos_upgrade::Observation;

/// A wait that only a broken build reaches.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a new, empty API server, which serves new kinds while it is held, and a client of it.
pub(crate) async fn api_server() -> (Arc<ApiServer>, Client) {
    let store = Store::memory().cluster("member").unwrap();
    let server = ApiServer::start(store, Options::default()).await.unwrap();
    let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
    (Arc::new(server), client)
}

/// Waits until something is seen.
pub(crate) async fn until(
    seen: &mut BoxStream<'static, Observation>,
    wanted: impl Fn(&Observation) -> bool,
) -> Observation {
    let mut last = None;
    let search = async {
        loop {
            let observation = seen.next().await.expect("a provider follows for ever");
            if wanted(&observation) {
                return observation;
            }
            last = Some(observation);
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => panic!("the cluster does not get there; last seen: {last:#?}"),
    }
}

pub(crate) fn known(observation: &Observation) -> Option<&Cluster> {
    match &observation.cluster {
        Inspection::Known(cluster) => Some(cluster),
        Inspection::Unknown(_) => None,
    }
}

/// Returns a text that tells the state of an upgrade: `running <message>`, `done`, `failed <code> <message>` or `none`.
pub(crate) fn state_of(observation: &Observation, id: &str) -> String {
    match observation.operations.get(id) {
        None => "none".into(),
        Some(Operation::Running(message)) => {
            format!("running {}", message.clone().unwrap_or_default())
        }
        Some(Operation::Done(_)) => "done".into(),
        Some(Operation::Failed { code, message }) => format!("failed {code} {message}"),
    }
}

/// Returns the version of a pool.
pub(crate) fn pool_version(cluster: &Cluster, name: &str) -> String {
    let pool = cluster.pools.iter().find(|pool| pool.name == name);
    pool.map_or_else(|| "none".into(), |pool| pool.version.to_string())
}
