//! Whether a cluster is still heard of.
//!
//! A cluster that is cut off from the hub may serve its clients perfectly well, so a silent cluster is not a dead one:
//! unless the policy says otherwise, its endpoints must be checked and nothing else changes.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Periods without a renewal after which a lease is stale.
const STALE_AFTER_PERIODS: u32 = 3;

/// When a cluster was last heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// When the cluster was last heard of.
    pub renewed: Timestamp,
    /// Seconds after which it wants to be heard of again.
    pub period_seconds: u32,
}

impl Lease {
    /// Returns from when on the lease is stale.
    #[must_use]
    pub fn stale_from(&self) -> Timestamp {
        let periods = i64::from(self.period_seconds) * i64::from(STALE_AFTER_PERIODS);
        self.renewed.saturating_add(SignedDuration::from_secs(periods)).unwrap_or(Timestamp::MAX)
    }
}

/// What becomes of endpoints of a cluster whose lease is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeasePolicy {
    /// Nothing.
    Keep,
    /// They must be checked.
    #[default]
    Check,
    /// They get no connections, whatever checks say.
    Drop,
}

/// Whether a cluster is still heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterVoice {
    /// It is, at least until this moment.
    Heard {
        /// When its lease becomes stale.
        until: Timestamp,
    },
    /// It has been silent for too long.
    Silent,
    /// It has never sent a lease. That proves nothing against it.
    Never,
}

/// Decides whether a cluster is still heard of.
#[must_use]
pub fn voice(lease: Option<&Lease>, now: Timestamp) -> ClusterVoice {
    match lease {
        None => ClusterVoice::Never,
        Some(lease) if now < lease.stale_from() => {
            ClusterVoice::Heard { until: lease.stale_from() }
        }
        Some(_) => ClusterVoice::Silent,
    }
}

/// What follows for the endpoints of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// They must be checked.
    MustCheck,
    /// They get no connections.
    Dropped,
}

impl LeasePolicy {
    /// Decides what follows for the endpoints of a cluster.
    #[must_use]
    pub fn consequence(self, voice: ClusterVoice) -> Consequence {
        match (self, voice) {
            (Self::Keep, _) | (_, ClusterVoice::Heard { .. }) => Consequence::None,
            (Self::Drop, ClusterVoice::Silent) => Consequence::Dropped,
            (Self::Check | Self::Drop, ClusterVoice::Never)
            | (Self::Check, ClusterVoice::Silent) => Consequence::MustCheck,
        }
    }
}
