//! Services across clusters, on the hub: who exports a service, who imports it, and who gets whose endpoints
//! (networking.md, section 5).
//!
//! A silent member keeps what it exports: importing members are told that it is silent, and whether its endpoints still
//! answer is for those to find out who balance over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::{MEMBER_NAMESPACE_PREFIX, member_namespace};
use stolos_api::network::{
    EndpointSliceExport, EndpointSliceImport, InternalServiceExport, InternalServiceImport,
    ServiceImport,
};
use stolos_controller::{Change, Controller, Key, Options, Plan, Round, Table, Watches, Write};
use stolos_core::network::claim::Importers;
use stolos_core::network::distribute::{self, Release};
use stolos_core::network::silence;

use crate::Metrics;
use look::{Act, Seen, Sought};

mod authority;
pub mod clusterset;
mod exports;
mod finalizer;
mod look;
mod service;
mod slice;

const MANAGER: &str = "hub-net-controller-manager";

/// Name in logs, figures and readiness.
pub(crate) const NAME: &str = "network";

stolos_controller::kinds! {
    MANAGER;
    EndpointSliceExport, EndpointSliceImport, Event, InternalServiceExport, InternalServiceImport, MemberCluster,
    Namespace, ServiceImport,
}

/// How services across clusters are handled.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether the controller runs.
    pub enabled: bool,
    /// How many members may import a service at the same time.
    pub importers: Importers,
    /// How long the agents of a leaving member may clean up after themselves (fleet-networking's
    /// `force-delete-wait-time`).
    pub force_delete_wait_time: SignedDuration,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            importers: Importers::default(),
            force_delete_wait_time: SignedDuration::from_mins(15),
            metrics: Arc::default(),
        }
    }
}

/// Runs the controller until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    if !config.enabled {
        options.readiness.has(NAME);
        return;
    }
    let watches = Watches::default()
        .add("EndpointSliceExport", Api::<EndpointSliceExport>::all(client.clone()))
        .add("EndpointSliceImport", Api::<EndpointSliceImport>::all(client.clone()))
        .add("InternalServiceExport", Api::<InternalServiceExport>::all(client.clone()))
        .add("InternalServiceImport", Api::<InternalServiceImport>::all(client.clone()))
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()))
        .add("Namespace", Api::<Namespace>::all(client.clone()))
        .add("ServiceImport", Api::<ServiceImport>::all(client.clone()));
    let begun = (options.clock)();
    let options = Options { name: NAME, ..options };
    config.metrics.workers(options.name, options.concurrency);
    tokio::join!(
        authority::run(client.clone(), options.clone()),
        stolos_controller::run(Services::new(config, begun), client, watches, options),
    );
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// A service, by `<namespace>/<name>`: its exports, its ServiceImport, and who imports it.
    Service(String),
    /// The endpoints of a member: who gets a copy.
    Slice(Key),
    /// What is left in the namespace of a member that is being removed.
    Member(String),
    /// What the MemberCluster of a member says of what it exports.
    Exports(String),
}

struct Services {
    config: Config,
    /// Since when it listens.
    begun: Timestamp,
    /// By service, by namespace of their member, and by that of the service.
    exports: Table<InternalServiceExport>,
    /// By service.
    claimants: Table<InternalServiceImport>,
    imports: Table<ServiceImport>,
    /// By service.
    slices: Table<EndpointSliceExport>,
    /// By name, which is that of the slice they are copies of, and by the member that they say to be silent.
    copies: Table<EndpointSliceImport>,
    members: Table<MemberCluster>,
    namespaces: Table<Namespace>,
    /// What was asked for by name since the last list, and is not there.
    absent: BTreeSet<Sought>,
    /// What was asked for by name since the last list, in this version.
    confirmed: BTreeMap<Sought, Option<String>>,
}

impl Services {
    fn new(config: Config, begun: Timestamp) -> Self {
        Self {
            config,
            begun,
            exports: Table::indexed_by(|export: &InternalServiceExport| {
                Some(export.spec.service_reference.namespaced_name.clone())
            })
            .and_by(service::namespace),
            claimants: Table::indexed_by(|claimant| {
                Some(claimant.spec.service_import_reference.namespaced_name.clone())
            }),
            imports: Table::default(),
            slices: Table::indexed_by(|slice| {
                Some(slice.spec.owner_service_reference.namespaced_name.clone())
            }),
            copies: Table::indexed_by(|copy: &EndpointSliceImport| copy.metadata.name.clone())
                .and_by(slice::marked),
            members: Table::default(),
            namespaces: Table::default(),
            absent: BTreeSet::new(),
            confirmed: BTreeMap::new(),
        }
    }

    /// Returns the ServiceImport of a service, unless a list shows it and it is gone.
    fn import(&self, service: &str) -> Option<&Arc<ServiceImport>> {
        let (namespace, name) = service.split_once('/')?;
        let import = self.imports.get(&Key::namespaced(namespace, name))?;
        (!self.absent.contains(&Sought::Import(service.to_owned()))).then_some(import)
    }

    /// Tells whether something was asked for by name and is as it is known.
    fn is_confirmed(&self, sought: &Sought, known: &ObjectMeta) -> bool {
        self.confirmed.get(sought) == Some(&known.resource_version)
    }

    /// Takes in that something is there as it was told just before, and returns what waited for that.
    fn learn_of_presence(&mut self, sought: Sought) -> Vec<Item> {
        let (metadata, items) = match &sought {
            Sought::Slice(key) => {
                (self.slices.get(key).map(|slice| &slice.metadata), vec![Item::Slice(key.clone())])
            }
            Sought::Import(service) => (
                self.import(service).map(|import| &import.metadata),
                self.service_and_slices(service),
            ),
            Sought::Export(_) | Sought::Claimant(_) | Sought::Member(_) | Sought::Namespace(_) => {
                return Vec::new();
            }
        };
        let Some(metadata) = metadata else { return Vec::new() };
        self.confirmed.insert(sought, metadata.resource_version.clone());
        items
    }

    /// Returns a service with all its slices.
    fn service_and_slices(&self, service: &str) -> Vec<Item> {
        let slices = self.slices.indexed(service);
        let slices = slices.map(|slice| Item::Slice(Key::of(&slice.metadata)));
        slices.chain([Item::Service(service.to_owned())]).collect()
    }

    /// Returns the slices of a member whose importers are to be told something else since it was heard of.
    fn concerned(&self, before: Option<&MemberCluster>, member: &MemberCluster) -> Vec<Key> {
        let name = member.metadata.name.as_deref().unwrap_or_default();
        let namespace = member_namespace(name);
        let period = |member: &MemberCluster| member.spec.heartbeat_period_seconds;
        let is_new = before.and_then(silence::heard).is_none();
        if is_new || before.map(period) != Some(period(member)) {
            let slices = self.slices.in_namespace(&namespace);
            return slices.map(|slice| Key::of(&slice.metadata)).collect();
        }
        // Heartbeats come all the time.
        let marked = self.copies.indexed(&slice::silent(name));
        let marked = marked.filter_map(|copy| copy.metadata.name.as_deref());
        let marked: BTreeSet<_> = marked.map(|slice| Key::namespaced(&namespace, slice)).collect();
        marked.into_iter().collect()
    }

    fn learn_of(&mut self, object: Object) -> Vec<Item> {
        match object {
            Object::InternalServiceExport(export) => {
                let service = export.spec.service_reference.namespaced_name.clone();
                let (weight, leaves) =
                    (export.spec.weight, export.metadata.deletion_timestamp.is_some());
                let sought = look::Service::of(&service, &export.metadata);
                let exports = Item::Exports(sought.cluster.clone());
                self.absent.remove(&Sought::Export(sought));
                let Ok(before) = self.exports.insert(*export) else { return Vec::new() };
                let was = |holds: &dyn Fn(&InternalServiceExport) -> bool| {
                    before.as_ref().is_some_and(|before| holds(before))
                };
                // The copies of the endpoints carry the weight.
                let mut items = if was(&|before| before.spec.weight == weight) {
                    vec![Item::Service(service)]
                } else {
                    self.service_and_slices(&service)
                };
                if !was(&|before| before.metadata.deletion_timestamp.is_some() == leaves) {
                    items.push(exports);
                }
                items
            }
            Object::InternalServiceImport(claimant) => {
                let service = claimant.spec.service_import_reference.namespaced_name.clone();
                let sought = look::Service::of(&service, &claimant.metadata);
                self.absent.remove(&Sought::Claimant(sought));
                self.claimants
                    .insert(*claimant)
                    .map_or_else(|()| Vec::new(), |_| vec![Item::Service(service)])
            }
            Object::ServiceImport(import) => {
                let service = key(Key::of(&import.metadata));
                self.absent.remove(&Sought::Import(service.clone()));
                let news = self.imports.insert(*import).is_ok();
                if news { self.service_and_slices(&service) } else { Vec::new() }
            }
            Object::EndpointSliceExport(slice) => {
                let key = Key::of(&slice.metadata);
                self.absent.remove(&Sought::Slice(key.clone()));
                self.slices.insert(*slice).map_or_else(|()| Vec::new(), |_| vec![Item::Slice(key)])
            }
            Object::EndpointSliceImport(copy) => {
                let items = self.of_copy(&copy);
                if self.copies.insert(*copy).is_ok() { items } else { Vec::new() }
            }
            Object::MemberCluster(member) => {
                let name = member.metadata.name.clone().unwrap_or_default();
                self.absent.remove(&Sought::Member(name.clone()));
                let leaves = member.metadata.deletion_timestamp.is_some();
                let Ok(before) = self.members.insert(*member) else { return Vec::new() };
                let Some(member) = self.members.get(&Key::cluster(&name)) else {
                    return Vec::new();
                };
                let concerned = self.concerned(before.as_deref(), member).into_iter();
                let is_told = before.is_some_and(|before| {
                    exports::told(&before.metadata) == exports::told(&member.metadata)
                        && exports::is_checked(&before) == exports::is_checked(member)
                });
                let exports = (!is_told).then(|| Item::Exports(name.clone()));
                let left = leaves.then_some(Item::Member(name));
                concerned.map(Item::Slice).chain(exports).chain(left).collect()
            }
            Object::Namespace(namespace) => {
                let name = namespace.metadata.name.clone().unwrap_or_default();
                self.absent.remove(&Sought::Namespace(name.clone()));
                let is_new = matches!(self.namespaces.insert(*namespace), Ok(None));
                if is_new { self.exported_from(&name) } else { Vec::new() }
            }
            Object::Event(_) => Vec::new(),
        }
    }

    /// Returns the services of a namespace that members export.
    fn exported_from(&self, namespace: &str) -> Vec<Item> {
        let here = self.exports.indexed(namespace);
        let here = here.map(|export| export.spec.service_reference.namespaced_name.clone());
        let here: BTreeSet<_> = here.collect();
        here.into_iter().map(Item::Service).collect()
    }

    fn forget(&mut self, object: &Object) -> Vec<Item> {
        match object {
            Object::InternalServiceExport(export) => {
                self.exports.remove(&export.metadata);
                let service = &export.spec.service_reference.namespaced_name;
                let of_member = look::Service::of(service, &export.metadata);
                vec![Item::Service(service.clone()), Item::Exports(of_member.cluster)]
            }
            Object::InternalServiceImport(claimant) => {
                self.claimants.remove(&claimant.metadata);
                vec![Item::Service(claimant.spec.service_import_reference.namespaced_name.clone())]
            }
            Object::ServiceImport(import) => {
                self.imports.remove(&import.metadata);
                let service = key(Key::of(&import.metadata));
                self.confirmed.remove(&Sought::Import(service.clone()));
                self.service_and_slices(&service)
            }
            Object::EndpointSliceExport(slice) => {
                self.slices.remove(&slice.metadata);
                let key = Key::of(&slice.metadata);
                self.confirmed.remove(&Sought::Slice(key.clone()));
                vec![Item::Slice(key)]
            }
            Object::EndpointSliceImport(copy) => {
                self.copies.remove(&copy.metadata);
                self.of_copy(copy)
            }
            Object::MemberCluster(member) => {
                self.members.remove(&member.metadata);
                member.metadata.name.clone().map(Item::Member).into_iter().collect()
            }
            Object::Namespace(namespace) => {
                self.namespaces.remove(&namespace.metadata);
                Vec::new()
            }
            Object::Event(_) => Vec::new(),
        }
    }

    /// Returns what a copy concerns: the slice that it is a copy of, and its member if that is being removed.
    fn of_copy(&self, copy: &EndpointSliceImport) -> Vec<Item> {
        let name = copy.metadata.name.as_deref().unwrap_or_default();
        let cluster = &copy.spec.endpoint_slice_reference.cluster_id;
        let slice = Item::Slice(Key::namespaced(&member_namespace(cluster), name));
        let namespace = copy.metadata.namespace.as_deref().unwrap_or_default();
        let member = namespace.strip_prefix(MEMBER_NAMESPACE_PREFIX);
        let leaves = |member: &&str| {
            let known = self.members.get(&Key::cluster(member));
            known.is_none_or(|member| member.metadata.deletion_timestamp.is_some())
        };
        let member = member.filter(leaves).map(|member| Item::Member(member.to_owned()));
        std::iter::once(slice).chain(member).collect()
    }

    fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) {
        match kind {
            "EndpointSliceExport" => drop(self.slices.retain(keys)),
            "EndpointSliceImport" => drop(self.copies.retain(keys)),
            "InternalServiceExport" => drop(self.exports.retain(keys)),
            "InternalServiceImport" => drop(self.claimants.retain(keys)),
            "MemberCluster" => drop(self.members.retain(keys)),
            "Namespace" => drop(self.namespaces.retain(keys)),
            _ => drop(self.imports.retain(keys)),
        }
    }

    fn everything(&self) -> Vec<Item> {
        let exported = self.exports.iter().map(|export| &export.spec.service_reference);
        let exported = exported.map(|reference| reference.namespaced_name.clone());
        let claimed = self.claimants.iter().map(|claimant| &claimant.spec.service_import_reference);
        let claimed = claimed.map(|reference| reference.namespaced_name.clone());
        let imported = self.imports.iter().map(|import| key(Key::of(&import.metadata)));
        let services = exported.chain(claimed).chain(imported).map(Item::Service);
        let slices = self.slices.iter().map(|slice| Item::Slice(Key::of(&slice.metadata)));
        let members = self.copies.iter().flat_map(|copy| self.of_copy(copy));
        let exports = self.members.iter().filter_map(|member| member.metadata.name.clone());
        services.chain(slices).chain(members).chain(exports.map(Item::Exports)).collect()
    }

    /// Lets go of the copies of a member whose agents had their time to clean up.
    fn release(&self, name: &str, now: Timestamp) -> Plan<Act> {
        let member = self.members.get(&Key::cluster(name));
        let deleted = member.map(|member| member.metadata.deletion_timestamp.as_ref());
        let namespace = member_namespace(name);
        let copies = self.copies.in_namespace(&namespace);
        let bound =
            copies.filter(|copy| copy.metadata.finalizers.iter().flatten().next().is_some());
        if let Some(deleted) = deleted {
            let patience = self.config.force_delete_wait_time;
            return match distribute::release(deleted.map(|deleted| deleted.0), patience, now) {
                Release::Keep => Plan::default(),
                Release::Wait(until) => Plan::default().waking_at(Some(until)),
                Release::Force => Plan::default().then(bound.map(freed).collect()),
            };
        }
        // The member is gone, and its namespace goes with what is in it.
        let member = Sought::Member(name.to_owned());
        let leaving = bound.filter(|copy| copy.metadata.deletion_timestamp.is_some());
        let freed: Vec<_> = leaving.map(freed).collect();
        if !freed.is_empty() && !self.absent.contains(&member) {
            return vec![Act::Look(member)].into();
        }
        Plan::default().then(freed)
    }
}

fn freed(copy: &Arc<EndpointSliceImport>) -> Act {
    let mut free = EndpointSliceImport::clone(copy);
    free.metadata.finalizers = None;
    Act::Write(Write::Replace(free.into()))
}

fn key(key: Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

impl Controller for Services {
    type Item = Item;
    type Object = Seen;
    type Effect = Act;

    fn learn(&mut self, change: Change<Seen>) -> Vec<Item> {
        match change {
            Change::Applied(Seen::Object(object)) => self.learn_of(object),
            Change::Deleted(Seen::Object(object)) => self.forget(&object),
            Change::Applied(Seen::Absent(sought)) | Change::Deleted(Seen::Absent(sought)) => {
                let items = match &sought {
                    Sought::Export(service) => vec![
                        Item::Service(service.key.clone()),
                        Item::Exports(service.cluster.clone()),
                    ],
                    Sought::Claimant(service) => vec![Item::Service(service.key.clone())],
                    Sought::Member(name) => vec![Item::Member(name.clone())],
                    Sought::Namespace(name) => self.exported_from(name),
                    Sought::Import(service) => self.service_and_slices(service),
                    Sought::Slice(key) => vec![Item::Slice(key.clone())],
                };
                self.absent.insert(sought);
                items
            }
            Change::Applied(Seen::Found(sought)) | Change::Deleted(Seen::Found(sought)) => {
                self.learn_of_presence(sought)
            }
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
            Item::Service(service) => self.plan_service(service, now),
            Item::Slice(key) => self.plan_slice(key, now),
            Item::Member(name) => self.release(name, now),
            Item::Exports(name) => self.plan_exports(name).into(),
        }
    }

    fn hear_of(&self, round: &Round<'_, Item>) {
        self.config.metrics.round(NAME, round);
    }
}
