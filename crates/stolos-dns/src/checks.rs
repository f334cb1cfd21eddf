//! When each endpoint is checked.
//!
//! An endpoint is checked as soon as it is there, and then at its interval. All together never begin more than
//! [`MAX_PER_SECOND`] checks: with very many endpoints each is checked less often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Directory;
use crate::directory::EndpointKey;
use crate::probe::{Probe, tls};

/// Checks that begin within a second, over all endpoints; some hundredths of a core.
const MAX_PER_SECOND: u32 = 200;

/// Checks that are under way at once, each with a socket. Enough for [`MAX_PER_SECOND`] of which many wait for their
/// time-out.
const MAX_RUNNING: usize = 512;

/// An interval differs from the wished one by up to a twentieth, so that checks do not fall together for ever.
const JITTER: f64 = 0.05;

/// Keeps checking the endpoints of a directory until the future is dropped.
pub async fn check(directory: Directory) {
    let tls = tls();
    let mut changes = directory.changes();
    let mut schedule = Schedule::new(rand::random());
    let mut running = JoinSet::new();
    schedule.set(directory.probes(), Instant::now());
    loop {
        while let Some((key, probe)) = schedule.start(Instant::now()) {
            let tls = tls.clone();
            running.spawn(async move {
                let passed = probe.make(&tls).await;
                (key, probe, passed)
            });
        }
        let due = schedule.next();
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                schedule.set(directory.probes(), Instant::now());
            }
            Some(ended) = running.join_next(), if !running.is_empty() => {
                let (key, probe, passed) = ended.expect("a check neither panics nor is cancelled");
                directory.checked(&key, &probe, passed);
                schedule.ended(&key);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

/// When each endpoint is checked next.
struct Schedule {
    endpoints: BTreeMap<EndpointKey, State>,
    due: BTreeSet<(Instant, EndpointKey)>,
    /// When the next check may begin at the earliest.
    free_from: Option<Instant>,
    n_running: usize,
    random: SmallRng,
}

struct State {
    probe: Probe,
    due: Instant,
    /// While a check runs, the next one waits.
    is_running: bool,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            due: BTreeSet::new(),
            free_from: None,
            n_running: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Lets exactly these endpoints be checked. Those that were checked in the same way before go on as planned; the
    /// others are checked at once.
    fn set(&mut self, probes: BTreeMap<EndpointKey, Probe>, now: Instant) {
        let gone: Vec<_> =
            self.endpoints.keys().filter(|key| !probes.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(state) = self.endpoints.remove(&key) {
                self.due.remove(&(state.due, key));
            }
        }
        for (key, probe) in probes {
            let known = self.endpoints.get(&key);
            if known.is_some_and(|state| state.probe == probe) {
                continue;
            }
            let is_running = known.is_some_and(|state| state.is_running);
            if let Some(state) = known {
                self.due.remove(&(state.due, key.clone()));
            }
            if !is_running {
                self.due.insert((now, key.clone()));
            }
            self.endpoints.insert(key, State { probe, due: now, is_running });
        }
    }

    /// Returns when the next check may begin. None while as many run as may, as the end of one wakes the schedule too.
    fn next(&self) -> Option<Instant> {
        let (due, _) = self.due.first().filter(|_| self.n_running < MAX_RUNNING)?;
        Some(self.free_from.map_or(*due, |free| free.max(*due)))
    }

    /// Returns the next check if it may begin; it counts as running from then on.
    fn start(&mut self, now: Instant) -> Option<(EndpointKey, Probe)> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let interval = self.endpoints.get(&key)?.probe.interval();
        let wait = interval.mul_f64(self.random.random_range(1.0 - JITTER..1.0 + JITTER));
        let state = self.endpoints.get_mut(&key)?;
        state.due = now + wait;
        state.is_running = true;
        let probe = state.probe.clone();
        self.n_running += 1;
        // A loop that is late may catch up for a second, and no more.
        let pause = Duration::from_secs(1) / MAX_PER_SECOND;
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        self.free_from = Some(self.free_from.map_or(now, |free| free.max(earliest)) + pause);
        Some((key, probe))
    }

    /// Lets an endpoint whose check has ended be checked again when it is time.
    fn ended(&mut self, key: &EndpointKey) {
        self.n_running = self.n_running.saturating_sub(1);
        if let Some(state) = self.endpoints.get_mut(key).filter(|state| state.is_running) {
            state.is_running = false;
            self.due.insert((state.due, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use stolos_core::network::traffic::{Check, Monitor, Target};

    use super::*;

    fn probe(port: u16) -> Probe {
        let monitor = Monitor {
            check: Check::Tcp,
            port,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            tolerated_failures: 0,
        };
        Probe::new(Target::parse("203.0.113.7").unwrap(), monitor)
    }

    fn key(n: usize) -> EndpointKey {
        ("shop".to_owned(), format!("{n:05}"))
    }

    fn probes(n: usize) -> BTreeMap<EndpointKey, Probe> {
        (0..n).map(|n| (key(n), probe(80))).collect()
    }

    /// Lets checks take no time until `end`; returns when each endpoint was checked.
    fn play(schedule: &mut Schedule, end: Instant) -> BTreeMap<EndpointKey, Vec<Instant>> {
        let mut checked: BTreeMap<EndpointKey, Vec<Instant>> = BTreeMap::new();
        while let Some(now) = schedule.next().filter(|now| *now <= end) {
            while let Some((key, _)) = schedule.start(now) {
                checked.entry(key.clone()).or_default().push(now);
                schedule.ended(&key);
            }
        }
        checked
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_checked_at_once_and_then_at_its_interval() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(probes(50), now);
        let checked = play(&mut schedule, now + Duration::from_secs(101));
        assert_eq!(checked.len(), 50);
        for times in checked.values() {
            assert!(times[0] - now <= Duration::from_millis(300), "{:?}", times[0] - now);
            let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let is_even = |gap: &Duration| {
                gap.abs_diff(Duration::from_secs(10)) <= Duration::from_millis(800)
            };
            assert!(times.len() >= 9 && gaps.iter().all(is_even), "{gaps:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_endpoints_are_checked_less_often() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(probes(10_000), now);
        let checked = play(&mut schedule, now + Duration::from_secs(60));
        let n: usize = checked.values().map(Vec::len).sum();
        assert!((11_800..=12_500).contains(&n), "{n} checks in a minute");
        assert!(checked.values().all(|times| times.len() <= 2), "all have their turn");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_checks_run_at_once_than_allowed() {
        let mut schedule = Schedule::new(1);
        let mut now = Instant::now();
        schedule.set(probes(1000), now);
        let mut running = Vec::new();
        while let Some(due) = schedule.next() {
            now = now.max(due);
            running.extend(std::iter::from_fn(|| schedule.start(now)));
        }
        assert_eq!(running.len(), MAX_RUNNING);
        schedule.ended(&running[0].0);
        assert!(schedule.next().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_one_endpoint_puts_nothing_off() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(probes(3), now);
        let _first = play(&mut schedule, now + Duration::from_millis(100));
        let before = schedule.due.clone();
        let mut wanted = probes(3);
        wanted.insert(key(1), probe(81));
        let later = now + Duration::from_secs(1);
        schedule.set(wanted.clone(), later);
        assert_eq!(schedule.due.first(), Some(&(later, key(1))), "asked anew at once");
        assert_eq!(before.difference(&schedule.due).count(), 1, "the others go on as planned");

        let (running, _) = schedule.start(later).unwrap();
        wanted.insert(running.clone(), probe(82));
        schedule.set(wanted, later);
        assert!(schedule.due.iter().all(|(_, key)| *key != running), "not beside itself");
        schedule.ended(&running);
        assert_eq!(schedule.due.first(), Some(&(later, running)), "with the new probe");

        schedule.set(BTreeMap::new(), later);
        assert_eq!((schedule.next(), schedule.endpoints.len()), (None, 0));
    }
}
