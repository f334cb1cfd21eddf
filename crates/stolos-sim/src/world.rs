//! What the simulation knows of its cluster: a cache of watched objects that includes its own writes at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use crate::meta::{Key, controller_uid, key, revision};
use crate::pod_network::PodNetwork;

/// Objects of one kind.
#[derive(Debug)]
pub(crate) struct Table<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// Keys by the uid of the controlling owner.
    owned: BTreeMap<String, BTreeSet<Key>>,
    /// Revision of the last change seen of a removed object, so that a late answer does not bring it back.
    removed: BTreeMap<Key, u64>,
}

/// How many removals are remembered; late answers are milliseconds late.
const REMEMBERED_REMOVALS: usize = 1024;

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), owned: BTreeMap::new(), removed: BTreeMap::new() }
    }
}

impl<K: Resource> Table<K> {
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    pub(crate) fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<K>> {
        let from = Key { namespace: namespace.to_owned(), name: String::new() };
        self.objects
            .range(from..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    pub(crate) fn owned_by<'a>(
        &'a self,
        uid: &str,
    ) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        self.owned.get(uid).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// Takes a state in, unless a newer one is known. Tells whether anything changed.
    fn insert(&mut self, object: K) -> bool {
        let (key, new) = (key(object.meta()), revision(object.meta()));
        let known = self.objects.get(&key).map(|old| revision(old.meta()));
        if known.is_some_and(|known| known >= new)
            || self.removed.get(&key).is_some_and(|&gone| gone >= new)
        {
            return false;
        }
        self.unlink(&key);
        if let Some(owner) = controller_uid(object.meta()) {
            self.owned.entry(owner.to_owned()).or_default().insert(key.clone());
        }
        self.objects.insert(key, Arc::new(object));
        true
    }

    fn remove(&mut self, meta: &ObjectMeta) -> bool {
        let key = key(meta);
        if self.removed.len() >= REMEMBERED_REMOVALS {
            self.removed.pop_first();
        }
        self.removed.insert(key.clone(), revision(meta));
        self.unlink(&key);
        self.objects.remove(&key).is_some()
    }

    fn unlink(&mut self, key: &Key) {
        let owner =
            self.objects.get(key).and_then(|old| controller_uid(old.meta())).map(str::to_owned);
        let Some(owner) = owner else { return };
        if let Some(keys) = self.owned.get_mut(&owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }

    /// Drops what a fresh list does not show and returns the dropped objects.
    fn retain(&mut self, listed: &BTreeSet<Key>) -> Vec<Arc<K>> {
        let gone: Vec<Arc<K>> = self
            .objects
            .iter()
            .filter(|(key, _)| !listed.contains(key))
            .map(|(_, object)| object.clone())
            .collect();
        for object in &gone {
            self.unlink(&key(object.meta()));
            self.objects.remove(&key(object.meta()));
        }
        gone
    }
}

/// Declares the watched kinds once: the tables of [`World`], the variants of [`Object`], and what is the same for all.
macro_rules! kinds {
    ($($kind:ident $table:ident),* $(,)?) => {
        /// An object of a watched kind.
        #[derive(Clone, Debug)]
        pub(crate) enum Object {
            $($kind(Box<$kind>),)*
        }

        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        })*

        impl Object {
            pub(crate) fn meta(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata,)*
                }
            }

            pub(crate) fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }
        }

        /// The watched kinds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        /// Everything known of the cluster.
        #[derive(Debug, Default)]
        pub(crate) struct World {
            $(pub(crate) $table: Table<$kind>,)*
            /// Where pods get their addresses from.
            pub(crate) pod_network: PodNetwork,
            /// Nodes of pods that are being placed at this moment.
            pub(crate) assumed: BTreeMap<Key, String>,
        }

        impl World {
            /// Takes a state in. Tells whether it was news.
            pub(crate) fn insert(&mut self, object: Object) -> bool {
                match object {
                    $(Object::$kind(object) => self.$table.insert(*object),)*
                }
            }

            /// Forgets an object. Tells whether it was known.
            pub(crate) fn remove(&mut self, object: &Object) -> bool {
                match object {
                    $(Object::$kind(object) => self.$table.remove(&object.metadata),)*
                }
            }

            /// Forgets the objects of a kind that a fresh list does not show, and returns them.
            pub(crate) fn retain(&mut self, kind: Kind, listed: &BTreeSet<Key>) -> Vec<Object> {
                match kind {
                    $(Kind::$kind => self.$table.retain(listed).into_iter()
                        .map(|object| Object::from((*object).clone())).collect(),)*
                }
            }
        }

        /// Calls a macro with every watched kind.
        macro_rules! for_each_kind {
            ($callback:ident) => { $($callback!($kind);)* };
        }
        pub(crate) use for_each_kind;
    };
}

kinds! {
    ConfigMap config_maps,
    DaemonSet daemon_sets,
    Deployment deployments,
    EndpointSlice endpoint_slices,
    Job jobs,
    Node nodes,
    Pod pods,
    ReplicaSet replica_sets,
    Service services,
    StatefulSet stateful_sets,
}
