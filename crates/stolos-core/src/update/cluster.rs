//! What an update run knows about the clusters: filled by an upgrade provider, read by the engine.

use std::collections::{BTreeMap, BTreeSet};

use stolos_api::update::{MaintenanceWindows, PreflightCheck};

use super::image::NodeImage;
use super::version::{Version, WantedVersion};

/// A member of the run's fleet as it is observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The update group of the member.
    pub group: Option<String>,
    /// The member's own labels and the automatic ones.
    pub labels: BTreeMap<String, String>,
    /// The cluster behind the member.
    pub cluster_resource_id: String,
    /// The update run that may upgrade the member at the moment.
    pub holder: Option<Holder>,
    /// The cluster's state.
    pub cluster: Inspection,
    /// When the cluster may be upgraded, as the member itself says. It counts instead of what the provider knows.
    pub windows: MaintenanceWindows,
    /// What the pre-flight checks found that were made so far.
    pub preflight: Vec<Finding>,
}

/// What a pre-flight check found on a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: PreflightCheck,
    /// Why the member should not be upgraded; `None` when the check passes.
    pub problem: Option<String>,
    /// What the check [`DeprecatedApis`](PreflightCheck::DeprecatedApis) found. Whether that is a problem depends on the version
    /// that the member is brought to.
    pub requested: Vec<RequestedApi>,
}

impl Finding {
    /// Returns a finding that holds for any upgrade.
    pub fn new(check: PreflightCheck, problem: Option<String>) -> Self {
        Self { check, problem, requested: Vec::new() }
    }
}

/// An API that will be removed and that somebody has asked a cluster for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedApi {
    /// `<group>/<version> <resource>`.
    pub name: String,
    /// The first version that does not have it.
    pub removed_in: WantedVersion,
}

impl Member {
    /// Returns a member without group, labels, lease, windows and findings.
    pub fn new(cluster_resource_id: impl Into<String>, cluster: Inspection) -> Self {
        Self {
            group: None,
            labels: BTreeMap::new(),
            cluster_resource_id: cluster_resource_id.into(),
            holder: None,
            cluster,
            windows: MaintenanceWindows::default(),
            preflight: Vec::new(),
        }
    }

    /// Whether the member has a maintenance window, of whatever kind and whoever says so.
    pub(super) fn has_windows(&self) -> bool {
        let any = |windows: &MaintenanceWindows| {
            windows.kubernetes.is_some() || windows.node_image.is_some()
        };
        let of_provider = match &self.cluster {
            Inspection::Known(cluster) => any(&cluster.windows),
            Inspection::Unknown(_) => false,
        };
        of_provider || any(&self.windows)
    }
}

/// The update run that holds the lease of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of the run within its fleet.
    pub update_run: String,
    /// Uid of the run.
    pub uid: String,
}

/// The answer of an upgrade provider to the question how a cluster is.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all clusters are known")]
pub enum Inspection {
    /// The provider knows.
    Known(Cluster),
    /// The provider cannot say, for this reason.
    Unknown(String),
}

/// The state of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Where the cluster is.
    pub region: Option<String>,
    /// Version of the control plane.
    pub control_plane: Version,
    /// The node pools, by name.
    pub pools: Vec<Pool>,
    /// Whether the cluster runs.
    pub power: Power,
    /// Why the cluster cannot be upgraded at the moment.
    pub hold: Option<Hold>,
    /// Whether the cluster has long-term support and may jump between such versions.
    pub long_term_support: bool,
    /// Whether an upgrade over several minor versions walks over those in between by itself.
    pub walks_minors: bool,
    /// Versions that this very cluster can be brought to, its own among them if it is still offered.
    pub versions: Offer<Version>,
    /// Versions that have long-term support in the cluster's region.
    pub long_term_support_versions: Vec<Version>,
    /// Node images that the cluster's region has.
    pub images: Offer<NodeImage>,
    /// When the cluster may be upgraded, as its provider knows.
    pub windows: MaintenanceWindows,
    /// What the cluster's provider can take it back to.
    pub restorable: Restorable,
}

/// What a provider can take a cluster back to after an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restorable {
    /// Whether Kubernetes versions go back.
    pub versions: bool,
    /// Node images that pools can get again.
    pub images: Offer<NodeImage>,
}

impl Restorable {
    /// Nothing goes back.
    pub fn nothing() -> Self {
        Self { versions: false, images: Offer::These(Vec::new()) }
    }
}

impl Cluster {
    /// Returns a running cluster of one version, without pools, that can be brought anywhere and not back.
    pub fn running(version: Version) -> Self {
        Self {
            region: None,
            control_plane: version,
            pools: Vec::new(),
            power: Power::Running,
            hold: None,
            long_term_support: false,
            walks_minors: false,
            versions: Offer::Anything,
            long_term_support_versions: Vec::new(),
            images: Offer::Anything,
            windows: MaintenanceWindows::default(),
            restorable: Restorable::nothing(),
        }
    }

    /// Returns the image families of the cluster's pools.
    pub fn image_families(&self) -> BTreeSet<&str> {
        self.pools.iter().filter_map(|pool| Some(pool.image.as_ref()?.family.as_str())).collect()
    }

    /// Whether nothing is known of images: neither what the nodes have nor what there is.
    pub fn has_no_image_source(&self) -> bool {
        self.images == Offer::These(Vec::new()) && self.image_families().is_empty()
    }

    /// Returns the oldest version of a pool, or the control plane's when there is none.
    pub fn oldest_pool(&self) -> Version {
        self.pools.iter().map(|pool| pool.version).min().unwrap_or(self.control_plane)
    }
}

/// Nodes that are upgraded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name of the pool.
    pub name: String,
    /// The oldest version of its nodes.
    pub version: Version,
    /// The oldest image of its nodes, where the provider knows images.
    pub image: Option<NodeImage>,
    /// Whether the pool was made from a snapshot, which holds its image.
    pub from_snapshot: bool,
}

/// Why a cluster cannot be upgraded at the moment although it runs and can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// One of [`code::CLUSTER_BUSY`](super::code::CLUSTER_BUSY), [`PAUSED`](super::code::PAUSED),
    /// [`ON_DELETE_STRATEGY`](super::code::ON_DELETE_STRATEGY) or the provider's own, in the same style.
    pub code: &'static str,
    /// Text for people.
    pub message: String,
}

impl Hold {
    /// Says that something else is done to the cluster.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { code: super::code::CLUSTER_BUSY, message: message.into() }
    }
}

/// Whether a cluster runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// It is stopped and cannot be upgraded.
    Stopped,
}

/// What a cluster can be brought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer<T> {
    /// The provider has no catalogue and takes whatever is asked for.
    Anything,
    /// Exactly these.
    These(Vec<T>),
}

impl<T> Offer<T> {
    /// Returns what is listed; nothing when there is no catalogue.
    pub fn listed(&self) -> &[T] {
        match self {
            Self::Anything => &[],
            Self::These(items) => items,
        }
    }
}

impl<T: PartialEq> Offer<T> {
    /// Whether the cluster can be brought to `item`.
    pub fn has(&self, item: &T) -> bool {
        match self {
            Self::Anything => true,
            Self::These(items) => items.contains(item),
        }
    }
}

/// The upgrade of a member as its provider reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It goes on.
    Running(Option<String>),
    /// It is done, with what there is to say about it.
    Done(Option<String>),
    /// It failed.
    Failed {
        /// The provider's own code.
        code: String,
        /// Text for people.
        message: String,
    },
}
