//! Members that leave the fleet while a run is about them.

use std::cmp::Ordering;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;

use jiff::Timestamp;
use stolos_api::update::{ErrorDetail, GroupStatus, MemberStatus, State, UpdateRunStatus};

use super::cluster::Member;
use super::roll::{Roll, Rolls, each_group};
use super::states::enter;
use super::{Members, code, rollback};

/// Ends members that left the fleet, or whose name stands for another cluster by now.
pub(super) fn leave(
    status: &mut UpdateRunStatus,
    rolls: &mut Rolls,
    members: &Members,
    now: Timestamp,
) {
    let mut fleet = InOrder::of(members);
    for (group, roll) in each_group(&mut status.stages, rolls) {
        for index in leavers(group, roll, &mut fleet) {
            roll.change(&mut group.members, index, |member| end(member, now));
        }
    }
}

/// Returns the members of a group that are not through and have left.
fn leavers(group: &GroupStatus, roll: &Roll, fleet: &mut InOrder<'_>) -> Vec<usize> {
    let open = roll.waiting().iter().chain(roll.running()).copied();
    open.filter(|index| {
        let member = &group.members[*index];
        has_left(member, fleet.get(&member.name))
    })
    .collect()
}

/// Whether a member that a run is about has left the fleet, going by the member that has its name now.
pub fn has_left(member: &MemberStatus, now: Option<&Member>) -> bool {
    let id = member.cluster_resource_id.as_ref();
    let is_same = |now: &Member| id.is_none_or(|id| *id == now.cluster_resource_id);
    !now.is_some_and(is_same)
}

fn end(member: &mut MemberStatus, now: Timestamp) {
    rollback::leave(member, now);
    let message = "the member left the fleet".to_owned();
    member.reason = Some(code::MEMBER_LEFT.into());
    member.message = Some(message.clone());
    member.status.error =
        Some(ErrorDetail { code: code::MEMBER_LEFT.into(), message, ..ErrorDetail::default() });
    enter(&mut member.status, State::Skipped, now);
}

/// Looks members up that are asked for mostly in the order of their names, as groups list them: many times faster than
/// searching for each.
struct InOrder<'a> {
    members: &'a Members,
    next: Peekable<Range<'a, String, Member>>,
}

impl<'a> InOrder<'a> {
    /// How far the next member is looked for before it is searched.
    const NEAR: usize = 4;

    fn of(members: &'a Members) -> Self {
        Self { members, next: members.range::<String, _>(..).peekable() }
    }

    fn get(&mut self, name: &str) -> Option<&'a Member> {
        for _ in 0..Self::NEAR {
            let Some((near, member)) = self.next.peek().copied() else { break };
            match near.as_str().cmp(name) {
                Ordering::Equal => return Some(member),
                Ordering::Less => {
                    self.next.next();
                }
                Ordering::Greater => break,
            }
        }
        let from = (Bound::Included(name), Bound::Unbounded);
        self.next = self.members.range::<str, _>(from).peekable();
        let (found, member) = self.next.peek().copied()?;
        (found == name).then_some(member)
    }
}
