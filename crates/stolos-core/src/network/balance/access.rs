//! Who may connect to a VIP port, and how often at the same time.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::network::range::Network;

/// Who may connect to a VIP port, and how often at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// Networks that may connect; empty: all.
    pub source_ranges: Vec<Network>,
    /// Connections or flows that each client may have at the same time.
    pub max_connections_per_client: Option<u32>,
}

impl Access {
    /// Tells whether a client may connect that has `n_connections` already.
    #[must_use]
    pub fn admits(&self, client: IpAddr, n_connections: u32) -> bool {
        let ranges = &self.source_ranges;
        (ranges.is_empty() || ranges.iter().any(|range| range.contains(client)))
            && self.max_connections_per_client.is_none_or(|most| n_connections < most)
    }
}
