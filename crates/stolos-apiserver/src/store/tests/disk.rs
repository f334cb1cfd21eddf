use std::io;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::join_all;
use redb::ReadableDatabase;
use redb::backends::InMemoryBackend;

use super::super::disk::Disk;
use super::*;

fn open(directory: &Path) -> (Store, ClusterStore) {
    let store = Store::open(directory).unwrap();
    let cluster = store.cluster("hub").unwrap();
    (store, cluster)
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let (store, cluster) = open(directory.path());
    let kept = cluster.commit(create("a/x")).await.unwrap();
    let gone = cluster.commit(create("a/y")).await.unwrap();
    cluster.commit(delete("a/y", gone.revision)).await.unwrap();
    store.cluster("other").unwrap().commit(create("b/z")).await.unwrap();
    store.close();

    let (store, cluster) = open(directory.path());
    let found = cluster.get(&pods(), &key("a/x")).unwrap();
    assert_eq!((&found.body, &found.attributes), (&kept.body, &kept.attributes));
    assert!(cluster.get(&pods(), &key("a/y")).is_none());
    assert_eq!(cluster.revision(), 3, "the deletion counts");
    assert_eq!(cluster.resources(), [pods()]);
    assert_eq!(store.cluster("other").unwrap().revision(), 1);
}

#[tokio::test]
async fn history_begins_at_the_revision_found() {
    let directory = tempfile::tempdir().unwrap();
    let (store, cluster) = open(directory.path());
    let first = cluster.commit(create("a/x")).await.unwrap().revision;
    let second = cluster.commit(create("a/y")).await.unwrap().revision;
    store.close();

    let (_store, cluster) = open(directory.path());
    assert_eq!(
        cluster.watch(&pods(), first).err(),
        Some(Expired { requested: first, oldest: second })
    );
    let mut watcher = cluster.watch(&pods(), second).unwrap();
    let third = cluster.commit(create("a/z")).await.unwrap().revision;
    assert!(third > second);
    assert_eq!(revisions(&watcher.next().await.unwrap()), [third]);
}

#[tokio::test]
async fn the_owner_index_is_rebuilt() {
    let directory = tempfile::tempdir().unwrap();
    let (store, cluster) = open(directory.path());
    let attributes = Attributes { owners: vec!["u1".to_owned()], ..Attributes::default() };
    let change = Change::Put(object(&key("a/x"), 0), attributes);
    cluster.commit(Write { change, ..create("a/x") }).await.unwrap();
    store.close();
    let (_store, cluster) = open(directory.path());
    assert_eq!(cluster.dependents("u1"), [(pods(), key("a/x"))]);
}

#[test]
fn a_directory_in_use_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(OpenError::Locked { .. })));
    drop(store);
    Store::open(directory.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let _store = Store::open(&directory).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, [directory.join("store.redb")], "nothing else is left behind");
    assert_eq!(mode(&files[0]), 0o600);
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (store, cluster) = open(directory.path());
    for n in 0..50 {
        cluster.commit(create(&format!("a/{n}"))).await.unwrap();
    }
    store.close();
    let path = directory.path().join("store.redb");
    let sound = std::fs::read(&path).unwrap();
    let needle = br#""name":"33""#;
    let at = sound.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let mut flipped = sound.clone();
    flipped[at + 8] ^= 1;
    let cases: [(&str, Vec<u8>); 4] = [
        ("text", b"not a database".to_vec()),
        ("half of it", sound[..sound.len() / 2].to_vec()),
        ("zeros", vec![0; sound.len()]),
        ("a flipped bit", flipped),
    ];
    for (what, bytes) in cases {
        std::fs::write(&path, &bytes).unwrap();
        let error =
            Store::open(directory.path()).err().unwrap_or_else(|| panic!("{what} was taken"));
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("store.redb` is damaged"), "{error}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes.len() as u64, "{what}");
    }
    std::fs::write(&path, &sound).unwrap();
    Store::open(directory.path()).unwrap();
}

#[tokio::test]
async fn an_unknown_format_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path()).unwrap().close();
    let path = directory.path().join("store.redb");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 99).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(Store::open(directory.path()), Err(OpenError::Format { found: 99, .. })));
}

/// As an earlier version left it: bodies as they are, and format 1.
#[tokio::test]
async fn a_store_of_an_earlier_format_is_read_and_goes_on_in_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let (store, cluster) = open(directory.path());
    let kept = cluster.commit(create("a/x")).await.unwrap();
    store.close();

    let path = directory.path().join("store.redb");
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let objects =
        redb::TableDefinition::<(&str, &str, &str), (u64, &[u8], &[u8])>::new("objects/hub");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let attributes = serde_json::to_vec(&kept.attributes).unwrap();
    let value = (kept.revision, attributes.as_slice(), &*kept.body);
    transaction.open_table(objects).unwrap().insert(("pods", "a", "x"), value).unwrap();
    transaction.open_table(meta).unwrap().insert("format", 1).unwrap();
    transaction.commit().unwrap();
    drop(database);

    let (store, cluster) = open(directory.path());
    assert_eq!(cluster.get(&pods(), &key("a/x")).unwrap().body, kept.body);
    store.close();
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let format = transaction.open_table(meta).unwrap().get("format").unwrap().unwrap().value();
    assert_eq!(format, 2, "a version that cannot read packed bodies must not try");
}

/// A disk that can be held up and can break.
#[derive(Clone, Debug, Default)]
struct FaultyDisk(Arc<Faults>);

#[derive(Debug, Default)]
struct Faults {
    memory: InMemoryBackend,
    syncs: AtomicUsize,
    broken: AtomicBool,
    /// Syncs that may happen before the next one waits; without a number none does.
    allowed: Mutex<Option<usize>>,
    wake: Condvar,
}

impl FaultyDisk {
    fn hold(&self, held: bool) {
        self.allow(held.then_some(0));
    }

    fn allow(&self, syncs: Option<usize>) {
        *self.0.allowed.lock().unwrap() = syncs;
        self.0.wake.notify_all();
    }

    fn open(&self) -> (Store, ClusterStore) {
        let store =
            Store::on_disk(Disk::on(self.clone()), Found::default(), Limits::default()).unwrap();
        let cluster = store.cluster("hub").unwrap();
        (store, cluster)
    }
}

impl redb::StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let allowed = self.0.allowed.lock().unwrap();
        let mut allowed = self.0.wake.wait_while(allowed, |allowed| *allowed == Some(0)).unwrap();
        if let Some(left) = &mut *allowed {
            *left -= 1;
        }
        drop(allowed);
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.memory.write(offset, data)
    }
}

/// Pitfall: an event that is told before its write is safe may be told of something that never was.
#[tokio::test]
async fn nothing_is_visible_before_it_is_durable() {
    let disk = FaultyDisk::default();
    let (_store, cluster) = disk.open();
    let mut watcher = cluster.watch(&pods(), 0).unwrap();
    disk.hold(true);
    let mut writing = Box::pin(cluster.commit(create("a/x")));
    assert!(writing.as_mut().now_or_never().is_none());
    assert!(cluster.get(&pods(), &key("a/x")).is_none());
    assert_eq!(cluster.revision(), 0);
    assert!(watcher.next().now_or_never().is_none());
    disk.hold(false);
    writing.await.unwrap();
    assert_eq!(revisions(&watcher.next().await.unwrap()), [1]);
}

#[tokio::test]
async fn writes_are_checked_against_pending_ones() {
    let disk = FaultyDisk::default();
    let (_store, cluster) = disk.open();
    disk.hold(true);
    let mut first = Box::pin(cluster.commit(create("a/x")));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(cluster.commit(update("a/x", 1, 1)));
    assert!(second.as_mut().now_or_never().is_none());
    let mut refused = Box::pin(cluster.commit(update("a/x", 1, 2)));
    assert!(
        refused.as_mut().now_or_never().is_none(),
        "the verdict waits for the state it rests on"
    );
    disk.hold(false);
    assert_eq!(refused.await.unwrap_err(), CommitError::Conflict { current: 2 });
    assert_eq!(cluster.get(&pods(), &key("a/x")).unwrap().revision, 2);
    first.await.unwrap();
    second.await.unwrap();
}

#[tokio::test]
async fn writes_gather_while_the_disk_syncs() {
    let disk = FaultyDisk::default();
    let (_store, cluster) = disk.open();
    cluster.commit(create("a/first")).await.unwrap();
    let alone = disk.0.syncs.swap(0, Ordering::SeqCst);
    disk.hold(true);
    let writes: Vec<_> = (0..100).map(|n| cluster.commit(create(&format!("a/{n}")))).collect();
    let mut all = Box::pin(join_all(writes));
    assert!(all.as_mut().now_or_never().is_none());
    disk.hold(false);
    assert!(all.await.iter().all(Result::is_ok));
    assert!(
        disk.0.syncs.load(Ordering::SeqCst) <= 2 * alone,
        "a batch before the hold, and one after"
    );
}

#[tokio::test]
async fn a_failed_commit_makes_the_store_read_only() {
    let disk = FaultyDisk::default();
    let (store, cluster) = disk.open();
    cluster.commit(create("a/x")).await.unwrap();
    disk.0.broken.store(true, Ordering::SeqCst);
    let results = join_all([cluster.commit(create("a/y")), cluster.commit(create("a/z"))]).await;
    assert!(
        results.iter().all(|result| matches!(result, Err(CommitError::Failed(_)))),
        "{results:?}"
    );
    disk.0.broken.store(false, Ordering::SeqCst);
    assert!(
        matches!(cluster.commit(create("a/w")).await, Err(CommitError::Failed(_))),
        "no second try"
    );
    let other = store.cluster("other").unwrap();
    assert!(
        matches!(other.commit(create("a/w")).await, Err(CommitError::Failed(_))),
        "for no cluster"
    );

    assert!(cluster.get(&pods(), &key("a/x")).is_some(), "reads go on");
    assert!(cluster.get(&pods(), &key("a/y")).is_none());
    assert_eq!(cluster.revision(), 1);
}

#[tokio::test]
async fn writers_wait_when_too_much_is_pending() {
    let disk = FaultyDisk::default();
    let limits = Limits { pending_bytes: 1024, ..Limits::default() };
    let store = Store::on_disk(Disk::on(disk.clone()), Found::default(), limits).unwrap();
    let cluster = store.cluster("hub").unwrap();
    disk.hold(true);
    let mut first = Box::pin(cluster.commit(create("a/x")));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(cluster.commit(create("a/y")));
    assert!(second.as_mut().now_or_never().is_none());
    disk.hold(false);
    first.await.unwrap();
    assert_eq!(cluster.revision(), 1, "the second was not even sequenced");
    second.await.unwrap();
}

#[tokio::test]
async fn closing_finishes_what_was_accepted() {
    let disk = FaultyDisk::default();
    let (store, cluster) = disk.open();
    disk.hold(true);
    let mut writing = Box::pin(cluster.commit(create("a/x")));
    assert!(writing.as_mut().now_or_never().is_none());
    let closing = tokio::task::spawn_blocking(move || store.close());
    disk.hold(false);
    writing.await.unwrap();
    closing.await.unwrap();
    assert!(matches!(cluster.commit(create("a/y")).await, Err(CommitError::Failed(_))));
}

#[tokio::test]
async fn the_flood_of_one_cluster_does_not_hold_up_another() {
    let disk = FaultyDisk::default();
    let (store, flooded) = disk.open();
    let quiet = store.cluster("quiet").unwrap();
    flooded.commit(create("a/first")).await.unwrap();
    let per_batch = disk.0.syncs.swap(0, Ordering::SeqCst);

    disk.hold(true);
    let filler = "x".repeat(1 << 20);
    let writes = (0..20).map(|n| {
        let mut object = object(&key("a"), 0);
        object["spec"]["filler"] = filler.clone().into();
        let change = Change::Put(object, Attributes::default());
        flooded.commit(Write { change, ..create(&format!("a/{n}")) })
    });
    let mut flood = Box::pin(join_all(writes));
    assert!(flood.as_mut().now_or_never().is_none());
    let mut lone = Box::pin(quiet.commit(create("a/x")));
    assert!(lone.as_mut().now_or_never().is_none());

    // The batch that was on its way, and the next one: it has the lone write, and only one turn of the flood.
    disk.allow(Some(2 * per_batch));
    lone.await.unwrap();
    let done = flooded.revision();
    assert!((2..=9).contains(&done), "{done} of 21 writes of the flood came before it");
    disk.hold(false);
    assert!(flood.await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn the_server_says_that_its_store_cannot_write() {
    use http::{Request, StatusCode};
    use http_body_util::Full;
    use tower::ServiceExt;

    let disk = FaultyDisk::default();
    let (_store, cluster) = disk.open();
    let controllers = crate::controllers::Controllers::none();
    let options = crate::server::Options { controllers, ..Default::default() };
    let server = crate::ApiServer::start(cluster.clone(), options).await.unwrap();
    let ask = async |method: &str, path: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let user = crate::auth::UserInfo::internal("tester");
        server.as_user(user).oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask("GET", "/readyz", "").await, StatusCode::OK);
    disk.0.broken.store(true, Ordering::SeqCst);
    let namespace = r#"{"metadata":{"name":"a"}}"#;
    for _ in 0..2 {
        let status = ask("POST", "/api/v1/namespaces", namespace).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    for check in ["/readyz", "/livez", "/healthz", "/readyz/store"] {
        assert_eq!(ask("GET", check, "").await, StatusCode::INTERNAL_SERVER_ERROR, "{check}");
    }
    assert_eq!(ask("GET", "/api/v1/namespaces", "").await, StatusCode::OK, "reads go on");
}
