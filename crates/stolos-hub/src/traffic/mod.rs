//! Balancing by DNS, on the hub: TrafficManagerProfiles are DNS names, TrafficManagerBackends put exported services behind
//! them (networking.md, sections 7.4 and 7.5).
//!
//! A [`Provider`] answers the names. It is read afresh whenever something changes that an object depends on, and written
//! only where it differs. What somebody changes at the provider meanwhile is found out with the next change.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use stolos_api::network::{
    InternalServiceExport, ServiceImport, TrafficManagerBackend, TrafficManagerProfile,
};
use stolos_controller::{Change, Controller, Key, Options, Plan, Round, Table, Watches};

use crate::Metrics;
use act::{Act, Object, Seen, Sought};
use progress::Progresses;

mod act;
mod ask;
mod backend;
mod inputs;
mod metadata;
mod profile;
mod progress;
mod provider;
#[cfg(test)]
mod tests;

pub use provider::{Answer, Nobody, Provider, SharedProvider};

/// Name in logs, figures and readiness.
pub(crate) const NAME: &str = "traffic-manager";

/// How DNS names are handled.
#[derive(Clone, Default)]
pub struct Config {
    /// Who answers them; None lets the controller not run.
    pub provider: Option<SharedProvider>,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("enabled", &self.provider.is_some()).finish_non_exhaustive()
    }
}

/// Runs the controller until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    let Config { provider, metrics } = config;
    let Some(provider) = provider else {
        options.readiness.has(NAME);
        return;
    };
    provider.begin();
    let watches = Watches::default()
        .add("InternalServiceExport", Api::<InternalServiceExport>::all(client.clone()))
        .add("ServiceImport", Api::<ServiceImport>::all(client.clone()))
        .add("TrafficManagerBackend", Api::<TrafficManagerBackend>::all(client.clone()))
        .add("TrafficManagerProfile", Api::<TrafficManagerProfile>::all(client.clone()));
    let options = Options { name: NAME, ..options };
    metrics.workers(options.name, options.concurrency);
    stolos_controller::run(Traffic::new(provider, metrics), client, watches, options).await;
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// A DNS name.
    Profile(Key),
    /// A service behind one.
    Backend(Key),
}

struct Traffic {
    provider: SharedProvider,
    metrics: Arc<Metrics>,
    /// By DNS name.
    profiles: Table<TrafficManagerProfile>,
    /// By profile and by service.
    backends: Table<TrafficManagerBackend>,
    imports: Table<ServiceImport>,
    /// By service.
    exports: Table<InternalServiceExport>,
    /// What was asked for by name since the last list, and is not there.
    absent: BTreeSet<Sought>,
    /// What the provider said last, by object.
    of_profiles: Progresses<profile::Basis, profile::Said>,
    of_backends: Progresses<inputs::Inputs, backend::Said>,
}

/// Texts of the index of backends.
fn by_profile(key: &Key) -> String {
    format!("profile {}", text(key))
}

fn by_service(service: &str) -> String {
    format!("service {service}")
}

/// Returns `<namespace>/<name>`.
fn text(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

/// Returns the profile that a backend names.
fn profile_of(backend: &TrafficManagerBackend) -> Key {
    Key { name: backend.spec.profile.name.clone(), ..Key::of(&backend.metadata) }
}

/// Returns the service that a backend names.
fn service_of(backend: &TrafficManagerBackend) -> Key {
    Key { name: backend.spec.backend.name.clone(), ..Key::of(&backend.metadata) }
}

impl Traffic {
    fn new(provider: SharedProvider, metrics: Arc<Metrics>) -> Self {
        Self {
            provider,
            metrics,
            profiles: Table::indexed_by(|profile| Some(profile::dns_name(profile))),
            backends: Table::indexed_by(|backend: &TrafficManagerBackend| {
                Some(by_profile(&profile_of(backend)))
            })
            .and_by(|backend| Some(by_service(&text(&service_of(backend))))),
            imports: Table::default(),
            exports: Table::indexed_by(|export: &InternalServiceExport| {
                Some(export.spec.service_reference.namespaced_name.clone())
            }),
            absent: BTreeSet::new(),
            of_profiles: Progresses::default(),
            of_backends: Progresses::default(),
        }
    }

    fn backends(&self, text: &str) -> Vec<Item> {
        let found = self.backends.indexed(text);
        found.map(|backend| Item::Backend(Key::of(&backend.metadata))).collect()
    }

    /// Returns all profiles that ask for a DNS name, and the backends of one of them.
    fn profiles_and_backends(&self, name: &str, key: &Key) -> Vec<Item> {
        let profiles = self.profiles.indexed(name);
        let profiles = profiles.map(|profile| Item::Profile(Key::of(&profile.metadata)));
        profiles.chain(self.backends(&by_profile(key))).collect()
    }

    /// Returns a backend and those that want to be behind the same name.
    fn backend_and_rivals(&self, backend: &TrafficManagerBackend) -> Vec<Item> {
        let own = Item::Backend(Key::of(&backend.metadata));
        let rivals = self.backends(&by_profile(&profile_of(backend)));
        std::iter::once(own).chain(rivals).collect()
    }

    fn learn_of(&mut self, object: Object) -> Vec<Item> {
        match object {
            Object::TrafficManagerProfile(profile) => {
                let key = Key::of(&profile.metadata);
                self.absent.remove(&Sought::Profile(key.clone()));
                let name = profile::dns_name(&profile);
                if self.profiles.insert(*profile).is_err() {
                    return Vec::new();
                }
                self.profiles_and_backends(&name, &key)
            }
            Object::TrafficManagerBackend(backend) => {
                let items = self.backend_and_rivals(&backend);
                self.backends.insert(*backend).map_or_else(|()| Vec::new(), |_| items)
            }
            Object::ServiceImport(import) => {
                let key = Key::of(&import.metadata);
                self.absent.remove(&Sought::Import(key.clone()));
                let news = self.imports.insert(*import).is_ok();
                if news { self.backends(&by_service(&text(&key))) } else { Vec::new() }
            }
            Object::InternalServiceExport(export) => {
                let service = by_service(&export.spec.service_reference.namespaced_name);
                let news = self.exports.insert(*export).is_ok();
                if news { self.backends(&service) } else { Vec::new() }
            }
            Object::Event(_) => Vec::new(),
        }
    }

    fn forget(&mut self, object: &Object) -> Vec<Item> {
        match object {
            Object::TrafficManagerProfile(profile) => {
                let key = Key::of(&profile.metadata);
                if self.profiles.remove(&profile.metadata).is_some() {
                    self.of_profiles.forget(&key);
                    self.metrics.forget_traffic(TrafficKind::Profile, &key);
                }
                self.profiles_and_backends(&profile::dns_name(profile), &key)
            }
            Object::TrafficManagerBackend(backend) => {
                let key = Key::of(&backend.metadata);
                let items = self.backend_and_rivals(backend);
                if self.backends.remove(&backend.metadata).is_some() {
                    self.of_backends.forget(&key);
                    self.metrics.forget_traffic(TrafficKind::Backend, &key);
                }
                items
            }
            Object::ServiceImport(import) => {
                self.imports.remove(&import.metadata);
                self.backends(&by_service(&text(&Key::of(&import.metadata))))
            }
            Object::InternalServiceExport(export) => {
                self.exports.remove(&export.metadata);
                self.backends(&by_service(&export.spec.service_reference.namespaced_name))
            }
            Object::Event(_) => Vec::new(),
        }
    }

    fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) -> Vec<Item> {
        match kind {
            "InternalServiceExport" => drop(self.exports.retain(keys)),
            "ServiceImport" => drop(self.imports.retain(keys)),
            "TrafficManagerBackend" => {
                for gone in self.backends.retain(keys) {
                    let _rivals = self.forget(&Object::from(TrafficManagerBackend::clone(&gone)));
                }
            }
            _ => {
                for gone in self.profiles.retain(keys) {
                    let _backends = self.forget(&Object::from(TrafficManagerProfile::clone(&gone)));
                }
            }
        }
        let profiles = self.profiles.iter().map(|one| Item::Profile(Key::of(&one.metadata)));
        let backends = self.backends.iter().map(|one| Item::Backend(Key::of(&one.metadata)));
        profiles.chain(backends).collect()
    }
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TrafficKind {
    Profile,
    Backend,
}

impl Controller for Traffic {
    type Item = Item;
    type Object = Seen;
    type Effect = Act;

    fn learn(&mut self, change: Change<Seen>) -> Vec<Item> {
        match change {
            Change::Applied(Seen::Object(object)) => self.learn_of(object),
            Change::Deleted(Seen::Object(object)) => self.forget(&object),
            Change::Applied(Seen::Absent(sought)) => {
                let items = match &sought {
                    Sought::Profile(key) => self.backends(&by_profile(key)),
                    Sought::Import(key) => self.backends(&by_service(&text(key))),
                };
                self.absent.insert(sought);
                items
            }
            Change::Applied(Seen::OfProfile(key, said)) => {
                self.of_profiles.learn(key.clone(), said);
                let backends = self.backends(&by_profile(&key));
                std::iter::once(Item::Profile(key)).chain(backends).collect()
            }
            Change::Applied(Seen::OfBackend(key, said)) => {
                self.of_backends.learn(key.clone(), said);
                vec![Item::Backend(key)]
            }
            Change::Deleted(Seen::Absent(_) | Seen::OfProfile(..) | Seen::OfBackend(..)) => {
                Vec::new()
            }
            Change::Listed { kind, keys } => {
                self.absent.clear();
                self.relist(kind, &keys)
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Act> {
        match item {
            Item::Profile(key) => self.plan_profile(key, now),
            Item::Backend(key) => self.plan_backend(key, now),
        }
    }

    fn hear_of(&self, round: &Round<'_, Item>) {
        self.metrics.round(NAME, round);
    }
}
