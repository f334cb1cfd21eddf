//! The runs that a profile has made, and what they say about members.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use stolos_api::update::{
    AUTO_UPGRADE_PROFILE_LABEL, LEFT_OUT_ANNOTATION, ManagedClusterUpdate, RunState,
    SkipTargetType, State, UpdateRun, UpgradeType,
};

use super::ATTEMPT_ANNOTATION;
use crate::update::version::Version;

/// A run and its name within the fleet.
pub(super) type Named<'a> = (&'a str, &'a UpdateRun);

/// The runs of a profile, oldest first.
pub(super) struct History<'a>(Vec<Named<'a>>);

impl<'a> History<'a> {
    pub(super) fn of(profile: &str, runs: &'a BTreeMap<String, Arc<UpdateRun>>) -> Self {
        let mut runs: Vec<Named<'a>> = (runs.iter())
            .filter(|(_, run)| made_by(run) == Some(profile))
            .map(|(name, run)| (name.as_str(), run.as_ref()))
            .collect();
        runs.sort_by_key(|(name, run)| (created(run), attempt(run), *name));
        Self(runs)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Named<'a>> + '_ {
        self.0.iter().copied()
    }

    /// Returns the runs for a goal.
    pub(super) fn for_goal(&self, update: &ManagedClusterUpdate) -> Vec<Named<'a>> {
        self.iter().filter(|(_, run)| run.spec.managed_cluster_update == *update).collect()
    }

    /// Returns a run that is started and has not come to its end.
    pub(super) fn open(&self) -> Option<Named<'a>> {
        self.iter().find(|(_, run)| is_open(run))
    }

    /// Returns the run that was made last, of those that were started.
    pub(super) fn newest_started(&self) -> Option<Named<'a>> {
        self.iter().rfind(|(_, run)| run.spec.state != RunState::Initialize)
    }

    /// Returns when the control planes came to a version by a run of their own, where that was the last thing done.
    pub(super) fn control_planes_done(&self) -> Option<(Version, Timestamp)> {
        let (_, run) = self.newest_started()?;
        let upgrade = &run.spec.managed_cluster_update.upgrade;
        if upgrade.upgrade_type != UpgradeType::ControlPlaneOnly || state(run) != State::Completed {
            return None;
        }
        Some((upgrade.kubernetes_version.as_deref()?.parse().ok()?, completed(run)?))
    }
}

fn made_by(run: &UpdateRun) -> Option<&str> {
    run.metadata.labels.as_ref()?.get(AUTO_UPGRADE_PROFILE_LABEL).map(String::as_str)
}

pub(super) fn created(run: &UpdateRun) -> Timestamp {
    run.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// Returns how many runs for the same goal there were before.
pub(super) fn attempt(run: &UpdateRun) -> u32 {
    annotation(run, ATTEMPT_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn annotation<'a>(run: &'a UpdateRun, key: &str) -> Option<&'a str> {
    run.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn state(run: &UpdateRun) -> State {
    run.status.as_ref().map(|status| status.status.state).unwrap_or_default()
}

/// Returns when a run came to its end.
pub(super) fn completed(run: &UpdateRun) -> Option<Timestamp> {
    Some(run.status.as_ref()?.status.completed_time.as_ref()?.0)
}

fn is_deleting(run: &UpdateRun) -> bool {
    run.metadata.deletion_timestamp.is_some()
}

/// Whether a run has come to its end.
pub(super) fn is_finished(run: &UpdateRun) -> bool {
    let starts_again = run.status.as_ref().is_some_and(|s| run.spec.restarts > s.observed_restarts);
    match state(run) {
        State::Completed | State::Skipped => !is_deleting(run),
        State::Failed => !is_deleting(run) && !starts_again,
        State::NotStarted | State::Running | State::Pending | State::Stopping | State::Stopped => {
            false
        }
    }
}

fn is_open(run: &UpdateRun) -> bool {
    is_deleting(run) || (run.spec.state != RunState::Initialize && !is_finished(run))
}

/// Whether a run waits for somebody to start it.
pub(super) fn is_prepared(run: &UpdateRun) -> bool {
    run.spec.state == RunState::Initialize && !is_deleting(run) && !is_finished(run)
}

/// What a finished run did about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The run does not know the member, or the profile left it out.
    None,
    /// A person left it out.
    SkippedByPerson,
    /// Its turn came.
    Tried,
}

/// Says what a run did about a member.
pub(super) fn treatment(run: &UpdateRun, member: &str) -> Treatment {
    let left_out = annotation(run, LEFT_OUT_ANNOTATION).unwrap_or_default();
    if left_out.split(',').any(|name| name == member) {
        return Treatment::None;
    }
    let stages = run.status.iter().flat_map(|status| &status.stages);
    for stage in stages {
        for group in &stage.groups {
            let Some(found) = group.members.iter().find(|other| other.name == member) else {
                continue;
            };
            let names = [
                (SkipTargetType::Member, member),
                (SkipTargetType::Group, group.name.as_str()),
                (SkipTargetType::Stage, stage.name.as_str()),
            ];
            let asked = run.spec.skip.iter().any(|skip| {
                names.iter().any(|(kind, name)| skip.target_type == *kind && skip.name == *name)
            });
            return if asked && found.status.state == State::Skipped {
                Treatment::SkippedByPerson
            } else {
                Treatment::Tried
            };
        }
    }
    Treatment::None
}
