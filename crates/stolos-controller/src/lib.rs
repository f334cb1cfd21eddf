//! The loop of every Stolos controller: watch, plan, write.
//!
//! A controller keeps a [`World`](Controller): tables of the objects it watches. A change marks the *items* that it may
//! concern (a placement to schedule, a work to apply); for each marked item the controller plans writes from its world,
//! and the loop carries them out, items side by side, the writes of one item in order. The answers are taken into the
//! world before anything is planned again, so that a plan always includes the controller's own writes.
//!
//! Plans are made from caches, so each write carries what it was decided on (a resource version, a uid, the absence of
//! the object): an outdated one fails, and the item is planned again.
//!
//! Why not `kube::runtime::Controller`: its caches lag behind its own writes, it has no index by parent, and one
//! reconciliation per object cannot share what many objects changed at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub mod event;
mod find;
pub mod leader;
pub mod metrics;
mod queue;
mod ready;
mod runner;
mod table;
mod watch;
mod write;

pub use find::find;
pub use ready::Readiness;
pub use runner::{Options, run};
pub use table::{Key, Table, Tracked, revision};
pub use watch::{Change, Watches};
pub use write::{How, Stored, Write, WriteError, split, write_one};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What an item needs now.
#[derive(Debug)]
pub struct Plan<E> {
    /// Effects in steps. Those of one step are carried out side by side; a failure ends the plan after its step.
    pub steps: Vec<Vec<E>>,
    /// When to plan the item again though nothing has changed.
    pub wake_at: Option<Timestamp>,
}

impl<E> Default for Plan<E> {
    fn default() -> Self {
        Self { steps: Vec::new(), wake_at: None }
    }
}

/// Carries effects out one after the other.
impl<E> From<Vec<E>> for Plan<E> {
    fn from(effects: Vec<E>) -> Self {
        Self { steps: effects.into_iter().map(|effect| vec![effect]).collect(), wake_at: None }
    }
}

impl<E> Plan<E> {
    /// Adds a step whose effects do not depend on each other.
    #[must_use]
    pub fn then(mut self, side_by_side: Vec<E>) -> Self {
        if !side_by_side.is_empty() {
            self.steps.push(side_by_side);
        }
        self
    }

    /// Plans again at a moment though nothing has changed.
    #[must_use]
    pub fn waking_at(mut self, at: Option<Timestamp>) -> Self {
        self.wake_at = at;
        self
    }

    /// Tells whether there is nothing to do now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Something a plan does to the world outside. Mostly a [`Write`].
pub trait Effect: Send + Sync + 'static {
    /// What the controller learns from the answer.
    type Object: Send + 'static;

    /// Does it and returns what is known of the objects afterwards.
    fn carry_out(
        &self,
        client: &kube::Client,
    ) -> impl Future<Output = Result<Vec<Change<Self::Object>>, kube::Error>> + Send;
}

/// A controller: its world, which items a change concerns, and what an item needs. It never waits.
pub trait Controller: Send + 'static {
    /// Something to plan for.
    type Item: Clone + Ord + std::fmt::Debug + Send + Sync + 'static;
    /// Any object of the watched kinds, or whatever else it learns of.
    type Object: Send + 'static;
    /// What it does; [`Write`] for most.
    type Effect: Effect<Object = Self::Object>;

    /// Takes a change into the world and returns the items it may concern.
    fn learn(&mut self, change: Change<Self::Object>) -> Vec<Self::Item>;

    /// Tells whether an item is better planned when nothing else waits, because one plan answers many changes: a report.
    #[must_use]
    fn can_wait(_item: &Self::Item) -> bool {
        false
    }

    /// Plans an item from the world.
    fn plan(&self, item: &Self::Item, now: Timestamp) -> Plan<Self::Effect>;

    /// Hears that a round of an item begins, for figures.
    fn hear_of_begin(&self, _item: &Self::Item) {}

    /// Hears how a round of an item went, for figures.
    fn hear_of(&self, _round: &Round<'_, Self::Item>) {}
}

/// One round of an item: its plan, and carrying it out.
#[derive(Debug)]
pub struct Round<'a, I> {
    /// The item.
    pub item: &'a I,
    /// What came of it.
    pub result: RoundResult,
    /// How long it took.
    pub took: Duration,
    /// When it is planned again though nothing changes.
    pub wake_at: Option<Timestamp>,
    /// Items that are still under way.
    pub n_running: usize,
}

/// What came of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundResult {
    /// Everything was done.
    Success,
    /// It was planned on outdated state, and is planned again.
    Outdated,
    /// A write failed.
    Failed,
}
