//! What the data plane is to serve, from what is known of all services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stolos_controller::Key;
use stolos_core::network::balance::{self, EndpointId, Lease, VipPort};
use stolos_core::network::pool;
use stolos_core::network::serve::{self, Observed, Problem, Wanted};
use stolos_core::network::vip::Refusal;
use stolos_dataplane::{Desired, DesiredVip, Options};

use super::{Balancer, text};

/// Wait before a port is tried again that could not be opened; it doubles with each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait: whoever makes a port free need not tell anybody, and must not wait for hours.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// What is to be served of every service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decision {
    pub(super) services: BTreeMap<Key, Wanted>,
    /// The same for the data plane.
    pub(super) desired: Desired,
}

/// What became of a decision.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) decision: std::sync::Arc<Decision>,
    pub(super) not_served: BTreeMap<VipPort, Problem>,
    /// How often in a row ports could not be opened.
    pub(super) n_failures: u32,
    /// When it was decided.
    pub(super) at: Timestamp,
}

/// Endpoints that are left out and of which people know, by member.
pub(super) type Told = BTreeMap<String, Refusal>;

impl Outcome {
    /// Returns when ports that could not be opened are tried again.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        retry_at(self.n_failures, self.at)
    }
}

/// Returns when ports are tried again that could not be opened `n_failures` times in a row, the last time `at` then.
pub(crate) fn retry_at(n_failures: u32, at: Timestamp) -> Option<Timestamp> {
    let doublings = n_failures.checked_sub(1)?.min(16);
    let wait = FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY);
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    Some(at.saturating_add(wait).unwrap_or(Timestamp::MAX))
}

impl<P> Balancer<P> {
    /// Decides what is to be served. A service that is served and that nobody has said to be gone goes on as it is.
    pub(super) fn decide(&self) -> Decision {
        let addresses = self.addresses();
        let mut services = BTreeMap::new();
        for (key, before) in &self.served {
            if self.services.get(key).is_none() {
                services.insert(key.clone(), before.clone());
            }
        }
        let nothing = Wanted::default();
        for service in self.services.iter().filter(|service| serve::is_ours(service)) {
            let key = Key::of(&service.metadata);
            let Some(address) = addresses.get(&text(&key)) else { continue };
            let origin = self.origin_of(service);
            let slices = self.slices_of(&key, origin);
            let wanted = serve::wanted(&Observed {
                service,
                origin,
                import: origin.and_then(|origin| self.import_of(origin)),
                slices: slices.as_deref(),
                address,
                cluster: &self.config.name,
                guard: &self.guard,
                before: self.served.get(&key).unwrap_or(&nothing),
            });
            services.insert(key, wanted);
        }
        let desired = desired(&services);
        Decision { services, desired }
    }

    /// Returns the address of every service that is to have one.
    pub(super) fn addresses(&self) -> BTreeMap<String, pool::Assignment> {
        let ours = self.services.iter().filter(|service| serve::is_ours(service));
        let assigned = |key: &Key| Some(self.served.get(key)?.ports.first()?.vip.address);
        let claims = ours.map(|service| {
            let assigned = assigned(&Key::of(&service.metadata));
            serve::claim(service, self.origin_of(service), assigned)
        });
        // Services that only a list lacks keep theirs.
        let missing = self.served.keys().filter(|key| self.services.get(key).is_none());
        let missing = missing.filter_map(|key| {
            let held = assigned(key)?;
            let created = Timestamp::MIN;
            Some(pool::Claim { service: text(key), created, held: Some(held), asked: None })
        });
        pool::assign(&self.config.pool, &claims.chain(missing).collect::<Vec<_>>())
    }
}

fn desired(services: &BTreeMap<Key, Wanted>) -> Desired {
    let vips = services.iter().flat_map(|(key, wanted)| {
        let options = Options { send_proxy_protocol: wanted.proxy_protocol, ..Options::default() };
        let service = text(key);
        wanted.ports.iter().map(move |port| DesiredVip {
            balance: port.clone(),
            options,
            gateways: gateways_of(port, &wanted.gateways),
            service: service.clone(),
        })
    });
    // Of members that the hub hears of nothing is told: as long as it is not there either, only checks find out whether they
    // live, and so they are always made.
    let silent = services.values().flat_map(|wanted| &wanted.silent);
    let leases = silent.map(|(cluster, since)| (cluster.clone(), ended(*since)));
    Desired { vips: vips.collect(), leases: leases.collect() }
}

/// Returns a lease that has not been renewed for too long.
fn ended(since: Timestamp) -> Lease {
    Lease { renewed: since, period_seconds: 0 }
}

/// Returns those endpoints of a port that are gateways.
fn gateways_of(port: &balance::Desired, gateways: &BTreeSet<EndpointId>) -> BTreeSet<EndpointId> {
    let ids = port.endpoints.iter().map(|endpoint| &endpoint.id);
    ids.filter(|id| gateways.contains(id)).cloned().collect()
}

/// Returns what a data plane served when it began, by service.
pub(super) fn served(desired: &Desired) -> BTreeMap<Key, Wanted> {
    let mut services: BTreeMap<Key, Wanted> = BTreeMap::new();
    for vip in &desired.vips {
        let Some((namespace, name)) = vip.service.split_once('/') else { continue };
        let wanted = services.entry(Key::namespaced(namespace, name)).or_default();
        wanted.ports.push(vip.balance.clone());
        wanted.gateways.extend(vip.gateways.iter().cloned());
        wanted.proxy_protocol |= vip.options.send_proxy_protocol;
        let clusters = vip.balance.endpoints.iter().map(|endpoint| &endpoint.id.cluster);
        let silent = clusters.filter_map(|name| Some((name.clone(), desired.leases.get(name)?)));
        wanted.silent.extend(silent.map(|(cluster, lease)| (cluster, lease.renewed)));
    }
    services
}
