//! One logical cluster, assembled: store, registry, handler, controllers.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::auth::UserInfo;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::rest::admission::{NamespaceLifecycle, Plugin};
use crate::rest::{ApiService, Core, LocalClient, MAX_IN_FLIGHT};
use crate::store::ClusterStore;

/// How a logical cluster runs.
pub struct Options {
    /// Time of timestamps.
    pub clock: Clock,
    /// Admission plugins after the built-in ones, in order.
    pub admission: Vec<Arc<dyn Plugin>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::system(), admission: Vec::new() }
    }
}

/// The API server of one logical cluster. Clones share it; [`ApiServer::stop`] or dropping the last clone ends its
/// watches.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    stopping: Arc<watch::Sender<bool>>,
}

impl ApiServer {
    /// Starts a cluster on its store.
    pub fn start(store: ClusterStore, options: Options) -> Self {
        let Options { clock, admission } = options;
        let (stopping, stopped) = watch::channel(false);
        let mut plugins: Vec<Arc<dyn Plugin>> =
            vec![Arc::new(NamespaceLifecycle::new(store.clone()))];
        plugins.extend(admission);
        let core = Core {
            store,
            registry: Registry::builtin(),
            clock,
            admission: plugins,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            stopping: stopped,
        };
        Self { core: Arc::new(core), stopping: Arc::new(stopping) }
    }

    /// Returns the tower service that authenticates each request.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService::authenticating(Arc::clone(&self.core))
    }

    /// Returns the same service for a client in this process whose user is known, such as `kube::Client::new`.
    #[must_use]
    pub fn as_user(&self, user: UserInfo) -> ApiService {
        ApiService::trusting(Arc::clone(&self.core), user)
    }

    /// Returns a client for controllers of the server itself.
    #[must_use]
    pub fn local(&self) -> LocalClient {
        LocalClient::new(Arc::clone(&self.core))
    }

    /// Returns the resources that are served.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.core.registry
    }

    /// Ends all watches, so that connections can close.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }
}
