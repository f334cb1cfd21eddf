//! What workers share of one VIP port: where its connections may go, and what became of them.
//!
//! The task that carries out plans writes, all workers read. A new table replaces the old one in one step; no connection
//! notices, because each holds the endpoint that it was given.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use stolos_core::network::balance::{Access, EndpointId, Evidence, Protocol, VipPort};
use tokio::sync::{Notify, mpsc, watch};

use crate::limits::Limits;
use crate::plane::EndpointStats;
use crate::relay::Moved;
use crate::table::{Memory, Table};
use crate::timeouts::Timeouts;
use crate::tls::Keys;

/// A VIP port that is served.
pub(crate) struct Vip {
    pub(crate) port: VipPort,
    pub(crate) address: SocketAddr,
    pub(crate) table: ArcSwap<Table>,
    /// Which client stays with which endpoint, where that is strict.
    pub(crate) memory: Memory,
    pub(crate) clients: Clients,
    pub(crate) counts: VipCounts,
}

/// Connections of each client, counted while their number is limited. There are never more clients than connections.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<IpAddr, u32>>);

/// An endpoint of one VIP port.
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    /// Whether its connections end at once; each of them listens.
    pub(crate) cut: watch::Sender<bool>,
    /// Whether the last connection to it failed, so that the next success is worth telling.
    doubted: AtomicBool,
    pub(crate) counts: EndpointCounts,
}

/// Counters of a VIP port.
#[derive(Debug, Default)]
pub(crate) struct VipCounts {
    /// Connections or flows that are there.
    pub(crate) active: AtomicUsize,
    /// Those that were taken.
    pub(crate) accepted: AtomicU64,
    /// Those turned away because as many as allowed were there, or their client may not connect.
    pub(crate) refused: AtomicU64,
    /// Those that found no endpoint that answers.
    pub(crate) unserved: AtomicU64,
    /// Those that did not begin with the PROXY header or the certificate that the port asks for.
    pub(crate) malformed: AtomicU64,
}

/// Counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct EndpointCounts {
    pub(crate) active: AtomicUsize,
    pub(crate) connections: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    /// Connections that the endpoint reset.
    pub(crate) resets: AtomicU64,
    pub(crate) bytes_from_clients: AtomicU64,
    pub(crate) bytes_from_endpoint: AtomicU64,
}

/// What all VIP ports of a data plane share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Who this data plane is to gateways of other members.
    pub(crate) keys: Arc<Keys>,
    /// Of TCP and of UDP.
    connections: AtomicUsize,
    flows: AtomicUsize,
    /// Told when the last connection or the last flow has ended.
    pub(crate) all_ended: Notify,
    witnesses: mpsc::Sender<Witnessed>,
}

/// What speaks for or against an endpoint.
pub(crate) struct Witnessed {
    pub(crate) port: VipPort,
    pub(crate) endpoint: EndpointId,
    pub(crate) evidence: Evidence,
}

/// A place among the connections that a VIP port and the whole data plane may have; free again on drop.
pub(crate) struct Place {
    vip: Arc<Vip>,
    shared: Arc<Shared>,
}

/// A client that may connect; the connection is its own until drop.
pub(crate) struct Admitted {
    counted: Option<(Arc<Vip>, IpAddr)>,
}

/// A connection counted at its endpoint; no longer on drop.
pub(crate) struct Attached(Arc<Endpoint>);

impl Shared {
    pub(crate) fn new(
        limits: Limits,
        timeouts: Timeouts,
        witnesses: mpsc::Sender<Witnessed>,
    ) -> Self {
        Self {
            limits,
            timeouts,
            keys: Arc::default(),
            connections: AtomicUsize::new(0),
            flows: AtomicUsize::new(0),
            all_ended: Notify::new(),
            witnesses,
        }
    }

    /// Tells whether there is no connection and no flow.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.load(Relaxed) == 0 && self.flows.load(Relaxed) == 0
    }

    fn of(&self, protocol: Protocol) -> (&AtomicUsize, usize) {
        match protocol {
            Protocol::Tcp | Protocol::Sctp => (&self.connections, self.limits.connections),
            Protocol::Udp => (&self.flows, self.limits.flows),
        }
    }

    /// Tells that an endpoint took a connection. Costs nothing unless the one before failed.
    pub(crate) fn was_reached(&self, vip: &Vip, endpoint: &Endpoint) {
        if endpoint.doubted.load(Relaxed) && endpoint.doubted.swap(false, Relaxed) {
            self.witness(vip, endpoint, Evidence::ConnectionMade);
        }
    }

    /// Tells that an endpoint did not take a connection; returns whether it took the one before.
    pub(crate) fn was_not_reached(&self, vip: &Vip, endpoint: &Endpoint) -> bool {
        endpoint.counts.connect_failures.fetch_add(1, Relaxed);
        let is_known = endpoint.doubted.swap(true, Relaxed);
        self.witness(vip, endpoint, Evidence::ConnectionFailed);
        !is_known
    }

    fn witness(&self, vip: &Vip, endpoint: &Endpoint, evidence: Evidence) {
        let endpoint = endpoint.id.clone();
        // A full queue loses some: there is more of the same in it.
        let _ = self.witnesses.try_send(Witnessed { port: vip.port, endpoint, evidence });
    }
}

impl Place {
    /// Takes a place for a connection or flow, if there is one.
    pub(crate) fn take(vip: &Arc<Vip>, shared: &Arc<Shared>, most: u32) -> Option<Self> {
        let place = Self { vip: vip.clone(), shared: shared.clone() };
        let (all, most_of_all) = shared.of(vip.port.protocol);
        // Counted first and looked at then, so that two workers never share the last place.
        let of_vip = vip.counts.active.fetch_add(1, Relaxed);
        let of_all = all.fetch_add(1, Relaxed);
        (of_vip < most as usize && of_all < most_of_all).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.vip.counts.active.fetch_sub(1, Relaxed);
        if self.shared.of(self.vip.port.protocol).0.fetch_sub(1, Relaxed) == 1 {
            self.shared.all_ended.notify_one();
        }
    }
}

impl Admitted {
    /// Lets a client in, if it may connect.
    pub(crate) fn take(vip: &Arc<Vip>, client: IpAddr, access: &Access) -> Option<Self> {
        if access.max_connections_per_client.is_none() {
            return access.admits(client, 0).then_some(Self { counted: None });
        }
        let client = client.to_canonical();
        let mut clients = vip.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n_connections = clients.get(&client).copied().unwrap_or_default();
        if !access.admits(client, n_connections) {
            return None;
        }
        clients.insert(client, n_connections + 1);
        Some(Self { counted: Some((vip.clone(), client)) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some((vip, client)) = &self.counted else { return };
        let mut clients = vip.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut known) = clients.entry(*client) {
            *known.get_mut() -= 1;
            if *known.get() == 0 {
                known.remove();
            }
        }
    }
}

impl Endpoint {
    pub(crate) fn new(id: EndpointId) -> Self {
        let doubted = AtomicBool::new(false);
        Self { id, cut: watch::Sender::new(false), doubted, counts: EndpointCounts::default() }
    }

    /// Counts a connection to this endpoint.
    pub(crate) fn attach(self: &Arc<Self>) -> Attached {
        self.counts.connections.fetch_add(1, Relaxed);
        self.counts.active.fetch_add(1, Relaxed);
        Attached(self.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.counts.active.fetch_sub(1, Relaxed);
    }
}

impl EndpointCounts {
    pub(crate) fn stats(&self) -> EndpointStats {
        EndpointStats {
            standing: None,
            active: self.active.load(Relaxed),
            connections: self.connections.load(Relaxed),
            connect_failures: self.connect_failures.load(Relaxed),
            resets: self.resets.load(Relaxed),
            bytes_from_clients: self.bytes_from_clients.load(Relaxed),
            bytes_from_endpoint: self.bytes_from_endpoint.load(Relaxed),
        }
    }

    /// Counts bytes that went through.
    pub(crate) fn add(&self, moved: Moved) {
        if moved.from_client > 0 {
            self.bytes_from_clients.fetch_add(moved.from_client, Relaxed);
        }
        if moved.from_endpoint > 0 {
            self.bytes_from_endpoint.fetch_add(moved.from_endpoint, Relaxed);
        }
    }
}
