//! The webhooks and policies in force: compiled once for each state of the objects that configure them.
//!
//! The catalogue follows the store without a task: each look first takes in what has changed since the last one, so a
//! configuration counts as soon as the write that made it has been answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use serde_json::Value;

use super::policy::{CompiledPolicy, PolicyBinding};
use super::webhook::Webhook;
use crate::store::{ClusterStore, ListOptions, ResourceId, Version, WatchEnd, Watcher};
use crate::webhook::Webhooks;

/// What a resource of the group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Mutating,
    Validating,
    Policies,
    Bindings,
}

const WATCHED: [(&str, Holds); 4] = [
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", Holds::Mutating),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", Holds::Validating),
    ("validatingadmissionpolicies.admissionregistration.k8s.io", Holds::Policies),
    ("validatingadmissionpolicybindings.admissionregistration.k8s.io", Holds::Bindings),
];

/// What is in force at one moment.
#[derive(Default)]
pub(crate) struct InForce {
    /// In the order in which they are called.
    pub(super) mutating: Vec<Arc<Webhook>>,
    pub(super) validating: Vec<Arc<Webhook>>,
    /// In the order of their names.
    pub(super) policies: Vec<Arc<CompiledPolicy>>,
    pub(super) bindings: Vec<Arc<PolicyBinding>>,
}

impl InForce {
    /// Tells whether nothing is in force.
    pub(crate) fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.bindings.is_empty()
    }
}

/// The webhooks and policies of a logical cluster. Clones share the content.
#[derive(Clone)]
pub(crate) struct Catalog(Arc<Inner>);

struct Inner {
    store: ClusterStore,
    webhooks: Webhooks,
    state: Mutex<State>,
}

/// A compiled policy, and from what it was compiled.
struct Known {
    spec: Value,
    policy: Arc<CompiledPolicy>,
}

#[derive(Default)]
struct State {
    /// Everything up to this revision is taken in; absent before the first look.
    revision: Option<u64>,
    watchers: Vec<(Watcher, Holds)>,
    mutating: BTreeMap<String, Vec<Arc<Webhook>>>,
    validating: BTreeMap<String, Vec<Arc<Webhook>>>,
    policies: BTreeMap<String, Known>,
    bindings: BTreeMap<String, Arc<PolicyBinding>>,
    in_force: Arc<InForce>,
}

impl Catalog {
    pub(crate) fn new(store: ClusterStore, webhooks: Webhooks) -> Self {
        Self(Arc::new(Inner { store, webhooks, state: Mutex::default() }))
    }

    /// Returns what is in force after every write that has been answered.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        let inner = &*self.0;
        // Read first: what is visible at this revision is in the tables.
        let visible = inner.store.revision();
        let mut state = inner.state.lock().expect("taking in a configuration does not panic");
        if state.revision.is_none_or(|revision| revision < visible) {
            let changed = match state.revision {
                Some(_) => state.drain(inner),
                None => None,
            };
            let changed = changed.unwrap_or_else(|| {
                state.rebuild(inner);
                true
            });
            if changed {
                state.put_in_force();
            }
            state.revision = Some(visible);
        }
        Arc::clone(&state.in_force)
    }
}

impl State {
    /// Takes in every event there is and tells whether there was one; nothing when a watcher fell behind.
    fn drain(&mut self, inner: &Inner) -> Option<bool> {
        let mut changed = false;
        let mut watchers = std::mem::take(&mut self.watchers);
        for (watcher, holds) in &mut watchers {
            while let Some(news) = watcher.next().now_or_never() {
                match news {
                    Ok(events) => {
                        for event in events {
                            changed = true;
                            if event.deleted {
                                self.remove(*holds, &event.current.key.name);
                            } else {
                                self.put(inner, *holds, &event.current);
                            }
                        }
                    }
                    Err(WatchEnd::Closed) => break,
                    Err(WatchEnd::Expired(_) | WatchEnd::ResourceRemoved) => return None,
                }
            }
        }
        self.watchers = watchers;
        Some(changed)
    }

    fn rebuild(&mut self, inner: &Inner) {
        *self = Self::default();
        for (resource, holds) in WATCHED {
            let resource = ResourceId::from(resource);
            let (items, watcher) = list_and_watch(&inner.store, &resource);
            for version in items {
                self.put(inner, holds, &version);
            }
            self.watchers.push((watcher, holds));
        }
    }

    fn put(&mut self, inner: &Inner, holds: Holds, version: &Version) {
        let object = version.object();
        let name = version.key.name.clone();
        match holds {
            Holds::Mutating => {
                self.mutating.insert(name.clone(), compile(inner, &name, &object));
            }
            Holds::Validating => {
                self.validating.insert(name.clone(), compile(inner, &name, &object));
            }
            Holds::Policies => self.put_policy(name, &object),
            Holds::Bindings => {
                self.bindings.insert(name, Arc::new(PolicyBinding::parse(&object)));
            }
        }
    }

    /// Compiles a policy, unless only its status changed.
    fn put_policy(&mut self, name: String, object: &Value) {
        let spec = object["spec"].clone();
        if self.policies.get(&name).is_some_and(|known| known.spec == spec) {
            return;
        }
        let policy = Arc::new(CompiledPolicy::parse(object));
        self.policies.insert(name, Known { spec, policy });
    }

    fn remove(&mut self, holds: Holds, name: &str) {
        match holds {
            Holds::Mutating => drop(self.mutating.remove(name)),
            Holds::Validating => drop(self.validating.remove(name)),
            Holds::Policies => drop(self.policies.remove(name)),
            Holds::Bindings => drop(self.bindings.remove(name)),
        }
    }

    fn put_in_force(&mut self) {
        let in_order = |all: &BTreeMap<String, Vec<Arc<Webhook>>>| {
            all.values().flatten().cloned().collect::<Vec<_>>()
        };
        self.in_force = Arc::new(InForce {
            mutating: in_order(&self.mutating),
            validating: in_order(&self.validating),
            policies: self.policies.values().map(|known| Arc::clone(&known.policy)).collect(),
            bindings: self.bindings.values().cloned().collect(),
        });
    }
}

fn compile(inner: &Inner, configuration: &str, object: &Value) -> Vec<Arc<Webhook>> {
    let webhooks = object["webhooks"].as_array().into_iter().flatten().enumerate();
    let compile = |(index, webhook): (usize, &Value)| {
        let id = format!("{configuration}/{index}");
        Arc::new(Webhook::parse(id, webhook, inner.webhooks.client(&webhook["clientConfig"])))
    };
    webhooks.map(compile).collect()
}

fn list_and_watch(store: &ClusterStore, resource: &ResourceId) -> (Vec<Arc<Version>>, Watcher) {
    loop {
        let page = store
            .list(resource, &ListOptions::default())
            .expect("the latest state is always there");
        // Between the two the history may have moved on, but not again and again.
        if let Ok(watcher) = store.watch(resource, page.revision) {
            return (page.items, watcher);
        }
    }
}
