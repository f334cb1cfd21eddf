//! Decides which endpoints of a VIP port get connections.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::drain::drain;
use super::lease::{ClusterVoice, Consequence, LeasePolicy, voice};
use super::slots::{SlotTable, Weighted};
use super::{CheckReason, Desired, EndpointId, EndpointState, Observed, Plan, Routing, Standing};

/// Largest weight of a cluster and largest multiplier of the own one, so that shares cannot overflow.
const MAX_WEIGHT: u32 = 1_000;
const MAX_MULTIPLIER: u32 = 1_000;

/// Weights are multiplied by this before they are divided by a number of endpoints.
const SCALE: u64 = 1 << 24;

/// Decides which endpoints of a VIP port get connections, which must be checked, and what becomes of connections to
/// the others. Asking twice with the same input gives the same plan.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let endpoints = judge_all(desired, observed, now);
    let (routing, chosen) = choose(&endpoints, desired.settings.fail_open);
    let table = SlotTable::build(&shares(&chosen, desired));
    let routed: BTreeSet<&EndpointId> = table.endpoints().iter().collect();
    let standings: BTreeMap<_, _> = endpoints
        .iter()
        .map(|endpoint| (endpoint.id.clone(), standing(endpoint, routing, &routed)))
        .collect();
    let settings = &desired.settings;
    let protocol = desired.vip.protocol;
    let draining = drain(observed, &routed, &standings, protocol, settings.drain_seconds, now);
    let checks = checks(&endpoints, desired);
    let moments = endpoints.iter().flat_map(|endpoint| endpoint.moments);
    let wake_at = moments.flatten().chain(draining.until.values().copied()).min();
    let (draining, cut) = (draining.until, draining.cut);
    Plan { table, routing, endpoints: standings, checks, draining, cut, wake_at }
}

/// An endpoint with what speaks for and against it.
struct Judged<'a> {
    id: &'a EndpointId,
    state: EndpointState,
    is_up: bool,
    weight: u64,
    /// Part of its share, in quarters.
    ramp: u64,
    lease: Consequence,
    /// When its lease or its part of the share changes by itself.
    moments: [Option<Timestamp>; 2],
}

impl Judged<'_> {
    /// Tells whether the endpoint may get connections if it is up.
    fn is_wanted(&self) -> bool {
        self.weight > 0 && self.lease != Consequence::Dropped
    }
}

/// Judges every endpoint once, in order; one that is both ready and terminating is ready.
fn judge_all<'a>(desired: &'a Desired, observed: &Observed, now: Timestamp) -> Vec<Judged<'a>> {
    let mut endpoints: Vec<_> = desired.endpoints.iter().collect();
    endpoints.sort();
    endpoints.dedup_by(|a, b| a.id == b.id);
    let settings = &desired.settings;
    let judge = |id: &'a EndpointId, state| {
        let voice = voice(observed.leases.get(&id.cluster), now);
        let stale_from = match (settings.lease_policy, voice) {
            (LeasePolicy::Check | LeasePolicy::Drop, ClusterVoice::Heard { until }) => Some(until),
            (LeasePolicy::Keep, _) | (_, ClusterVoice::Silent | ClusterVoice::Never) => None,
        };
        let health = observed.health.get(id);
        let (ramp, next) =
            health.map_or((4, None), |health| health.ramp(settings.slow_start_seconds, now));
        Judged {
            id,
            state,
            is_up: health.is_none_or(super::Health::is_up),
            weight: cluster_weight(&id.cluster, desired),
            ramp,
            lease: settings.lease_policy.consequence(voice),
            moments: [stale_from, next],
        }
    };
    endpoints.into_iter().map(|endpoint| judge(&endpoint.id, endpoint.state)).collect()
}

fn cluster_weight(cluster: &str, desired: &Desired) -> u64 {
    let weight = desired.weights.get(cluster).copied().unwrap_or(1);
    let locality = desired.settings.locality.as_ref().filter(|own| own.cluster == cluster);
    let multiplier = locality.map_or(1, |own| own.multiplier);
    u64::from(weight.min(MAX_WEIGHT)) * u64::from(multiplier.min(MAX_MULTIPLIER))
}

/// Chooses the endpoints that get connections: the first of ready, terminating and all that has any.
fn choose<'a, 'b>(endpoints: &'b [Judged<'a>], fail_open: bool) -> (Routing, Vec<&'b Judged<'a>>) {
    let of = |state, is_up| {
        let fits =
            move |one: &&Judged<'a>| one.is_wanted() && one.state == state && one.is_up == is_up;
        endpoints.iter().filter(fits).collect::<Vec<_>>()
    };
    let ways = [
        (Routing::Ready, EndpointState::Ready, true),
        (Routing::Terminating, EndpointState::Terminating, true),
        (Routing::FailOpen, EndpointState::Ready, false),
        (Routing::FailOpen, EndpointState::Terminating, false),
    ];
    let allowed = ways.into_iter().filter(|(way, ..)| fail_open || *way != Routing::FailOpen);
    let found = allowed.map(|(way, state, is_up)| (way, of(state, is_up)));
    found
        .into_iter()
        .find(|(_, chosen)| !chosen.is_empty())
        .unwrap_or((Routing::Nothing, Vec::new()))
}

/// Spreads the weight of every cluster over its chosen endpoints.
fn shares(chosen: &[&Judged<'_>], desired: &Desired) -> Vec<Weighted> {
    let mut n_endpoints: BTreeMap<&str, u64> = BTreeMap::new();
    for endpoint in chosen {
        *n_endpoints.entry(&endpoint.id.cluster).or_default() += 1;
    }
    let share = |endpoint: &&Judged<'_>| {
        let weight = cluster_weight(&endpoint.id.cluster, desired) * SCALE * endpoint.ramp;
        let n = n_endpoints.get(endpoint.id.cluster.as_str()).copied().unwrap_or(1);
        Weighted { id: endpoint.id.clone(), weight: weight / 4 / n }
    };
    chosen.iter().map(share).collect()
}

fn standing(endpoint: &Judged<'_>, routing: Routing, routed: &BTreeSet<&EndpointId>) -> Standing {
    if routed.contains(endpoint.id) {
        return match routing {
            Routing::FailOpen => Standing::FailOpen,
            Routing::Ready | Routing::Terminating | Routing::Nothing if endpoint.ramp < 4 => {
                Standing::Ramping
            }
            Routing::Ready | Routing::Terminating | Routing::Nothing => Standing::Used,
        };
    }
    match (endpoint.lease, endpoint.state) {
        _ if endpoint.weight == 0 => Standing::ZeroWeight,
        (Consequence::Dropped, _) => Standing::LeaseExpired,
        _ if !endpoint.is_up => Standing::Down,
        (_, EndpointState::Terminating) if routing != Routing::Terminating => Standing::Terminating,
        _ => Standing::TooSmall,
    }
}

/// Returns the endpoints that must be checked. Those that cannot get connections whatever a check says are not.
fn checks(endpoints: &[Judged<'_>], desired: &Desired) -> BTreeMap<EndpointId, CheckReason> {
    let reason = |endpoint: &Judged<'_>| match endpoint.lease {
        _ if desired.settings.health.check.is_some() => Some(CheckReason::Configured),
        Consequence::MustCheck => Some(CheckReason::ClusterSilent),
        Consequence::None | Consequence::Dropped => (!endpoint.is_up).then_some(CheckReason::Down),
    };
    let wanted = endpoints.iter().filter(|endpoint| endpoint.is_wanted());
    wanted.filter_map(|endpoint| Some((endpoint.id.clone(), reason(endpoint)?))).collect()
}
