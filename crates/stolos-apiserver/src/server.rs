//! One logical cluster, assembled: store, registry, authentication, handler.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::addresses::{Addresses, ServiceRange};
use crate::auth::token::KeyError;
use crate::auth::{Auth, Authorizer, DEFAULT_ISSUER, TokenSigner, UserInfo, rbac};
use crate::clock::Clock;
use crate::controllers::{self, Context, Controllers, Running};
use crate::names::GroupVersion;
use crate::random::Random;
use crate::registry::Registry;
use crate::rest::admission::{
    Catalog, CertificateRequests, Defaults, MutatingWebhooks, NamespaceLifecycle, Plugin, Policies,
    RoleEscalation, ValidatingWebhooks,
};
use crate::rest::metrics::Requested;
use crate::rest::{ApiService, Core, Limits, LocalClient};
use crate::status::ApiError;
use crate::store::{ClusterStore, Key};
use crate::webhook::{ServiceResolver, Webhooks};

/// How a logical cluster runs.
pub struct Options {
    /// Time of timestamps.
    pub clock: Clock,
    /// Chance of uids, generated names and addresses.
    pub random: Random,
    /// Signs service-account tokens. Without one a key is made that lasts as long as the process.
    pub signer: Option<Arc<TokenSigner>>,
    /// What is filled in where clients leave something open.
    pub defaults: Defaults,
    /// Admission plugins after the built-in ones and before those that users configure, in order.
    pub admission: Vec<Arc<dyn Plugin>>,
    /// Finds the services that webhooks are given by. Without it only webhooks given by URL are reached.
    pub webhook_services: Option<ServiceResolver>,
    /// What runs beside the handler.
    pub controllers: Controllers,
    /// Bounds of requests and watches.
    pub limits: Limits,
    /// Addresses of services; the first is that of the API server.
    pub services: ServiceRange,
}

/// Addresses of services, as kubeadm chooses them.
const SERVICES: &str = "10.96.0.0/12";

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            random: Random::system(),
            signer: None,
            defaults: Defaults::default(),
            admission: Vec::new(),
            webhook_services: None,
            controllers: Controllers::default(),
            limits: Limits::default(),
            services: SERVICES.parse().expect("it is a range"),
        }
    }
}

/// Why a logical cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key for service-account tokens could not be made.
    #[error("failed to make the key that signs service-account tokens")]
    Key(#[from] KeyError),
    /// The objects that every cluster has could not be written.
    #[error("failed to write the objects that every cluster has")]
    Bootstrap(#[from] ApiError),
}

/// Bootstrap objects written at once; enough to share group commits.
const PARALLEL_WRITES: usize = 32;

/// The API server of one logical cluster. Clones share it; [`ApiServer::stop`] ends its watches and controllers, and so
/// does dropping the last clone with the controllers.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    stopping: Arc<watch::Sender<bool>>,
    running: Arc<Running>,
}

impl ApiServer {
    /// Starts a cluster on its store. On return the default roles, their bindings and the namespaces that
    /// every cluster has exist, and the custom resources found in the store are served.
    ///
    /// # Errors
    /// When the token key cannot be made or the store does not take the first objects.
    pub async fn start(store: ClusterStore, options: Options) -> Result<Self, StartError> {
        let Options {
            clock,
            random,
            signer,
            defaults,
            admission,
            webhook_services,
            controllers,
            limits,
            services,
        } = options;
        let signer = match signer {
            Some(signer) => signer,
            None => Arc::new(TokenSigner::generate(DEFAULT_ISSUER)?),
        };
        let auth = Auth::new(store.clone(), signer, clock.clone());
        let mut plugins: Vec<Arc<dyn Plugin>> = vec![
            Arc::new(NamespaceLifecycle::new(store.clone())),
            Arc::new(RoleEscalation::new(auth.authorizer().clone())),
            Arc::new(CertificateRequests::new(auth.authorizer().clone())),
        ];
        let has_accounts = defaults.service_account && controllers.service_accounts;
        plugins.extend(
            Defaults { service_account: has_accounts, ..defaults }.plugins(&store, &random),
        );
        plugins.extend(admission);
        let registry = Registry::builtin();
        let webhooks = Webhooks::new(webhook_services);
        let catalog = Catalog::new(store.clone(), webhooks.clone());
        plugins.extend(configured_plugins(&store, &registry, &catalog, auth.authorizer()));
        let addresses = Addresses::new(store.clone(), services);
        let (stopping, stopped) = watch::channel(false);
        let core = Core {
            store,
            registry,
            clock,
            random,
            auth,
            addresses,
            catalog,
            admission: plugins,
            limits,
            requested: Requested::default(),
            in_flight: Semaphore::new(limits.requests),
            watches: Arc::new(Semaphore::new(limits.watches)),
            stopping: stopped,
        };
        let core = Arc::new(core);
        write_default_roles(&core).await?;
        let context = Context::new(
            core.store.clone(),
            core.registry.clone(),
            core.clock.clone(),
            core.auth.clone(),
            LocalClient::new(Arc::clone(&core)),
            webhooks,
        );
        let running = Arc::new(controllers::start(&controllers, &context, services).await?);
        // Nobody could watch how the cluster began, and every logical cluster would keep it.
        core.store.forget_history();
        Ok(Self { core, stopping: Arc::new(stopping), running })
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

    /// Returns who may log in and do what.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.core.auth
    }

    /// Stops the controllers and ends all watches, so that connections can close.
    pub fn stop(&self) {
        self.running.stop();
        self.stopping.send_replace(true);
    }
}

/// Returns the plugins that ask whom users have configured.
fn configured_plugins(
    store: &ClusterStore,
    registry: &Registry,
    catalog: &Catalog,
    authorizer: &Authorizer,
) -> [Arc<dyn Plugin>; 3] {
    let store = || store.clone();
    let registry = || registry.clone();
    let catalog = || catalog.clone();
    let authorizer = || authorizer.clone();
    [
        Arc::new(MutatingWebhooks {
            store: store(),
            registry: registry(),
            catalog: catalog(),
            authorizer: authorizer(),
        }),
        Arc::new(Policies {
            store: store(),
            registry: registry(),
            catalog: catalog(),
            authorizer: authorizer(),
        }),
        Arc::new(ValidatingWebhooks {
            store: store(),
            registry: registry(),
            catalog: catalog(),
            authorizer: authorizer(),
        }),
    ]
}

/// Writes the default roles and bindings that are missing; those that are there belong to the administrator.
async fn write_default_roles(core: &Arc<Core>) -> Result<(), ApiError> {
    let missing = rbac::bootstrap_objects().into_iter().filter_map(|object| {
        let path = path_if_missing(core, &object)?;
        Some((path, object))
    });
    let writes = missing.map(|(path, object)| {
        // A webhook that is down must not keep the server from starting.
        let client = LocalClient::new(Arc::clone(core)).without_admission();
        async move { client.call(Method::POST, &path, Some(object)).await.map(drop) }
    });
    stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(PARALLEL_WRITES).try_collect().await
}

fn path_if_missing(core: &Core, object: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let GroupVersion { group, version } = GroupVersion::parse(&text(&object["apiVersion"]));
    let resource = core.registry.kind(&group, &version, &text(&object["kind"]))?;
    let key = Key::cluster_scoped(&text(&object["metadata"]["name"]));
    let missing = core.store.get(&resource.storage, &key).is_none();
    missing.then(|| format!("/apis/{group}/{version}/{}", resource.plural))
}
