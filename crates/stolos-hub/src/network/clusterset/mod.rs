//! Services of the clusterset, on the hub: what members export is merged, and every member is told of it (KEP-1645).
//!
//! Nothing here looks at heartbeats: a silent member keeps what it exports and what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::{MEMBER_NAMESPACE_PREFIX, member_namespace};
use stolos_api::network::clusterset::{ExportedService, ImportedService, service_of};
use stolos_controller::{Change, Controller, Key, Options, Plan, Round, Table, Tracked, Watches};
use stolos_core::network::mcs::resolve::{self, Standing};

use crate::Metrics;
use act::{Act, Seen, Sought};

mod act;
mod service;

const MANAGER: &str = "stolos-hub-clusterset";

/// Name in logs, figures and readiness.
pub(crate) const NAME: &str = "clusterset";

stolos_controller::kinds! {
    MANAGER;
    ExportedService, ImportedService, MemberCluster,
}

/// How services of the clusterset are handled.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Whether the controller runs.
    pub enabled: bool,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

/// Runs the controller until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    if !config.enabled {
        options.readiness.has(NAME);
        return;
    }
    let watches = Watches::default()
        .add("ExportedService", Api::<ExportedService>::all(client.clone()))
        .add("ImportedService", Api::<ImportedService>::all(client.clone()))
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()));
    let options = Options { name: NAME, ..options };
    config.metrics.workers(options.name, options.concurrency);
    stolos_controller::run(Clusterset::new(config), client, watches, options).await;
}

struct Clusterset {
    config: Config,
    /// By their name, which says the service.
    exports: Table<ExportedService>,
    /// By their name, which says the service.
    imports: Table<ImportedService>,
    members: Table<MemberCluster>,
    /// What was asked for by name since the last list, and is not there.
    absent: BTreeSet<Sought>,
    /// What was asked for by name since the last list, in this version.
    confirmed: BTreeMap<Sought, Option<String>>,
}

fn stands_for<K: Tracked>(object: &K) -> Option<String> {
    object.meta().name.clone().filter(|name| service_of(name).is_some())
}

/// Returns the member in whose namespace an object is.
fn member_of<K: Tracked>(object: &K) -> Option<&str> {
    object.meta().namespace.as_deref()?.strip_prefix(MEMBER_NAMESPACE_PREFIX)
}

impl Clusterset {
    fn new(config: Config) -> Self {
        Self {
            config,
            exports: Table::indexed_by(stands_for),
            imports: Table::indexed_by(stands_for),
            members: Table::default(),
            absent: BTreeSet::new(),
            confirmed: BTreeMap::new(),
        }
    }

    /// Returns how a member stands; nothing if that must be looked for.
    fn standing(&self, member: &str) -> Option<Standing> {
        let known = self.members.get(&Key::cluster(member)).map(AsRef::as_ref);
        let is_absent = || self.absent.contains(&Sought::Member(member.to_owned()));
        (known.is_some() || is_absent()).then(|| resolve::standing(known))
    }

    fn learn_of(&mut self, object: Object) -> Vec<String> {
        match object {
            Object::ExportedService(export) => {
                let service = stands_for(export.as_ref());
                self.absent.remove(&Sought::export(export.as_ref()));
                let news = self.exports.insert(*export).is_ok();
                service.filter(|_| news).into_iter().collect()
            }
            Object::ImportedService(import) => {
                let service = stands_for(import.as_ref());
                self.absent.remove(&Sought::import(import.as_ref()));
                let news = self.imports.insert(*import).is_ok();
                service.filter(|_| news).into_iter().collect()
            }
            Object::MemberCluster(member) => {
                let name = member.metadata.name.clone().unwrap_or_default();
                self.absent.remove(&Sought::Member(name));
                let standing = resolve::standing(Some(&member));
                // Heartbeats change a MemberCluster all the time.
                match self.members.insert(*member) {
                    Ok(before)
                        if before.as_deref().map(|one| resolve::standing(Some(one)))
                            != Some(standing) =>
                    {
                        self.everything()
                    }
                    Ok(_) | Err(()) => Vec::new(),
                }
            }
        }
    }

    fn forget(&mut self, object: &Object) -> Vec<String> {
        match object {
            Object::ExportedService(export) => {
                self.exports.remove(&export.metadata);
                self.confirmed.remove(&Sought::export(export.as_ref()));
                stands_for(export.as_ref()).into_iter().collect()
            }
            Object::ImportedService(import) => {
                self.imports.remove(&import.metadata);
                let service = stands_for(import.as_ref());
                // What nobody is told of any more need not be remembered.
                if let Some(service) = &service
                    && self.imports.indexed(service).next().is_none()
                {
                    self.absent.retain(|sought| !sought.is_of(service));
                }
                service.into_iter().collect()
            }
            Object::MemberCluster(member) => {
                self.members.remove(&member.metadata);
                self.everything()
            }
        }
    }

    /// Takes in that something is there as it was told just before, and returns the service that waited for that.
    fn learn_of_presence(&mut self, sought: Sought) -> Vec<String> {
        let Sought::Export { service, member } = &sought else { return Vec::new() };
        let Some(export) = self.exports.get(&Key::namespaced(&member_namespace(member), service))
        else {
            return Vec::new();
        };
        let (version, service) = (export.metadata.resource_version.clone(), service.clone());
        self.confirmed.insert(sought, version);
        vec![service]
    }

    fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) {
        match kind {
            "ExportedService" => drop(self.exports.retain(keys)),
            "ImportedService" => drop(self.imports.retain(keys)),
            _ => drop(self.members.retain(keys)),
        }
    }

    fn everything(&self) -> Vec<String> {
        let exported = self.exports.iter().filter_map(|export| stands_for(export.as_ref()));
        let imported = self.imports.iter().filter_map(|import| stands_for(import.as_ref()));
        let services: BTreeSet<_> = exported.chain(imported).collect();
        services.into_iter().collect()
    }
}

impl Controller for Clusterset {
    /// The service, as the names of its objects say it.
    type Item = String;
    type Object = Seen;
    type Effect = Act;

    fn learn(&mut self, change: Change<Seen>) -> Vec<String> {
        match change {
            Change::Applied(Seen::Object(object)) => self.learn_of(object),
            Change::Deleted(Seen::Object(object)) => self.forget(&object),
            Change::Applied(Seen::Found(sought)) | Change::Deleted(Seen::Found(sought)) => {
                self.learn_of_presence(sought)
            }
            Change::Applied(Seen::Absent(sought)) | Change::Deleted(Seen::Absent(sought)) => {
                let items = match &sought {
                    Sought::Export { service, .. } | Sought::Import { service, .. } => {
                        vec![service.clone()]
                    }
                    Sought::Member(_) => self.everything(),
                };
                self.absent.insert(sought);
                items
            }
            Change::Listed { kind, keys } => {
                self.absent.clear();
                self.confirmed.clear();
                self.relist(kind, &keys);
                self.everything()
            }
        }
    }

    fn plan(&self, service: &String, now: Timestamp) -> Plan<Act> {
        self.plan_service(service, now)
    }

    fn hear_of(&self, round: &Round<'_, String>) {
        self.config.metrics.round(NAME, round);
    }
}
