//! What was found after objects were last brought in line, so that an unchanged one needs no second look.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;
use stolos_api::placement::{PatchDetail, WorkResourceIdentifier};

use super::json::resource_version;

/// Objects by Work and identifier. While manifest, strategy and resource version are the same, applying again would change
/// nothing.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<(String, WorkResourceIdentifier), Entry>>);

struct Entry {
    wish: String,
    version: String,
    drifts: Vec<PatchDetail>,
}

impl Seen {
    /// Returns what was found of an object if neither the wish (manifest and strategy) nor the object has changed since.
    pub(super) fn unchanged(
        &self,
        work: &str,
        identifier: &WorkResourceIdentifier,
        wish: &str,
        live: &Value,
    ) -> Option<Vec<PatchDetail>> {
        let seen = self.0.lock().expect("no holder of this lock panics");
        let known = seen.get(&(work.to_owned(), identifier.clone()))?;
        let is_same = known.wish == wish && known.version == resource_version(live);
        is_same.then(|| known.drifts.clone())
    }

    pub(super) fn note(
        &self,
        work: &str,
        identifier: &WorkResourceIdentifier,
        wish: String,
        live: &Value,
        drifts: Vec<PatchDetail>,
    ) {
        let mut seen = self.0.lock().expect("no holder of this lock panics");
        let entry = Entry { wish, version: resource_version(live), drifts };
        seen.insert((work.to_owned(), identifier.clone()), entry);
    }

    /// Forgets the objects of a Work, but for those that it still lists.
    pub(super) fn retain(&self, work: &str, listed: &[&WorkResourceIdentifier]) {
        let mut seen = self.0.lock().expect("no holder of this lock panics");
        seen.retain(|(of, identifier), _| of != work || listed.contains(&identifier));
    }
}
