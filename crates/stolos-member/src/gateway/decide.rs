//! What the data plane is to serve at the entries of a member.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stolos_controller::Key;
use stolos_core::network::balance::{self, Protocol, VipPort};
use stolos_core::network::gateway::{self, Source, Tls};
use stolos_dataplane::{Desired, DesiredVip, Options};

use super::{Gateway, NotServed};
use crate::balance::text;

/// What is served of the entry of each Service.
pub(super) type Served = BTreeMap<Key, Vec<DesiredVip>>;

/// What the service of a port of an entry begins with, which tells entries from services of the fleet.
pub(super) const PREFIX: &str = "gateway:";

/// What became of a decision.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) decision: Served,
    pub(super) not_served: NotServed,
    /// How often in a row ports could not be opened.
    pub(super) n_failures: u32,
    /// When it was decided.
    pub(super) at: Timestamp,
}

impl<P> Gateway<P> {
    /// Decides what is to be served. An entry that is served goes on as it is while its export is not known to be gone and
    /// the agent has not said anything else.
    pub(super) fn decide(&self) -> Served {
        let mut decision = Served::new();
        for (key, before) in &self.served {
            if self.exports.get(key).is_none_or(|export| gateway::confirmed(export).is_none()) {
                decision.insert(key.clone(), before.clone());
            }
        }
        let mut taken: BTreeSet<VipPort> =
            decision.values().flatten().map(|vip| vip.balance.vip).collect();
        let mut exports: Vec<_> = self.exports.iter().collect();
        exports.sort_by_key(|export| {
            let created = export.metadata.creation_timestamp.as_ref().map(|created| created.0);
            (created.unwrap_or(Timestamp::MAX), Key::of(&export.metadata))
        });
        for export in exports {
            let Some(entry) = gateway::confirmed(export) else { continue };
            let key = Key::of(&export.metadata);
            let slices: Vec<_> = self.slices.indexed(&text(&key)).map(AsRef::as_ref).collect();
            let source =
                Source { cluster: &self.config.name, slices: &slices, listen: &self.config.listen };
            let vips = gateway::vips(&entry, &source);
            // Two that have the same port are for the agent to part; until then the older one has it.
            let vips = vips.into_iter().filter(|port| taken.insert(port.vip));
            let vips = vips.map(|port| desired(port, entry.tls, &key)).collect();
            decision.insert(key, vips);
        }
        decision
    }
}

fn desired(port: balance::Desired, tls: Tls, key: &Key) -> DesiredVip {
    let is_gateway = tls == Tls::Require && port.vip.protocol == Protocol::Tcp;
    DesiredVip {
        balance: port,
        options: Options { is_gateway, ..Options::default() },
        gateways: BTreeSet::new(),
        service: format!("{PREFIX}{}", text(key)),
    }
}

/// Returns what a data plane served of entries when it began, by Service.
pub(super) fn served(desired: &Desired) -> Served {
    let mut services = Served::new();
    for vip in &desired.vips {
        let Some(service) = vip.service.strip_prefix(PREFIX) else { continue };
        let Some((namespace, name)) = service.split_once('/') else { continue };
        services.entry(Key::namespaced(namespace, name)).or_default().push(vip.clone());
    }
    services
}
