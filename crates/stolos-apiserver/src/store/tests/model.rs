//! The store against a model: a map, and a copy of that map for every revision.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put { key: usize, value: u32, stale: bool },
    Delete { key: usize, stale: bool },
    Watch,
    Page { limit: usize, back: u64 },
}

const KEYS: [&str; 6] = ["a/1", "a/2", "b/1", "b/2", "b/3", "c/1"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS.len();
    let stale = prop::bool::weighted(0.2);
    let step = prop_oneof![
        6 => (key.clone(), any::<u32>(), stale).prop_map(|(key, value, stale)| Step::Put { key, value, stale }),
        2 => (key, stale).prop_map(|(key, stale)| Step::Delete { key, stale }),
        1 => Just(Step::Watch),
        1 => (1..4usize, 0..15u64).prop_map(|(limit, back)| Step::Page { limit, back }),
    ];
    prop::collection::vec(step, 0..60)
}

/// Key to revision and value.
type State = BTreeMap<Key, (u64, u64)>;

struct Model {
    store: ClusterStore,
    now: State,
    past: BTreeMap<u64, State>,
    /// Where each began, and the state that its events have built up.
    watchers: Vec<(u64, Watcher, State)>,
}

const HISTORY: usize = 10;

impl Model {
    fn new() -> Self {
        let limits = Limits { min_events: 2, max_events: HISTORY, ..Limits::default() };
        let store = Store::memory_from(START, limits).cluster("hub").unwrap();
        let past = BTreeMap::from([(START, State::new())]);
        Self { store, now: State::new(), past, watchers: Vec::new() }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Put { key, value, stale } => self.put(&key_of(key), value, stale).await,
            Step::Delete { key, stale } => self.delete(&key_of(key), stale).await,
            Step::Watch => {
                let start = self.store.revision();
                let watcher = self.store.watch(&pods(), start).unwrap();
                self.watchers.push((start, watcher, self.now.clone()));
            }
            Step::Page { limit, back } => self.compare_pages(limit, back),
        }
    }

    async fn put(&mut self, key: &Key, value: u32, stale: bool) {
        let known = self.now.get(key).map(|(revision, _)| *revision);
        let expect =
            known.map_or(Expect::Absent, |revision| Expect::Revision(revision - u64::from(stale)));
        let last = self.store.revision();
        let result = self.store.commit(write(pods(), key, expect, value)).await;
        if let (Some(current), true) = (known, stale) {
            assert_eq!(result.unwrap_err(), CommitError::Conflict { current });
            return;
        }
        let version = result.unwrap();
        assert!(version.revision > last, "revisions rise");
        self.now.insert(key.clone(), (version.revision, value.into()));
        self.past.insert(version.revision, self.now.clone());
    }

    async fn delete(&mut self, key: &Key, stale: bool) {
        let name = format!("{}/{}", key.namespace, key.name);
        let known = self.now.get(key).map(|(revision, _)| *revision);
        let result = self.store.commit(delete(&name, known.unwrap_or(7) - u64::from(stale))).await;
        match (known, stale) {
            (None, _) => assert_eq!(result.unwrap_err(), CommitError::NotFound),
            (Some(current), true) => {
                assert_eq!(result.unwrap_err(), CommitError::Conflict { current })
            }
            (Some(_), false) => {
                let revision = result.unwrap().revision;
                self.now.remove(key);
                self.past.insert(revision, self.now.clone());
            }
        }
    }

    /// Walks through a list page by page, now or some revisions back.
    fn compare_pages(&self, limit: usize, back: u64) {
        let revision = self.store.revision() - back.min(self.store.revision() - START);
        let mut options = ListOptions { at: At::Exact(revision), ..ListOptions::default() };
        options.limit = std::num::NonZeroUsize::new(limit);
        let want = &self.past[&revision];
        let mut got = State::new();
        loop {
            let Ok(page) = self.store.list(&pods(), &options) else {
                assert!(back > HISTORY as u64, "history reaches {HISTORY} events back");
                return;
            };
            got.extend(page.items.iter().map(|version| (version.key.clone(), content(version))));
            assert_eq!(page.remaining, Some((want.len() - got.len()) as u64));
            options.after = page.next;
            if options.after.is_none() {
                break;
            }
        }
        assert_eq!(&got, want);
    }

    async fn compare_watchers(&mut self) {
        for (start, mut watcher, mut state) in std::mem::take(&mut self.watchers) {
            let mut last = start;
            let newest = self.store.revision();
            while last < newest {
                match watcher.next().await {
                    Ok(events) => events.iter().for_each(|event| {
                        assert!(event.revision > last, "events come in order");
                        last = event.revision;
                        fold(&mut state, event);
                        assert_eq!(state, self.past[&last], "events build every state in turn");
                    }),
                    Err(end) => {
                        let missed = self.past.range(start + 1..).count();
                        assert!(missed > HISTORY, "{end} after {missed} events");
                        break;
                    }
                }
            }
        }
    }
}

fn fold(state: &mut State, event: &Event) {
    let key = &event.current.key;
    let previous = if event.deleted {
        state.remove(key)
    } else {
        state.insert(key.clone(), content(&event.current))
    };
    assert_eq!(previous, event.previous.as_deref().map(content), "events tell the state before");
}

fn key_of(index: usize) -> Key {
    key(KEYS[index])
}

fn content(version: &Version) -> (u64, u64) {
    (version.revision, version.object()["spec"]["value"].as_u64().unwrap())
}

proptest! {
    #[test]
    fn the_store_behaves_like_a_map_with_a_memory(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for step in steps {
                model.run(step).await;
            }
            model.compare_pages(usize::MAX, 0);
            model.compare_watchers().await;
        });
    }
}
