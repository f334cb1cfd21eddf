//! The webhooks and policies in force: compiled once for each state of the objects that configure them.
//!
//! The catalogue follows the store without a task: each look first takes in what has changed since the last one, so a
//! configuration counts as soon as the write that made it has been answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::policy::{CompiledPolicy, PolicyBinding};
use super::webhook::Webhook;
use crate::mirror::{Mirror, News};
use crate::store::{ClusterStore, Version};
use crate::webhook::Webhooks;

/// What a resource of the group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Mutating,
    Validating,
    Policies,
    Bindings,
}

static WATCHED: [(&str, Holds); 4] = [
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
    followed: Mutex<(Mirror<Holds>, State)>,
}

/// A compiled policy, and from what it was compiled.
struct Known {
    spec: Value,
    policy: Arc<CompiledPolicy>,
}

#[derive(Default)]
struct State {
    mutating: BTreeMap<String, Vec<Arc<Webhook>>>,
    validating: BTreeMap<String, Vec<Arc<Webhook>>>,
    policies: BTreeMap<String, Known>,
    bindings: BTreeMap<String, Arc<PolicyBinding>>,
    in_force: Arc<InForce>,
}

impl Catalog {
    pub(crate) fn new(store: ClusterStore, webhooks: Webhooks) -> Self {
        let followed = Mutex::new((Mirror::of(&WATCHED), State::default()));
        Self(Arc::new(Inner { store, webhooks, followed }))
    }

    /// Returns what is in force after every write that has been answered.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        let inner = &*self.0;
        let mut followed = inner.followed.lock().expect("taking in a configuration does not panic");
        let (mirror, state) = &mut *followed;
        let changed = mirror.catch_up(&inner.store, |news| match news {
            News::Restart => *state = State::default(),
            News::Put(holds, version) => state.put(inner, holds, version),
            News::Gone(holds, key) => state.remove(holds, &key.name),
        });
        if changed {
            state.put_in_force();
        }
        Arc::clone(&state.in_force)
    }
}

impl State {
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
