//! Work queue: keys in, each once at a time, again after failures.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::status::ApiError;

/// Delay after the first failure; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// Longest delay between two attempts.
const MAX_DELAY: Duration = Duration::from_mins(1);
/// Failures in a row after which a key waits for its next change: about a quarter of an hour.
const MAX_FAILURES: u32 = 28;

/// What to do with a key after it was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for the next change.
    Done,
    /// Process it again after this time, unless it changes before.
    After(Duration),
}

/// Keys of what may need work. Its size is bounded by the number of objects, since a key is in it once.
pub(crate) struct Queue<K> {
    ready: Mutex<Ready<K>>,
    wake: Notify,
}

struct Ready<K> {
    order: VecDeque<K>,
    members: BTreeSet<K>,
}

impl<K: Ord + Clone + Debug> Queue<K> {
    pub(crate) fn new() -> Self {
        let ready = Ready { order: VecDeque::new(), members: BTreeSet::new() };
        Self { ready: Mutex::new(ready), wake: Notify::new() }
    }

    /// Asks for a key to be processed. Keys that are being processed are processed again afterwards.
    pub(crate) fn push(&self, key: K) {
        let mut ready = self.lock();
        if ready.members.insert(key.clone()) {
            ready.order.push_back(key);
            self.wake.notify_one();
        }
    }

    /// Processes keys for ever, at most `concurrency` at a time and never the same one twice at once.
    pub(crate) async fn run<F>(&self, concurrency: usize, process: impl Fn(K) -> F)
    where
        F: Future<Output = Result<Next, ApiError>>,
    {
        let mut running = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        let mut timers = Timers::new();
        let mut failures: BTreeMap<K, u32> = BTreeMap::new();
        loop {
            while running.len() < concurrency
                && let Some(key) = self.pop(&busy)
            {
                timers.cancel(&key);
                busy.insert(key.clone());
                // Boxed: the set keeps the memory of the last one that ended, and it can be large.
                let work = Box::pin(process(key.clone()));
                running.push(async move { (key, work.await) });
            }
            tokio::select! {
                Some((key, result)) = running.next(), if !running.is_empty() => {
                    busy.remove(&key);
                    match result {
                        Ok(next) => {
                            failures.remove(&key);
                            if let Next::After(delay) = next {
                                timers.set(key, Instant::now() + delay);
                            }
                        }
                        Err(error) => {
                            let failed = failures.entry(key.clone()).or_default();
                            *failed += 1;
                            if let Some(delay) = delay_after(*failed) {
                                tracing::debug!(?key, %error, "work failed and is tried again");
                                timers.set(key, Instant::now() + delay);
                            } else {
                                tracing::warn!(?key, %error, "work fails again and again, waiting for a change");
                                failures.remove(&key);
                            }
                        }
                    }
                }
                () = self.wake.notified() => {}
                key = timers.next() => self.push(key),
            }
        }
    }

    /// Takes the first key that is not being processed.
    fn pop(&self, busy: &BTreeSet<K>) -> Option<K> {
        let mut ready = self.lock();
        let at = ready.order.iter().position(|key| !busy.contains(key))?;
        let key = ready.order.remove(at)?;
        ready.members.remove(&key);
        Some(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ready<K>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delay_after(failures: u32) -> Option<Duration> {
    let doubled = 2u32.checked_pow(failures - 1).unwrap_or(u32::MAX);
    (failures <= MAX_FAILURES).then(|| FIRST_DELAY.saturating_mul(doubled).min(MAX_DELAY))
}

/// One point in time per key.
struct Timers<K> {
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    fn new() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }

    fn set(&mut self, key: K, at: Instant) {
        self.cancel(&key);
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    fn cancel(&mut self, key: &K) {
        if let Some(at) = self.due.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// Waits for the first key to be due; for ever without any. Cancel safe.
    async fn next(&mut self) -> K {
        let Some((at, key)) = self.order.first().cloned() else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        self.cancel(&key);
        key
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Runs a queue until `enough` says so of the keys processed so far.
    async fn processed(
        queue: &Queue<&'static str>,
        answer: impl Fn(&str, usize) -> Result<Next, ApiError>,
        enough: usize,
    ) -> Vec<&'static str> {
        let seen = RefCell::new(Vec::new());
        let done = Notify::new();
        let work = queue.run(2, |key| {
            seen.borrow_mut().push(key);
            let times = seen.borrow().iter().filter(|other| **other == key).count();
            if seen.borrow().len() == enough {
                done.notify_one();
            }
            std::future::ready(answer(key, times))
        });
        tokio::select! {
            () = work => unreachable!(),
            () = done.notified() => {}
        }
        seen.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_processed_once_per_push() {
        let queue = Queue::new();
        for key in ["a", "b", "a"] {
            queue.push(key);
        }
        assert_eq!(processed(&queue, |_, _| Ok(Next::Done), 2).await, ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_with_growing_delay() {
        let queue = Queue::new();
        queue.push("a");
        let start = Instant::now();
        let fail_twice =
            |_: &str, times| if times < 3 { Err(ApiError::internal("no")) } else { Ok(Next::Done) };
        assert_eq!(processed(&queue, fail_twice, 3).await, ["a", "a", "a"]);
        assert_eq!(start.elapsed().as_millis(), 15);
        assert_eq!(delay_after(20), Some(MAX_DELAY));
        assert_eq!(delay_after(MAX_FAILURES + 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_back_when_it_asked_to() {
        let queue = Queue::new();
        queue.push("a");
        let start = Instant::now();
        let answer = |_: &str, _| Ok(Next::After(Duration::from_hours(1)));
        assert_eq!(processed(&queue, answer, 2).await, ["a", "a"]);
        assert_eq!(start.elapsed(), Duration::from_hours(1));
    }

    #[tokio::test]
    async fn a_key_is_never_processed_twice_at_once() {
        let queue = Queue::new();
        let (started, release) = (Notify::new(), Notify::new());
        let runs = RefCell::new(Vec::new());
        let work = queue.run(2, |key: &str| {
            runs.borrow_mut().push(key);
            let first = runs.borrow().len() == 1;
            started.notify_one();
            let release = &release;
            async move {
                if first {
                    release.notified().await;
                }
                Ok(Next::Done)
            }
        });
        let script = async {
            queue.push("a");
            started.notified().await;
            queue.push("a");
            queue.push("b");
            started.notified().await;
            assert_eq!(*runs.borrow(), ["a", "b"], "the second a waits for the first");
            release.notify_one();
            started.notified().await;
        };
        tokio::select! {
            () = work => unreachable!(),
            () = script => {}
        }
        assert_eq!(*runs.borrow(), ["a", "b", "a"]);
    }
}
