//! How big strategies may be.

use stolos_api::update::{MAX_GROUPS_PER_STAGE, MAX_STAGES};

/// Most members of a stage that are updated at a time (update-run docs).
pub const MAX_STAGE_CONCURRENCY: i32 = 50;

/// How big strategies may be. Who runs the hub can ask for less than the definitions of the kinds allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategyLimits {
    /// Most stages of a strategy.
    pub stages: usize,
    /// Most groups of a stage.
    pub groups_per_stage: usize,
    /// Most members of a stage that are updated at a time, also where the strategy does not say it.
    pub stage_concurrency: i32,
}

impl Default for StrategyLimits {
    fn default() -> Self {
        Self {
            stages: MAX_STAGES,
            groups_per_stage: MAX_GROUPS_PER_STAGE,
            stage_concurrency: MAX_STAGE_CONCURRENCY,
        }
    }
}

impl StrategyLimits {
    /// Says how many stages a strategy may have.
    pub(super) fn of_stages(&self) -> String {
        let why = why(self.stages < MAX_STAGES, "--max-stages");
        format!("1 to {} entries{why}", self.stages)
    }

    /// Says how many groups a stage may have.
    pub(super) fn of_groups(&self) -> String {
        let why = why(self.groups_per_stage < MAX_GROUPS_PER_STAGE, "--max-groups-per-stage");
        format!("at most {} entries{why}", self.groups_per_stage)
    }

    /// Says how many members of a stage may be updated at a time.
    pub(super) fn of_concurrency(&self) -> String {
        let why = why(self.stage_concurrency < MAX_STAGE_CONCURRENCY, "--max-stage-concurrency");
        let most = self.stage_concurrency;
        format!("a number of members from 1 to {most}{why}, or a percentage from 1% to 100%")
    }
}

/// Who wonders about a number that is in no documentation learns where it is from.
fn why(lowered: bool, option: &str) -> String {
    if lowered { format!(" (the hub runs with {option})") } else { String::new() }
}
