//! Gives services of the fleet an address on this member and lets a data plane bring connections to their endpoints
//! (networking-dataplane.md, section 6.7).
//!
//! It is responsible for derived Services of our class and for no other. What it decides is in
//! `stolos_core::network::{pool, serve, vip}`; who moves the bytes is any [`DataPlane`]. It needs the hub only for news:
//! without it, it goes on by the endpoints that the member has of it, and without the member's API server by what the data
//! plane has last served. No list takes anything away: what one lacks is asked for by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::names::member_namespace;
use stolos_api::network::{EndpointSliceImport, MultiClusterService, ServiceImport};
use stolos_controller::event::{self, Report};
use stolos_controller::{
    Change, Clock, Controller, Key, Options, Plan, Readiness, Table, Watches, Write,
};
use stolos_core::network::pool::Pool;
use stolos_core::network::serve::{self, Wanted};
use stolos_core::network::vip::Guard;

use crate::nodes::Nodes;
use stolos_dataplane::{DataPlane, Desired};

pub(crate) mod act;
pub mod announce;
pub(crate) mod decide;
pub(crate) mod learn;
pub mod metrics;
mod objects;
#[cfg(test)]
mod tests;

use act::Act;
use decide::{Outcome, Told};
use objects::{Doubt, Seen};

const MANAGER: &str = "member-balancer";

/// Items that are worked on at once.
const CONCURRENCY: usize = 16;

/// What a balancer needs.
#[derive(Clone)]
pub struct Config {
    /// Name of the member; the hub namespace is `fleet-member-<name>`.
    pub name: String,
    /// Client of the hub, with the member's identity.
    pub hub: Client,
    /// Client of the member cluster.
    pub member: Client,
    /// Clock for reports and for tries of ports that could not be opened.
    pub clock: Clock,
    /// Where it says which first lists it still waits for.
    pub readiness: Readiness,
    /// Namespace of derived Services and of the endpoints of other members.
    pub system_namespace: String,
    /// Addresses that services get.
    pub pool: Pool,
    /// Whether endpoints may have loopback addresses, because all clusters are on this machine.
    pub allows_loopback: bool,
    /// Where the data plane tells its [`Figures`](stolos_dataplane::Figures), if it does.
    pub figures_url: Option<String>,
}

/// Runs a balancer until the future is dropped; the data plane goes on. `begun_with` is what the data plane has served
/// since it began.
pub async fn run<P>(config: Config, plane: Arc<P>, begun_with: Option<&Desired>)
where
    P: DataPlane + Send + Sync + 'static,
{
    let options = Options {
        name: "balancer",
        concurrency: CONCURRENCY,
        clock: config.clock.clone(),
        readiness: config.readiness.clone(),
    };
    let member = config.member.clone();
    let system = config.system_namespace.as_str();
    let imports = Api::namespaced(config.hub.clone(), &member_namespace(&config.name));
    let watches: Watches<Seen> = Watches::default()
        .add("EndpointSlice", Api::<EndpointSlice>::namespaced(member.clone(), system))
        .add("MultiClusterService", Api::<MultiClusterService>::all(member.clone()))
        .add("Node", Api::<Node>::all(member.clone()))
        .add("Service", Api::<Service>::namespaced(member.clone(), system))
        .add("ServiceImport", Api::<ServiceImport>::all(member.clone()))
        .add_stream(objects::imports(imports));
    let (told, system) = (config.figures_url.clone(), config.system_namespace.clone());
    let balancer = Balancer::new(config, plane, begun_with);
    let announced = async {
        if let Some(url) = &told {
            announce::announce(&member, &system, url).await;
        }
    };
    tokio::join!(announced, stolos_controller::run(balancer, member.clone(), watches, options));
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// What the data plane serves.
    Plane,
    /// What the status of a derived Service says.
    Service(Key),
    /// Whether an object is gone.
    Doubt(Doubt),
}

struct Balancer<P> {
    config: Config,
    plane: Arc<P>,
    guard: Guard,
    services: Table<Service>,
    origins: Table<MultiClusterService>,
    imports: Table<ServiceImport>,
    nodes: Nodes,
    /// By `<namespace>/<name>` of their Service.
    slices: Table<EndpointSlice>,
    /// What the hub tells of endpoints, by `<namespace>/<name>` of their service.
    told_by_hub: Table<EndpointSliceImport>,
    /// Whether the hub has told of all of them since this process began.
    hub_has_told: bool,
    /// What the data plane serves, by service.
    served: BTreeMap<Key, Wanted>,
    /// What became of the last decision of this process.
    outcome: Option<Arc<Outcome>>,
    /// What people know of endpoints that are left out.
    told: BTreeMap<Key, Told>,
}

pub(crate) fn text(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

impl<P> Balancer<P> {
    fn new(config: Config, plane: Arc<P>, begun_with: Option<&Desired>) -> Self {
        let guard = Guard {
            allows_loopback: config.allows_loopback,
            nodes: BTreeSet::new(),
            pool: Some(config.pool),
            cluster: config.name.clone(),
        };
        Self {
            config,
            plane,
            guard,
            services: Table::default(),
            origins: Table::default(),
            imports: Table::default(),
            nodes: Nodes::default(),
            slices: Table::indexed_by(learn::service_of),
            told_by_hub: Table::indexed_by(|import| {
                Some(import.spec.owner_service_reference.namespaced_name.clone())
            }),
            hub_has_told: false,
            served: begun_with.map(decide::served).unwrap_or_default(),
            outcome: None,
            told: BTreeMap::new(),
        }
    }

    /// Returns the MultiClusterService that a Service is derived from.
    fn origin_of(&self, service: &Service) -> Option<&MultiClusterService> {
        let origin = stolos_core::network::service::origin(service)?;
        let (namespace, name) = origin.split_once('/')?;
        self.origins.get(&Key::namespaced(namespace, name)).map(AsRef::as_ref)
    }

    /// Returns the ServiceImport of a MultiClusterService.
    fn import_of(&self, origin: &MultiClusterService) -> Option<&ServiceImport> {
        let namespace = origin.metadata.namespace.as_deref()?;
        let name = &origin.spec.service_import.as_ref()?.name;
        self.imports.get(&Key::namespaced(namespace, name)).map(AsRef::as_ref)
    }

    /// Returns the endpoints of a derived Service; nothing if there are none and the hub has not said so.
    fn slices_of(
        &self,
        key: &Key,
        origin: Option<&MultiClusterService>,
    ) -> Option<Vec<EndpointSliceImport>> {
        let imported = origin.and_then(|origin| {
            let name = &origin.spec.service_import.as_ref()?.name;
            Some(format!("{}/{name}", origin.metadata.namespace.as_deref()?))
        });
        let told = imported.iter().flat_map(|name| self.told_by_hub.indexed(name));
        let told: Vec<_> = told.map(AsRef::as_ref).collect();
        let known: Vec<_> = self.slices.indexed(&text(key)).map(AsRef::as_ref).collect();
        let before = self.served.get(key);
        let silent = before.map(|before| before.silent.clone()).unwrap_or_default();
        let slices = serve::slices(&told, &known, &silent);
        (self.hub_has_told || !slices.is_empty()).then_some(slices)
    }
}

impl<P: DataPlane + Send + Sync + 'static> Controller for Balancer<P> {
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
            Item::Service(key) => self.plan_service(key, now),
            Item::Doubt(doubt) => {
                let (hub, doubt) = (self.config.hub.clone(), doubt.clone());
                vec![Act::Look { hub, doubt }].into()
            }
        }
    }
}

impl<P: DataPlane + Send + Sync + 'static> Balancer<P> {
    /// Asks the data plane for what is decided, unless it has been asked for that, and again after a while if some of it
    /// could not be had.
    fn plan_plane(&self, now: Timestamp) -> Plan<Act<P>> {
        let decision = self.decide();
        let mut n_failures = 0;
        if let Some(outcome) = self.outcome.as_ref().filter(|last| *last.decision == decision) {
            let retry_at = outcome.retry_at();
            if retry_at.is_none_or(|at| at > now) {
                return Plan::default().waking_at(retry_at);
            }
            n_failures = outcome.n_failures;
        }
        let (plane, decision) = (self.plane.clone(), Arc::new(decision));
        vec![Act::Apply { plane, decision, n_failures, at: now }].into()
    }

    /// Tells of a service what became of it.
    fn plan_service(&self, key: &Key, now: Timestamp) -> Plan<Act<P>> {
        let (Some(outcome), Some(service)) = (&self.outcome, self.services.get(key)) else {
            return Plan::default();
        };
        let Some(wanted) = outcome.decision.services.get(key) else { return Plan::default() };
        let nothing = Told::new();
        let origin = self.origin_of(service);
        let report = serve::report(
            &serve::Outcome {
                service,
                origin,
                wanted,
                not_served: &outcome.not_served,
                told_refused: self.told.get(key).unwrap_or(&nothing),
            },
            now,
        );
        let status = report.status.map(|status| {
            let told = Service { status: Some(status), ..Service::clone(service) };
            Act::Write(Write::ReplaceStatus(told.into()))
        });
        let events = origin.map(|origin| events(origin, &report.events, now)).unwrap_or_default();
        let is_known = self.told.get(key).unwrap_or(&nothing) == &wanted.refused;
        let remember = (!is_known).then(|| Act::Remember(key.clone(), wanted.refused.clone()));
        Plan::default()
            .then(status.into_iter().collect())
            .then(events)
            .then(remember.into_iter().collect())
    }
}

/// Returns what people are to be told of a MultiClusterService.
fn events<P>(
    origin: &MultiClusterService,
    events: &[stolos_core::event::Event],
    now: Timestamp,
) -> Vec<Act<P>> {
    let told = events.iter().enumerate().map(|(index, told)| {
        let report = Report {
            component: MANAGER,
            type_: told.severity.as_str(),
            reason: told.reason.to_owned(),
            message: told.message.clone(),
        };
        event::event(origin, report, index, now)
    });
    told.map(|event| Act::Write(Write::Create(event.into()))).collect()
}
