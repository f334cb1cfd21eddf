//! What becomes of connections to endpoints that get no new ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{EndpointId, Observed, Protocol, Standing};

/// Why connections to an endpoint end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// The endpoint is down; its clients should notice and connect anew.
    Down,
    /// The time for draining is over.
    DrainTimeOver,
    /// Datagrams have no connection that could end well.
    Datagrams,
}

/// The endpoints that drain, and those whose connections end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draining {
    pub(super) until: BTreeMap<EndpointId, Timestamp>,
    pub(super) cut: BTreeMap<EndpointId, Cut>,
}

/// Decides what becomes of connections to endpoints that got connections before and get none now.
pub(super) fn drain(
    observed: &Observed,
    routed: &BTreeSet<&EndpointId>,
    endpoints: &BTreeMap<EndpointId, Standing>,
    protocol: Protocol,
    drain_seconds: u32,
    now: Timestamp,
) -> Draining {
    let mut draining = Draining::default();
    let left = observed.routed.iter().chain(observed.draining.keys());
    for id in left.filter(|id| !routed.contains(id)) {
        let deadline = now + SignedDuration::from_secs(drain_seconds.into());
        let until = observed.draining.get(id).copied().unwrap_or(deadline).min(deadline);
        let health = observed.health.get(id);
        let is_down = endpoints.get(id) == Some(&Standing::Down)
            || health.is_some_and(|health| !health.is_up());
        let cut = match protocol {
            _ if is_down => Some(Cut::Down),
            Protocol::Udp => Some(Cut::Datagrams),
            Protocol::Tcp | Protocol::Sctp => (until <= now).then_some(Cut::DrainTimeOver),
        };
        match cut {
            Some(cut) => drop(draining.cut.insert(id.clone(), cut)),
            None => drop(draining.until.insert(id.clone(), until)),
        }
    }
    draining
}
