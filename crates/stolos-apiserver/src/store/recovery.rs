//! Reading everything from disk at start. One thread reads pages while another makes objects of what they hold.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use redb::{AccessGuard, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle};

use super::disk::{
    COUNT_PREFIX, Damage, FORMAT, META, ObjectKey, ObjectValue, REVISION_PREFIX, START,
    objects_table, table_name,
};
use super::object::{Completeness, Key, ResourceId, Version};
use super::packed::{self, Beside};

/// Rows that go from one thread to the other at once.
const CHUNK: usize = 256;
/// Chunks that may wait; each keeps its pages in memory.
const WAITING: usize = 8;

/// A logical cluster as it was found on disk.
pub(super) struct Recovered {
    pub(super) name: String,
    pub(super) revision: u64,
    /// The objects of each resource, ordered by key.
    pub(super) objects: Vec<(ResourceId, Vec<Arc<Version>>)>,
}

/// Everything that was found on disk.
#[derive(Default)]
pub(super) struct Found {
    /// Format that the file has.
    pub(super) format: u64,
    /// Revision that new clusters start from.
    pub(super) start: u64,
    pub(super) clusters: Vec<Recovered>,
}

type Row<'a> = (AccessGuard<'a, ObjectKey>, AccessGuard<'a, ObjectValue>);

pub(super) fn read(database: &Database) -> Result<Found, Damage> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let format = match meta.get("format")?.map(|format| format.value()) {
        Some(known @ 1..=FORMAT) => known,
        Some(other) => return Err(Damage::Format(other)),
        None => return Err(Damage::Broken("it names no format".to_owned())),
    };
    let tables: Vec<String> =
        transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    let start = meta.get(START)?.map_or(0, |start| start.value());
    let mut clusters = Vec::new();
    for entry in meta.range(REVISION_PREFIX..)? {
        let (key, revision) = entry?;
        let Some(name) = key.value().strip_prefix(REVISION_PREFIX).map(str::to_owned) else {
            break;
        };
        let table = table_name(&name);
        if !tables.contains(&table) {
            return Err(Damage::Broken(format!("the objects of cluster `{name}` are missing")));
        }
        let objects = read_objects(&transaction, &table)?;
        let found: usize = objects.iter().map(|(_, versions)| versions.len()).sum();
        let written = meta.get(format!("{COUNT_PREFIX}{name}").as_str())?;
        if written.is_some_and(|written| written.value() != found as u64) {
            return Err(Damage::Broken(format!("objects of cluster `{name}` are missing")));
        }
        clusters.push(Recovered { name, revision: revision.value(), objects });
    }
    Ok(Found { format, start, clusters })
}

fn read_objects(
    transaction: &ReadTransaction,
    table: &str,
) -> Result<Vec<(ResourceId, Vec<Arc<Version>>)>, Damage> {
    let table = transaction.open_table(objects_table(table))?;
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let decoder = scope.spawn(|| decode_all(receiver));
        let read = send_rows(&table, sender);
        // What the decoder found wrong ended the reading, so it comes first.
        let decoded = decoder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        read.map(|()| decoded)
    })
}

/// Sends all rows, in order; ends early when nobody receives them any more.
fn send_rows<'a>(
    table: &'a impl ReadableTable<ObjectKey, ObjectValue>,
    sender: SyncSender<Vec<Row<'a>>>,
) -> Result<(), Damage> {
    let mut chunk = Vec::with_capacity(CHUNK);
    for row in table.iter()? {
        chunk.push(row?);
        if chunk.len() == CHUNK {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
            if sender.send(full).is_err() {
                return Ok(());
            }
        }
    }
    let _ = sender.send(chunk);
    Ok(())
}

fn decode_all(
    receiver: Receiver<Vec<Row<'_>>>,
) -> Result<Vec<(ResourceId, Vec<Arc<Version>>)>, Damage> {
    let mut all: Vec<(ResourceId, Vec<Arc<Version>>)> = Vec::new();
    for (key, value) in receiver.into_iter().flatten() {
        let (resource, namespace, name) = key.value();
        // The objects of a resource are neighbours.
        if all.last().is_none_or(|(last, _)| **last != *resource) {
            all.push((resource.into(), Vec::new()));
        }
        let version = decode(resource, Key::namespaced(namespace, name), value.value())?;
        if let Some((_, objects)) = all.last_mut() {
            objects.push(Arc::new(version));
        }
    }
    Ok(all)
}

fn decode(
    resource: &str,
    key: Key,
    (revision, attributes, body): (u64, &[u8], &[u8]),
) -> Result<Version, Damage> {
    let broken = |what: &str, why: &dyn Display| {
        let Key { namespace, name } = &key;
        Damage::Broken(format!("the {what} of `{resource}` `{namespace}/{name}` {why}"))
    };
    let beside = Beside { key: [resource, &key.namespace, &key.name], revision, attributes };
    let body = packed::unpack(body, &beside)
        .map_err(|error| broken("body", &format_args!("cannot be read: {error}")))?;
    let attributes = serde_json::from_slice(attributes)
        .map_err(|error| broken("attributes", &format_args!("do not parse: {error}")))?;
    Ok(Version { key, revision, body, attributes, complete: Completeness::default() })
}
