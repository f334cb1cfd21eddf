//! One resource of a logical cluster in memory: current objects, history, and who waits for news.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::history::{History, Limits};
use super::lock;
use super::object::{Event, Expired, Key, Version};

/// Which state a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The newest visible state.
    #[default]
    Latest,
    /// The state at this revision. A revision that is not reached yet counts as expired: wait for it first.
    Exact(u64),
}

/// Decides which objects a list shows.
pub type Filter<'a> = &'a (dyn Fn(&Version) -> bool + Send + Sync);

/// What to list.
#[derive(Clone, Default)]
pub struct ListOptions<'a> {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// As of when.
    pub at: At,
    /// Only what comes after this key, for the next page.
    pub after: Option<Key>,
    /// Largest number of items.
    pub limit: Option<NonZeroUsize>,
    /// Only objects for which this holds.
    pub filter: Option<Filter<'a>>,
}

/// Part of a list, ordered by key.
#[derive(Debug)]
pub struct Page {
    /// The objects.
    pub items: Vec<Arc<Version>>,
    /// Revision that the items show; a watch from it misses nothing and repeats nothing.
    pub revision: u64,
    /// Key to continue after, when there is more.
    pub next: Option<Key>,
    /// Number of objects after this page; unknown with a filter.
    pub remaining: Option<u64>,
}

/// Answer to a watcher that asks for news.
pub(super) enum News {
    Events(Vec<Arc<Event>>),
    None,
    Expired(Expired),
    Removed,
}

pub(super) struct Table {
    state: RwLock<State>,
    /// Small: there is one for each resource in each logical cluster.
    wake: Notify,
}

struct State {
    objects: BTreeSet<Current>,
    history: History,
    /// Revision of the last change of this resource.
    last: u64,
    /// How often the resource was removed; watchers of an earlier epoch end.
    epoch: u64,
    /// Revision of the last removal.
    removed_at: u64,
}

/// The current state of an object, found by its key, which is not kept a second time.
struct Current(Arc<Version>);

impl Borrow<Key> for Current {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl Ord for Current {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for Current {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Current {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Current {}

impl Table {
    pub(super) fn new(start: u64, limits: Limits) -> Self {
        let history = History::new(start, limits);
        let state = State { objects: BTreeSet::new(), history, last: 0, epoch: 0, removed_at: 0 };
        Self { state: RwLock::new(state), wake: Notify::new() }
    }

    /// Takes the objects found on disk, ordered by key; there are no events for them.
    pub(super) fn load(&self, versions: Vec<Arc<Version>>) {
        lock::write(&self.state).objects = versions.into_iter().map(Current).collect();
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Version>> {
        lock::read(&self.state).objects.get(key).map(|current| Arc::clone(&current.0))
    }

    pub(super) fn is_empty(&self) -> bool {
        lock::read(&self.state).objects.is_empty()
    }

    pub(super) fn apply(&self, event: &Arc<Event>, now: Instant) {
        let mut state = lock::write(&self.state);
        let current = &event.current;
        if event.deleted {
            state.objects.remove(&current.key);
        } else {
            state.objects.replace(Current(Arc::clone(current)));
        }
        state.last = event.revision;
        state.history.push(Arc::clone(event), now);
    }

    /// Forgets the changes until now; who has not seen them lists anew.
    pub(super) fn forget_history(&self) {
        lock::write(&self.state).history.clear();
    }

    /// Forgets everything. Watchers read on from nothing, so the cluster must be closed.
    pub(super) fn clear(&self) {
        let mut state = lock::write(&self.state);
        state.objects.clear();
        state.history.clear();
    }

    pub(super) fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Returns when something happens after this call, once the future is enabled.
    pub(super) fn news_came(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Ends all watches. New ones can start at `revision` at the earliest.
    pub(super) fn remove(&self, revision: u64) {
        let mut state = lock::write(&self.state);
        state.epoch += 1;
        state.removed_at = revision.max(state.last);
        drop(state);
        self.wake();
    }

    /// Checks that a watch can start after `from`, and returns the epoch it belongs to.
    pub(super) fn admit(&self, from: u64) -> Result<u64, Expired> {
        let state = lock::read(&self.state);
        state.check(from)?;
        Ok(state.epoch)
    }

    /// Returns events after `cursor` for a watcher of this epoch, no more than make up `max_bytes`, but at least one.
    pub(super) fn news(&self, cursor: u64, epoch: u64, max_bytes: usize) -> News {
        let state = lock::read(&self.state);
        if cursor < state.history.floor() {
            return News::Expired(Expired { requested: cursor, oldest: state.history.floor() });
        }
        let is_over = epoch != state.epoch;
        let end = if is_over { state.removed_at } else { u64::MAX };
        let events = state.history.after(cursor).take_while(|event| event.revision <= end);
        let mut bytes = 0;
        let fits = |event: &&Arc<Event>| {
            let before = bytes;
            bytes += event.current.body.len();
            before < max_bytes
        };
        let events: Vec<_> = events.take_while(fits).cloned().collect();
        match (events.is_empty(), is_over) {
            (false, _) => News::Events(events),
            (true, true) => News::Removed,
            (true, false) => News::None,
        }
    }

    /// Tells whether nothing happened after `cursor`.
    pub(super) fn is_quiet_since(&self, cursor: u64) -> bool {
        lock::read(&self.state).last <= cursor
    }

    /// Lists; `visible` is a revision up to which the caller knows everything to be applied here.
    pub(super) fn list(&self, options: &ListOptions<'_>, visible: u64) -> Result<Page, Expired> {
        let state = lock::read(&self.state);
        let newest = visible.max(state.last);
        let (revision, overlay) = match options.at {
            At::Latest => (newest, BTreeMap::new()),
            At::Exact(revision) if revision > newest => {
                return Err(Expired { requested: revision, oldest: state.floor() });
            }
            At::Exact(revision) => (revision, state.undo_to(revision)?),
        };
        Ok(paginate(state.objects_in(options, &overlay), options, revision))
    }
}

impl State {
    fn floor(&self) -> u64 {
        self.history.floor().max(self.removed_at)
    }

    fn check(&self, revision: u64) -> Result<(), Expired> {
        let oldest = self.floor();
        if revision < oldest { Err(Expired { requested: revision, oldest }) } else { Ok(()) }
    }

    /// Returns what the keys that changed since `revision` held then.
    fn undo_to(&self, revision: u64) -> Result<BTreeMap<&Key, Option<&Arc<Version>>>, Expired> {
        self.check(revision)?;
        let mut overlay = BTreeMap::new();
        for event in self.history.after(revision) {
            overlay.entry(&event.current.key).or_insert(event.previous.as_ref());
        }
        Ok(overlay)
    }

    /// Iterates in key order over the objects in the asked range, as the overlay shows them.
    fn objects_in<'a>(
        &'a self,
        options: &'a ListOptions<'_>,
        overlay: &'a BTreeMap<&'a Key, Option<&'a Arc<Version>>>,
    ) -> impl Iterator<Item = &'a Arc<Version>> {
        let start = start_of(options);
        let in_range = move |key: &Key| {
            options.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
        };
        let mut current = self
            .objects
            .range::<Key, _>((start.clone(), Bound::Unbounded))
            .map(|Current(version)| version)
            .take_while(move |version| in_range(&version.key))
            .filter(|version| !overlay.contains_key(&version.key))
            .peekable();
        let start = start.as_ref().map(Key::clone);
        let mut undone = overlay
            .iter()
            .filter(move |(key, _)| is_after_start(key, &start) && in_range(key))
            .filter_map(|(_, version)| *version)
            .peekable();
        std::iter::from_fn(move || match (current.peek(), undone.peek()) {
            (Some(a), Some(b)) if a.key < b.key => current.next(),
            (_, Some(_)) => undone.next(),
            (_, None) => current.next(),
        })
    }
}

/// Where a list begins: after the last key of the page before, or at the first key of the namespace.
fn start_of(options: &ListOptions<'_>) -> Bound<Key> {
    let namespace = options.namespace.as_deref().unwrap_or_default();
    let first = Key::namespaced(namespace, "");
    match &options.after {
        Some(after) if *after >= first => Bound::Excluded(after.clone()),
        Some(_) | None => Bound::Included(first),
    }
}

fn is_after_start(key: &Key, start: &Bound<Key>) -> bool {
    match start {
        Bound::Included(first) => key >= first,
        Bound::Excluded(last) => key > last,
        Bound::Unbounded => true,
    }
}

fn paginate<'a>(
    objects: impl Iterator<Item = &'a Arc<Version>>,
    options: &ListOptions<'_>,
    revision: u64,
) -> Page {
    let mut matching =
        objects.filter(|version| options.filter.is_none_or(|filter| filter(version)));
    let limit = options.limit.unwrap_or(NonZeroUsize::MAX).get();
    let items: Vec<_> = matching.by_ref().take(limit).cloned().collect();
    let (has_more, remaining) = match options.filter {
        // Counting costs a walk over the rest, which only pays where clients get to see the number.
        None => {
            let rest = matching.count() as u64;
            (rest > 0, Some(rest))
        }
        Some(_) => (matching.next().is_some(), None),
    };
    let next = items.last().filter(|_| has_more).map(|last| last.key.clone());
    Page { items, revision, next, remaining }
}
