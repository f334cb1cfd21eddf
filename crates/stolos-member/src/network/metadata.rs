//! Changes to the metadata of an object, made in one write.

use std::collections::BTreeMap;

use kube::Resource;

/// Returns an object with these changes to its metadata, or nothing if it is so already.
pub(super) struct Change<'a> {
    /// Whether the object is to have this finalizer.
    pub(super) finalizer: Option<(&'a str, bool)>,
    /// Annotations to set.
    pub(super) annotations: BTreeMap<String, String>,
    /// Labels to set, or without a value to remove.
    pub(super) labels: BTreeMap<&'static str, Option<String>>,
}

impl<'a> Change<'a> {
    pub(super) fn finalizer(name: &'a str, wanted: bool) -> Self {
        let (annotations, labels) = (BTreeMap::new(), BTreeMap::new());
        Self { finalizer: Some((name, wanted)), annotations, labels }
    }

    pub(super) fn annotations(annotations: BTreeMap<String, String>) -> Self {
        Self { finalizer: None, annotations, labels: BTreeMap::new() }
    }

    pub(super) fn of<K: Resource + Clone>(self, object: &K) -> Option<K> {
        let mut changed = object.clone();
        let meta = changed.meta_mut();
        if let Some((name, wanted)) = self.finalizer {
            let finalizers = meta.finalizers.get_or_insert_default();
            finalizers.retain(|one| one != name);
            if wanted {
                finalizers.push(name.to_owned());
            }
        }
        if !self.annotations.is_empty() {
            meta.annotations.get_or_insert_default().extend(self.annotations);
        }
        for (name, value) in self.labels {
            let labels = meta.labels.get_or_insert_default();
            match value {
                Some(value) => labels.insert(name.to_owned(), value),
                None => labels.remove(name),
            };
        }
        let same = sorted(changed.meta().finalizers.as_ref())
            == sorted(object.meta().finalizers.as_ref())
            && full(changed.meta().annotations.as_ref())
                == full(object.meta().annotations.as_ref())
            && full(changed.meta().labels.as_ref()) == full(object.meta().labels.as_ref());
        (!same).then_some(changed)
    }
}

fn sorted(finalizers: Option<&Vec<String>>) -> std::collections::BTreeSet<&String> {
    finalizers.into_iter().flatten().collect()
}

fn full(map: Option<&BTreeMap<String, String>>) -> Option<&BTreeMap<String, String>> {
    map.filter(|map| !map.is_empty())
}
