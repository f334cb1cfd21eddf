//! Services across clusters, on a member: exports what users export, imports what they import, and gives imported
//! services an address (networking.md, sections 6 and 7.1).
//!
//! It reads and writes its own namespace on the hub, as the rest of the agent does. While the hub is away, derived
//! Services and imported endpoints stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::InternalMemberCluster;
use stolos_api::cluster::names::member_namespace;
use stolos_api::network::names::{annotation, label};
use stolos_api::network::{
    EndpointSliceExport, EndpointSliceImport, InternalServiceExport, InternalServiceImport,
    MultiClusterService, ServiceExport, ServiceImport,
};
use stolos_controller::{Change, Controller, Key, Plan, Table, Watches, Write};
use stolos_core::network::gateway;
use stolos_core::network::knobs::Mode;
use stolos_core::network::vip::Guard;

use crate::Config;
use crate::nodes::Nodes;

mod act;
mod certificate;
pub mod clusterset;
mod entry;
mod export;
mod import;
mod learn;
mod membership;
mod metadata;
mod namespace;
mod objects;
mod service;
mod sides;
mod slice;

use act::{Act, Sought};
use objects::{Seen, hub, member};

const MANAGER: &str = "member-net-controller-manager";

/// How the network agent behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether it runs.
    pub enabled: bool,
    /// Namespace of derived Services and of the endpoints of other members.
    pub system_namespace: String,
    /// How connections get to the endpoints of imported services that ask for nothing else.
    pub mode: Mode,
    /// Whether the hub is told the addresses of exported Services, which whoever balances by DNS must know.
    pub tells_addresses: bool,
    /// Services of the Multi-Cluster Services API, which do not depend on the rest.
    pub clusterset: clusterset::Options,
    /// Whether endpoints may have loopback addresses, because all clusters are on this machine.
    pub allows_loopback: bool,
    /// How other members come in, if they cannot reach the pods.
    pub gateway: Option<gateway::Settings>,
}

impl Options {
    /// Returns which endpoints of other members are refused as long as no nodes are known.
    fn guard(&self, cluster: &str) -> Guard {
        let allows_loopback = self.allows_loopback;
        Guard { allows_loopback, cluster: cluster.to_owned(), ..Guard::default() }
    }

    /// Returns the property by which the hub knows how other members reach the pods of this one.
    pub(crate) fn property(&self) -> Option<(&'static str, &'static str)> {
        let how = if self.gateway.is_some() { "gateway" } else { "flat" };
        self.enabled.then_some((stolos_api::network::names::gateway::REACHABILITY, how))
    }
}

impl Default for Options {
    fn default() -> Self {
        let system_namespace = "fleet-system".to_owned();
        Self {
            enabled: false,
            system_namespace,
            mode: Mode::Service,
            tells_addresses: false,
            clusterset: clusterset::Options::default(),
            allows_loopback: false,
            gateway: None,
        }
    }
}

/// Items that are worked on at once.
const CONCURRENCY: usize = 16;

/// Runs the agent until the future is dropped.
pub async fn run(config: Config) {
    let namespace = member_namespace(&config.name);
    let options = stolos_controller::Options {
        name: "network-agent",
        concurrency: CONCURRENCY,
        clock: config.clock.clone(),
        readiness: config.readiness.clone(),
    };
    let (hub, member) = (config.hub.clone(), config.member.clone());
    let here = |client: &Client| (client.clone(), namespace.as_str());
    let watches: Watches<Seen> = Watches::default()
        .add("InternalMemberCluster", of_hub::<InternalMemberCluster>(here(&hub)))
        .add("EndpointSliceExport", of_hub::<EndpointSliceExport>(here(&hub)))
        .add("EndpointSliceImport", of_hub::<EndpointSliceImport>(here(&hub)))
        .add("InternalServiceExport", of_hub::<InternalServiceExport>(here(&hub)))
        .add("InternalServiceImport", of_hub::<InternalServiceImport>(here(&hub)))
        .add("EndpointSlice", Api::<EndpointSlice>::all(member.clone()))
        .add("MultiClusterService", Api::<MultiClusterService>::all(member.clone()))
        .add("Node", Api::<Node>::all(member.clone()))
        .add("Service", Api::<Service>::all(member.clone()))
        .add("ServiceExport", Api::<ServiceExport>::all(member.clone()))
        .add("ServiceImport", Api::<ServiceImport>::all(member.clone()));
    namespace::ensure(&member, &config.network.system_namespace).await;
    tokio::join!(
        // Boxed: every agent of a process would carry it otherwise.
        Box::pin(certificate::run(&config, &namespace)),
        stolos_controller::run(
            Agent::new(config.clone(), namespace.clone()),
            hub,
            watches,
            options
        ),
    );
}

fn of_hub<K>((client, namespace): (Client, &str)) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client, namespace)
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// A Service of the member that is exported, or was.
    Export(Key),
    /// An EndpointSlice of the member.
    Slice(Key),
    /// What stands on the hub for an EndpointSlice, by name.
    ExportedSlice(String),
    /// A ServiceImport of the member.
    Import(Key),
    /// Endpoints of another member, by name.
    ImportedSlice(String),
    /// A service of the fleet that is to have an address here.
    Service(Key),
    /// The membership of one kind of agent.
    Membership(&'static str),
}

struct Agent {
    config: Config,
    namespace: String,
    internal: Table<InternalMemberCluster>,
    /// By `<namespace>/<name>` of their Service.
    internal_exports: Table<InternalServiceExport>,
    /// By `<namespace>/<name>` of their ServiceImport.
    internal_imports: Table<InternalServiceImport>,
    /// By `<namespace>/<name>` of their slice.
    exported_slices: Table<EndpointSliceExport>,
    /// By `<namespace>/<name>` of their service.
    imported_slices: Table<EndpointSliceImport>,
    exports: Table<ServiceExport>,
    /// Which export has which port of the gateway. What a list leaves out keeps its ports.
    holders: gateway::Holders,
    imports: Table<ServiceImport>,
    /// By `<namespace>/<name>` of the service that they import.
    services: Table<MultiClusterService>,
    /// By `<namespace>/<name>` of the MultiClusterService that they are derived from.
    clusters_services: Table<Service>,
    /// By `<namespace>/<name>` of their Service.
    slices: Table<EndpointSlice>,
    nodes: Nodes,
    /// Which endpoints of other members are refused.
    guard: Guard,
    /// What was asked for by name since the last list, and is not there.
    absent: BTreeSet<Sought>,
    /// Resource versions of what was asked for by name since the last list, because it looked outdated.
    confirmed: BTreeMap<Sought, Option<String>>,
}

fn label_of<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

/// Returns `<namespace>/<name>` of the Service of a slice.
fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = label_of(&slice.metadata, label::SERVICE_NAME)?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref()?))
}

/// Returns `<namespace>/<name>` of the MultiClusterService that a Service is derived from.
fn origin_of(service: &Service) -> Option<String> {
    let name = label_of(&service.metadata, label::MULTI_CLUSTER_SERVICE_NAME)?;
    let namespace = label_of(&service.metadata, label::MULTI_CLUSTER_SERVICE_NAMESPACE)?;
    Some(format!("{namespace}/{name}"))
}

/// Returns `<namespace>/<name>` of the service that a MultiClusterService imports.
fn imported_by(service: &MultiClusterService) -> Option<String> {
    let name = &service.spec.service_import.as_ref()?.name;
    Some(format!("{}/{name}", service.metadata.namespace.as_deref()?))
}

fn text(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

fn parse(text: &str) -> Option<Key> {
    text.split_once('/').map(|(namespace, name)| Key::namespaced(namespace, name))
}

impl Agent {
    fn new(config: Config, namespace: String) -> Self {
        let guard = config.network.guard(&config.name);
        Self {
            config,
            namespace,
            internal: Table::default(),
            internal_exports: Table::indexed_by(|export| {
                Some(export.spec.service_reference.namespaced_name.clone())
            }),
            internal_imports: Table::indexed_by(|import| {
                Some(import.spec.service_import_reference.namespaced_name.clone())
            }),
            exported_slices: Table::indexed_by(|slice| {
                Some(slice.spec.endpoint_slice_reference.namespaced_name.clone())
            }),
            imported_slices: Table::indexed_by(|slice| {
                Some(slice.spec.owner_service_reference.namespaced_name.clone())
            }),
            exports: Table::default(),
            holders: gateway::Holders::default(),
            imports: Table::default(),
            services: Table::indexed_by(imported_by),
            clusters_services: Table::indexed_by(origin_of),
            slices: Table::indexed_by(service_of),
            nodes: Nodes::default(),
            guard,
            absent: BTreeSet::new(),
            confirmed: BTreeMap::new(),
        }
    }

    fn on_member(&self, write: Write<member::Object>) -> Act {
        Act::Member(self.config.member.clone(), write)
    }

    /// Looks for something that no list shows; nothing if that was done already and it is not there.
    fn look_for(&self, sought: Sought) -> Option<Act> {
        let is_known = self.absent.contains(&sought);
        (!is_known).then(|| Act::Look(self.config.member.clone(), sought))
    }

    /// Tells whether something was asked for by name, and is as it is known.
    fn is_confirmed(&self, sought: &Sought, known: &ObjectMeta) -> bool {
        self.confirmed.get(sought) == Some(&known.resource_version)
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
            Item::Slice(key) => self.plan_slice(key, now),
            Item::ExportedSlice(name) => self.plan_exported_slice(name),
            Item::Import(key) => self.plan_import(key),
            Item::ImportedSlice(name) => self.plan_imported_slice(name, now),
            Item::Service(key) => self.plan_service(key, now),
            Item::Membership(agent) => self.plan_membership(agent, now),
        }
    }
}

/// Returns the annotation of an object.
fn annotated(slice: &EndpointSlice) -> Option<&str> {
    let annotations = slice.metadata.annotations.as_ref()?;
    annotations.get(annotation::FLEET_UNIQUE_NAME).map(String::as_str)
}

/// Returns the first object with this text in the index of a table.
fn first<'a, K: stolos_controller::Tracked>(table: &'a Table<K>, text: &str) -> Option<&'a K> {
    table.indexed(text).next().map(Arc::as_ref)
}
