//! Simulated clusters: nodes, workloads, upgrades, faults.
//!
//! A simulation makes the objects of a Kubernetes API behave as on a cluster with working kubelets: pods are scheduled
//! and become ready, Deployments roll, Services get addresses, nodes change their versions. It talks to the API server
//! like any controller, so it works on the embedded server and on a real one; there, with [`Workloads::Kubelet`], it
//! leaves the workload controllers to kube-controller-manager and plays scheduler, kubelets and the cloud's load balancer
//! only.
//!
//! No container runs. With [`Pods::Answering`], the addresses of ready pods answer, so that whatever balances connections
//! over them can be watched at work.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

mod action;
mod answer;
mod daemon_set;
mod deployment;
mod job;
mod kubelet;
mod meta;
mod nodes;
mod pod_network;
mod replica_set;
mod runner;
mod script;
mod service;
mod stateful_set;
mod upgrade;
mod watch;
mod world;

pub use answer::{Answering, Bounds, Sockets};
pub use pod_network::PodNetwork;
pub use runner::{Error, run};

/// Tells the time for timestamps of objects.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Annotation of a pod, or of the workload that owns it, that keeps its pods from becoming ready. The value is the
/// reason shown on the container, such as `ImagePullBackOff`.
pub const FAIL_ANNOTATION: &str = "sim.stolos.dev/fail";

/// Label of the ConfigMaps in `kube-system` that ask for an upgrade; their data is described in [`upgrade`].
pub const UPGRADE_LABEL: &str = "sim.stolos.dev/upgrade";

/// Annotation of a node that counts how often it was upgraded.
pub const UPGRADES_ANNOTATION: &str = "sim.stolos.dev/upgrades";

/// Label of a node that names its image, as AKS does.
pub const NODE_IMAGE_LABEL: &str = "kubernetes.azure.com/node-image-version";

/// Name of the ConfigMap in `kube-system` with the facts of a simulated cluster: `controlPlaneVersion`, `region`, and what
/// its [script] says.
pub const CLUSTER_CONFIG_MAP: &str = "simulated-cluster";

/// Who controls Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, Services and EndpointSlices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workloads {
    /// The simulation does.
    Simulated,
    /// A kube-controller-manager does; the simulation schedules and runs pods, and gives load balancers addresses.
    Kubelet,
}

/// Addresses of pods, and whether anybody answers there. A running pod that has an address of another network gets a new
/// one.
#[derive(Clone, Debug, Default)]
pub enum Pods {
    /// Addresses of the usual network, at which nobody answers.
    #[default]
    Mute,
    /// Addresses of this machine, at which ready pods answer: requests of HTTP/1 with the names of cluster and pod,
    /// everything else with itself.
    Answering(Answering),
}

impl Pods {
    fn network(&self) -> PodNetwork {
        match self {
            Self::Mute => PodNetwork::default(),
            Self::Answering(answering) => answering.network,
        }
    }
}

/// What a simulated cluster looks like when it is first started. A cluster that exists already keeps what it has.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name, a prefix of its nodes' names.
    pub name: String,
    /// Region label of the nodes.
    pub region: String,
    /// Kubernetes version without the leading `v`.
    pub kubernetes_version: String,
    /// Node image, such as `Ubuntu-2204-202610.01.0`.
    pub node_image: String,
    /// Kubernetes versions that the cluster is offered; none = any.
    pub kubernetes_versions: Vec<String>,
    /// Node images that the cluster is offered; none = any.
    pub node_images: Vec<String>,
    /// Number of nodes.
    pub nodes: u32,
    /// CPU cores per node.
    pub cpu: u32,
    /// Memory per node in GiB.
    pub memory_gib: u32,
}

/// How a simulation behaves.
#[derive(Clone)]
pub struct Config {
    /// The cluster to bring up.
    pub cluster: Cluster,
    /// Who controls workloads.
    pub workloads: Workloads,
    /// Addresses of pods, and whether anybody answers there.
    pub pods: Pods,
    /// From scheduled to ready, and from ready to finished for pods of Jobs.
    pub pod_delay: Duration,
    /// How long the upgrade of one node takes.
    pub node_upgrade_time: Duration,
    /// Clock for timestamps.
    pub clock: Clock,
}
