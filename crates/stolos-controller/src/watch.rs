//! The watches of a controller, as one stream of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use futures::Stream;
use futures::stream::{BoxStream, SelectAll, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tracing::debug;

use crate::table::Key;

/// Names a watch; the first list of every watch is awaited before anything is planned.
type WatchId = usize;

/// What a watch tells a controller.
#[derive(Clone, Debug)]
pub enum Change<O> {
    /// An object is in this state.
    Applied(O),
    /// An object is gone; this was its last state.
    Deleted(O),
    /// A complete list of a kind has been seen; whatever else is known of it is gone. `sample` tells the kind.
    Listed {
        /// Which kind, as given to [`Watches::add`].
        kind: &'static str,
        /// What there is.
        keys: BTreeSet<Key>,
    },
}

impl<O> Change<O> {
    /// Returns the same change of what an object stands for.
    pub fn map<P>(self, of: impl FnOnce(O) -> P) -> Change<P> {
        match self {
            Self::Applied(object) => Change::Applied(of(object)),
            Self::Deleted(object) => Change::Deleted(of(object)),
            Self::Listed { kind, keys } => Change::Listed { kind, keys },
        }
    }
}

/// What arrives from one watch.
pub(crate) enum Signal<O> {
    Applied(WatchId, O, Key),
    Deleted(O),
    Heard(O),
    Restarted(WatchId),
    Complete(WatchId),
}

/// Returns an object without its field managers: no controller reads them, they are large, and a server that is sent none
/// keeps what it has.
pub(crate) fn slim<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// A set of watches.
pub struct Watches<O> {
    streams: SelectAll<BoxStream<'static, Signal<O>>>,
    kinds: Vec<&'static str>,
    pending: BTreeMap<WatchId, BTreeSet<Key>>,
    unsynced: BTreeSet<WatchId>,
}

impl<O: Send + 'static> Default for Watches<O> {
    fn default() -> Self {
        Self {
            streams: SelectAll::new(),
            kinds: Vec::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
        }
    }
}

impl<O: Send + 'static> Watches<O> {
    /// Adds a watch of a kind, for ever, with back-off on errors. `kind` names it in [`Change::Listed`].
    #[must_use]
    pub fn add<K>(mut self, kind: &'static str, api: Api<K>) -> Self
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Into<O> + 'static,
    {
        let id = self.kinds.len();
        self.kinds.push(kind);
        self.unsynced.insert(id);
        // Timeout 0: an idle watch stays open; under paused time it would otherwise restart for ever.
        let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
        let signals = events.filter_map(move |event| async move {
            Some(match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    let key = Key::of(object.meta());
                    Signal::Applied(id, slim(object).into(), key)
                }
                Ok(watcher::Event::Delete(object)) => Signal::Deleted(slim(object).into()),
                Ok(watcher::Event::Init) => Signal::Restarted(id),
                Ok(watcher::Event::InitDone) => Signal::Complete(id),
                Err(error) => {
                    debug!(kind, %error, "watch failed; it starts over");
                    return None;
                }
            })
        });
        self.streams.push(Box::pin(signals));
        self
    }

    /// Adds changes from elsewhere; nothing waits for them.
    #[must_use]
    pub fn add_stream(mut self, changes: impl Stream<Item = O> + Send + 'static) -> Self {
        self.streams.push(changes.map(Signal::Heard).boxed());
        self
    }

    /// Tells whether every watch has shown its first complete list.
    pub(crate) fn synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Names the kinds of which no complete list has been seen.
    pub(crate) fn unsynced(&self) -> Vec<&'static str> {
        self.unsynced.iter().map(|id| self.kinds[*id]).collect()
    }

    pub(crate) fn signals(&mut self) -> &mut (impl Stream<Item = Signal<O>> + Unpin + use<O>) {
        &mut self.streams
    }

    /// Turns a signal into a change, keeping account of lists.
    pub(crate) fn interpret(&mut self, signal: Signal<O>) -> Option<Change<O>> {
        match signal {
            Signal::Applied(id, object, key) => {
                if let Some(listed) = self.pending.get_mut(&id) {
                    listed.insert(key);
                }
                Some(Change::Applied(object))
            }
            Signal::Deleted(object) => Some(Change::Deleted(object)),
            Signal::Heard(object) => Some(Change::Applied(object)),
            Signal::Restarted(id) => {
                self.pending.insert(id, BTreeSet::new());
                None
            }
            Signal::Complete(id) => {
                self.unsynced.remove(&id);
                let keys = self.pending.remove(&id).unwrap_or_default();
                Some(Change::Listed { kind: self.kinds[id], keys })
            }
        }
    }
}
