//! The little that the collector remembers between two looks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Id;

/// Uids of deleted owners that are remembered. Forgetting one only matters when its kind is no longer served.
const MAX_GONE: usize = 65_536;

#[derive(Default)]
pub(super) struct Memory(Mutex<Content>);

#[derive(Default)]
struct Content {
    /// Owners in foreground deletion that wait for dependents, by uid.
    waiting: BTreeMap<String, Id>,
    /// Objects with an owner of unknown kind.
    unresolved: BTreeSet<Id>,
    /// Uids of owners that were seen to vanish while they had dependents.
    gone: BTreeSet<String>,
    gone_order: VecDeque<String>,
}

impl Memory {
    pub(super) fn remember_waiting(&self, uid: &str, id: &Id) {
        self.lock().waiting.insert(uid.to_owned(), id.clone());
    }

    pub(super) fn forget_waiting(&self, uid: &str) {
        self.lock().waiting.remove(uid);
    }

    pub(super) fn waiting(&self, uid: &str) -> Option<Id> {
        self.lock().waiting.get(uid).cloned()
    }

    pub(super) fn remember_unresolved(&self, id: &Id) {
        self.lock().unresolved.insert(id.clone());
    }

    pub(super) fn forget_unresolved(&self, id: &Id) {
        self.lock().unresolved.remove(id);
    }

    pub(super) fn take_unresolved(&self) -> BTreeSet<Id> {
        std::mem::take(&mut self.lock().unresolved)
    }

    pub(super) fn remember_gone(&self, uid: &str) {
        let mut content = self.lock();
        if content.gone.insert(uid.to_owned()) {
            content.gone_order.push_back(uid.to_owned());
        }
        if content.gone_order.len() > MAX_GONE
            && let Some(oldest) = content.gone_order.pop_front()
        {
            content.gone.remove(&oldest);
        }
    }

    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.lock().gone.contains(uid)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
