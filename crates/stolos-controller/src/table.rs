//! Objects of one kind, as last seen or written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, or nothing.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// Returns the key of a cluster-scoped object.
    #[must_use]
    pub fn cluster(name: &str) -> Self {
        Self { namespace: String::new(), name: name.to_owned() }
    }

    /// Returns the key of a namespaced object.
    #[must_use]
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Returns the key of an object.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

/// An object that a table can hold.
pub trait Tracked {
    /// Returns the metadata.
    fn meta(&self) -> &ObjectMeta;
}

impl<K: kube::Resource> Tracked for K {
    fn meta(&self) -> &ObjectMeta {
        kube::Resource::meta(self)
    }
}

/// How many removals a table remembers. A late answer to an own write must not bring back what a watch has removed;
/// answers are late by milliseconds.
const REMEMBERED_REMOVALS: usize = 4096;

/// Objects by key, with an index by labels or other texts, such as the name of the parent.
#[derive(Debug)]
pub struct Table<K> {
    objects: BTreeMap<Key, Arc<K>>,
    index: BTreeMap<String, BTreeSet<Key>>,
    index_by: Vec<fn(&K) -> Option<String>>,
    removed: BTreeMap<Key, u64>,
    removals: std::collections::VecDeque<Key>,
}

impl<K: Tracked> Default for Table<K> {
    fn default() -> Self {
        Self::indexed_by(|_| None)
    }
}

impl<K: Tracked> Table<K> {
    /// Returns an empty table with an index.
    #[must_use]
    pub fn indexed_by(index_by: fn(&K) -> Option<String>) -> Self {
        Self {
            objects: BTreeMap::new(),
            index: BTreeMap::new(),
            index_by: vec![index_by],
            removed: BTreeMap::new(),
            removals: std::collections::VecDeque::new(),
        }
    }

    /// Adds another text to the index. Texts of different meanings must be told apart by what they look like.
    #[must_use]
    pub fn and_by(mut self, index_by: fn(&K) -> Option<String>) -> Self {
        self.index_by.push(index_by);
        self
    }

    /// Returns an object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    /// Returns all objects in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// Returns the objects of a namespace.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        let from = Key::namespaced(namespace, "");
        self.objects
            .range(from..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, o)| o)
    }

    /// Returns the objects with this text in the index, in the order of their keys.
    pub fn indexed<'a>(&'a self, text: &str) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        self.index.get(text).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// Returns how many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Takes a state in unless a newer one is known; returns what it replaces, or `Err` when it is no news.
    #[expect(clippy::result_unit_err, reason = "the only way to be no news")]
    pub fn insert(&mut self, object: K) -> Result<Option<Arc<K>>, ()> {
        let (key, new) = (Key::of(object.meta()), revision(object.meta()));
        let older = |known: u64| known >= new;
        if self.objects.get(&key).is_some_and(|old| older(revision(old.meta())))
            || self.removed.get(&key).is_some_and(|&gone| older(gone))
        {
            return Err(());
        }
        self.unlink(&key);
        for text in self.index_by.iter().filter_map(|text| text(&object)) {
            self.index.entry(text).or_default().insert(key.clone());
        }
        Ok(self.objects.insert(key, Arc::new(object)))
    }

    /// Forgets an object of which a watch says that it is gone; returns its last known state.
    pub fn remove(&mut self, meta: &ObjectMeta) -> Option<Arc<K>> {
        let key = Key::of(meta);
        // A watch may be behind our own knowledge of a successor.
        let successor = self.objects.get(&key).is_some_and(|known| known.meta().uid != meta.uid);
        if successor {
            return None;
        }
        self.removed.insert(key.clone(), revision(meta));
        self.removals.push_back(key.clone());
        if self.removals.len() > REMEMBERED_REMOVALS
            && let Some(oldest) = self.removals.pop_front()
        {
            self.removed.remove(&oldest);
        }
        self.unlink(&key);
        self.objects.remove(&key)
    }

    /// Forgets what a fresh, complete list does not show; returns the last known states.
    pub fn retain(&mut self, listed: &BTreeSet<Key>) -> Vec<Arc<K>> {
        let gone: Vec<Key> =
            self.objects.keys().filter(|key| !listed.contains(key)).cloned().collect();
        let forget = |key: Key| {
            self.unlink(&key);
            self.objects.remove(&key)
        };
        gone.into_iter().filter_map(forget).collect()
    }

    fn unlink(&mut self, key: &Key) {
        let Some(old) = self.objects.get(key) else { return };
        for text in self.index_by.iter().filter_map(|text| text(old)) {
            let Some(keys) = self.index.get_mut(&text) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.index.remove(&text);
            }
        }
    }
}

/// Returns the resource version as a number. Since Kubernetes 1.35 clients may compare them so; etcd's always were.
pub fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, revision: u64, parent: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some("uid".to_owned());
        object.metadata.resource_version = Some(revision.to_string());
        object.metadata.labels = Some([("parent".to_owned(), parent.to_owned())].into());
        object
    }

    fn table() -> Table<ConfigMap> {
        Table::indexed_by(|object| object.metadata.labels.as_ref()?.get("parent").cloned())
    }

    #[test]
    fn an_older_state_is_no_news() {
        let mut table = table();
        assert!(table.insert(object("a", 5, "p")).is_ok());
        assert!(table.insert(object("a", 4, "p")).is_err());
        assert!(table.insert(object("a", 5, "p")).is_err());
        assert!(table.insert(object("a", 6, "p")).is_ok());
    }

    #[test]
    fn a_late_answer_does_not_bring_back_what_is_gone() {
        let mut table = table();
        table.insert(object("a", 5, "p")).expect("news");
        table.remove(&object("a", 7, "p").metadata);
        assert!(table.insert(object("a", 6, "p")).is_err());
        assert!(table.insert(object("a", 8, "p")).is_ok());
    }

    #[test]
    fn the_index_follows_changes() {
        let mut table = table();
        table.insert(object("a", 1, "p")).expect("news");
        table.insert(object("b", 2, "p")).expect("news");
        table.insert(object("a", 3, "q")).expect("news");
        let names = |parent: &str| -> Vec<String> {
            table.indexed(parent).filter_map(|object| object.metadata.name.clone()).collect()
        };
        assert_eq!((names("p"), names("q")), (vec!["b".to_owned()], vec!["a".to_owned()]));
    }

    #[test]
    fn an_object_is_found_by_each_of_its_texts_and_by_none_once_it_is_gone() {
        let mut table =
            table().and_by(|object| Some(format!("name {}", object.metadata.name.as_ref()?)));
        table.insert(object("a", 1, "p")).expect("news");
        table.insert(object("b", 2, "p")).expect("news");
        let count = |table: &Table<ConfigMap>, text: &str| table.indexed(text).count();
        assert_eq!((count(&table, "p"), count(&table, "name a")), (2, 1));
        table.remove(&object("a", 3, "p").metadata);
        assert_eq!((count(&table, "p"), count(&table, "name a")), (1, 0));
    }
}
