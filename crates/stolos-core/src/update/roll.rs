//! Who of a group is in which state: read once per plan and kept as members change, so that a step over thousands of
//! members does not go through all of them for each of its questions.

use std::collections::{BTreeMap, BTreeSet};

use stolos_api::update::{GroupStatus, MemberStatus, StageStatus, State};

use super::code;

/// How many states there are.
const N_STATES: usize = State::Completed as usize + 1;

/// The rolls of a run's groups, stage by stage.
pub(super) type Rolls = Vec<Vec<Roll>>;

/// The members of a group by what a step asks about them. Whoever changes a member does it with [`Roll::change`]. A member
/// is known by its place in the group.
#[derive(Clone, Debug)]
pub(super) struct Roll {
    n_members: usize,
    by_state: [usize; N_STATES],
    n_at_goal: usize,
    n_excused: usize,
    /// Places of the members whose upgrade goes on.
    running: BTreeSet<usize>,
    /// Places of the members whose turn has not come, in their order.
    waiting: Vec<usize>,
    /// Where changed members were when changes began to be noted.
    before: BTreeMap<usize, Moment>,
}

/// Where a member stands, as far as people are told when it changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    state: State,
    attempt: i32,
    /// How being put back stands.
    pub(super) rollback: Option<State>,
}

/// Returns where a member stands.
pub(super) fn moment(member: &MemberStatus) -> Moment {
    Moment {
        state: member.status.state,
        attempt: member.attempt,
        rollback: member.rollback.as_ref().map(|rollback| rollback.status.state),
    }
}

/// What a roll knows of one member.
#[derive(Clone, Copy, PartialEq)]
struct Standing {
    moment: Moment,
    at_goal: bool,
    excused: bool,
}

impl Standing {
    fn of(member: &MemberStatus) -> Self {
        let MemberStatus { status, reason, .. } = member;
        let skipped_for = reason.as_deref().filter(|_| status.state == State::Skipped);
        Self {
            moment: moment(member),
            at_goal: status.state == State::Completed || skipped_for == Some(code::AT_TARGET),
            excused: matches!(skipped_for, Some(code::SKIPPED_BY_REQUEST | code::MEMBER_LEFT)),
        }
    }
}

/// Calls the rolls of all groups of a run.
pub(super) fn call_all(stages: &[StageStatus]) -> Rolls {
    stages.iter().map(call).collect()
}

/// Calls the rolls of the groups of a stage.
pub(super) fn call(stage: &StageStatus) -> Vec<Roll> {
    stage.groups.iter().map(Roll::of).collect()
}

/// Returns the groups of a run with their rolls.
pub(super) fn each_group<'a>(
    stages: &'a mut [StageStatus],
    rolls: &'a mut Rolls,
) -> impl Iterator<Item = (&'a mut GroupStatus, &'a mut Roll)> {
    let groups = stages.iter_mut().flat_map(|stage| &mut stage.groups);
    groups.zip(rolls.iter_mut().flatten())
}

impl Roll {
    pub(super) fn of(group: &GroupStatus) -> Self {
        let mut roll = Self {
            n_members: group.members.len(),
            by_state: [0; N_STATES],
            n_at_goal: 0,
            n_excused: 0,
            running: BTreeSet::new(),
            waiting: Vec::new(),
            before: BTreeMap::new(),
        };
        for (index, member) in group.members.iter().enumerate() {
            roll.add(index, Standing::of(member));
        }
        roll
    }

    /// Changes a member of the group and keeps count.
    pub(super) fn change<T>(
        &mut self,
        members: &mut [MemberStatus],
        index: usize,
        change: impl FnOnce(&mut MemberStatus) -> T,
    ) -> T {
        let member = &mut members[index];
        let was = Standing::of(member);
        let answer = change(member);
        let is = Standing::of(member);
        if was != is {
            self.remove(index, was);
            self.add(index, is);
            self.before.entry(index).or_insert(was.moment);
        }
        answer
    }

    /// Begins to note changes anew.
    pub(super) fn forget_changes(&mut self) {
        self.before.clear();
    }

    /// Returns the places of the members whose turn has not come, in their order.
    pub(super) fn waiting(&self) -> &[usize] {
        &self.waiting
    }

    /// Returns the first member from a place on whose turn has not come.
    pub(super) fn waiting_from(&self, place: usize) -> Option<usize> {
        let first = self.waiting.partition_point(|index| *index < place);
        self.waiting.get(first).copied()
    }

    /// Returns the places of the members whose upgrade goes on, in their order.
    pub(super) fn running(&self) -> &BTreeSet<usize> {
        &self.running
    }

    /// Returns the places of changed members, in their order, with where they were.
    pub(super) fn before(&self) -> &BTreeMap<usize, Moment> {
        &self.before
    }

    pub(super) fn count(&self, state: State) -> usize {
        self.by_state[state as usize]
    }

    pub(super) fn n_members(&self) -> usize {
        self.n_members
    }

    /// Returns how many members are where the run wants them.
    pub(super) fn n_at_goal(&self) -> usize {
        self.n_at_goal
    }

    /// Returns how many members nobody expects to reach the goal: somebody skipped them, or they left.
    pub(super) fn n_excused(&self) -> usize {
        self.n_excused
    }

    /// Returns how many members are not through.
    pub(super) fn n_open(&self) -> usize {
        let through = [State::Skipped, State::Failed, State::Completed];
        self.n_members - through.iter().map(|state| self.count(*state)).sum::<usize>()
    }

    pub(super) fn all_skipped(&self) -> bool {
        self.count(State::Skipped) == self.n_members
    }

    pub(super) fn all_final(&self) -> bool {
        self.n_open() == 0
    }

    fn add(&mut self, index: usize, standing: Standing) {
        self.by_state[standing.moment.state as usize] += 1;
        self.n_at_goal += usize::from(standing.at_goal);
        self.n_excused += usize::from(standing.excused);
        if standing.moment.state == State::Running {
            self.running.insert(index);
        }
        if waits(standing.moment.state)
            && let Err(place) = self.waiting.binary_search(&index)
        {
            self.waiting.insert(place, index);
        }
    }

    fn remove(&mut self, index: usize, standing: Standing) {
        self.by_state[standing.moment.state as usize] -= 1;
        self.n_at_goal -= usize::from(standing.at_goal);
        self.n_excused -= usize::from(standing.excused);
        if standing.moment.state == State::Running {
            self.running.remove(&index);
        }
        if waits(standing.moment.state)
            && let Ok(place) = self.waiting.binary_search(&index)
        {
            self.waiting.remove(place);
        }
    }
}

/// Whether the turn of a member in this state has not come.
fn waits(state: State) -> bool {
    match state {
        State::NotStarted | State::Pending | State::Stopped => true,
        State::Running | State::Stopping | State::Skipped | State::Failed | State::Completed => {
            false
        }
    }
}
