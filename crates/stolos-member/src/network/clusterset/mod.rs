//! Services of the clusterset, on a member: ServiceExports of the Multi-Cluster Services API are told to the hub, and what
//! it tells becomes ServiceImports with derived Services and EndpointSlices (KEP-1645).
//!
//! While the hub is away, everything stays as it is. There are no finalizers: what stands on the hub for an export says
//! for as long as it is there that it must be taken away once the export is gone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use stolos_api::cluster::names::member_namespace;
use stolos_api::cluster::{ClusterState, InternalMemberCluster};
use stolos_api::network::clusterset::{ExportedService, ImportedService, object_name};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};
use stolos_controller::{Change, Controller, Key, Plan, Table, Watches};
use stolos_core::network::vip::Guard;

use super::{CONCURRENCY, service_of, text};
use crate::Config;
use crate::nodes::Nodes;
use act::{Act, Sought};
use objects::{Seen, member};

mod act;
mod export;
mod import;
mod learn;
mod objects;

const MANAGER: &str = "stolos-member-clusterset";

/// How services of the clusterset are handled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether they are.
    pub enabled: bool,
}

/// Runs the agent until the future is dropped.
pub async fn run(config: Config) {
    let namespace = member_namespace(&config.name);
    let options = stolos_controller::Options {
        name: "clusterset-agent",
        concurrency: CONCURRENCY,
        clock: config.clock.clone(),
        readiness: config.readiness.clone(),
    };
    let (hub, member) = (config.hub.clone(), config.member.clone());
    let own = namespace.as_str();
    let watches: Watches<Seen> = Watches::default()
        .add("InternalMemberCluster", Api::<InternalMemberCluster>::namespaced(hub.clone(), own))
        .add("ExportedService", Api::<ExportedService>::namespaced(hub.clone(), own))
        .add("ImportedService", Api::<ImportedService>::namespaced(hub.clone(), own))
        .add("EndpointSlice", Api::<EndpointSlice>::all(member.clone()))
        .add("Namespace", Api::<Namespace>::all(member.clone()))
        .add("Node", Api::<Node>::all(member.clone()))
        .add("Service", Api::<Service>::all(member.clone()))
        .add("ServiceExport", Api::<ServiceExport>::all(member.clone()))
        .add("ServiceImport", Api::<ServiceImport>::all(member));
    stolos_controller::run(Agent::new(config, namespace), hub, watches, options).await;
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// A Service of the member that is exported, or was.
    Export(Key),
    /// A service of the clusterset.
    Import(Key),
}

struct Agent {
    config: Config,
    /// The member's namespace on the hub.
    namespace: String,
    internal: Table<InternalMemberCluster>,
    exported: Table<ExportedService>,
    /// By namespace, and by `<namespace>/<name>` of their derived Service.
    imported: Table<ImportedService>,
    exports: Table<ServiceExport>,
    imports: Table<ServiceImport>,
    namespaces: Table<Namespace>,
    services: Table<Service>,
    /// By `<namespace>/<name>` of their Service.
    slices: Table<EndpointSlice>,
    nodes: Nodes,
    /// Which endpoints of other members are refused.
    guard: Guard,
    /// What was asked for by name since the last list, and is not there.
    absent: BTreeSet<Sought>,
    /// What was asked for by name since the last list, in this version.
    confirmed: BTreeMap<Sought, Option<String>>,
}

impl Agent {
    fn new(config: Config, namespace: String) -> Self {
        let guard = config.network.guard(&config.name);
        Self {
            config,
            namespace,
            internal: Table::default(),
            exported: Table::default(),
            imported: Table::indexed_by(learn::namespace).and_by(learn::derived_service),
            exports: Table::default(),
            imports: Table::default(),
            namespaces: Table::default(),
            services: Table::default(),
            slices: Table::indexed_by(service_of),
            nodes: Nodes::default(),
            guard,
            absent: BTreeSet::new(),
            confirmed: BTreeMap::new(),
        }
    }

    /// Returns the key of what stands on the hub for a service.
    fn on_hub(&self, service: &Key) -> Key {
        Key::namespaced(&self.namespace, &object_name(&service.namespace, &service.name))
    }

    /// Tells whether the hub asks the member to leave the fleet.
    fn leaves(&self) -> bool {
        self.internal.iter().any(|internal| internal.spec.state == ClusterState::Leave)
    }

    fn slices_of(&self, namespace: &str, service: &str) -> Vec<&EndpointSlice> {
        let service = text(&Key::namespaced(namespace, service));
        self.slices.indexed(&service).map(AsRef::as_ref).collect()
    }

    /// Tells whether something was asked for by name and is as it is known.
    fn is_confirmed(&self, sought: &Sought, known: &ObjectMeta) -> bool {
        self.confirmed.get(sought) == Some(&known.resource_version)
    }

    fn on_member(&self, write: stolos_controller::Write<member::Object>) -> Act {
        Act::Member(self.config.member.clone(), write)
    }

    /// Looks for something that no list shows; nothing if that was done already and it is not there.
    fn look_for(&self, sought: Sought) -> Option<Act> {
        let is_known = self.absent.contains(&sought);
        (!is_known).then(|| Act::Look(self.config.member.clone(), sought))
    }
}

impl Controller for Agent {
    type Item = Item;
    type Object = Seen;
    type Effect = Act;

    fn learn(&mut self, change: Change<Seen>) -> Vec<Item> {
        match change {
            Change::Applied(Seen::Hub(object)) => self.learn_of_hub(object),
            Change::Applied(Seen::Member(object)) => self.learn_of_member(object),
            Change::Applied(Seen::Absent(sought)) | Change::Deleted(Seen::Absent(sought)) => {
                self.learn_of_absence(sought)
            }
            Change::Applied(Seen::Found(sought)) | Change::Deleted(Seen::Found(sought)) => {
                self.learn_of_presence(sought)
            }
            Change::Deleted(Seen::Hub(object)) => self.forget_of_hub(&object),
            Change::Deleted(Seen::Member(object)) => self.forget_of_member(&object),
            Change::Listed { kind, keys } => {
                self.absent.clear();
                self.confirmed.clear();
                self.relist(kind, &keys);
                self.everything()
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Act> {
        match item {
            Item::Export(key) => self.plan_export(key, now),
            Item::Import(key) => self.plan_import(key, now),
        }
    }
}
