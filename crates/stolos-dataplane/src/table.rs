//! Chooses endpoints for clients, by the slot table of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use stolos_core::network::balance::affinity::{Sticky, stick};
use stolos_core::network::balance::{Access, Affinity, EndpointId, Settings, SlotTable};

use crate::desired::Options;
use crate::vip::Endpoint;

/// Endpoints that a connection tries, the first included.
pub(crate) const MAX_CANDIDATES: usize = 4;
/// Clients remembered by a VIP port with strict affinity. Beyond, a client is spread by its address, which gives it the
/// same endpoint as long as the table does.
const MAX_REMEMBERED: usize = 65_536;
/// Time between two sweeps of a full memory, which look at every client.
const SWEEP_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// Endpoints of a VIP port that may be used, and how clients are spread over them.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) options: Options,
    /// Who may connect.
    pub(crate) access: Access,
    affinity: Affinity,
    slots: SlotTable,
    /// In the order of those of the slot table.
    endpoints: Vec<Arc<Endpoint>>,
    /// Those that are gateways of other members.
    gateways: BTreeSet<EndpointId>,
}

/// Which client stays with which endpoint.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    clients: BTreeMap<IpAddr, Sticky>,
    /// When those were last forgotten who have made no connection for too long.
    swept: Timestamp,
}

impl Table {
    /// Makes a table of `slots`; `endpoint` gives the endpoint of an id.
    pub(crate) fn new(
        options: Options,
        settings: &Settings,
        slots: SlotTable,
        endpoint: impl FnMut(&EndpointId) -> Arc<Endpoint>,
    ) -> Self {
        let endpoints = slots.endpoints().iter().map(endpoint).collect();
        let (access, affinity) = (settings.access.clone(), settings.affinity);
        Self { options, access, affinity, slots, endpoints, gateways: BTreeSet::new() }
    }

    /// Says which endpoints are gateways of other members.
    pub(crate) fn with_gateways(self, gateways: BTreeSet<EndpointId>) -> Self {
        Self { gateways, ..self }
    }

    /// Tells whether an endpoint is a gateway of another member.
    pub(crate) fn is_gateway(&self, endpoint: &EndpointId) -> bool {
        self.gateways.contains(endpoint)
    }

    /// Returns the endpoints to try for a client, best first, each once.
    pub(crate) fn candidates(&self, client: SocketAddr, memory: &Memory) -> Vec<&Arc<Endpoint>> {
        let spread = self.slots.candidates(self.affinity.hash(client), MAX_CANDIDATES);
        let mut candidates: Vec<_> =
            spread.into_iter().filter_map(|id| self.endpoint(id)).collect();
        if let Affinity::StrictClientIp { timeout_seconds } = self.affinity {
            let now = Timestamp::now();
            if let Some(id) = memory.stick(&self.slots, client.ip(), timeout_seconds, now) {
                candidates.retain(|endpoint| endpoint.id != id);
                candidates.splice(0..0, self.endpoint(&id));
                candidates.truncate(MAX_CANDIDATES);
            }
        }
        candidates
    }

    fn endpoint(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        let index = self.slots.endpoints().binary_search(id).ok()?;
        self.endpoints.get(index)
    }
}

impl Memory {
    /// Returns the endpoint that `client` stays with, and remembers it.
    fn stick(
        &self,
        slots: &SlotTable,
        client: IpAddr,
        timeout_seconds: u32,
        now: Timestamp,
    ) -> Option<EndpointId> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Remembered { clients, swept } = &mut *remembered;
        let sticky = stick(slots, clients.get(&client), client, timeout_seconds, now)?;
        if clients.len() >= MAX_REMEMBERED && now.duration_since(*swept) >= SWEEP_PAUSE {
            *swept = now;
            clients.retain(|_, sticky| now < sticky.until);
        }
        let endpoint = sticky.endpoint.clone();
        if clients.len() < MAX_REMEMBERED || clients.contains_key(&client) {
            clients.insert(client, sticky);
        }
        Some(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use stolos_core::network::balance::Weighted;

    use super::*;

    fn id(n: u8) -> EndpointId {
        let address = Ipv4Addr::new(192, 0, 2, n).into();
        EndpointId { cluster: "one".to_owned(), address, port: 80 }
    }

    fn table(affinity: Affinity, endpoints: &[u8]) -> Table {
        let shares: Vec<_> = endpoints.iter().map(|n| Weighted { id: id(*n), weight: 1 }).collect();
        let slots = SlotTable::build(&shares);
        let settings = Settings { affinity, ..Settings::default() };
        let endpoint = |id: &EndpointId| Arc::new(Endpoint::new(id.clone()));
        Table::new(Options::default(), &settings, slots, endpoint)
    }

    fn client(ip: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(198, 51, 100, ip), port).into()
    }

    fn ids(table: &Table, client: SocketAddr, memory: &Memory) -> Vec<EndpointId> {
        table.candidates(client, memory).iter().map(|endpoint| endpoint.id.clone()).collect()
    }

    #[test]
    fn a_connection_tries_the_endpoint_of_its_slot_and_up_to_three_others() {
        for (n_endpoints, want) in [(0, 0), (1, 1), (3, 3), (20, 4)] {
            let endpoints: Vec<u8> = (1..=n_endpoints).collect();
            let table = table(Affinity::None, &endpoints);
            for port in 0..200 {
                let client = client(1, port);
                let tried = ids(&table, client, &Memory::default());
                assert_eq!(tried.len(), want);
                assert_eq!(tried.iter().collect::<BTreeSet<_>>().len(), want, "one is tried twice");
                assert_eq!(tried.first(), table.slots.pick(Affinity::None.hash(client)));
            }
        }
    }

    #[test]
    fn under_strict_affinity_a_client_stays_although_the_table_changes() {
        let strict = Affinity::StrictClientIp { timeout_seconds: 60 };
        let memory = Memory::default();
        let (small, large) = (table(strict, &[1, 2]), table(strict, &[1, 2, 3, 4, 5, 6]));
        let first = |table: &Table, ip| ids(table, client(ip, u16::from(ip)), &memory)[0].clone();
        let before: Vec<_> = (0..100).map(|ip| first(&small, ip)).collect();
        let after: Vec<_> = (0..100).map(|ip| first(&large, ip)).collect();
        assert_eq!(before, after);
        // Without it, about two of three would have moved.
        let spread = |ip| ids(&large, client(ip, 0), &Memory::default())[0].clone();
        assert!((0..100).any(|ip| spread(ip) != before[usize::from(ip)]));
        // Who loses its endpoint goes elsewhere and stays there.
        let without_one = table(strict, &[2, 3, 4, 5, 6]);
        assert!((0..100).all(|ip| first(&without_one, ip) != id(1)));
    }

    #[test]
    fn the_memory_of_clients_is_bounded() {
        let table = table(Affinity::StrictClientIp { timeout_seconds: 60 }, &[1, 2]);
        let memory = Memory::default();
        for n in 0..=u32::try_from(MAX_REMEMBERED).unwrap() {
            let client = SocketAddr::from((Ipv4Addr::from(n), 1));
            assert_eq!(ids(&table, client, &memory).len(), 2);
        }
        assert_eq!(memory.0.lock().unwrap().clients.len(), MAX_REMEMBERED);
    }
}
