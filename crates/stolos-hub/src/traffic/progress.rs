//! What the provider said last about each object, and when to ask again if it could not be had.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stolos_controller::Key;

/// First wait after a failure; it doubles with each further one. Providers limit how often they may be asked.
const FIRST_RETRY: SignedDuration = SignedDuration::from_millis(500);

/// Longest wait after failures.
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(5);

/// What the provider said, and what of the hub it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Progress<B, S> {
    /// What the question depended on; an answer is worth nothing once that is different.
    pub(super) basis: B,
    /// What the provider said.
    pub(super) said: S,
    /// When it was asked.
    pub(super) at: Timestamp,
    /// Whether it could not do what it was asked for, or whether it could.
    pub(super) outcome: Outcome,
}

/// How a question to the provider counts for when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is more to do.
    Underway,
    /// It is done.
    Done,
    /// It is to be tried again.
    Failed,
}

/// The last answers by object.
#[derive(Debug)]
pub(super) struct Progresses<B, S>(BTreeMap<Key, (Progress<B, S>, u32)>);

impl<B, S> Default for Progresses<B, S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<B: PartialEq, S> Progresses<B, S> {
    pub(super) fn learn(&mut self, key: Key, progress: Progress<B, S>) {
        let known = self.0.get(&key).filter(|(known, _)| known.basis == progress.basis);
        let failures = known.map_or(0, |(_, failures)| *failures);
        let failures = match progress.outcome {
            Outcome::Underway => failures,
            Outcome::Done => 0,
            Outcome::Failed => failures.saturating_add(1),
        };
        self.0.insert(key, (progress, failures));
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// Returns what was said last, on whatever basis.
    pub(super) fn last(&self, key: &Key) -> Option<&S> {
        self.0.get(key).map(|(progress, _)| &progress.said)
    }

    /// Returns what was said on this basis, and when to ask again if it failed. Nothing if that time has come.
    pub(super) fn current(
        &self,
        key: &Key,
        basis: &B,
        now: Timestamp,
    ) -> Option<(&S, Option<Timestamp>)> {
        let (progress, failures) = self.0.get(key).filter(|(known, _)| known.basis == *basis)?;
        let wait =
            FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_RETRY);
        let again = progress.at.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let again = (progress.outcome == Outcome::Failed).then_some(again);
        again.is_none_or(|again| now < again).then_some((&progress.said, again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn told(outcome: Outcome, at: Timestamp) -> Progress<u32, &'static str> {
        Progress { basis: 1, said: "said", at, outcome }
    }

    #[test]
    fn waits_after_failures_grow_up_to_a_bound_and_end_with_success() {
        let key = Key::namespaced("app", "shop");
        let mut progresses = Progresses::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..14 {
            progresses.learn(key.clone(), told(Outcome::Underway, now));
            assert!(progresses.current(&key, &1, at(i64::from(u32::MAX))).is_some());
            progresses.learn(key.clone(), told(Outcome::Failed, now));
            let again = progresses.current(&key, &1, now).unwrap().1.unwrap();
            assert!(progresses.current(&key, &1, again).is_none(), "asked again when it is time");
            waits.push(again.duration_since(now).as_millis());
            now = again;
        }
        assert_eq!(waits[..4], [500, 1000, 2000, 4000]);
        assert_eq!(waits[13], 300_000);
        progresses.learn(key.clone(), told(Outcome::Done, now));
        let done = progresses.current(&key, &1, Timestamp::MAX);
        assert_eq!(done, Some((&"said", None)), "nothing is asked again");
        assert!(progresses.current(&key, &2, now).is_none(), "on another basis it says nothing");
        progresses.learn(key.clone(), told(Outcome::Failed, now));
        let again = progresses.current(&key, &1, now).unwrap().1.unwrap();
        assert_eq!(again.duration_since(now).as_millis(), 500);
        progresses.forget(&key);
        assert!(progresses.current(&key, &1, now).is_none());
    }
}
