//! One logical cluster: sequences writes against the newest pending state and publishes what became durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::canonical::Draft;
use super::flush::Flusher;
use super::history::Limits;
use super::lock;
use super::object::{
    Attributes, Change, CommitError, Completeness, Event, Excess, Expect, Key, ResourceId, Version,
    Write,
};
use super::rendition::Renditions;
use super::table::Table;

/// Unit of the budget for pending bytes, so that the budget fits the permits of a semaphore.
const PERMIT_BYTES: usize = 1024;

pub(super) struct Cluster {
    name: String,
    limits: Limits,
    /// Revision at start: history before it is unknown.
    start: u64,
    tables: RwLock<BTreeMap<ResourceId, Arc<Table>>>,
    owners: RwLock<BTreeMap<String, BTreeSet<(ResourceId, Key)>>>,
    sequencer: Mutex<Sequencer>,
    progress: watch::Sender<Progress>,
    /// Absent in memory mode, where a write is visible as soon as it is sequenced.
    flusher: Option<Arc<Flusher>>,
    room: Arc<Semaphore>,
}

/// How far the cluster got.
#[derive(Clone, Debug)]
struct Progress {
    /// All changes up to this revision are visible.
    visible: u64,
    end: Option<End>,
}

impl Progress {
    fn is_closed(&self) -> bool {
        matches!(self.end, Some(End::Closed | End::Removed))
    }
}

/// Why the cluster takes no more writes.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Closed,
    Removed,
    Failed(Arc<str>),
}

struct Sequencer {
    /// Last revision given out.
    last: u64,
    /// What the objects come to, pending writes included.
    size: Size,
    /// Newest event of every object that has one pending.
    pending: BTreeMap<(ResourceId, Key), Arc<Event>>,
    queue: VecDeque<Pending>,
    /// The flush thread knows that the queue has something.
    scheduled: bool,
}

/// How much a cluster holds.
#[derive(Clone, Copy, Default)]
struct Size {
    objects: usize,
    bytes: usize,
}

impl Size {
    /// Returns the size after an object of so many bytes took the place of another.
    fn after(self, old: Option<usize>, new: Option<usize>) -> Self {
        Self {
            objects: self.objects + usize::from(new.is_some()) - usize::from(old.is_some()),
            bytes: self.bytes + new.unwrap_or(0) - old.unwrap_or(0),
        }
    }
}

/// A sequenced write on its way to the disk.
pub(super) struct Pending {
    pub(super) resource: ResourceId,
    pub(super) event: Arc<Event>,
    done: oneshot::Sender<()>,
    _room: OwnedSemaphorePermit,
}

impl Pending {
    pub(super) fn bytes(&self) -> usize {
        self.event.current.body.len()
    }
}

/// A write that must not happen. The verdict counts once the pending state it rests on is durable.
struct Refusal {
    error: CommitError,
    rests_on: Option<u64>,
}

/// Newest state of an object, durable or not.
struct Newest {
    version: Option<Arc<Version>>,
    /// Revision of the state, when it is still pending.
    pending: Option<u64>,
}

impl Cluster {
    pub(super) fn new(
        name: &str,
        start: u64,
        limits: Limits,
        flusher: Option<Arc<Flusher>>,
    ) -> Self {
        let sequencer = Sequencer {
            last: start,
            size: Size::default(),
            pending: BTreeMap::new(),
            queue: VecDeque::new(),
            scheduled: false,
        };
        Self {
            name: name.to_owned(),
            limits,
            start,
            tables: RwLock::default(),
            owners: RwLock::default(),
            sequencer: Mutex::new(sequencer),
            progress: watch::Sender::new(Progress { visible: start, end: None }),
            flusher,
            room: Arc::new(Semaphore::new(permits_of(limits.pending_bytes))),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the objects of a resource found on disk.
    pub(super) fn load(&self, resource: &ResourceId, versions: Vec<Arc<Version>>) {
        let mut sequencer = lock::lock(&self.sequencer);
        for version in &versions {
            sequencer.size = sequencer.size.after(None, Some(version.body.len()));
            self.follow_owners(resource, None, Some(version));
        }
        drop(sequencer);
        self.table(resource).load(versions);
    }

    /// Revision up to which everything is visible.
    pub(super) fn visible(&self) -> u64 {
        self.progress.borrow().visible
    }

    pub(super) fn is_closed(&self) -> bool {
        self.progress.borrow().is_closed()
    }

    /// Waits until the cluster is closed or removed.
    pub(super) async fn closed(&self) {
        // The sender lives as long as the cluster.
        let _ = self.progress.subscribe().wait_for(Progress::is_closed).await;
    }

    pub(super) fn is_removed(&self) -> bool {
        self.progress.borrow().end == Some(End::Removed)
    }

    /// Why the cluster takes no writes although nobody closed it.
    pub(super) fn failed(&self) -> Option<Arc<str>> {
        match &self.progress.borrow().end {
            Some(End::Failed(why)) => Some(Arc::clone(why)),
            Some(End::Closed | End::Removed) | None => None,
        }
    }

    /// Waits until `revision` is visible; false when the cluster stopped before.
    pub(super) async fn reached(&self, revision: u64) -> bool {
        let mut progress = self.progress.subscribe();
        let seen = progress
            .wait_for(|progress| progress.visible >= revision || progress.end.is_some())
            .await;
        seen.is_ok_and(|progress| progress.visible >= revision)
    }

    pub(super) fn table(&self, resource: &ResourceId) -> Arc<Table> {
        if let Some(table) = lock::read(&self.tables).get(resource) {
            return Arc::clone(table);
        }
        let mut tables = lock::write(&self.tables);
        let table = tables
            .entry(Arc::clone(resource))
            .or_insert_with(|| Arc::new(Table::new(self.start, self.limits)));
        Arc::clone(table)
    }

    pub(super) fn resources(&self) -> Vec<ResourceId> {
        let tables = lock::read(&self.tables);
        let filled = tables.iter().filter(|(_, table)| !table.is_empty());
        filled.map(|(resource, _)| Arc::clone(resource)).collect()
    }

    pub(super) fn forget_history(&self) {
        lock::read(&self.tables).values().for_each(|table| table.forget_history());
    }

    pub(super) fn dependents(&self, owner: &str) -> Vec<(ResourceId, Key)> {
        lock::read(&self.owners).get(owner).into_iter().flatten().cloned().collect()
    }

    /// Commits a write; `schema` is that for which its object is known to hold all defaults, or 0.
    pub(super) async fn commit(
        self: &Arc<Self>,
        write: Write,
        schema: u64,
    ) -> Result<Arc<Version>, CommitError> {
        let Write { resource, key, expect, change, requires } = write;
        let (object, attributes, deleted) = match change {
            Change::Put(object, attributes) => (object, attributes, false),
            Change::Delete(object, attributes) => (object, attributes, true),
        };
        let draft = Draft::new(object);
        // An object that is too large by other means must still be removable.
        if draft.len() > self.limits.object_bytes && !deleted {
            return Err(CommitError::TooLarge);
        }
        let room = self.reserve(draft.len()).await?;
        let complete = Completeness::of(schema);
        let proposal =
            Proposal { resource, key, expect, requires, draft, attributes, complete, deleted };
        match self.sequence(proposal, room) {
            Ok((version, None)) => Ok(version),
            Ok((version, Some(durable))) => {
                durable.await.map_err(|_| self.failure())?;
                Ok(version)
            }
            Err(refusal) => Err(self.settle(refusal).await),
        }
    }

    /// Takes part of the budget for pending bytes.
    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, CommitError> {
        let permits = permits_of(bytes).min(permits_of(self.limits.pending_bytes));
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| self.failure())
    }

    /// Gives the write its revision, or refuses it. Without a flush thread the write is visible on return.
    fn sequence(
        self: &Arc<Self>,
        proposal: Proposal,
        room: OwnedSemaphorePermit,
    ) -> Result<(Arc<Version>, Option<oneshot::Receiver<()>>), Refusal> {
        let mut sequencer = lock::lock(&self.sequencer);
        if self.progress.borrow().end.is_some() {
            return Err(Refusal { error: self.failure(), rests_on: None });
        }
        let Proposal { resource, key, expect, requires, draft, attributes, complete, deleted } =
            proposal;
        let newest = self.newest(&sequencer, &resource, &key);
        check_expectation(&newest, expect)?;
        if let Some((resource, key)) = requires {
            check_requirement(&self.newest(&sequencer, &resource, &key), key)?;
        }
        let revision = sequencer.last + 1;
        let body = draft.seal(revision);
        let old = newest.version.as_ref().map(|version| version.body.len());
        let size = sequencer.size.after(old, (!deleted).then_some(body.len()));
        self.check_size(sequencer.size, size)?;
        if let Some(flusher) = &self.flusher
            && !sequencer.scheduled
        {
            if !flusher.schedule(self) {
                return Err(Refusal { error: self.failure(), rests_on: None });
            }
            sequencer.scheduled = true;
        }
        sequencer.last = revision;
        sequencer.size = size;
        let current = Arc::new(Version { key: key.clone(), revision, body, attributes, complete });
        let version = Arc::clone(&current);
        let event = Arc::new(Event {
            revision,
            previous: newest.version,
            current,
            deleted,
            renditions: Renditions::default(),
        });
        if self.flusher.is_none() {
            self.show([(&resource, &event)]);
            return Ok((version, None));
        }
        sequencer.pending.insert((Arc::clone(&resource), key), Arc::clone(&event));
        let (done, durable) = oneshot::channel();
        sequencer.queue.push_back(Pending { resource, event, done, _room: room });
        Ok((version, Some(durable)))
    }

    /// Refuses a write that makes the cluster larger than it may be. One that makes it smaller is always welcome.
    fn check_size(&self, before: Size, after: Size) -> Result<(), Refusal> {
        let Limits { objects, total_bytes, .. } = self.limits;
        let excess = if after.objects > before.objects && after.objects > objects {
            Excess::Objects { limit: objects }
        } else if after.bytes > before.bytes && after.bytes > total_bytes {
            Excess::Bytes { bytes: after.bytes, limit: total_bytes }
        } else {
            return Ok(());
        };
        Err(Refusal { error: CommitError::Full(excess), rests_on: None })
    }

    fn newest(&self, sequencer: &Sequencer, resource: &ResourceId, key: &Key) -> Newest {
        // The publisher fills the table before it removes the pending entry, so one of them has the newest state.
        match sequencer.pending.get(&(Arc::clone(resource), key.clone())) {
            Some(event) => Newest {
                version: (!event.deleted).then(|| Arc::clone(&event.current)),
                pending: Some(event.revision),
            },
            None => Newest { version: self.table(resource).get(key), pending: None },
        }
    }

    /// Waits for the state that a refusal rests on: the caller must find it when it reads again.
    async fn settle(&self, refusal: Refusal) -> CommitError {
        match refusal.rests_on {
            Some(revision) if !self.reached(revision).await => self.failure(),
            Some(_) | None => refusal.error,
        }
    }

    fn failure(&self) -> CommitError {
        match &self.progress.borrow().end {
            Some(End::Failed(why)) => CommitError::Failed(why.to_string()),
            Some(End::Removed) => CommitError::Failed("the logical cluster was removed".to_owned()),
            Some(End::Closed) | None => CommitError::Failed("the store is closed".to_owned()),
        }
    }

    /// Takes queued writes of about `max_bytes`; true when more are waiting.
    pub(super) fn take(&self, max_bytes: usize) -> (Vec<Pending>, bool) {
        let mut sequencer = lock::lock(&self.sequencer);
        let mut bytes = 0;
        let mut batch = Vec::new();
        while bytes < max_bytes
            && let Some(pending) = sequencer.queue.pop_front()
        {
            bytes += pending.bytes();
            batch.push(pending);
        }
        sequencer.scheduled = !sequencer.queue.is_empty();
        (batch, sequencer.scheduled)
    }

    /// Makes durable writes visible and answers their writers.
    pub(super) fn publish(&self, batch: Vec<Pending>) {
        self.show(batch.iter().map(|pending| (&pending.resource, &pending.event)));
        let mut sequencer = lock::lock(&self.sequencer);
        for Pending { resource, event, .. } in &batch {
            let id = (Arc::clone(resource), event.current.key.clone());
            if sequencer.pending.get(&id).is_some_and(|newest| newest.revision == event.revision) {
                sequencer.pending.remove(&id);
            }
        }
        drop(sequencer);
        for pending in batch {
            // A writer that stopped waiting needs no answer.
            let _ = pending.done.send(());
        }
    }

    fn show<'a>(&self, events: impl IntoIterator<Item = (&'a ResourceId, &'a Arc<Event>)>) {
        let now = Instant::now();
        let mut visible = self.visible();
        let mut touched = BTreeMap::new();
        for (resource, event) in events {
            let table = touched.entry(resource).or_insert_with(|| self.table(resource));
            let after = (!event.deleted).then_some(&*event.current);
            self.follow_owners(resource, event.previous.as_deref(), after);
            table.apply(event, now);
            visible = event.revision;
        }
        self.progress.send_modify(|progress| progress.visible = visible);
        for table in touched.values() {
            table.wake();
        }
    }

    /// Notes whose dependent an object is. An object that keeps an owner is its dependent at every moment: whoever collects
    /// garbage asks only once.
    fn follow_owners(
        &self,
        resource: &ResourceId,
        before: Option<&Version>,
        after: Option<&Version>,
    ) {
        let [old, new] = [before, after].map(|version| {
            version.map(|version| version.attributes.owners.as_slice()).unwrap_or_default()
        });
        let Some(version) = after.or(before).filter(|_| old != new) else { return };
        let id = (Arc::clone(resource), version.key.clone());
        let mut owners = lock::write(&self.owners);
        for owner in old {
            if let Some(dependents) = owners.get_mut(owner) {
                dependents.remove(&id);
                if dependents.is_empty() {
                    owners.remove(owner);
                }
            }
        }
        for owner in new {
            owners.entry(owner.clone()).or_default().insert(id.clone());
        }
    }

    /// Stops taking writes; reads and watches go on.
    pub(super) fn fail(&self, why: &Arc<str>) {
        self.progress.send_if_modified(|progress| {
            let is_first = progress.end.is_none();
            progress.end.get_or_insert_with(|| End::Failed(Arc::clone(why)));
            is_first
        });
    }

    /// Stops taking writes and ends watches.
    pub(super) fn close(&self) {
        self.end(End::Closed);
    }

    /// Closes for good: whatever still holds the cluster holds nothing of its objects. Returns the last revision.
    pub(super) fn remove(&self) -> u64 {
        let last = self.end(End::Removed);
        lock::write(&self.tables).values().for_each(|table| table.clear());
        lock::write(&self.owners).clear();
        last
    }

    fn end(&self, end: End) -> u64 {
        // The lock lets an inline write in progress become visible first.
        let sequencer = lock::lock(&self.sequencer);
        let last = sequencer.last;
        self.progress.send_modify(|progress| progress.end = Some(end));
        drop(sequencer);
        lock::read(&self.tables).values().for_each(|table| table.wake());
        last
    }
}

/// A write, serialised and ready to be sequenced.
struct Proposal {
    resource: ResourceId,
    key: Key,
    expect: Expect,
    requires: Option<(ResourceId, Key)>,
    draft: Draft,
    attributes: Attributes,
    complete: Completeness,
    deleted: bool,
}

fn check_expectation(newest: &Newest, expect: Expect) -> Result<(), Refusal> {
    let error = match (expect, &newest.version) {
        (Expect::Absent, None) => return Ok(()),
        (Expect::Absent, Some(_)) => CommitError::AlreadyExists,
        (Expect::Revision(_), None) => CommitError::NotFound,
        (Expect::Revision(wanted), Some(version)) if wanted == version.revision => return Ok(()),
        (Expect::Revision(_), Some(version)) => CommitError::Conflict { current: version.revision },
    };
    Err(Refusal { error, rests_on: newest.pending })
}

fn check_requirement(newest: &Newest, key: Key) -> Result<(), Refusal> {
    let error = match &newest.version {
        None => CommitError::RequirementMissing(key),
        Some(version) if version.attributes.deleting => CommitError::RequirementDeleting(key),
        Some(_) => return Ok(()),
    };
    Err(Refusal { error, rests_on: newest.pending })
}

fn permits_of(bytes: usize) -> usize {
    bytes.div_ceil(PERMIT_BYTES).max(1)
}
