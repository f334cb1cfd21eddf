use super::*;

#[tokio::test]
async fn a_write_returns_the_body_with_its_revision() {
    let store = cluster();
    let version = store.commit(create("a/x")).await.unwrap();
    assert_eq!(version.revision, START + 1);
    assert_eq!(version.object()["metadata"]["resourceVersion"], (START + 1).to_string());
    assert_eq!(store.get(&pods(), &key("a/x")).unwrap().body, version.body);
    assert_eq!(store.revision(), START + 1);
}

#[tokio::test]
async fn expectations_are_checked() {
    let store = cluster();
    let first = store.commit(create("a/x")).await.unwrap().revision;
    assert_eq!(store.commit(create("a/x")).await.unwrap_err(), CommitError::AlreadyExists);
    let second = store.commit(update("a/x", first, 1)).await.unwrap().revision;
    let conflict = CommitError::Conflict { current: second };
    assert_eq!(store.commit(update("a/x", first, 2)).await.unwrap_err(), conflict);
    assert_eq!(store.commit(delete("a/x", first)).await.unwrap_err(), conflict);
    assert_eq!(store.commit(update("a/y", first, 2)).await.unwrap_err(), CommitError::NotFound);
    store.commit(delete("a/x", second)).await.unwrap();
    assert_eq!(store.commit(delete("a/x", second)).await.unwrap_err(), CommitError::NotFound);
    store.commit(create("a/x")).await.unwrap();
    assert_eq!(store.revision(), START + 4, "refused writes take no revision");
}

#[tokio::test]
async fn a_required_object_must_exist_and_stay() {
    let store = cluster();
    let required = Some((namespaces(), key("a")));
    let create_in_a = || Write { requires: required.clone(), ..create("a/x") };
    let missing = CommitError::RequirementMissing(key("a"));
    assert_eq!(store.commit(create_in_a()).await.unwrap_err(), missing);

    let namespace = write(namespaces(), &key("a"), Expect::Absent, 0);
    let revision = store.commit(namespace).await.unwrap().revision;
    let created = store.commit(create_in_a()).await.unwrap();
    store.commit(delete("a/x", created.revision)).await.unwrap();

    let mut terminating = object(&key("a"), 0);
    terminating["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let attributes = Attributes::of(&terminating);
    let change = Change::Put(terminating, attributes);
    let expect = Expect::Revision(revision);
    let write = Write { resource: namespaces(), key: key("a"), expect, change, requires: None };
    store.commit(write).await.unwrap();
    let deleting = CommitError::RequirementDeleting(key("a"));
    assert_eq!(store.commit(create_in_a()).await.unwrap_err(), deleting);
}

#[tokio::test]
async fn a_too_large_object_is_refused_but_can_be_removed() {
    let store = Store::memory_from(START, Limits { object_bytes: 150, ..Limits::default() });
    let store = store.cluster("hub").unwrap();
    let created = store.commit(create("a/x")).await.unwrap();
    let mut grown = delete("a/x", created.revision);
    let Change::Delete(object, _) = &mut grown.change else { unreachable!() };
    object["spec"]["text"] = json!("x".repeat(200));
    let change = Change::Put(object.clone(), Attributes::default());
    let put = Write { change, ..update("a/x", created.revision, 0) };
    assert_eq!(store.commit(put).await.unwrap_err(), CommitError::TooLarge);
    store.commit(grown).await.unwrap();
}

#[tokio::test]
async fn clusters_do_not_see_each_other() {
    let store = Store::memory_from(START, Limits::default());
    let (one, two) = (store.cluster("one").unwrap(), store.cluster("two").unwrap());
    one.commit(create("a/x")).await.unwrap();
    assert!(two.get(&pods(), &key("a/x")).is_none());
    assert_eq!(two.revision(), START);
    assert!(store.cluster("one").unwrap().get(&pods(), &key("a/x")).is_some());
}

/// Writes `a/x` with these owners.
fn owned(owners: &[&str], expect: Expect, value: u32) -> Write {
    let attributes = Attributes {
        owners: owners.iter().map(|&uid| uid.to_owned()).collect(),
        ..Attributes::default()
    };
    let change = Change::Put(object(&key("a/x"), value), attributes);
    Write { change, ..write(pods(), &key("a/x"), expect, value) }
}

#[tokio::test]
async fn dependents_follow_the_owner_references() {
    let store = cluster();
    let id = (pods(), key("a/x"));
    let created = store.commit(owned(&["u1", "u2"], Expect::Absent, 0)).await.unwrap();
    assert_eq!(store.dependents("u1"), std::slice::from_ref(&id));
    let expect = Expect::Revision(created.revision);
    let updated = store.commit(owned(&["u2"], expect, 0)).await.unwrap();
    assert_eq!(store.dependents("u1"), []);
    assert_eq!(store.dependents("u2"), [id]);
    store.commit(delete("a/x", updated.revision)).await.unwrap();
    assert_eq!(store.dependents("u2"), []);
}

/// Whoever collects garbage asks at any moment, and only once.
#[tokio::test]
async fn an_object_that_is_written_is_a_dependent_all_the_time() {
    let store = cluster();
    let mut version = store.commit(owned(&["u1"], Expect::Absent, 0)).await.unwrap();
    let asking = store.clone();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let asked = std::thread::spawn(move || {
        let mut was_dependent = true;
        while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            was_dependent &= !asking.dependents("u1").is_empty();
        }
        was_dependent
    });
    for value in 0..20_000 {
        let expect = Expect::Revision(version.revision);
        version = store.commit(owned(&["u1"], expect, value)).await.unwrap();
    }
    drop(done);
    assert!(asked.join().unwrap(), "for a moment it was not");
}

#[tokio::test]
async fn a_closed_store_reads_but_does_not_write() {
    let store = Store::memory_from(START, Limits::default());
    let cluster = store.cluster("hub").unwrap();
    cluster.commit(create("a/x")).await.unwrap();
    store.close();
    assert!(matches!(cluster.commit(create("a/y")).await, Err(CommitError::Failed(_))));
    assert!(cluster.get(&pods(), &key("a/x")).is_some());
    assert_eq!(store.cluster("hub").err(), Some(Closed));
}

#[test]
fn revisions_of_a_later_memory_store_come_after_those_of_an_earlier_one() {
    let (first, second) = (Store::memory(), Store::memory());
    let revision = |store: &Store| store.cluster("hub").unwrap().revision();
    assert!(revision(&second) >= revision(&first));
    assert!(revision(&first) > 1_700_000_000_000_000);
    assert!(revision(&first) < 1 << 53, "JavaScript clients keep it exact");
}
