//! One step through the current stage: gates, members within their budgets, after gates and wait.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{GateTiming, GroupStatus, MemberStatus, StageStatus, State};

use super::gates::{self, Place, earliest};
use super::goal::Goal;
use super::image::NodeImage;
use super::roll::Roll;
use super::sequence;
use super::states::{
    all_passed, any_pending, are_through, count_outcomes, derive_skipped, derive_stage, enter,
    is_passed, stage_failed,
};
use super::{Observed, Run, code};

/// What a step reads, and the moment at which the next one is due.
pub(super) struct Step<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) observed: &'a Observed,
    pub(super) goal: &'a Goal,
    /// The node images of the run, where it chose some for all members.
    pub(super) images: Vec<NodeImage>,
    /// Nothing new begins.
    pub(super) stop: bool,
    /// A restart waits for the members in flight.
    pub(super) restarting: bool,
    pub(super) now: Timestamp,
    pub(super) wake_at: Option<Timestamp>,
}

/// Members that have not begun, in the order in which they are taken.
enum Queue {
    /// By their place in the group, from this one on.
    ByPlace(usize),
    /// In this order.
    Ranked(std::vec::IntoIter<usize>),
}

impl Queue {
    fn next(&mut self, roll: &Roll) -> Option<usize> {
        match self {
            Self::ByPlace(from) => {
                let index = roll.waiting_from(*from)?;
                *from = index + 1;
                Some(index)
            }
            Self::Ranked(members) => members.next(),
        }
    }
}

/// What came of looking for the next member of a group.
enum Picked {
    /// One began.
    Began,
    /// One can never be upgraded as the run wants it.
    Failed,
    /// One is left out although it is not at the goal.
    LeftOut,
    /// None can begin in this step.
    Nothing,
}

/// How many members may still begin in a stage and in each of its groups.
pub(super) struct Budget {
    stage: usize,
    groups: Vec<usize>,
}

impl Budget {
    pub(super) fn of(stage: &StageStatus, rolls: &[Roll]) -> Self {
        let running: Vec<usize> = rolls.iter().map(|roll| roll.count(State::Running)).collect();
        let left = |limit: i32, running: usize| to_usize(limit).max(1).saturating_sub(running);
        Self {
            stage: left(stage.max_concurrency, running.iter().sum()),
            groups: (stage.groups.iter().zip(&running))
                .map(|(group, running)| left(group.max_concurrency, *running))
                .collect(),
        }
    }

    pub(super) fn has_room(&self, group: usize) -> bool {
        self.stage > 0 && self.groups[group] > 0
    }

    pub(super) fn take(&mut self, group: usize) {
        self.stage -= 1;
        self.groups[group] -= 1;
    }
}

impl Step<'_> {
    /// Moves a stage as far as it goes.
    pub(super) fn advance(
        &mut self,
        stage: &mut StageStatus,
        rolls: &mut [Roll],
        sequence: &sequence::Stage,
    ) {
        count_outcomes(stage, rolls);
        derive_skipped(stage, rolls, true, self.now);
        if is_passed(stage.status.state) {
            return;
        }
        if !self.stop && !stage_failed(stage, rolls) && self.pass_before_gates(stage, sequence) {
            stage.status.start_time.get_or_insert(MicroTime(self.now));
            self.update_members(stage, rolls, sequence);
            count_outcomes(stage, rolls);
            if !stage_failed(stage, rolls) {
                self.finish(stage, rolls, sequence);
            }
        }
        if self.stop {
            self.stop_members(stage, rolls);
        } else if !self.restarting {
            self.put_back(stage, rolls, sequence);
            count_outcomes(stage, rolls);
        }
        derive_stage(stage, rolls, self.stop, self.now);
    }

    fn pass_before_gates(&mut self, stage: &mut StageStatus, sequence: &sequence::Stage) -> bool {
        let name = &stage.name;
        let place = Place { stage: name, group: None, timing: GateTiming::Before };
        self.visit_gates(place, &sequence.before_gates, &mut stage.before_gates)
    }

    fn update_members(
        &mut self,
        stage: &mut StageStatus,
        rolls: &mut [Roll],
        sequence: &sequence::Stage,
    ) {
        let mut open = Vec::new();
        let groups = stage.groups.iter_mut().zip(&*rolls).zip(&sequence.groups);
        for ((group, roll), sequence) in groups {
            let timing = GateTiming::Before;
            let place = Place { stage: &stage.name, group: Some(&group.name), timing };
            let arrives = !roll.all_final() || any_pending(&group.before_gates);
            open.push(
                arrives && self.visit_gates(place, &sequence.before_gates, &mut group.before_gates),
            );
        }
        self.pick(stage, rolls, &open);
    }

    /// Begins members, one of each open group in turn, until the budgets are used up or nothing can begin.
    fn pick(&mut self, stage: &mut StageStatus, rolls: &mut [Roll], open: &[bool]) {
        let mut budget = Budget::of(stage, rolls);
        let mut queues: Vec<Option<Queue>> = (stage.groups.iter().zip(&*rolls).enumerate())
            .map(|(index, (group, roll))| {
                let opens = open[index] && budget.has_room(index);
                opens.then(|| self.turns(group, roll))
            })
            .collect();
        while queues.iter().any(Option::is_some) {
            for (index, queue) in queues.iter_mut().enumerate() {
                let Some(turns) = queue.as_mut().filter(|_| budget.has_room(index)) else {
                    *queue = None;
                    continue;
                };
                match self.pick_one(&mut stage.groups[index], &mut rolls[index], turns) {
                    Picked::Began => budget.take(index),
                    Picked::Failed | Picked::LeftOut => {
                        count_outcomes(stage, rolls);
                        if stage_failed(stage, rolls) {
                            return;
                        }
                    }
                    Picked::Nothing => *queue = None,
                }
            }
        }
    }

    /// Returns the members of a group that have not begun, in the order in which they are taken: window open, window
    /// opens soon, no window, window closed; then by name (section 7).
    fn turns(&self, group: &GroupStatus, roll: &Roll) -> Queue {
        // Without windows that order is the one of their places.
        if !self.observed.members.any_windows() {
            return Queue::ByPlace(0);
        }
        let mut turns = roll.waiting().to_vec();
        turns.sort_by_cached_key(|index| self.rank(&group.members[*index].name));
        Queue::Ranked(turns.into_iter())
    }

    /// Goes through a group's members until one begins or ends.
    fn pick_one(&mut self, group: &mut GroupStatus, roll: &mut Roll, turns: &mut Queue) -> Picked {
        while let Some(index) = turns.next(roll) {
            match roll.change(&mut group.members, index, |member| self.reach(member)) {
                State::Running => return Picked::Began,
                State::Failed => return Picked::Failed,
                State::Skipped
                    if group.members[index].reason.as_deref() != Some(code::AT_TARGET) =>
                {
                    return Picked::LeftOut;
                }
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

    /// After gates of groups whose members are through; after the last of them the stage's own, and its wait.
    fn finish(&mut self, stage: &mut StageStatus, rolls: &[Roll], sequence: &sequence::Stage) {
        let timing = GateTiming::After;
        let groups = stage.groups.iter_mut().zip(rolls).zip(&sequence.groups);
        for ((group, roll), sequence) in groups {
            if roll.all_final() && !roll.all_skipped() {
                let place = Place { stage: &stage.name, group: Some(&group.name), timing };
                self.visit_gates(place, &sequence.after_gates, &mut group.after_gates);
            }
        }
        if !are_through(stage, rolls) || rolls.iter().all(Roll::all_skipped) {
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
    fn stop_members(&self, stage: &mut StageStatus, rolls: &mut [Roll]) {
        if stage.status.start_time.is_none() {
            return;
        }
        for (group, roll) in stage.groups.iter_mut().zip(rolls) {
            for index in roll.waiting().to_vec() {
                roll.change(&mut group.members, index, |member| self.stop_member(member));
            }
        }
    }

    fn stop_member(&self, member: &mut MemberStatus) {
        if member.status.state != State::Stopped {
            member.status.error = None;
            member.message = None;
            enter(&mut member.status, State::Stopped, self.now);
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

fn to_usize(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
