//! Watching: a cursor over the history of a resource.

use std::pin::pin;
use std::sync::Arc;

use super::cluster::Cluster;
use super::object::{Event, Expired, ResourceId};
use super::table::{News, Table};

/// About how many bytes of bodies one call hands out. What a watcher was given and has not sent is all the memory that it
/// holds.
const SLICE_BYTES: usize = 64 * 1024;

/// Why a watch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher fell behind the history.
    #[error(transparent)]
    Expired(#[from] Expired),
    /// The resource is served no more.
    #[error("the resource was removed")]
    ResourceRemoved,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Follows one resource. It holds a position and nothing else, so a slow watcher costs no memory: it ends with
/// [`WatchEnd::Expired`] when the history has moved past it.
pub struct Watcher {
    cluster: Arc<Cluster>,
    table: Arc<Table>,
    epoch: u64,
    cursor: u64,
}

impl Watcher {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        resource: &ResourceId,
        from: u64,
    ) -> Result<Self, Expired> {
        let table = cluster.table(resource);
        let epoch = table.admit(from)?;
        Ok(Self { cluster, table, epoch, cursor: from })
    }

    /// Waits for events after the position, hands out some, and moves on. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the watch is over; every event before the end has been handed out.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchEnd> {
        loop {
            // Both are asked before the events are read, so that nothing between here and the wait is missed.
            let mut news = pin!(self.table.news_came());
            news.as_mut().enable();
            let is_closed = self.cluster.is_closed();
            match self.table.news(self.cursor, self.epoch, SLICE_BYTES) {
                News::Events(events) => {
                    self.cursor = events.last().map_or(self.cursor, |event| event.revision);
                    return Ok(events);
                }
                News::Expired(expired) => return Err(expired.into()),
                News::Removed => return Err(WatchEnd::ResourceRemoved),
                News::None if is_closed => return Err(WatchEnd::Closed),
                News::None => {}
            }
            news.await;
        }
    }

    /// Revision for a bookmark: every event of the resource up to it has been handed out.
    #[must_use]
    pub fn revision(&self) -> u64 {
        // Read first: what is visible is in the table.
        let visible = self.cluster.visible();
        if self.table.is_quiet_since(self.cursor) { self.cursor.max(visible) } else { self.cursor }
    }
}
