//! Logical clusters beside each other: limits, removal, fairness.

use futures::future::join_all;

use super::*;

fn tiny(objects: usize, total_bytes: usize) -> ClusterStore {
    let limits = Limits { objects, total_bytes, ..Limits::default() };
    Store::memory_from(START, limits).cluster("hub").unwrap()
}

#[tokio::test]
async fn a_full_cluster_takes_no_more_objects_and_all_that_makes_room() {
    let store = tiny(2, usize::MAX);
    let first = store.commit(create("a/x")).await.unwrap();
    store.commit(create("a/y")).await.unwrap();
    let refused = store.commit(create("a/z")).await.unwrap_err();
    assert_eq!(refused, CommitError::Full(Excess::Objects { limit: 2 }));
    let updated = store.commit(update("a/x", first.revision, 5)).await.unwrap();
    store.commit(delete("a/x", updated.revision)).await.unwrap();
    store.commit(create("a/z")).await.unwrap();
    assert!(store.commit(create("a/x")).await.is_err());
}

#[tokio::test]
async fn a_cluster_does_not_grow_beyond_its_bytes() {
    let size = cluster().commit(create("a/x")).await.unwrap().body.len();
    let store = tiny(usize::MAX, 2 * size);
    store.commit(create("a/x")).await.unwrap();
    let second = store.commit(create("a/y")).await.unwrap();
    let grown = store.commit(update("a/y", second.revision, 1_000_000)).await.unwrap_err();
    assert!(matches!(grown, CommitError::Full(Excess::Bytes { .. })), "{grown:?}");
    let same = store.commit(update("a/y", second.revision, 7)).await.unwrap();
    store.commit(delete("a/y", same.revision)).await.unwrap();
    store.commit(create("a/z")).await.unwrap();
}

#[tokio::test]
async fn limits_count_what_was_found_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { objects: 1, ..Limits::default() };
    let store = Store::open_with(directory.path(), limits).unwrap();
    store.cluster("hub").unwrap().commit(create("a/x")).await.unwrap();
    store.close();
    let store = Store::open_with(directory.path(), limits).unwrap();
    let refused = store.cluster("hub").unwrap().commit(create("a/y")).await;
    assert_eq!(refused.unwrap_err(), CommitError::Full(Excess::Objects { limit: 1 }));
    store.cluster("other").unwrap().commit(create("a/y")).await.unwrap();
}

/// Removes a cluster and looks at the one that takes its name.
async fn check_removal(store: &Store) {
    let old = store.cluster("gone").unwrap();
    let kept = store.cluster("kept").unwrap();
    for name in ["a/x", "a/y"] {
        old.commit(create(name)).await.unwrap();
    }
    kept.commit(create("a/x")).await.unwrap();
    let mut watcher = old.watch(&pods(), old.revision()).unwrap();
    let last = old.revision();

    assert_eq!(store.remove("gone").await, Ok(true));
    assert_eq!(store.remove("gone").await, Ok(false));
    assert_eq!(store.names(), ["kept"]);
    assert_eq!(watcher.next().await.unwrap_err(), WatchEnd::Closed);
    assert!(matches!(old.commit(create("a/z")).await, Err(CommitError::Failed(_))));
    assert!(old.get(&pods(), &key("a/x")).is_none(), "an old handle holds nothing");
    assert!(old.failure().is_none(), "a removal is no failure");

    let new = store.cluster("gone").unwrap();
    assert!(new.list(&pods(), &ListOptions::default()).unwrap().items.is_empty());
    assert!(new.watch(&pods(), last - 1).is_err(), "who remembers the old one is told");
    let version = new.commit(create("a/x")).await.unwrap();
    assert!(version.revision > last, "revisions never go back");
    assert!(kept.get(&pods(), &key("a/x")).is_some());
}

#[tokio::test]
async fn a_removed_cluster_leaves_nothing_in_memory() {
    check_removal(&Store::memory_from(START, Limits::default())).await;
}

#[tokio::test]
async fn a_removed_cluster_leaves_nothing_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    check_removal(&store).await;
    let last = store.cluster("gone").unwrap().revision();
    store.close();

    let store = Store::open(directory.path()).unwrap();
    let found = store.cluster("gone").unwrap();
    assert_eq!(found.list(&pods(), &ListOptions::default()).unwrap().items.len(), 1);
    assert_eq!(found.revision(), last);
    store.remove("gone").await.unwrap();
    store.close();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.names(), ["kept"]);
    assert!(store.cluster("gone").unwrap().revision() >= last, "also not over restarts");
}

#[tokio::test]
async fn writes_and_removals_of_one_name_do_not_mix() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for round in 0..20 {
        let cluster = store.cluster("gone").unwrap();
        let written: Vec<String> = (0..5).map(|n| format!("a/{n}-{round}")).collect();
        let writes = written.iter().map(|name| cluster.commit(create(name)));
        let (_, removed) = tokio::join!(join_all(writes), store.remove("gone"));
        assert_eq!(removed, Ok(true));
        store.cluster("gone").unwrap().commit(create("a/new")).await.unwrap();
        if round % 2 == 0 {
            store.remove("gone").await.unwrap();
        } else {
            let new = store.cluster("gone").unwrap();
            assert_eq!(names(&new.list(&pods(), &ListOptions::default()).unwrap()), ["a/new"]);
        }
    }
    store.close();
    let store = Store::open(directory.path()).unwrap();
    let found = store.cluster("gone").unwrap().list(&pods(), &ListOptions::default()).unwrap();
    assert_eq!(names(&found), ["a/new"], "nothing of a removed cluster came back");
}
