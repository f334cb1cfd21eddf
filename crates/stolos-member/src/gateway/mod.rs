//! Serves the entries of a member whose pods other members cannot reach: what comes to a port of an entry goes to the pods
//! of its Service (networking-dataplane.md, section 6.4).
//!
//! Which ports an entry has is decided by the network agent, which writes it on the ServiceExport. No list takes anything
//! away: what one lacks is asked for by name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use stolos_api::network::ServiceExport;
use stolos_controller::{
    Change, Clock, Controller, Key, Options, Plan, Readiness, Table, Watches, Write,
};
use stolos_core::network::balance::VipPort;
use stolos_core::network::gateway;
use stolos_dataplane::{DataPlane, Desired};

mod act;
mod decide;
mod keys;
mod learn;
mod part;
#[cfg(test)]
mod tests;

use act::{Act, Doubt, Seen};
use decide::{Outcome, Served};
pub use keys::follow;
pub use part::{Part, share};

use crate::balance::decide::retry_at;
use crate::balance::learn::service_of;

const MANAGER: &str = "member-gateway";

/// Items that are worked on at once.
const CONCURRENCY: usize = 16;

/// What a gateway needs.
#[derive(Clone)]
pub struct Config {
    /// Name of the member.
    pub name: String,
    /// Client of the member cluster.
    pub member: Client,
    /// Clock for reports and for tries of ports that could not be opened.
    pub clock: Clock,
    /// Where it says which first lists it still waits for.
    pub readiness: Readiness,
    /// Addresses at which it listens, if not at those that other members connect to.
    pub listen: Vec<IpAddr>,
}

/// Runs a gateway until the future is dropped; the data plane goes on. `begun_with` is what the data plane has served
/// since it began.
pub async fn run<P>(config: Config, plane: Arc<P>, begun_with: Option<&Desired>)
where
    P: DataPlane + Send + Sync + 'static,
{
    let options = Options {
        name: "gateway",
        concurrency: CONCURRENCY,
        clock: config.clock.clone(),
        readiness: config.readiness.clone(),
    };
    let member = config.member.clone();
    let watches: Watches<Seen> = Watches::default()
        .add("EndpointSlice", Api::<EndpointSlice>::all(member.clone()))
        .add("ServiceExport", Api::<ServiceExport>::all(member.clone()));
    let gateway = Gateway::new(config, plane, begun_with);
    stolos_controller::run(gateway, member, watches, options).await;
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// What the data plane serves.
    Plane,
    /// What the status of a ServiceExport says.
    Export(Key),
    /// Whether an object is gone.
    Doubt(Doubt),
}

struct Gateway<P> {
    config: Config,
    plane: Arc<P>,
    exports: Table<ServiceExport>,
    /// By `<namespace>/<name>` of their Service.
    slices: Table<EndpointSlice>,
    /// What the data plane serves, by Service.
    served: Served,
    /// What became of the last decision of this process.
    outcome: Option<Arc<Outcome>>,
}

impl<P> Gateway<P> {
    fn new(config: Config, plane: Arc<P>, begun_with: Option<&Desired>) -> Self {
        Self {
            config,
            plane,
            exports: Table::default(),
            slices: Table::indexed_by(service_of),
            served: begun_with.map(decide::served).unwrap_or_default(),
            outcome: None,
        }
    }
}

impl<P: DataPlane + Send + Sync + 'static> Controller for Gateway<P> {
    type Item = Item;
    type Object = Seen;
    type Effect = Act<P>;

    fn learn(&mut self, change: Change<Seen>) -> Vec<Item> {
        self.take_in(change)
    }

    fn can_wait(item: &Item) -> bool {
        // One plan answers many changes.
        *item == Item::Plane
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Act<P>> {
        match item {
            Item::Plane => self.plan_plane(now),
            Item::Export(key) => self.plan_export(key, now),
            Item::Doubt(doubt) => vec![Act::Look(doubt.clone())].into(),
        }
    }
}

impl<P: DataPlane + Send + Sync + 'static> Gateway<P> {
    /// Asks the data plane for what is decided, unless it has been asked for that, and again after a while if some of it
    /// could not be had.
    fn plan_plane(&self, now: Timestamp) -> Plan<Act<P>> {
        let decision = self.decide();
        let mut n_failures = 0;
        if let Some(outcome) = self.outcome.as_ref().filter(|last| last.decision == decision) {
            let retry_at = retry_at(outcome.n_failures, outcome.at);
            if retry_at.is_none_or(|at| at > now) {
                return Plan::default().waking_at(retry_at);
            }
            n_failures = outcome.n_failures;
        }
        vec![Act::Apply { plane: self.plane.clone(), decision, n_failures, at: now }].into()
    }

    /// Tells of an export what became of its entry.
    fn plan_export(&self, key: &Key, now: Timestamp) -> Plan<Act<P>> {
        let (Some(outcome), Some(export)) = (&self.outcome, self.exports.get(key)) else {
            return Plan::default();
        };
        let vips = outcome.decision.get(key).map(Vec::as_slice).unwrap_or_default();
        let ports: Vec<VipPort> = vips.iter().map(|vip| vip.balance.vip).collect();
        let told = gateway::report(export, &ports, &outcome.not_served, now);
        let told = told.map(|conditions| {
            let mut told = ServiceExport::clone(export);
            told.status.get_or_insert_default().conditions = conditions;
            Act::Write(Write::ReplaceStatus(told.into()))
        });
        Plan::default().then(told.into_iter().collect())
    }
}

/// Returns the exports that a decision is about, and those that it was about before.
fn concerned(before: &Served, decision: &Served) -> Vec<Item> {
    let keys: BTreeSet<&Key> = before.keys().chain(decision.keys()).collect();
    keys.into_iter().cloned().map(Item::Export).collect()
}

/// Nothing is known of ports that are not served by default.
type NotServed = BTreeMap<VipPort, stolos_core::network::serve::Problem>;
