use futures::FutureExt;

use super::*;

#[tokio::test]
async fn a_watch_sees_every_change_after_its_start_in_order() {
    let store = cluster();
    let created = store.commit(create("a/x")).await.unwrap();
    let mut watcher = store.watch(&pods(), created.revision).unwrap();
    assert!(watcher.next().now_or_never().is_none());
    let updated = store.commit(update("a/x", created.revision, 1)).await.unwrap();
    store.commit(delete("a/x", updated.revision)).await.unwrap();
    let events = watcher.next().await.unwrap();
    assert_eq!(revisions(&events), [START + 2, START + 3]);
    assert_eq!(events[0].previous.as_ref().unwrap().revision, created.revision);
    assert!(events[1].deleted);
    assert_eq!(events[1].current.object()["metadata"]["resourceVersion"], (START + 3).to_string());
}

#[tokio::test]
async fn a_waiting_watcher_wakes() {
    let store = cluster();
    let mut watcher = store.watch(&pods(), START).unwrap();
    let (events, written) = tokio::join!(watcher.next(), store.commit(create("a/x")));
    assert_eq!(revisions(&events.unwrap()), [written.unwrap().revision]);
}

#[tokio::test]
async fn a_watch_from_before_the_history_is_expired() {
    let store = cluster();
    let expired = store.watch(&pods(), START - 1).err().unwrap();
    assert_eq!(expired, Expired { requested: START - 1, oldest: START });
}

#[tokio::test]
async fn a_watcher_that_the_history_overtakes_is_expired() {
    let store = Store::memory_from(START, tiny_history()).cluster("hub").unwrap();
    let mut watcher = store.watch(&pods(), START).unwrap();
    for n in 0..4 {
        store.commit(create(&format!("a/{n}"))).await.unwrap();
    }
    let end = watcher.next().await.unwrap_err();
    assert_eq!(end, WatchEnd::Expired(Expired { requested: START, oldest: START + 1 }));
}

#[tokio::test]
async fn who_has_seen_a_forgotten_history_reads_on_and_others_are_expired() {
    let store = cluster();
    let created = store.commit(create("a/x")).await.unwrap();
    let mut behind = store.watch(&pods(), START).unwrap();
    let mut current = store.watch(&pods(), created.revision).unwrap();
    store.forget_history();
    let end = behind.next().await.unwrap_err();
    assert_eq!(end, WatchEnd::Expired(Expired { requested: START, oldest: created.revision }));
    let updated = store.commit(update("a/x", created.revision, 1)).await.unwrap();
    assert_eq!(revisions(&current.next().await.unwrap()), [updated.revision]);
}

#[tokio::test]
async fn a_quiet_resource_does_not_expire_while_others_change() {
    let store = Store::memory_from(START, tiny_history()).cluster("hub").unwrap();
    let mut watcher = store.watch(&namespaces(), START).unwrap();
    for n in 0..9 {
        store.commit(create(&format!("a/{n}"))).await.unwrap();
    }
    store.commit(write(namespaces(), &key("a"), Expect::Absent, 0)).await.unwrap();
    assert_eq!(revisions(&watcher.next().await.unwrap()), [START + 10]);
}

/// Pitfall: a bookmark ahead of an event makes clients skip that event.
#[tokio::test]
async fn a_bookmark_never_overtakes_an_event() {
    let store = cluster();
    let mut watcher = store.watch(&pods(), START).unwrap();
    store.commit(write(namespaces(), &key("a"), Expect::Absent, 0)).await.unwrap();
    assert_eq!(watcher.revision(), START + 1, "changes of other resources move it");
    store.commit(create("a/x")).await.unwrap();
    store.commit(write(namespaces(), &key("b"), Expect::Absent, 0)).await.unwrap();
    assert_eq!(watcher.revision(), START, "an event is waiting");
    watcher.next().await.unwrap();
    assert_eq!(watcher.revision(), START + 3);
}

#[tokio::test]
async fn removing_a_resource_ends_its_watches_after_their_last_event() {
    let store = cluster();
    let created = store.commit(create("a/x")).await.unwrap();
    let mut watcher = store.watch(&pods(), START).unwrap();
    let mut other = store.watch(&namespaces(), START).unwrap();
    store.commit(delete("a/x", created.revision)).await.unwrap();
    store.remove_resource(&pods());
    store.commit(create("a/y")).await.unwrap();

    assert_eq!(revisions(&watcher.next().await.unwrap()), [START + 1, START + 2]);
    assert_eq!(watcher.next().await.unwrap_err(), WatchEnd::ResourceRemoved);
    assert!(other.next().now_or_never().is_none(), "other resources are untouched");
    assert!(store.watch(&pods(), START + 1).is_err(), "the history before the removal is gone");
    let mut again = store.watch(&pods(), START + 2).unwrap();
    assert_eq!(revisions(&again.next().await.unwrap()), [START + 3]);
}

#[tokio::test]
async fn closing_ends_watches() {
    let store = Store::memory_from(START, Limits::default());
    let cluster = store.cluster("hub").unwrap();
    let mut watcher = cluster.watch(&pods(), START).unwrap();
    cluster.commit(create("a/x")).await.unwrap();
    store.close();
    assert_eq!(watcher.next().await.unwrap().len(), 1);
    assert_eq!(watcher.next().await.unwrap_err(), WatchEnd::Closed);
}
