//! Auto-upgrade profiles: which update run a profile makes, when it starts it, and what it waits for.
//!
//! [`plan`] is the whole engine. It reads a profile, what is published, how the fleet's members are, the fleet's runs and
//! the time, and returns what to do, the profile's new status and the reasons. What a profile has done is read from the
//! runs that it made, so nothing is lost or done twice when a write fails: a run's name follows from what it is for.
//!
//! A profile with `reconcile: Drift` compares members with its channel's target and catches up whatever is behind, within
//! limits: never while a run of it is open, never what a person left out, and what failed only so often, after growing
//! pauses. With `reconcile: Published` it acts once on each publication.
//! Rules: update-orchestration.md, sections 8.2, 8.3, 10 and 13.

mod catalogue;
mod channel;
mod code;
mod due;
mod goal;
mod history;
mod name;
mod plan;
mod report;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use stolos_api::update::{
    AutoUpgradeProfileSpec, AutoUpgradeProfileStatus, UpdateRun, UpdateRunSpec, UpdateRunStrategy,
    VersionCatalogueSpec,
};

pub use plan::plan;

use crate::update::StrategyLimits;
use crate::update::cluster::Member;

/// Annotation on runs that a profile made: how many runs for the same goal it had made before.
pub const ATTEMPT_ANNOTATION: &str = "fleet.stolos.dev/auto-upgrade-attempt";

/// An auto-upgrade profile as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// Name of the profile within its fleet.
    pub name: &'a str,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// What its author wants.
    pub spec: &'a AutoUpgradeProfileSpec,
    /// What it did so far.
    pub status: Option<&'a AutoUpgradeProfileStatus>,
}

/// The world around a profile.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Members of the fleet by their name within it.
    pub members: BTreeMap<String, Member>,
    /// The catalogues of the fleet's namespace.
    pub catalogues: Vec<VersionCatalogueSpec>,
    /// The strategy that `spec.strategyName` names, where it exists.
    pub strategy: Option<UpdateRunStrategy>,
    /// Whether somebody deletes that strategy, which stays while the profile names it.
    pub strategy_is_deleting: bool,
    /// How big strategies may be.
    pub limits: StrategyLimits,
    /// All runs of the fleet by their name within it.
    pub runs: BTreeMap<String, Arc<UpdateRun>>,
}

/// What to do for a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The profile's new status.
    pub status: AutoUpgradeProfileStatus,
    /// What to do to runs.
    pub actions: Vec<Action>,
    /// When to plan again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// A change of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create a run.
    Create(Box<NewRun>),
    /// Start a run that was created without being started.
    Start {
        /// Name within the fleet.
        run: String,
        /// Members to add to those that are left out.
        left_out: Vec<String>,
    },
    /// Start a failed run again.
    Restart {
        /// Name within the fleet.
        run: String,
        /// Its new `spec.restarts`.
        restarts: i32,
        /// Members to add to those that are left out.
        left_out: Vec<String>,
    },
    /// Delete a finished run.
    Delete {
        /// Name within the fleet.
        run: String,
    },
}

/// A run to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Name within the fleet.
    pub name: String,
    /// The run.
    pub spec: UpdateRunSpec,
    /// Members that are left out because the upgrade is not possible for them.
    pub left_out: Vec<String>,
    /// How many runs for the same goal the profile had made before.
    pub attempt: u32,
    /// Why the run is made, for people.
    pub reason: String,
}

#[cfg(test)]
mod tests;
