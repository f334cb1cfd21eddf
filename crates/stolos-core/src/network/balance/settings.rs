//! How connections to a VIP port are spread, and its endpoints watched.

use serde::{Deserialize, Serialize};

use super::{Access, Affinity, HealthSettings, LeasePolicy};

/// How connections to a VIP port are spread, and its endpoints watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Whether a client stays with its endpoint.
    pub affinity: Affinity,
    /// Seconds for which connections to an endpoint that gets no new ones may go on.
    pub drain_seconds: u32,
    /// How endpoints are checked.
    pub health: HealthSettings,
    /// What becomes of endpoints of a cluster that is no longer heard of.
    pub lease_policy: LeasePolicy,
    /// Whether all endpoints get connections when all are down.
    pub fail_open: bool,
    /// Seconds over which an endpoint that has recovered gets its share back; 0 for at once.
    pub slow_start_seconds: u32,
    /// Which cluster is to get more than its share.
    pub locality: Option<Locality>,
    /// Who may connect.
    pub access: Access,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            affinity: Affinity::default(),
            drain_seconds: 300,
            health: HealthSettings::default(),
            lease_policy: LeasePolicy::default(),
            fail_open: true,
            slow_start_seconds: 0,
            locality: None,
            access: Access::default(),
        }
    }
}

/// A cluster whose endpoints are preferred, which is the one where the connections arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Locality {
    /// Name of the member.
    pub cluster: String,
    /// How many times its weight it gets, 1 to 1000.
    pub multiplier: u32,
}
