//! Update runs: which member is upgraded next, what a run waits for, and how it stands.
//!
//! [`plan`] is the whole engine. It reads a run, what is observed of its members, operations and gates, and the time,
//! and returns what to do, the run's new status and the reasons. The status is the engine's only memory. A shell
//! writes the status first and calls the upgrade provider afterwards; everything in a [`Plan`] may be done twice
//! without harm, because operations and gates have names that follow from what they are for.
//!
//! A run goes through its stages one after another, through the groups of a stage side by side, and through the
//! members of a group within the group's concurrency and what the stage has left.
//! Rules: update-orchestration.md, sections 1 to 6, 8 and 12.

mod advance;
mod amount;
mod calendar;
pub mod cluster;
pub mod code;
mod events;
mod figures;
mod fleet;
mod forecast;
mod gates;
mod goal;
mod health;
pub mod id;
pub mod image;
pub mod invariants;
mod leave;
mod limits;
pub(crate) mod outlook;
mod plan;
pub mod preflight;
pub mod probe;
mod problem;
mod reach;
mod retry;
mod roll;
mod rollback;
pub mod selector;
mod sequence;
mod skip;
mod states;
pub mod validate;
pub mod version;
pub mod window;

use std::collections::BTreeMap;

use jiff::Timestamp;
use stolos_api::update::{
    Gate, GateSpec, GateState, MemberTarget, UpdateRunSpec, UpdateRunStatus, UpdateRunStrategy,
};

pub use crate::event::{Event, Severity};
pub use figures::{Ended, Figures, Turnover, figures, turnover};
pub use fleet::Members;
pub use forecast::{Durations, Forecast, GateForecast, MemberForecast, StageForecast, forecast};
pub use health::deadline as health_deadline;
pub use leave::has_left;
pub use limits::{MAX_STAGE_CONCURRENCY, StrategyLimits};
pub use plan::{plan, plan_from};
pub use problem::Problem;
pub use retry::retry;
pub use rollback::is_awaited as awaits_rollback;

/// An update run as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Name of the run within its fleet.
    pub name: &'a str,
    /// Uid of the object.
    pub uid: &'a str,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// What its author wants.
    pub spec: &'a UpdateRunSpec,
    /// What happened so far.
    pub status: Option<&'a UpdateRunStatus>,
    /// The strategy that `spec.strategyName` names, where it exists.
    pub strategy: Option<&'a UpdateRunStrategy>,
    /// How big its strategy may be.
    pub limits: StrategyLimits,
    /// Whether the object is being deleted: members in flight come to their end, nothing begins.
    pub deleting: bool,
}

/// The world around a run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Members of the fleet by their name within it.
    pub members: Members,
    /// Upgrades that the providers know, by operation id. A missing one has not been started.
    pub operations: BTreeMap<String, cluster::Operation>,
    /// Gates of the run by their name within the fleet.
    pub gates: BTreeMap<String, Gate>,
}

/// What to do for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The run's new status. It is written before anything is started.
    pub status: UpdateRunStatus,
    /// Upgrades to start. The run must hold the lease of a member before the status is written.
    pub start: Vec<Start>,
    /// Leases to give back after the status is written: the run does not update these members.
    pub release: Vec<String>,
    /// Gates to create or change.
    pub gates: Vec<GateAction>,
    /// What happened in this step that a person may want to know.
    pub events: Vec<Event>,
    /// When to plan again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// An upgrade to start. Starting it again does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Name of the member within the fleet.
    pub member: String,
    /// The attempt.
    pub operation_id: String,
    /// What the member is brought to.
    pub target: MemberTarget,
}

/// A change of a gate.
#[derive(Clone, Debug, PartialEq)]
pub enum GateAction {
    /// Create the gate, pending.
    Create {
        /// Name within the fleet.
        id: String,
        /// The gate.
        spec: Box<GateSpec>,
    },
    /// Write the gate's state.
    SetState {
        /// Name within the fleet.
        id: String,
        /// The state.
        state: GateState,
    },
}

#[cfg(test)]
mod tests;
