//! What a run of a profile is for, and the run itself.

use std::collections::BTreeMap;

use stolos_api::update::{
    AutoUpgradeProfileSpec, CustomNodeImageVersion, ManagedClusterUpdate, ManagedClusterUpgrade,
    MemberSelector, NodeImageSelection, NodeImageSelectionType, RunState, SkipTarget,
    SkipTargetType, UpdateRunSpec, UpdateRunStrategy, UpdateStage, UpgradeType,
};

use super::channel::{Blocked, Target};
use super::code;
use super::standing::Standing;

/// Most entries of a run's `skip` (schema of UpdateRun).
const MAX_SKIP: usize = 500;

/// Most gates in one place (schema of UpdateStage).
const MAX_GATES: usize = 10;

/// Selects every member: none has this label.
const EVERY_MEMBER: &str = "!fleet.stolos.dev/no-member-has-this";

/// Which part of a profile's work a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// All of it.
    Whole,
    /// The control planes, as the first half of a split.
    ControlPlanes,
    /// The nodes, as the second half of a split.
    Nodes,
}

/// Returns the phases of a profile, in their order.
pub(super) fn phases(spec: &AutoUpgradeProfileSpec) -> &'static [Phase] {
    match spec.split {
        Some(_) if !spec.channel.is_for_images() => &[Phase::ControlPlanes, Phase::Nodes],
        _ => &[Phase::Whole],
    }
}

/// What one run is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Goal {
    pub(super) target: Target,
    pub(super) phase: Phase,
    pub(super) update: ManagedClusterUpdate,
}

impl Goal {
    pub(super) fn new(spec: &AutoUpgradeProfileSpec, target: &Target, phase: Phase) -> Self {
        Self { target: target.clone(), phase, update: update(spec, target, phase) }
    }
}

fn update(spec: &AutoUpgradeProfileSpec, target: &Target, phase: Phase) -> ManagedClusterUpdate {
    let select = |selection_type, custom_node_image_versions| NodeImageSelection {
        selection_type,
        custom_node_image_versions,
    };
    match target {
        Target::Version(version) => ManagedClusterUpdate {
            upgrade: ManagedClusterUpgrade {
                upgrade_type: match phase {
                    Phase::Whole | Phase::Nodes => UpgradeType::Full,
                    Phase::ControlPlanes => UpgradeType::ControlPlaneOnly,
                },
                kubernetes_version: Some(version.to_string()),
            },
            node_image_selection: match (&spec.node_image_selection, phase) {
                (Some(wanted), Phase::Whole | Phase::Nodes) => {
                    Some(select(wanted.selection_type, Vec::new()))
                }
                _ => None,
            },
        },
        Target::Images(images) => {
            let pinned =
                images.iter().map(|image| CustomNodeImageVersion { version: image.to_string() });
            ManagedClusterUpdate {
                upgrade: ManagedClusterUpgrade {
                    upgrade_type: UpgradeType::NodeImageOnly,
                    kubernetes_version: None,
                },
                node_image_selection: Some(select(
                    NodeImageSelectionType::Custom,
                    pinned.collect(),
                )),
            }
        }
    }
}

/// Returns the run for a goal, not started, and the members that it leaves out.
pub(super) fn run(
    spec: &AutoUpgradeProfileSpec,
    strategy: Option<&UpdateRunStrategy>,
    goal: &Goal,
    members: &BTreeMap<&str, Standing>,
) -> Result<(UpdateRunSpec, Vec<String>), Blocked> {
    let left_out = left_out(members, &[])?;
    let gated = gated_strategy(spec, strategy, goal.phase)?;
    let skip = left_out
        .iter()
        .map(|name| SkipTarget { target_type: SkipTargetType::Member, name: name.clone() })
        .collect();
    let run = UpdateRunSpec {
        fleet_name: spec.fleet_name.clone(),
        managed_cluster_update: goal.update.clone(),
        strategy_name: if gated.is_some() { None } else { spec.strategy_name.clone() },
        strategy: gated,
        members: Vec::new(),
        member_policy: spec.member_policy,
        preflight: spec.preflight.clone(),
        state: RunState::Initialize,
        restarts: 0,
        skip,
    };
    Ok((run, left_out))
}

/// Returns the members that a run has to leave out in addition to what it leaves out already.
pub(super) fn left_out(
    members: &BTreeMap<&str, Standing>,
    already: &[SkipTarget],
) -> Result<Vec<String>, Blocked> {
    let is_new = |name: &str| !already.iter().any(|skip| skip.name == name);
    let left_out: Vec<String> = members
        .iter()
        .filter(|(name, standing)| matches!(standing, Standing::LeftOut(_)) && is_new(name))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let total = left_out.len() + already.len();
    if total > MAX_SKIP {
        let message = format!(
            "{total} members would have to be left out, a run can leave out {MAX_SKIP}; upgrade some of them by hand, or leave them out of the strategy"
        );
        return Err(Blocked::failure(code::TOO_MANY_LEFT_OUT, message));
    }
    Ok(left_out)
}

/// Returns the profile's strategy behind the gates of a split. A run has either a name or stages, so they are copied.
fn gated_strategy(
    spec: &AutoUpgradeProfileSpec,
    strategy: Option<&UpdateRunStrategy>,
    phase: Phase,
) -> Result<Option<UpdateRunStrategy>, Blocked> {
    let gates = match (&spec.split, phase) {
        (Some(split), Phase::Nodes) if !split.before_nodes.is_empty() => &split.before_nodes,
        _ => return Ok(None),
    };
    let mut strategy = strategy.cloned().unwrap_or_else(one_by_one);
    if let Some(first) = strategy.stages.first_mut() {
        first.before_gates.splice(0..0, gates.iter().cloned());
        if first.before_gates.len() > MAX_GATES {
            let message = format!(
                "split.beforeNodes and the gates before stage `{}` are more than {MAX_GATES} together",
                first.name
            );
            return Err(Blocked::failure(code::INVALID_STRATEGY, message));
        }
    }
    Ok(Some(strategy))
}

/// All members one after another, as a run without a strategy takes them, but with room for a gate.
fn one_by_one() -> UpdateRunStrategy {
    UpdateRunStrategy {
        stages: vec![UpdateStage {
            name: "one-by-one".to_owned(),
            member_selector: Some(MemberSelector { by_label: EVERY_MEMBER.to_owned() }),
            max_concurrency: Some("1".to_owned()),
            ..UpdateStage::default()
        }],
    }
}
