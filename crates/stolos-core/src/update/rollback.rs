//! Putting members back to what they were before the run updated them, after a gate has failed that asks for it.
//!
//! Only members that the run itself has updated behind the gate, and that are still as the run has left them. Each goes back
//! within the budgets of its stage and group, at most once for each attempt. What cannot go back stays as it is and says
//! why.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorCause, ErrorDetail, GateConfiguration, GroupStatus, MemberPrevious, MemberRollback,
    MemberStatus, MemberTarget, OnHealthFailure, StageGateStatus, StageStatus, State,
    UpdateRunStrategy, UpgradeType,
};

use super::advance::{Budget, Step};
use super::cluster::{Cluster, Inspection, Member, Power};
use super::gates::earliest;
use super::image::NodeImage;
use super::roll::Roll;
use super::states::{enter, members, stage_failed};
use super::{code, id, sequence};

/// How long a cluster is waited for that cannot be put back at the moment: an upgrade of it by somebody else is over by
/// then, and whoever waits for the end of the run gets an answer.
const PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// Most members that are told in one message; the rest are counted.
const MAX_TOLD: usize = 3;

/// What becomes of a member that is to be put back.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// It goes back to this.
    Begin(MemberTarget),
    /// Something outside has to happen first.
    Wait { code: &'static str, message: String },
    /// It stays as it is.
    Leave { code: &'static str, message: String },
}

/// Whether a member waits to be put back.
pub fn is_awaited(member: &MemberStatus) -> bool {
    let state = member.rollback.as_ref().map(|rollback| rollback.status.state);
    matches!(state, Some(State::NotStarted | State::Pending))
}

/// Whether the member is being put back.
pub(super) fn is_under_way(member: &MemberStatus) -> bool {
    member.rollback.as_ref().is_some_and(|rollback| rollback.status.state == State::Running)
}

impl Step<'_> {
    /// Puts members back behind the gates of a stage that have failed and ask for it.
    pub(super) fn put_back(
        &mut self,
        stage: &mut StageStatus,
        rolls: &mut [Roll],
        sequence: &sequence::Stage,
    ) {
        if !stage_failed(stage, rolls) {
            return;
        }
        for (group, sequence) in stage.groups.iter_mut().zip(&sequence.groups) {
            let gate = failed(&mut group.after_gates, &sequence.after_gates).next();
            if let Some(gate) = gate.map(|gate| name(gate)) {
                mark(group, &gate);
            }
        }
        let gate = failed(&mut stage.after_gates, &sequence.after_gates).next();
        if let Some(gate) = gate.map(|gate| name(gate)) {
            stage.groups.iter_mut().for_each(|group| mark(group, &gate));
        }
        let mut budget = Budget::of(stage, rolls);
        for (index, (group, roll)) in stage.groups.iter_mut().zip(rolls).enumerate() {
            let awaited = |place: &usize| is_awaited(&group.members[*place]);
            let awaited: Vec<usize> = (0..group.members.len()).filter(awaited).collect();
            for place in awaited {
                let has_room = budget.has_room(index);
                let begins = roll.change(&mut group.members, place, |member| {
                    self.put_member_back(member, has_room)
                });
                if begins {
                    budget.take(index);
                }
            }
        }
        pause(stage, sequence, self.now);
    }

    /// Returns whether the member begins to go back.
    fn put_member_back(&mut self, member: &mut MemberStatus, has_room: bool) -> bool {
        let verdict = assess(member, self.observed.members.get(&member.name), self.run.uid);
        let Some(rollback) = &mut member.rollback else { return false };
        match verdict {
            Verdict::Begin(_) if !has_room => {
                rollback.status.error = None;
                enter(&mut rollback.status, State::NotStarted, self.now);
            }
            Verdict::Begin(target) => {
                rollback.status.error = None;
                rollback.status.start_time = Some(MicroTime(self.now));
                enter(&mut rollback.status, State::Running, self.now);
                member.operation_id =
                    Some(id::rollback_id(self.run.uid, &member.name, member.attempt));
                member.target = Some(target);
                member.status.error = None;
                member.status.start_time = Some(MicroTime(self.now));
                enter(&mut member.status, State::Running, self.now);
                tell(member, None);
                return true;
            }
            Verdict::Wait { code, message } => {
                let since = rollback.status.start_time.get_or_insert(MicroTime(self.now)).0;
                let until = since.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
                rollback.status.error = Some(error(code, message));
                let state = if until <= self.now { State::Skipped } else { State::Pending };
                enter(&mut rollback.status, state, self.now);
                if state == State::Pending {
                    self.wake_at = earliest(self.wake_at, Some(until));
                }
            }
            Verdict::Leave { code, message } => {
                rollback.status.error = Some(error(code, message));
                enter(&mut rollback.status, State::Skipped, self.now);
            }
        }
        false
    }
}

/// Returns the stages and groups of a strategy whose members are put back when a gate fails.
pub(super) fn guarded(strategy: &UpdateRunStrategy) -> Vec<String> {
    let stages = strategy.stages.iter().flat_map(|stage| {
        let own = stage.after_gates.iter().any(asks).then(|| format!("stage `{}`", stage.name));
        let groups = stage.groups.iter().filter(|group| group.after_gates.iter().any(asks));
        own.into_iter().chain(groups.map(|group| format!("group `{}`", group.name)))
    });
    stages.collect()
}

/// Whether members are put back when a gate fails.
fn asks(gate: &GateConfiguration) -> bool {
    let health = gate.health_check.as_ref();
    health.is_some_and(|health| health.on_failure == Some(OnHealthFailure::Rollback))
}

/// Returns the gates that have failed and ask for members to be put back.
fn failed<'a>(
    statuses: &'a mut [StageGateStatus],
    configurations: &'a [GateConfiguration],
) -> impl Iterator<Item = &'a mut StageGateStatus> {
    let gates = statuses.iter_mut().zip(configurations);
    gates
        .filter(|(gate, asked)| gate.status.state == State::Failed && asks(asked))
        .map(|(gate, _)| gate)
}

fn name(gate: &StageGateStatus) -> String {
    let name = gate.display_name.as_ref().or(gate.gate_id.as_ref());
    format!("gate `{}`", name.map(String::as_str).unwrap_or_default())
}

/// Notes the members that the run has updated, each once for each attempt.
fn mark(group: &mut GroupStatus, gate: &str) {
    for member in group.members.iter_mut().filter(|member| is_updated(member)) {
        let attempt = member.attempt;
        if member.rollback.as_ref().is_none_or(|rollback| rollback.attempt != attempt) {
            member.rollback = Some(MemberRollback {
                attempt,
                gate: gate.to_owned(),
                ..MemberRollback::default()
            });
        }
    }
}

fn is_updated(member: &MemberStatus) -> bool {
    member.status.state == State::Completed && member.attempt > 0 && member.previous.is_some()
}

/// Lets gates wait for somebody that have failed in this plan and behind which members were updated and none can be put back.
fn pause(stage: &mut StageStatus, sequence: &sequence::Stage, now: Timestamp) {
    let all: Vec<&MemberStatus> = members(stage).collect();
    let of_stage = stuck(&all);
    for (group, sequence) in stage.groups.iter_mut().zip(&sequence.groups) {
        let stuck = stuck(&group.members.iter().collect::<Vec<_>>());
        wait_for_somebody(failed(&mut group.after_gates, &sequence.after_gates), stuck, now);
    }
    wait_for_somebody(failed(&mut stage.after_gates, &sequence.after_gates), of_stage, now);
}

fn wait_for_somebody<'a>(
    gates: impl Iterator<Item = &'a mut StageGateStatus>,
    stuck: Option<String>,
    now: Timestamp,
) {
    let Some(stuck) = stuck else { return };
    // Once somebody was waited for, the gate stays failed: it may have been completed in vain meanwhile.
    for gate in gates.filter(|gate| gate.status.completed_time == Some(MicroTime(now))) {
        if let Some(error) = &mut gate.status.error {
            error.message = format!(
                "{}; no member can be put back: {stuck}; complete the gate to go on",
                error.message
            );
        }
        enter(&mut gate.status, State::Pending, now);
    }
}

/// Says why none of these members goes back; `None` when one does, or there is none to go back.
fn stuck(members: &[&MemberStatus]) -> Option<String> {
    let meant = members.iter().filter_map(|member| {
        let rollback = member.rollback.as_ref()?;
        (rollback.attempt == member.attempt).then_some((&member.name, &rollback.status))
    });
    let meant: Vec<_> = meant.collect();
    if meant.is_empty() || meant.iter().any(|(_, status)| status.state != State::Skipped) {
        return None;
    }
    let told = meant.iter().take(MAX_TOLD).map(|(name, status)| {
        let why = status.error.as_ref().map(|error| error.message.as_str());
        format!("`{name}`: {}", why.unwrap_or_default())
    });
    let told = told.collect::<Vec<_>>().join("; ");
    let rest = meant.len().saturating_sub(MAX_TOLD);
    Some(if rest > 0 { format!("{told}; and {rest} more") } else { told })
}

/// Decides whether and to what a member can be put back as its cluster is.
fn assess(member: &MemberStatus, seen: Option<&Member>, run_uid: &str) -> Verdict {
    let same = |seen: &&Member| {
        member.cluster_resource_id.as_ref().is_none_or(|id| *id == seen.cluster_resource_id)
    };
    let Some(seen) = seen.filter(same) else {
        let message = "the member left the fleet".into();
        return Verdict::Leave { code: code::MEMBER_LEFT, message };
    };
    if let Some(holder) = seen.holder.as_ref().filter(|holder| holder.uid != run_uid) {
        let message = format!("the cluster is being updated by update run `{}`", holder.update_run);
        return Verdict::Wait { code: code::CLUSTER_BUSY, message };
    }
    let cluster = match &seen.cluster {
        Inspection::Known(cluster) => cluster,
        Inspection::Unknown(reason) => {
            return Verdict::Wait { code: code::CLUSTER_NOT_REACHABLE, message: reason.clone() };
        }
    };
    let (Some(done), Some(previous)) = (&member.target, &member.previous) else {
        let message = "the run does not know what the cluster was".into();
        return Verdict::Leave { code: code::ROLLBACK_NOT_SUPPORTED, message };
    };
    if let Some(message) = moved_on(done, previous, cluster) {
        return Verdict::Leave { code: code::CLUSTER_CHANGED, message };
    }
    let target = match target(done, previous, cluster) {
        Ok(target) => target,
        Err(message) => return Verdict::Leave { code: code::ROLLBACK_NOT_SUPPORTED, message },
    };
    if cluster.power == Power::Stopped {
        let message = "the cluster is stopped".into();
        return Verdict::Wait { code: code::CLUSTER_STOPPED, message };
    }
    match &cluster.hold {
        Some(hold) => Verdict::Wait { code: hold.code, message: hold.message.clone() },
        None => Verdict::Begin(target),
    }
}

/// Says what is different from how the run has left the cluster.
fn moved_on(done: &MemberTarget, previous: &MemberPrevious, cluster: &Cluster) -> Option<String> {
    let left_at = done.kubernetes_version.as_ref().unwrap_or(&previous.kubernetes_version);
    let now = cluster.control_plane.to_string();
    if now != *left_at {
        return Some(format!(
            "the cluster has changed since: its control plane is at {now}, not at {left_at}"
        ));
    }
    cluster.pools.iter().find_map(|pool| {
        let version = pool.version.to_string();
        if let Some(left_at) = &done.kubernetes_version
            && done.upgrade_type == UpgradeType::Full
            && version != *left_at
        {
            return Some(format!(
                "the cluster has changed since: pool `{}` is at {version}, not at {left_at}",
                pool.name
            ));
        }
        let image =
            pool.image.as_ref().filter(|_| !(done.keeps_snapshots && pool.from_snapshot))?;
        let left_with = images(&done.node_images).find(|left| left.family == image.family)?;
        (*image != left_with).then(|| {
            format!(
                "the cluster has changed since: pool `{}` has image {image}, not {left_with}",
                pool.name
            )
        })
    })
}

/// Returns what the cluster goes back to, or why it cannot.
fn target(
    done: &MemberTarget,
    previous: &MemberPrevious,
    cluster: &Cluster,
) -> Result<MemberTarget, String> {
    if let Some(version) = &done.kubernetes_version {
        let before = &previous.kubernetes_version;
        if !cluster.restorable.versions {
            return Err(format!(
                "Kubernetes {version} is not taken back to {before}: the cluster's provider cannot do that"
            ));
        }
        if let Some(pools) = &previous.oldest_pool_version
            && done.upgrade_type == UpgradeType::Full
        {
            return Err(format!(
                "its nodes were at {pools} and its control plane at {before}: both go back to one version only"
            ));
        }
    } else if done.node_images.is_empty() {
        return Err(
            "its provider chose the image, so the run does not know what it has changed".into()
        );
    }
    let before = images(&done.node_images).map(|image| image_before(&image, previous, cluster));
    Ok(MemberTarget {
        upgrade_type: done.upgrade_type,
        kubernetes_version: (done.kubernetes_version.as_ref())
            .map(|_| previous.kubernetes_version.clone()),
        node_images: before.collect::<Result<_, _>>()?,
        keeps_snapshots: done.keeps_snapshots,
        rollback: true,
    })
}

/// Returns the image that the pools had before they got another one of its family.
fn image_before(
    image: &NodeImage,
    previous: &MemberPrevious,
    cluster: &Cluster,
) -> Result<String, String> {
    let family = &image.family;
    let before: Vec<NodeImage> =
        images(&previous.node_images).filter(|before| before.family == *family).collect();
    match &before[..] {
        [before] if cluster.restorable.images.has(before) => Ok(before.to_string()),
        [before] => Err(format!(
            "image {before} is not among those that the cluster's provider can take it back to"
        )),
        [] => Err(format!("the image of family `{family}` that it had is not known")),
        [_, _, ..] => Err(format!("its pools had different images of family `{family}`")),
    }
}

fn images(names: &[String]) -> impl Iterator<Item = NodeImage> {
    names.iter().filter_map(|name| name.parse().ok())
}

/// Says that a member goes back, with what its provider says about it.
pub(super) fn tell(member: &mut MemberStatus, progress: Option<&str>) {
    let Some(rollback) = &member.rollback else { return };
    let progress = progress.map_or_else(String::new, |progress| format!(": {progress}"));
    member.message = Some(format!("goes back, as {} has failed{progress}", rollback.gate));
}

/// Ends the rollback of a member that its provider has ended: as it should, or with a code and a message. The member has
/// failed either way: it is not where the run wants it, and a restart tries it again.
pub(super) fn end(
    member: &mut MemberStatus,
    outcome: Result<Option<String>, (String, String)>,
    now: Timestamp,
) {
    let Some(rollback) = &mut member.rollback else { return };
    let gate = &rollback.gate;
    let error = match outcome {
        Ok(message) => {
            member.message = message;
            enter(&mut rollback.status, State::Completed, now);
            let before = member.target.as_ref().map(|target| {
                let version = target.kubernetes_version.iter();
                version
                    .chain(&target.node_images)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(" and ")
            });
            error(
                code::ROLLED_BACK,
                format!("put back to {}, as {gate} has failed", before.unwrap_or_default()),
            )
        }
        Err((code, message)) => {
            member.message = Some(message.clone());
            let text = format!("could not be put back after {gate} failed: {message}");
            let details = vec![ErrorCause { code, message, target: None }];
            let error = ErrorDetail { details, ..error(code::ROLLBACK_FAILED, text) };
            rollback.status.error = Some(error.clone());
            enter(&mut rollback.status, State::Failed, now);
            error
        }
    };
    member.status.error = Some(error);
    enter(&mut member.status, State::Failed, now);
}

/// Forgets for a restart who is to be put back or stays as it is: the next gate that fails decides anew.
pub(super) fn call_off(group: &mut GroupStatus) {
    for member in &mut group.members {
        if member.status.state == State::Completed {
            member.rollback = None;
        }
    }
}

/// Ends the rollback of a member that is there no longer.
pub(super) fn leave(member: &mut MemberStatus, now: Timestamp) {
    if let Some(rollback) = &mut member.rollback
        && rollback.status.state == State::Running
    {
        rollback.status.error = Some(error(code::MEMBER_LEFT, "the member left the fleet".into()));
        enter(&mut rollback.status, State::Skipped, now);
    }
}

fn error(code: &str, message: String) -> ErrorDetail {
    ErrorDetail { code: code.into(), message, ..ErrorDetail::default() }
}
