//! How members stand to a goal before any run exists: the engine's own rules, for those who decide whether to make a run.

use std::collections::{BTreeMap, BTreeSet};

use stolos_api::update::{ManagedClusterUpdate, UpdateRunStrategy, UpgradeType};

use super::cluster::{Cluster, Member, Power};
use super::goal::{Goal, Verdict};
use super::limits::StrategyLimits;
use super::problem::Problem;
use super::sequence::Sequence;

/// How a cluster stands to a goal, whatever else is done to it at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A run would leave it alone.
    AtTarget,
    /// A run would upgrade it, at once or after a wait.
    Behind,
    /// A run could only fail it, for this reason.
    Impossible(String),
}

/// Says how a cluster stands to a goal. For goals with a version, only the version counts.
pub(crate) fn standing(update: &ManagedClusterUpdate, cluster: &Cluster) -> Option<Standing> {
    let goal = Goal::parse(update, &mut Vec::new())?;
    let goal = match update.upgrade.upgrade_type {
        UpgradeType::NodeImageOnly => goal,
        UpgradeType::Full | UpgradeType::ControlPlaneOnly => goal.without_images(),
    };
    let at_rest = Cluster { power: Power::Running, hold: None, ..cluster.clone() };
    Some(match goal.assess(&at_rest, &[]) {
        Verdict::Skip { .. } => Standing::AtTarget,
        Verdict::Wait { .. } | Verdict::Start { .. } => Standing::Behind,
        Verdict::Fail { message, .. } => Standing::Impossible(message),
    })
}

/// Returns the members that a run with this strategy would take; without a strategy, all.
pub(crate) fn covered(
    strategy: Option<&UpdateRunStrategy>,
    limits: StrategyLimits,
    members: &BTreeMap<String, Member>,
) -> Result<BTreeSet<String>, Vec<Problem>> {
    const FIELD: &str = "spec.strategy";
    let mut problems = Vec::new();
    let sequence = Sequence::parse(strategy, FIELD, limits, &mut problems);
    let members = members.iter().map(|(name, member)| (name.as_str(), member)).collect();
    let stages = sequence.fix_members(&members, FIELD, &mut problems, &mut Vec::new());
    if !problems.is_empty() {
        return Err(problems);
    }
    let groups = stages.into_iter().flat_map(|stage| stage.groups);
    Ok(groups.flat_map(|group| group.members).map(|member| member.name).collect())
}
