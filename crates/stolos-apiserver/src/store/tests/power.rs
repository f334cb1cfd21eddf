//! Power cuts, torn writes and failing syncs at every step of the way to the disk.

use std::io;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::super::disk::Disk;
use super::*;

/// Smallest part of a write that arrives as a whole.
const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing works from this step on.
    Cut,
    /// This sync fails, what was written before it may be lost, and everything works again.
    FailedSync,
}

/// A disk in memory that keeps apart what would survive.
#[derive(Clone, Debug)]
struct Medium(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What the process reads.
    seen: Vec<u8>,
    /// What is there after the last sync.
    durable: Vec<u8>,
    /// What came since, in order.
    unsynced: Vec<Operation>,
    /// Steps until the fault.
    left: Option<(usize, Fault)>,
    steps: usize,
    is_cut: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl Operation {
    /// Applies the operation, or only the first sectors of a write.
    fn apply(&self, bytes: &mut Vec<u8>, sectors: usize) {
        match self {
            Self::Resize(length) => bytes.resize(*length, 0),
            Self::Write(at, data) => {
                let data = &data[..data.len().min(sectors.saturating_mul(SECTOR))];
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
        }
    }
}

impl Medium {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the fault happen after some more steps.
    fn arm(&self, steps: usize, fault: Fault) {
        self.with(|state| (state.left, state.steps) = (Some((steps, fault)), 0));
    }

    fn step(&self, is_sync: bool) -> io::Result<()> {
        self.with(|state| {
            state.steps += 1;
            if state.is_cut {
                return Err(io::Error::other("there is no power"));
            }
            match &mut state.left {
                Some((0, Fault::Cut)) => {
                    state.is_cut = true;
                    Err(io::Error::other("the power is cut"))
                }
                // The first sync from the chosen step on.
                Some((0, Fault::FailedSync)) if is_sync => {
                    state.left = None;
                    Err(io::Error::other("the sync failed"))
                }
                Some((left, _)) => {
                    *left = left.saturating_sub(1);
                    Ok(())
                }
                None => Ok(()),
            }
        })
    }

    /// Returns what a machine finds that starts again: of what was not synced, any part.
    fn after_restart(&self, random: &mut impl Rng) -> Self {
        let bytes = self.with(|state| {
            let mut bytes = state.durable.clone();
            for operation in &state.unsynced {
                match random.random_range(0..3) {
                    0 => {}
                    1 => operation.apply(&mut bytes, usize::MAX),
                    _ => operation.apply(&mut bytes, random.random_range(0..8)),
                }
            }
            bytes
        });
        let state = State { seen: bytes.clone(), durable: bytes, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl redb::StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|state| state.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.with(|state| {
            let found = state.seen.get(at..at + out.len());
            out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(false)?;
        self.change(Operation::Resize(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(true)?;
        self.with(|state| {
            state.durable = state.seen.clone();
            state.unsynced.clear();
        });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(false)?;
        self.change(Operation::Write(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

impl Medium {
    fn change(&self, operation: Operation) {
        self.with(|state| {
            operation.apply(&mut state.seen, usize::MAX);
            state.unsynced.push(operation);
        });
    }
}

/// Values by name.
type Content = BTreeMap<String, u32>;

/// What was done and what the writers and a watcher were told of it.
struct Run {
    /// The content after each revision that was asked for; the first is empty.
    asked: Vec<Content>,
    /// Highest revision that anybody was told of.
    told: u64,
    /// A write failed.
    failed: bool,
}

/// Makes creates, updates and deletes, some of them at once, until one fails.
async fn write_until_failure(cluster: &ClusterStore) -> Run {
    let mut run = Run { asked: vec![Content::new()], told: 0, failed: false };
    let mut watcher = cluster.watch(&pods(), 0).unwrap();
    for round in 0..6_u32 {
        let names = ["a/x", "a/y", "b/z"];
        let names = &names[..=usize::try_from(round).unwrap() % names.len()];
        let mut writes = Vec::new();
        for name in names {
            let mut content = run.asked.last().unwrap().clone();
            let known = cluster.get(&pods(), &key(name)).map(|version| version.revision);
            let write = match known {
                Some(revision) if round == 4 => {
                    content.remove(*name);
                    delete(name, revision)
                }
                Some(revision) => {
                    content.insert((*name).to_owned(), round);
                    update(name, revision, round)
                }
                None => {
                    content.insert((*name).to_owned(), round);
                    write(pods(), &key(name), Expect::Absent, round)
                }
            };
            run.asked.push(content);
            writes.push(cluster.commit(write));
        }
        for result in join_all(writes).await {
            match result {
                Ok(version) => run.told = run.told.max(version.revision),
                Err(CommitError::Failed(_)) => run.failed = true,
                Err(other) => panic!("{other}"),
            }
        }
        while let Some(Ok(events)) = watcher.next().now_or_never() {
            run.told = run.told.max(events.last().map_or(0, |event| event.revision));
        }
        run.told = run.told.max(cluster.revision());
        if run.failed {
            break;
        }
    }
    run
}

/// Starts again on what is left, and checks that it is the content at some revision that was asked for, none before the
/// last that somebody was told of.
fn check_after_restart(medium: &Medium, run: &Run, what: &str) {
    let (disk, found) =
        Disk::reopen_on(medium.clone()).unwrap_or_else(|why| panic!("{what}: {why}"));
    let store = Store::on_disk(disk, found, Limits::default()).unwrap();
    let cluster = store.cluster("hub").unwrap();
    let revision = cluster.revision();
    assert!(revision >= run.told, "{what}: told {}, found {revision}", run.told);
    let want = run.asked.get(usize::try_from(revision).unwrap());
    let want = want.unwrap_or_else(|| panic!("{what}: nobody asked for revision {revision}"));
    let page = cluster.list(&pods(), &ListOptions::default()).unwrap();
    let item = |version: &Arc<Version>| {
        let value = version.object()["spec"]["value"].as_u64().unwrap();
        (format!("{}/{}", version.key.namespace, version.key.name), u32::try_from(value).unwrap())
    };
    let found: Content = page.items.iter().map(item).collect();
    assert_eq!(&found, want, "{what}: at revision {revision}");
}

async fn play(steps: usize, fault: Fault, seed: u64) -> (Medium, Run) {
    let medium = Medium::new();
    let disk = Disk::on(medium.clone());
    let store = Store::on_disk(disk, Found::default(), Limits::default()).unwrap();
    let cluster = store.cluster("hub").unwrap();
    medium.arm(steps, fault);
    let run = write_until_failure(&cluster).await;
    let what = format!("{fault:?} after {steps} steps, seed {seed}");
    if run.failed {
        let again = cluster.commit(create("c/new")).await;
        assert!(matches!(again, Err(CommitError::Failed(_))), "{what}: no second try");
        assert!(cluster.failure().is_some(), "{what}: it says so");
        assert!(cluster.revision() <= run.told, "{what}: nothing was shown since");
    } else {
        assert_eq!(cluster.failure(), None, "{what}");
    }
    // Taken before the store closes, which writes too.
    let left = medium.after_restart(&mut StdRng::seed_from_u64(seed));
    check_after_restart(&left, &run, &what);
    (medium, run)
}

#[tokio::test]
async fn what_was_told_survives_a_fault_at_every_step() {
    let (medium, run) = play(usize::MAX, Fault::Cut, 0).await;
    assert!(!run.failed);
    let steps = medium.with(|state| state.steps);
    assert!(steps > 30, "{steps} steps");
    let mut failures = 0;
    for step in 0..steps {
        for fault in [Fault::Cut, Fault::FailedSync] {
            for seed in 0..2 {
                let (_, run) = play(step, fault, seed).await;
                failures += usize::from(run.failed);
            }
        }
    }
    assert!(failures > steps, "most faults were noticed: {failures}");
}

#[tokio::test]
async fn a_store_that_was_torn_can_be_written_again() {
    let (medium, run) = play(40, Fault::Cut, 7).await;
    let left = medium.after_restart(&mut StdRng::seed_from_u64(7));
    let (disk, found) = Disk::reopen_on(left).unwrap();
    let cluster = Store::on_disk(disk, found, Limits::default()).unwrap().cluster("hub").unwrap();
    let last = cluster.revision();
    let version = cluster.commit(create("c/new")).await.unwrap();
    assert_eq!(version.revision, last + 1, "revisions go on");
    assert!(version.revision > run.told);
}
