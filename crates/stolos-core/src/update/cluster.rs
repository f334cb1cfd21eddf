//! What an update run knows about the clusters: filled by an upgrade provider, read by the engine.

use std::collections::{BTreeMap, BTreeSet};

use super::image::NodeImage;
use super::version::Version;

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
    /// What else is done to the cluster at the moment, so that it cannot be upgraded.
    pub busy: Option<String>,
    /// Whether the cluster has long-term support and may jump between such versions.
    pub long_term_support: bool,
    /// Versions that the cluster can be brought to.
    pub versions: Offer<Version>,
    /// Node images that the cluster's region has.
    pub images: Offer<NodeImage>,
}

impl Cluster {
    /// Returns a running cluster of one version, without pools, that can be brought anywhere.
    pub fn running(version: Version) -> Self {
        Self {
            region: None,
            control_plane: version,
            pools: Vec::new(),
            power: Power::Running,
            busy: None,
            long_term_support: false,
            versions: Offer::Anything,
            images: Offer::Anything,
        }
    }

    /// Returns the image families of the cluster's pools.
    pub fn image_families(&self) -> BTreeSet<&str> {
        self.pools.iter().filter_map(|pool| Some(pool.image.as_ref()?.family.as_str())).collect()
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
