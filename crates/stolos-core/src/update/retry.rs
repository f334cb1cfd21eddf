//! New runs made from old ones.

use stolos_api::update::{
    CustomNodeImageVersion, MemberStatus, NodeImageSelection, NodeImageSelectionType, RunState,
    State, UpdateRunSpec, UpdateRunStatus, UpgradeType,
};

use super::code;
use super::states::members;

/// Returns the spec of a run that tries again what another run did not bring to the goal: the same goal, sequence and
/// rules, over the members that failed, were stopped or were left out for another reason than being there already or
/// somebody's wish. Images that the first run chose for all members are pinned, so that the fleet becomes uniform even
/// if newer images were published in the meantime. The new run is not started.
///
/// `None` when there is nothing to try again.
#[must_use]
pub fn retry(spec: &UpdateRunSpec, status: &UpdateRunStatus) -> Option<UpdateRunSpec> {
    let left: Vec<String> = (status.stages.iter().flat_map(members))
        .filter(|member| is_left_behind(member))
        .map(|member| member.name.clone())
        .collect();
    if left.is_empty() {
        return None;
    }
    let mut next = spec.clone();
    // The copy counts, not what the strategy has become.
    if next.strategy.is_none()
        && let Some(copied) = &status.strategy
    {
        next.strategy = Some(copied.clone());
        next.strategy_name = None;
    }
    if let Some(strategy) = &mut next.strategy {
        for stage in &mut strategy.stages {
            // Numbers were chosen for more members than are left.
            stage.min_successes = None;
            for group in &mut stage.groups {
                group.min_successes = None;
                let fixed = group.max_concurrency.as_ref().is_some_and(|text| !text.ends_with('%'));
                if fixed {
                    group.max_concurrency = None;
                }
            }
        }
    }
    next.managed_cluster_update.node_image_selection =
        pinned(&next, status).or(next.managed_cluster_update.node_image_selection);
    next.members = left;
    next.skip = Vec::new();
    next.state = RunState::Initialize;
    next.restarts = 0;
    Some(next)
}

fn is_left_behind(member: &MemberStatus) -> bool {
    let reason = member.reason.as_deref();
    match member.status.state {
        State::Failed | State::Stopped | State::NotStarted | State::Pending => true,
        State::Skipped => {
            !matches!(reason, Some(code::AT_TARGET | code::SKIPPED_BY_REQUEST | code::MEMBER_LEFT))
        }
        State::Running | State::Stopping | State::Completed => false,
    }
}

fn pinned(spec: &UpdateRunSpec, status: &UpdateRunStatus) -> Option<NodeImageSelection> {
    if spec.managed_cluster_update.upgrade.upgrade_type == UpgradeType::ControlPlaneOnly {
        return None;
    }
    let chosen = &status.node_image_selection.as_ref()?.selected_node_image_versions;
    let images: Vec<CustomNodeImageVersion> = (chosen.iter())
        .map(|image| CustomNodeImageVersion { version: image.version.clone() })
        .collect();
    (!images.is_empty()).then_some(NodeImageSelection {
        selection_type: NodeImageSelectionType::Custom,
        custom_node_image_versions: images,
    })
}
