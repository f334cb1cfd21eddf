//! Which items are to be planned: first come, first served, each once, none beside itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// First wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// First wait after a plan from an outdated world; what it lacked is about to arrive.
const FIRST_RETRY_OUTDATED: Duration = Duration::from_millis(5);

/// Longest wait after failures.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How many items a patient one lets go before it, at most.
const PATIENCE: u32 = 16;

/// Items that wait, that are under way, and that are to be looked at later.
#[derive(Debug)]
pub(crate) struct Queue<I> {
    waiting: VecDeque<I>,
    /// Items that go when nothing else waits.
    patient: VecDeque<I>,
    is_patient: fn(&I) -> bool,
    /// Items taken since the last patient one.
    n_impatient: u32,
    queued: BTreeSet<I>,
    running: BTreeSet<I>,
    /// Marked while running; planned again afterwards.
    again: BTreeSet<I>,
    wake: BTreeMap<I, Timestamp>,
    by_time: BTreeSet<(Timestamp, I)>,
    failures: BTreeMap<I, u32>,
}

impl<I: Clone + Ord> Queue<I> {
    pub(crate) fn new(is_patient: fn(&I) -> bool) -> Self {
        Self {
            waiting: VecDeque::new(),
            patient: VecDeque::new(),
            is_patient,
            n_impatient: 0,
            queued: BTreeSet::new(),
            running: BTreeSet::new(),
            again: BTreeSet::new(),
            wake: BTreeMap::new(),
            by_time: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Marks an item.
    pub(crate) fn mark(&mut self, item: I) {
        if self.running.contains(&item) {
            self.again.insert(item);
        } else if self.queued.insert(item.clone()) {
            let line = if (self.is_patient)(&item) { &mut self.patient } else { &mut self.waiting };
            line.push_back(item);
        }
    }

    /// Takes the next item out; it is running until [`Queue::done`].
    pub(crate) fn next(&mut self) -> Option<I> {
        let (first, second) = if self.n_impatient < PATIENCE {
            (&mut self.waiting, &mut self.patient)
        } else {
            (&mut self.patient, &mut self.waiting)
        };
        let item = first.pop_front().or_else(|| second.pop_front())?;
        self.n_impatient =
            if (self.is_patient)(&item) { 0 } else { self.n_impatient.saturating_add(1) };
        self.queued.remove(&item);
        self.running.insert(item.clone());
        Some(item)
    }

    pub(crate) fn n_running(&self) -> usize {
        self.running.len()
    }

    /// Puts an item that was under way back to rest.
    pub(crate) fn done(&mut self, item: &I) {
        self.running.remove(item);
        self.failures.remove(item);
        if self.again.remove(item) {
            self.mark(item.clone());
        }
    }

    /// Puts an item to rest whose writes failed, to be planned again after a wait that grows.
    pub(crate) fn failed(&mut self, item: &I, now: Timestamp) {
        self.retry(item, FIRST_RETRY, now);
    }

    /// As [`Queue::failed`], for an item that was planned from an outdated world.
    pub(crate) fn outdated(&mut self, item: &I, now: Timestamp) {
        self.retry(item, FIRST_RETRY_OUTDATED, now);
    }

    fn retry(&mut self, item: &I, first: Duration, now: Timestamp) {
        let failures = self.failures.get(item).copied().unwrap_or(0);
        self.done(item);
        self.failures.insert(item.clone(), failures.saturating_add(1));
        let wait = first.saturating_mul(1 << failures.min(16)).min(LAST_RETRY);
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        self.wake_at(item, now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    }

    /// Marks an item at a moment; the earlier of two moments counts.
    pub(crate) fn wake_at(&mut self, item: &I, at: Timestamp) {
        if let Some(known) = self.wake.get(item).copied() {
            if known <= at {
                return;
            }
            self.by_time.remove(&(known, item.clone()));
        }
        self.wake.insert(item.clone(), at);
        self.by_time.insert((at, item.clone()));
    }

    /// Returns the next moment something is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Marks what is due.
    pub(crate) fn mark_due(&mut self, now: Timestamp) {
        while self.by_time.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, item)) = self.by_time.pop_first() else { return };
            self.wake.remove(&item);
            self.mark(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("a timestamp")
    }

    #[test]
    fn an_item_waits_once_and_never_runs_beside_itself() {
        let mut queue = Queue::new(|_| false);
        queue.mark("a");
        queue.mark("a");
        assert_eq!(queue.next(), Some("a"));
        queue.mark("a");
        assert_eq!(queue.next(), None);
        queue.done(&"a");
        assert_eq!(queue.next(), Some("a"));
    }

    #[test]
    fn a_patient_item_goes_last_but_not_never() {
        let mut queue = Queue::new(|item: &u32| *item == 0);
        queue.mark(0);
        (1..30).for_each(|item| queue.mark(item));
        let order: Vec<u32> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order.iter().position(|item| *item == 0), Some(16));
        queue.done(&0);
        queue.mark(0);
        assert_eq!(queue.next(), Some(0));
    }

    #[test]
    fn waits_after_failures_grow_and_end_with_success() {
        let mut queue = Queue::new(|_| false);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..3 {
            queue.mark("a");
            queue.next();
            queue.failed(&"a", now);
            let due = queue.next_due().expect("a retry is planned");
            waits.push(due.duration_since(now).as_millis());
            now = due;
            queue.mark_due(now);
        }
        assert_eq!(waits, [50, 100, 200]);
        queue.next();
        queue.done(&"a");
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn the_earlier_moment_counts() {
        let mut queue = Queue::new(|_| false);
        queue.wake_at(&"a", at(20));
        queue.wake_at(&"a", at(10));
        queue.wake_at(&"a", at(30));
        assert_eq!(queue.next_due(), Some(at(10)));
        queue.mark_due(at(10));
        assert_eq!((queue.next(), queue.next_due()), (Some("a"), None));
    }
}
