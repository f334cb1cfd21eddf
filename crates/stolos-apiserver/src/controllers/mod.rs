//! Behaviours that upstream leaves to controllers: garbage collection, namespaces, service accounts, event expiry.
//!
//! Each controller follows the store, puts the keys of what may need work into a work queue, reads the world afresh
//! for each key, and writes through the API like any client. Nothing polls.

pub(crate) mod api;
mod api_services;
mod bootstrap;
mod cluster_roles;
mod event_expiry;
mod flow_status;
pub(crate) mod follow;
mod gc;
mod namespace_defaults;
mod namespaces;
mod policy_status;
pub(crate) mod queue;
mod token_secrets;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::addresses::ServiceRange;
use crate::auth::Auth;
use crate::clock::Clock;
use crate::crd;
use crate::registry::Registry;
use crate::rest::LocalClient;
use crate::status::ApiError;
use crate::store::ClusterStore;
use crate::webhook::Webhooks;

pub(crate) use api::Api;

/// Which controllers of a logical cluster run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controllers {
    /// Creates the namespaces that every cluster has, its priority classes, flow schemas and the service of its API.
    pub system_objects: bool,
    /// Lists what is served as `APIServices`.
    pub api_services: bool,
    /// Deletes objects whose owners are gone, and carries out foreground and orphaning deletion.
    pub garbage_collector: bool,
    /// Empties namespaces that are being deleted.
    pub namespaces: bool,
    /// Keeps the `default` service account in every namespace.
    pub service_accounts: bool,
    /// Keeps the config map `kube-root-ca.crt` with these certificates (PEM) in every namespace.
    pub root_ca: Option<String>,
    /// Fills Secrets of type `kubernetes.io/service-account-token`.
    pub token_secrets: bool,
    /// Puts cluster roles together that are made of others.
    pub aggregated_roles: bool,
    /// Deletes events an hour after their last change.
    pub event_expiry: bool,
    /// Writes into the status of ValidatingAdmissionPolicies what their expressions get wrong about types.
    pub policy_status: bool,
    /// Writes into the status of FlowSchemas whether their priority level is there.
    pub flow_status: bool,
    /// Publishes CustomResourceDefinitions. Without it custom resources are stored but not served.
    pub custom_resources: bool,
}

impl Default for Controllers {
    /// Returns all controllers; the root certificate, which they cannot know, is missing.
    fn default() -> Self {
        Self {
            system_objects: true,
            api_services: true,
            garbage_collector: true,
            namespaces: true,
            service_accounts: true,
            root_ca: None,
            token_secrets: true,
            aggregated_roles: true,
            event_expiry: true,
            policy_status: true,
            flow_status: true,
            custom_resources: true,
        }
    }
}

impl Controllers {
    /// Returns what is part of kube-apiserver itself, without what kube-controller-manager does: the envtest profile.
    #[must_use]
    pub fn api_server_only() -> Self {
        Self {
            system_objects: true,
            api_services: true,
            event_expiry: true,
            flow_status: true,
            custom_resources: true,
            ..Self::none()
        }
    }

    /// Returns no controllers.
    #[must_use]
    pub fn none() -> Self {
        Self {
            system_objects: false,
            api_services: false,
            garbage_collector: false,
            namespaces: false,
            service_accounts: false,
            root_ca: None,
            token_secrets: false,
            aggregated_roles: false,
            event_expiry: false,
            policy_status: false,
            flow_status: false,
            custom_resources: false,
        }
    }
}

/// What controllers work with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) store: ClusterStore,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
    pub(crate) auth: Auth,
    pub(crate) api: Api,
    pub(crate) webhooks: Webhooks,
}

impl Context {
    pub(crate) fn new(
        store: ClusterStore,
        registry: Registry,
        clock: Clock,
        auth: Auth,
        client: LocalClient,
        webhooks: Webhooks,
    ) -> Self {
        Self { store, registry, clock, auth, api: Api::new(client), webhooks }
    }
}

/// The running controllers; dropping it stops them.
pub(crate) struct Running {
    tasks: Mutex<JoinSet<()>>,
}

impl Running {
    /// Stops the controllers at their next await.
    pub(crate) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Prepares the cluster and starts its controllers. On return, stored custom resources are served and the namespaces
/// that every cluster has exist.
///
/// # Errors
///
/// When what every cluster has, or the services of built-in groups, cannot be created.
pub(crate) async fn start(
    controllers: &Controllers,
    context: &Context,
    services: ServiceRange,
) -> Result<Running, ApiError> {
    let mut tasks = JoinSet::new();
    if controllers.custom_resources {
        let controller = crd::Controller::new(context.clone());
        controller.publish_established();
        tasks.spawn(controller.run());
    }
    if controllers.system_objects {
        bootstrap::create(&context.api, services).await?;
    }
    if controllers.api_services {
        api_services::create_builtin(context).await?;
        tasks.spawn(api_services::run(context.clone()));
    }
    let mut observers: Vec<Arc<dyn follow::Observer>> = Vec::new();
    if controllers.garbage_collector {
        let collector = Arc::new(gc::Collector::new(context.clone()));
        observers.push(collector.clone());
        tasks.spawn(gc::run(collector));
    }
    if controllers.namespaces {
        let controller = Arc::new(namespaces::Controller::new(context.clone()));
        observers.push(controller.clone());
        tasks.spawn(namespaces::run(controller));
    }
    if !observers.is_empty() {
        tasks.spawn(follow::follow_all(context.clone(), observers));
    }
    let defaults = namespace_defaults::Defaults {
        service_account: controllers.service_accounts,
        root_ca: controllers.root_ca.clone(),
    };
    if defaults.any() {
        tasks.spawn(namespace_defaults::run(context.clone(), defaults));
    }
    if controllers.token_secrets {
        tasks.spawn(token_secrets::run(context.clone(), controllers.root_ca.clone()));
    }
    if controllers.aggregated_roles {
        tasks.spawn(cluster_roles::run(context.clone()));
    }
    if controllers.event_expiry {
        tasks.spawn(event_expiry::run(context.clone()));
    }
    if controllers.policy_status {
        tasks.spawn(policy_status::run(context.clone()));
    }
    if controllers.flow_status {
        flow_status::catch_up(context).await;
        tasks.spawn(flow_status::run(context.clone()));
    }
    Ok(Running { tasks: Mutex::new(tasks) })
}
