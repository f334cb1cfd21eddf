//! One VIP port that is served: what is known of it, the plan, and carrying the plan out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use stolos_core::network::balance::{
    self, CheckReason, EndpointId, Evidence, Health, Lease, Observed, Plan, Protocol, Standing,
};

use crate::desired::{DesiredVip, socket};
use crate::plane::{EndpointStats, VipStats};
use crate::table::{Memory, Table};
use crate::vip::{Clients, Endpoint, Vip, VipCounts};
use crate::worker::{Listener, Listening};

/// A VIP port that is served, or was and still has connections.
pub(crate) struct Served {
    pub(crate) vip: Arc<Vip>,
    pub(crate) desired: DesiredVip,
    /// Empty when the port was removed.
    listening: Vec<Listening>,
    /// Its leases are those of the moment in which it was last planned.
    observed: Observed,
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    standings: BTreeMap<EndpointId, Standing>,
    checks: BTreeMap<EndpointId, CheckReason>,
    /// What happened at endpoints that are gone.
    departed: EndpointStats,
    /// When the plan changes by itself.
    wake_at: Option<Timestamp>,
    /// When the connections of a removed port end.
    ends_at: Option<Timestamp>,
}

impl Served {
    pub(crate) fn new(desired: DesiredVip) -> Self {
        let port = desired.balance.vip;
        let vip = Vip {
            port,
            address: socket(&port),
            table: ArcSwap::default(),
            memory: Memory::default(),
            clients: Clients::default(),
            counts: VipCounts::default(),
        };
        Self {
            vip: Arc::new(vip),
            desired,
            listening: Vec::new(),
            observed: Observed::default(),
            endpoints: BTreeMap::new(),
            standings: BTreeMap::new(),
            checks: BTreeMap::new(),
            departed: EndpointStats::default(),
            wake_at: None,
            ends_at: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.listening.is_empty()
    }

    /// Takes connections from these sockets.
    pub(crate) fn listen(&mut self, listening: Vec<Listening>) {
        self.listening = listening;
    }

    /// Returns the sockets from which connections are taken.
    pub(crate) fn sockets(&self) -> Vec<Listener> {
        self.listening.iter().map(Listening::socket).collect()
    }

    /// Returns the endpoints that must be checked.
    pub(crate) fn checks(&self) -> &BTreeMap<EndpointId, CheckReason> {
        &self.checks
    }

    /// Returns when something changes by itself.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.ends_at.or(self.wake_at)
    }

    /// Tells whether the plan would be another one with these leases: whether a cluster fell silent or is heard again.
    pub(crate) fn is_changed_by(&self, leases: &BTreeMap<String, Lease>, now: Timestamp) -> bool {
        let clusters = self.desired.balance.endpoints.iter().map(|endpoint| &endpoint.id.cluster);
        let is_silent = |leases: &BTreeMap<String, Lease>, cluster| {
            leases.get(cluster).map(|lease: &Lease| lease.stale_from() <= now)
        };
        clusters
            .into_iter()
            .any(|cluster| is_silent(leases, cluster) != is_silent(&self.observed.leases, cluster))
    }

    /// Plans anew and carries the plan out.
    pub(crate) fn replan(&mut self, leases: &BTreeMap<String, Lease>, now: Timestamp) {
        let clusters = self.desired.balance.endpoints.iter().map(|endpoint| &endpoint.id.cluster);
        let of_cluster = |cluster: &String| Some((cluster.clone(), *leases.get(cluster)?));
        self.observed.leases = clusters.filter_map(of_cluster).collect();
        self.ends_at = None;
        let plan = balance::plan(&self.desired.balance, &self.observed, now);
        self.carry_out(plan);
    }

    fn carry_out(&mut self, plan: Plan) {
        self.observed.routed = plan.routed();
        let Plan { table, routing: _, endpoints, checks, draining, cut, wake_at } = plan;
        let options = self.desired.options;
        let settings = &self.desired.balance.settings;
        let known = &mut self.endpoints;
        let table = Table::new(options, settings, table, |id| {
            let fresh = || Arc::new(Endpoint::new(id.clone()));
            let endpoint = known.entry(id.clone()).or_insert_with(fresh);
            // It may have been cut off before, when it was down.
            endpoint.cut.send_if_modified(|cut| std::mem::replace(cut, false));
            endpoint.clone()
        });
        let table = table.with_gateways(self.desired.gateways.clone());
        self.vip.table.store(Arc::new(table));
        for endpoint in cut.keys().filter_map(|id| self.endpoints.get(id)) {
            endpoint.cut.send_replace(true);
        }
        let departed = &mut self.departed;
        self.endpoints.retain(|id, endpoint| {
            let stays = endpoints.contains_key(id) || draining.contains_key(id);
            if !stays {
                departed.add(endpoint.counts.stats());
            }
            stays
        });
        self.observed
            .health
            .retain(|id, _| endpoints.contains_key(id) || draining.contains_key(id));
        self.observed.draining = draining;
        self.standings = endpoints;
        self.checks = checks;
        self.wake_at = wake_at;
    }

    /// Takes account of evidence; tells whether that changes the plan.
    pub(crate) fn witness(&mut self, id: &EndpointId, evidence: Evidence, now: Timestamp) -> bool {
        if !self.endpoints.contains_key(id) && !self.standings.contains_key(id) {
            return false;
        }
        let health = self.observed.health.entry(id.clone()).or_insert(Health::assumed(now));
        let before = health.is_up();
        *health = health.after(evidence, &self.desired.balance.settings.health, now);
        if before != health.is_up() {
            let (vip, endpoint, up) = (self.vip.port, id, health.is_up());
            tracing::info!(%vip, %endpoint, up, "judged the health of an endpoint anew");
        }
        before != health.is_up()
    }

    /// Tells whether an endpoint counts as up.
    pub(crate) fn is_up(&self, id: &EndpointId) -> bool {
        self.observed.health.get(id).is_none_or(Health::is_up)
    }

    /// Takes no more connections; those that are there end after the drain time. Flows end at once.
    pub(crate) async fn remove(&mut self, now: Timestamp) {
        for listening in std::mem::take(&mut self.listening) {
            listening.close().await;
        }
        if self.ends_at.is_none() {
            let seconds = match self.vip.port.protocol {
                Protocol::Tcp => self.desired.balance.settings.drain_seconds,
                Protocol::Udp | Protocol::Sctp => 0,
            };
            self.ends_at = Some(now + SignedDuration::from_secs(seconds.into()));
            self.checks.clear();
        }
    }

    /// Tells whether the port was removed and nothing is left to wait for. Connections whose time is over are cut off.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let Some(ends_at) = self.ends_at else { return false };
        if now < ends_at {
            return self.vip.counts.active.load(Relaxed) == 0;
        }
        for endpoint in self.endpoints.values() {
            endpoint.cut.send_replace(true);
        }
        true
    }

    pub(crate) fn stats(&self) -> VipStats {
        let counts = &self.vip.counts;
        let endpoint_stats = |(id, endpoint): (&EndpointId, &Arc<Endpoint>)| {
            let standing = self.standings.get(id).copied();
            (id.clone(), EndpointStats { standing, ..endpoint.counts.stats() })
        };
        let unused = self.standings.iter().map(|(id, standing)| {
            (id.clone(), EndpointStats { standing: Some(*standing), ..EndpointStats::default() })
        });
        VipStats {
            service: self.desired.service.clone(),
            active: counts.active.load(Relaxed),
            accepted: counts.accepted.load(Relaxed),
            refused: counts.refused.load(Relaxed),
            unserved: counts.unserved.load(Relaxed),
            malformed: counts.malformed.load(Relaxed),
            endpoints: unused.chain(self.endpoints.iter().map(endpoint_stats)).collect(),
            departed: self.departed,
        }
    }
}
