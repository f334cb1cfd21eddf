//! One step through the current stage: gates, members within their budgets, after gates and wait.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{ErrorDetail, GateTiming, GroupStatus, MemberStatus, StageStatus, State};

use super::cluster::Inspection;
use super::gates::{self, Place, earliest};
use super::goal::{Goal, Verdict};
use super::image::NodeImage;
use super::sequence;
use super::states::{
    all_final, all_passed, all_skipped, any_pending, count, count_failures, derive_skipped,
    derive_stage, enter, is_passed, is_through, members, stage_failed,
};
use super::{Observed, Run, code, id};

/// What a step reads, and the moment at which the next one is due.
pub(super) struct Step<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) observed: &'a Observed,
    pub(super) goal: &'a Goal,
    /// The node images of the run, where it chose some for all members.
    pub(super) images: Vec<NodeImage>,
    /// Nothing new begins.
    pub(super) stop: bool,
    pub(super) now: Timestamp,
    pub(super) wake_at: Option<Timestamp>,
}

/// What came of looking for the next member of a group.
enum Picked {
    /// This one began.
    Began(usize),
    /// This one can never be upgraded as the run wants it.
    Failed(usize),
    /// None can begin in this step.
    Nothing,
}

impl Step<'_> {
    /// Moves a stage as far as it goes.
    pub(super) fn advance(&mut self, stage: &mut StageStatus, sequence: &sequence::Stage) {
        count_failures(stage);
        derive_skipped(stage, true, self.now);
        if is_passed(stage.status.state) {
            return;
        }
        if !self.stop && !stage_failed(stage) && self.pass_before_gates(stage, sequence) {
            stage.status.start_time.get_or_insert(MicroTime(self.now));
            self.update_members(stage, sequence);
            count_failures(stage);
            if !stage_failed(stage) {
                self.finish(stage, sequence);
            }
        }
        if self.stop {
            self.stop_members(stage);
        }
        derive_stage(stage, self.stop, self.now);
    }

    fn pass_before_gates(&mut self, stage: &mut StageStatus, sequence: &sequence::Stage) -> bool {
        let name = &stage.name;
        let place = Place { stage: name, group: None, timing: GateTiming::Before };
        self.visit_gates(place, &sequence.before_gates, &mut stage.before_gates)
    }

    fn update_members(&mut self, stage: &mut StageStatus, sequence: &sequence::Stage) {
        let mut open = Vec::new();
        for (group, sequence) in stage.groups.iter_mut().zip(&sequence.groups) {
            let timing = GateTiming::Before;
            let place = Place { stage: &stage.name, group: Some(&group.name), timing };
            let arrives = !all_final(group) || any_pending(&group.before_gates);
            open.push(
                arrives && self.visit_gates(place, &sequence.before_gates, &mut group.before_gates),
            );
        }
        self.pick(stage, &open);
    }

    /// Begins members, one of each open group in turn, until the budgets are used up or nothing can begin.
    fn pick(&mut self, stage: &mut StageStatus, open: &[bool]) {
        let mut running = members(stage).filter(|m| m.status.state == State::Running).count();
        let stage_limit = limit(stage.max_concurrency);
        let mut next: Vec<Option<usize>> = open.iter().map(|open| open.then_some(0)).collect();
        while next.iter().any(Option::is_some) {
            for (index, next) in next.iter_mut().enumerate() {
                let Some(from) = *next else { continue };
                if running >= stage_limit {
                    return;
                }
                *next = match self.pick_one(&mut stage.groups[index], from) {
                    Picked::Began(index) => {
                        running += 1;
                        Some(index + 1)
                    }
                    Picked::Failed(index) => {
                        count_failures(stage);
                        if stage_failed(stage) {
                            return;
                        }
                        Some(index + 1)
                    }
                    Picked::Nothing => None,
                };
            }
        }
    }

    /// Goes through a group's members from `from` on until one begins or fails.
    fn pick_one(&mut self, group: &mut GroupStatus, from: usize) -> Picked {
        if count(&group.members, State::Running) >= limit(group.max_concurrency) {
            return Picked::Nothing;
        }
        for (index, member) in group.members.iter_mut().enumerate().skip(from) {
            match member.status.state {
                State::NotStarted | State::Pending | State::Stopped => {}
                State::Running
                | State::Stopping
                | State::Skipped
                | State::Failed
                | State::Completed => continue,
            }
            match self.reach(member) {
                State::Running => return Picked::Began(index),
                State::Failed => return Picked::Failed(index),
                State::NotStarted
                | State::Pending
                | State::Skipped
                | State::Stopping
                | State::Stopped
                | State::Completed => {}
            }
        }
        Picked::Nothing
    }

    /// Decides about a member whose turn has come.
    fn reach(&mut self, member: &mut MemberStatus) -> State {
        match self.assess(&member.name) {
            Verdict::Start { target, message } => {
                member.attempt += 1;
                let id = id::operation_id(self.run.uid, &member.name, member.attempt);
                member.operation_id = Some(id);
                member.target = Some(target);
                member.message = message;
                member.status.error = None;
                member.status.start_time = Some(MicroTime(self.now));
                enter(&mut member.status, State::Running, self.now);
            }
            Verdict::Skip(message) => {
                member.message = Some(message);
                member.status.error = None;
                enter(&mut member.status, State::Skipped, self.now);
            }
            Verdict::Wait { code, message } => {
                member.message = Some(format!(
                    "set member: {} to Pending due to failed validation err: {message}",
                    member.name
                ));
                member.status.error = Some(error(code, message));
                enter(&mut member.status, State::Pending, self.now);
            }
            Verdict::Fail { code, message } => {
                member.message = Some(message.clone());
                member.status.error = Some(error(code, message));
                enter(&mut member.status, State::Failed, self.now);
            }
        }
        member.status.state
    }

    fn assess(&self, name: &str) -> Verdict {
        let Some(member) = self.observed.members.get(name) else {
            return Verdict::Skip("the member left the fleet".into());
        };
        if let Some(holder) = member.holder.as_ref().filter(|holder| holder.uid != self.run.uid) {
            let message =
                format!("the cluster is being updated by update run `{}`", holder.update_run);
            return Verdict::Wait { code: code::CLUSTER_BUSY, message };
        }
        match &member.cluster {
            Inspection::Known(cluster) => self.goal.assess(cluster, &self.images),
            Inspection::Unknown(reason) => {
                Verdict::Wait { code: code::CLUSTER_NOT_REACHABLE, message: reason.clone() }
            }
        }
    }

    /// After gates of groups whose members are through; after the last of them the stage's own, and its wait.
    fn finish(&mut self, stage: &mut StageStatus, sequence: &sequence::Stage) {
        let timing = GateTiming::After;
        for (group, sequence) in stage.groups.iter_mut().zip(&sequence.groups) {
            if all_final(group) && !all_skipped(group) {
                let place = Place { stage: &stage.name, group: Some(&group.name), timing };
                self.visit_gates(place, &sequence.after_gates, &mut group.after_gates);
            }
        }
        if !stage.groups.iter().all(is_through) || stage.groups.iter().all(all_skipped) {
            return;
        }
        let place = Place { stage: &stage.name, group: None, timing };
        self.visit_gates(place, &sequence.after_gates, &mut stage.after_gates);
        let Some(wait) = &mut stage.after_stage_wait_status else { return };
        if is_passed(wait.status.state) {
            return;
        }
        enter(&mut wait.status, State::Running, self.now);
        let begun = wait.status.start_time.get_or_insert(MicroTime(self.now)).0;
        let duration = SignedDuration::from_secs(wait.wait_duration_in_seconds.into());
        let end = begun.checked_add(duration).unwrap_or(Timestamp::MAX);
        if end <= self.now {
            enter(&mut wait.status, State::Completed, self.now);
        } else {
            self.wake_at = earliest(self.wake_at, Some(end));
        }
    }

    /// Members that a stopped stage did not get to.
    fn stop_members(&self, stage: &mut StageStatus) {
        if stage.status.start_time.is_none() {
            return;
        }
        for member in stage.groups.iter_mut().flat_map(|group| &mut group.members) {
            if matches!(member.status.state, State::NotStarted | State::Pending) {
                member.status.error = None;
                member.message = None;
                enter(&mut member.status, State::Stopped, self.now);
            }
        }
    }

    fn visit_gates(
        &mut self,
        place: Place<'_>,
        configurations: &[stolos_api::update::GateConfiguration],
        statuses: &mut [stolos_api::update::StageGateStatus],
    ) -> bool {
        let wake_at =
            gates::visit(place, configurations, statuses, self.run, self.observed, self.now);
        self.wake_at = earliest(self.wake_at, wake_at);
        all_passed(statuses)
    }
}

fn error(code: &str, message: String) -> ErrorDetail {
    ErrorDetail { code: code.into(), message, ..ErrorDetail::default() }
}

fn limit(concurrency: i32) -> usize {
    to_usize(concurrency).max(1)
}

fn to_usize(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
