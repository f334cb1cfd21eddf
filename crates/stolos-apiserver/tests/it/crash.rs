//! Kills a process that writes to a store, and looks at what is left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use stolos_apiserver::store::{
    Attributes, Change, ClusterStore, Expect, Key, ResourceId, Store, Write,
};

/// Names the data directory to the child process.
const DIRECTORY: &str = "STOLOS_TEST_CRASH_DIRECTORY";
const KILLS: usize = 8;
const WRITERS: usize = 6;
const KEYS_PER_WRITER: usize = 5;

/// One line of the child: what a writer was told, or what a watcher saw.
#[derive(Debug)]
struct Report {
    kind: String,
    name: String,
    revision: u64,
    /// Absent for a deletion.
    value: Option<u64>,
}

impl Report {
    fn print(kind: &str, name: &str, revision: u64, value: Option<u64>) {
        let value = value.map_or("gone".to_owned(), |value| value.to_string());
        // One write per line, so that lines of several tasks do not mix and a kill leaves at most one broken line.
        let line = format!("\n@ {kind} {name} {revision} {value} .\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["@", kind, name, revision, value, "."] = words[..] else { return None };
        let value = (value != "gone").then(|| value.parse().unwrap());
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            revision: revision.parse().unwrap(),
            value,
        })
    }
}

fn resource() -> ResourceId {
    ResourceId::from("things")
}

fn write(name: &str, expect: Expect, value: Option<u64>) -> Write {
    let object = json!({"metadata": {"name": name}, "value": value});
    let attributes = Attributes::of(&object);
    let change = match value {
        Some(_) => Change::Put(object, attributes),
        None => Change::Delete(object, attributes),
    };
    Write { resource: resource(), key: Key::cluster_scoped(name), expect, change, requires: None }
}

/// Creates, updates and deletes the keys of one writer in turn, for ever.
async fn write_for_ever(store: ClusterStore, writer: usize) {
    for value in 1.. {
        let name = format!("{writer}-{}", value % KEYS_PER_WRITER);
        let current =
            store.get(&resource(), &Key::cluster_scoped(&name)).map(|version| version.revision);
        let value = (current.is_none() || value % 7 != 0).then_some(value as u64);
        let write = write(&name, current.map_or(Expect::Absent, Expect::Revision), value);
        let version = store.commit(write).await.unwrap();
        Report::print("ack", &name, version.revision, value);
    }
}

/// Not a test of its own: the process that [`what_was_acknowledged_survives_a_kill`] starts and kills.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(Path::new(&directory)).unwrap().cluster("hub").unwrap();
        let mut watcher = store.watch(&resource(), store.revision()).unwrap();
        for writer in 0..WRITERS {
            tokio::spawn(write_for_ever(store.clone(), writer));
        }
        loop {
            for event in watcher.next().await.unwrap() {
                let value =
                    (!event.deleted).then(|| event.current.object()["value"].as_u64().unwrap());
                Report::print("event", &event.current.key.name, event.revision, value);
            }
        }
    });
}

/// Lets a child write until it has reported a random number of times, kills it, and returns all it said.
fn reports_of_a_killed_child(directory: &Path) -> Vec<Report> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reports = lines.map_while(Result::ok).filter_map(|line| Report::parse(&line));
    let mut seen: Vec<Report> = reports.by_ref().take(rand::random_range(20..2000)).collect();
    child.kill().unwrap();
    // What the child said before it died is still in the pipe.
    seen.extend(reports);
    assert!(!child.wait().unwrap().success());
    seen
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut newest: BTreeMap<String, Report> = BTreeMap::new();
    let mut recovered = 0;
    for _ in 0..KILLS {
        let reports = reports_of_a_killed_child(directory.path());
        let mut next_event = recovered + 1;
        for report in reports {
            assert!(report.revision > recovered, "revisions go on where they were: {report:?}");
            if report.kind == "event" {
                assert_eq!(report.revision, next_event, "the watcher misses nothing");
                next_event += 1;
            }
            let known = newest.get(&report.name).map_or(0, |known| known.revision);
            if report.revision > known {
                newest.insert(report.name.clone(), report);
            }
        }
        let store = Store::open(directory.path()).unwrap();
        recovered = check(&store.cluster("hub").unwrap(), &newest);
    }
}

/// Checks that what was told is there, and returns the revision. Each writer may have got one write further than it
/// could tell.
fn check(store: &ClusterStore, newest: &BTreeMap<String, Report>) -> u64 {
    let revision = store.revision();
    let mut further = 0;
    for (name, told) in newest {
        assert!(told.revision <= revision, "{told:?} is after revision {revision}");
        let found = store.get(&resource(), &Key::cluster_scoped(name));
        let value = found.as_ref().map(|version| version.object()["value"].as_u64().unwrap());
        match found {
            Some(version) if version.revision == told.revision => {
                assert_eq!(value, told.value, "{told:?}");
            }
            None if told.value.is_none() => {}
            Some(version) => {
                assert!(version.revision > told.revision, "{told:?} was lost");
                further += 1;
            }
            None => further += 1,
        }
    }
    assert!(further <= WRITERS, "{further} objects differ from what was told");
    revision
}
