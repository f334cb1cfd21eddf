//! Upgrade providers: how a member cluster gets new versions.
//!
//! A [`Provider`] stands for one cluster. It shows the cluster's state and its upgrades as they change, and starts
//! upgrades; deciding when is the business of `stolos_core::update`. Nothing here polls.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use kube::Client;
use stolos_api::cluster::fleet::ClusterReference;
use stolos_api::update::MemberTarget;
use stolos_core::update::cluster::{Inspection, Operation};

mod aks;
mod cluster_api;
mod kubeconfig;
mod simulated;
mod unmanaged;

pub use aks::{Aks, AksError, Credentials, CredentialsError, HostIdentity, Pace, Upgrades};
pub use cluster_api::ClusterApi;
pub use kubeconfig::Error as KubeconfigError;
pub use kubeconfig::connect;
pub use simulated::Simulated;
pub use unmanaged::Unmanaged;

/// Key of a kubeconfig in its secret.
pub const KUBECONFIG_KEY: &str = "kubeconfig";

/// What is seen of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The state of the cluster.
    pub cluster: Inspection,
    /// Upgrades of the cluster by the id they were started with, those that ended too. While the cluster cannot be
    /// reached, as last seen.
    pub operations: BTreeMap<String, Operation>,
}

/// Upgrades one cluster.
pub trait Provider: Send + Sync {
    /// Follows the cluster: yields what is seen as soon as it is known, and again after each change, for ever.
    fn follow(&self) -> BoxStream<'static, Observation>;

    /// Starts an upgrade. An id that was started before is left as it is, so that calling twice upgrades once.
    fn start<'a>(
        &'a self,
        operation_id: &'a str,
        target: &'a MemberTarget,
    ) -> BoxFuture<'a, Result<(), StartError>>;

    /// Connects to the API of the cluster itself, where the provider knows a way. Ask again after a failure: the way may
    /// have changed.
    fn client(&self) -> BoxFuture<'_, Result<Client, ClientError>>;
}

/// There is no way to the API of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The provider upgrades clusters without their own API.
    #[error("{0} is upgraded without its own API, to which the hub knows no way")]
    NotSupported(&'static str),
    /// Trying again later may help.
    #[error("{0}")]
    Unreachable(String),
}

/// An upgrade could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It never can be: the upgrade has failed.
    #[error("{message}")]
    Refused {
        /// The provider's own code.
        code: String,
        /// Text for people.
        message: String,
    },
    /// Trying again later may help.
    #[error("failed to start upgrade `{operation_id}`")]
    Request {
        /// The upgrade.
        operation_id: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How to get a provider for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Through the kubeconfig in this secret of the member's namespace, as a simulated cluster.
    SimulatedBySecret(String),
    /// As a `Cluster` of Cluster API.
    ClusterApi {
        /// Namespace of the `Cluster`; the member's own when absent.
        namespace: Option<String>,
        /// Name of the `Cluster`.
        name: String,
        /// Secret of the member's namespace with the kubeconfig of the management cluster; the hub itself when absent.
        kubeconfig_secret: Option<String>,
    },
    /// As a managed cluster of Azure with this resource id, with the credentials that the fleet names.
    Azure(String),
    /// Nobody upgrades such a cluster, for this reason.
    Nobody(String),
}

impl Access {
    /// Returns how the cluster behind a reference is upgraded.
    pub fn of(reference: &ClusterReference) -> Self {
        match reference {
            ClusterReference::Simulated(simulated) => {
                Self::SimulatedBySecret(simulated.kubeconfig_secret.name.clone())
            }
            ClusterReference::KubeconfigSecret(_) => Self::Nobody(
                "a cluster that is only known by a kubeconfig cannot be upgraded".into(),
            ),
            ClusterReference::ClusterApi(cluster) => Self::ClusterApi {
                namespace: cluster.namespace.clone(),
                name: cluster.name.clone(),
                kubeconfig_secret: cluster.kubeconfig_secret.as_ref().map(|it| it.name.clone()),
            },
            ClusterReference::ArmId(id) => Self::Azure(id.clone()),
        }
    }
}

/// A provider that many can hold.
pub type SharedProvider = Arc<dyn Provider>;
