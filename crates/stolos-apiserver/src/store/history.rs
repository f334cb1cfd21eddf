//! The recent changes of one resource, bounded by count, bytes and age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::object::Event;

/// Bounds of a store. Every logical cluster has its own.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events of a resource that are kept however large or old, so that a watcher survives a pause.
    pub min_events: usize,
    /// Events of a resource kept at most.
    pub max_events: usize,
    /// Bytes of bodies in the history of a resource, beyond [`Limits::min_events`].
    pub max_bytes: usize,
    /// Age of events, beyond [`Limits::min_events`].
    pub max_age: Duration,
    /// Bytes of bodies that may wait for the disk; writers beyond it wait.
    pub pending_bytes: usize,
    /// Size of one serialised object.
    pub object_bytes: usize,
    /// Objects of a logical cluster.
    pub objects: usize,
    /// Bytes of all objects of a logical cluster together.
    pub total_bytes: usize,
}

impl Default for Limits {
    /// Returns bounds that let clients with a minute of lag catch up, objects as large as upstream takes them, and as many
    /// bytes as etcd holds at most.
    fn default() -> Self {
        Self {
            min_events: 100,
            max_events: 20_000,
            max_bytes: 16 << 20,
            max_age: Duration::from_mins(10),
            pending_bytes: 64 << 20,
            object_bytes: 3 << 19,
            objects: 2_000_000,
            total_bytes: 8 << 30,
        }
    }
}

/// Newest events of a resource that keep what watches made of them. Whoever lags further behind makes its own.
const SHARED_EVENTS: usize = 256;
/// Bytes of bodies of these events; each form of an event is about as large as its body.
const SHARED_BYTES: usize = 1 << 20;

/// Ring of events in order of revision. Whoever knows [`History::floor`] or a later revision can catch up.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<(Instant, Arc<Event>)>,
    bytes: usize,
    shared: Shared,
    floor: u64,
    limits: Limits,
}

/// The newest events, those that keep what watches made of them.
#[derive(Debug, Default)]
struct Shared {
    events: usize,
    bytes: usize,
}

impl History {
    pub(super) fn new(floor: u64, limits: Limits) -> Self {
        Self { events: VecDeque::new(), bytes: 0, shared: Shared::default(), floor, limits }
    }

    /// Oldest revision from which no event is missing.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn push(&mut self, event: Arc<Event>, now: Instant) {
        self.bytes += weight(&event);
        self.share(&event);
        self.events.push_back((now, event));
        while self.is_over(now) {
            let (_, dropped) =
                self.events.pop_front().expect("only a history with events is over its limits");
            self.bytes -= weight(&dropped);
            if self.shared.events > self.events.len() {
                self.shared.events -= 1;
                self.shared.bytes -= weight(&dropped);
            }
            self.floor = dropped.revision;
        }
    }

    /// Lets an event that comes next keep what watches make of it, and earlier ones no longer. The newest one always may.
    fn share(&mut self, event: &Event) {
        self.shared.bytes += weight(event);
        while self.shared.events > 0
            && (self.shared.events >= SHARED_EVENTS || self.shared.bytes > SHARED_BYTES)
        {
            let (_, oldest) = &self.events[self.events.len() - self.shared.events];
            oldest.renditions.forget();
            self.shared.events -= 1;
            self.shared.bytes -= weight(oldest);
        }
        self.shared.events += 1;
    }

    /// Forgets all events.
    pub(super) fn clear(&mut self) {
        self.floor = self.events.back().map_or(self.floor, |(_, event)| event.revision);
        self.events = VecDeque::new();
        self.shared = Shared::default();
        self.bytes = 0;
    }

    /// Iterates over the events after `revision`, oldest first.
    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = &Arc<Event>> {
        let start = self.events.partition_point(|(_, event)| event.revision <= revision);
        self.events.range(start..).map(|(_, event)| event)
    }

    fn is_over(&self, now: Instant) -> bool {
        let Limits { min_events, max_events, max_bytes, max_age, .. } = self.limits;
        let is_old = self.events.front().is_some_and(|(at, _)| now.duration_since(*at) > max_age);
        self.events.len() > max_events
            || (self.events.len() > min_events && (self.bytes > max_bytes || is_old))
    }
}

/// Bytes that an event keeps alive: its new body. The previous one belongs to the event before.
fn weight(event: &Event) -> usize {
    event.current.body.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::object::{Attributes, Completeness, Key, Version};
    use super::super::rendition::Renditions;
    use super::*;

    fn event(revision: u64, size: usize) -> Arc<Event> {
        let key = Key::cluster_scoped("a");
        let body = Bytes::from(vec![b'x'; size]);
        let current = Arc::new(Version {
            key,
            revision,
            body,
            attributes: Attributes::default(),
            complete: Completeness::default(),
        });
        Arc::new(Event {
            revision,
            previous: None,
            current,
            deleted: false,
            renditions: Renditions::default(),
        })
    }

    fn revisions(history: &History, after: u64) -> Vec<u64> {
        history.after(after).map(|event| event.revision).collect()
    }

    fn small() -> Limits {
        Limits { min_events: 2, max_events: 4, max_bytes: 100, ..Limits::default() }
    }

    #[test]
    fn count_bounds_the_history_and_moves_the_floor() {
        let mut history = History::new(10, small());
        let now = Instant::now();
        (11..=16).for_each(|revision| history.push(event(revision, 1), now));
        assert_eq!(revisions(&history, 0), [13, 14, 15, 16]);
        assert_eq!(history.floor(), 12);
        assert_eq!(revisions(&history, 14), [15, 16]);
    }

    /// Tells which events in the history keep what is made of them.
    fn shared(history: &History) -> Vec<bool> {
        let form: Arc<str> = "f".into();
        let keeps = |event: &Arc<Event>| {
            let bytes = Bytes::from(vec![b'x'; 100]);
            drop(event.renditions.get_or_make("ADDED", &form, || bytes.clone()));
            !bytes.is_unique()
        };
        history.after(0).map(keeps).collect()
    }

    #[test]
    fn only_the_newest_events_keep_what_watches_made_of_them() {
        let now = Instant::now();
        let mut history = History::new(0, Limits::default());
        for revision in 1..=SHARED_EVENTS as u64 + 10 {
            history.push(event(revision, 1), now);
        }
        let kept = shared(&history);
        assert_eq!(kept.iter().filter(|kept| **kept).count(), SHARED_EVENTS);
        assert!(!kept[9] && kept[10]);

        let mut history = History::new(0, small());
        (1..=9).for_each(|revision| history.push(event(revision, SHARED_BYTES / 2), now));
        assert_eq!(shared(&history), [true, true], "there are no more");
        let mut history = History::new(0, Limits::default());
        (1..=4).for_each(|revision| history.push(event(revision, SHARED_BYTES + 1), now));
        assert_eq!(shared(&history), [false, false, false, true]);
    }

    #[test]
    fn bytes_and_age_bound_only_what_exceeds_the_minimum() {
        let now = Instant::now();
        let mut history = History::new(0, small());
        (1..=3).for_each(|revision| history.push(event(revision, 90), now));
        assert_eq!(revisions(&history, 0), [2, 3], "two large events stay");

        let mut history = History::new(0, small());
        (1..=3).for_each(|revision| history.push(event(revision, 1), now));
        history.push(event(4, 1), now + Duration::from_secs(601));
        assert_eq!(revisions(&history, 0), [3, 4], "old events go, the last two stay");
        assert_eq!(history.floor(), 2);
    }
}
