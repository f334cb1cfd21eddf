//! What must hold in every run, whatever happens to it (section 12).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use stolos_api::update::{
    MemberStatus, RunState, SkipTargetType, StageStatus, State, UpdateRunStatus,
};

use super::player::{Act, Player, named};
use crate::update::Plan;
use crate::update::states::{is_final, is_passed, members, stage_failed};

const NAMES: [&str; 8] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"];

/// Concurrency in quarters, failures, gate.
type Group = (u8, u8, bool);

#[derive(Clone, Debug)]
struct World {
    /// For each stage: concurrency, failures, wait, gate, and its groups.
    stages: Vec<(u8, u8, u8, bool, Vec<Group>)>,
    /// For each member: group, seconds, failures.
    members: Vec<(usize, i64, i32)>,
    script: Vec<(i64, Act)>,
}

fn worlds() -> impl Strategy<Value = World> {
    let group = (1..4_u8, 0..3_u8, any::<bool>());
    let stage = (1..5_u8, 0..4_u8, 0..5_u8, any::<bool>(), prop::collection::vec(group, 1..4));
    let member = (0..6_usize, 1..9_i64, 0..3_i32);
    let act = prop_oneof![
        Just(Act::Stop),
        Just(Act::Run),
        Just(Act::Run),
        Just(Act::Restart),
        Just(Act::Approve),
        (0..8_usize).prop_map(|i| Act::Skip(SkipTargetType::Member, NAMES[i])),
        (0..3_usize).prop_map(|i| Act::Skip(SkipTargetType::Stage, ["s0", "s1", "s2"][i])),
        (0..3_usize).prop_map(|i| Act::Skip(SkipTargetType::Group, ["g0", "g1", "g2"][i])),
        (0..8_usize).prop_map(|i| Act::Leave(NAMES[i])),
    ];
    let world = (
        prop::collection::vec(stage, 1..4),
        prop::collection::vec(member, 1..9),
        prop::collection::vec((0..40_i64, act), 0..8),
    );
    world.prop_map(|(stages, members, script)| World { stages, members, script })
}

fn player(world: &World) -> Player {
    let gates = |gate: bool| if gate { json!([{"type": "Approval"}]) } else { json!([]) };
    let mut names = 0..;
    let mut stages = Vec::new();
    for (index, (concurrency, failures, wait, gate, groups)) in world.stages.iter().enumerate() {
        let groups: Vec<_> = groups
            .iter()
            .zip(&mut names)
            .map(|((concurrency, failures, gate), name)| {
                // A percentage is never refused for being more than the group or stage has.
                json!({
                    "name": format!("g{name}"), "maxConcurrency": format!("{}%", concurrency * 25),
                    "maxAllowedFailures": failures.to_string(), "beforeGates": gates(*gate),
                })
            })
            .collect();
        stages.push(json!({
            "name": format!("s{index}"), "maxConcurrency": concurrency.to_string(),
            "maxAllowedFailures": failures.to_string(), "afterStageWaitInSeconds": wait,
            "afterGates": gates(*gate), "groups": groups,
        }));
    }
    let by_group: Vec<(String, &str)> = (world.members.iter().zip(NAMES))
        .map(|((group, ..), name)| (format!("g{group}"), name))
        .collect();
    let groups: Vec<(&str, &[&str])> =
        by_group.iter().map(|(group, name)| (group.as_str(), std::slice::from_ref(name))).collect();
    let mut player = Player::new(&groups, &json!(stages));
    for ((_, seconds, failures), name) in world.members.iter().zip(NAMES) {
        player = player.takes(name, *seconds).fails(name, *failures);
    }
    player.script = world.script.iter().filter(|(_, act)| applies(act, world)).cloned().collect();
    // In the end somebody starts the run for good and approves what is left to approve.
    for second in (100..400).step_by(20) {
        player = player.at(second, Act::Run).at(second, Act::Approve).at(second, Act::Restart);
    }
    player
}

fn applies(act: &Act, world: &World) -> bool {
    match act {
        Act::Leave(name) | Act::Busy(name) | Act::Free(name) => {
            NAMES[..world.members.len()].contains(name)
        }
        Act::Stop | Act::Run | Act::Restart | Act::Skip(..) | Act::Approve => true,
    }
}

fn check(player: &Player, before: Option<&UpdateRunStatus>, plan: &Plan) {
    let after = &plan.status;
    budgets_are_kept(after);
    earlier_stages_come_first(before, after);
    nothing_begins_after_a_stop_or_too_many_failures(player, before, after);
    final_states_stay(player, before, after);
    times_are_in_order(after);
    progress_and_failures_are_counted(after);
    planning_again_changes_nothing(player);
}

fn budgets_are_kept(status: &UpdateRunStatus) {
    let running = |members: &mut dyn Iterator<Item = &MemberStatus>| {
        i32::try_from(members.filter(|m| m.status.state == State::Running).count()).unwrap()
    };
    for stage in &status.stages {
        assert!(running(&mut members(stage)) <= stage.max_concurrency);
        for group in &stage.groups {
            assert!(running(&mut group.members.iter()) <= group.max_concurrency);
        }
    }
}

fn begun(before: Option<&UpdateRunStatus>, stage: &StageStatus) -> Vec<String> {
    let was = before.map(|status| named(status, State::Running)).unwrap_or_default();
    members(stage)
        .filter(|m| m.status.state == State::Running && !was.contains(&m.name))
        .map(|m| m.name.clone())
        .collect()
}

fn earlier_stages_come_first(before: Option<&UpdateRunStatus>, after: &UpdateRunStatus) {
    for (index, stage) in after.stages.iter().enumerate() {
        if !begun(before, stage).is_empty() {
            assert!(after.stages[..index].iter().all(|stage| is_passed(stage.status.state)));
        }
    }
}

fn nothing_begins_after_a_stop_or_too_many_failures(
    player: &Player,
    before: Option<&UpdateRunStatus>,
    after: &UpdateRunStatus,
) {
    for stage in &after.stages {
        if player.spec.state == RunState::Stop || stage_failed(stage) {
            assert_eq!(begun(before, stage), Vec::<String>::new());
        }
    }
}

fn final_states_stay(player: &Player, before: Option<&UpdateRunStatus>, after: &UpdateRunStatus) {
    let Some(before) = before.filter(|status| status.status.start_time.is_some()) else { return };
    let states: BTreeMap<_, _> = (after.stages.iter().flat_map(members))
        .map(|member| (&member.name, member.status.state))
        .collect();
    let restarted = player.spec.restarts > before.observed_restarts;
    for member in before.stages.iter().flat_map(members) {
        let was = member.status.state;
        if is_final(was) && !(was == State::Failed && restarted) {
            assert_eq!(states[&member.name], was, "{}", member.name);
        }
    }
    let ended: BTreeSet<_> =
        before.stages.iter().filter(|s| is_passed(s.status.state)).collect_names();
    for stage in after.stages.iter().filter(|stage| ended.contains(&stage.name)) {
        assert!(is_passed(stage.status.state));
    }
}

trait CollectNames {
    fn collect_names(self) -> BTreeSet<String>;
}

impl<'a, I: Iterator<Item = &'a StageStatus>> CollectNames for I {
    fn collect_names(self) -> BTreeSet<String> {
        self.map(|stage| stage.name.clone()).collect()
    }
}

fn times_are_in_order(status: &UpdateRunStatus) {
    let statuses = status.stages.iter().flat_map(|stage| {
        members(stage).map(|m| &m.status).chain(stage.groups.iter().map(|g| &g.status))
    });
    let stages = status.stages.iter().map(|stage| &stage.status);
    for status in statuses.chain(stages).chain([&status.status]) {
        if let (Some(start), Some(end)) = (&status.start_time, &status.completed_time) {
            assert!(start.0 <= end.0);
        }
        assert_eq!(status.completed_time.is_some(), is_final(status.state), "{:?}", status.state);
    }
}

fn progress_and_failures_are_counted(status: &UpdateRunStatus) {
    assert_eq!(usize::try_from(status.failure_count).unwrap(), named(status, State::Failed).len());
}

fn planning_again_changes_nothing(player: &Player) {
    let again = player.plan();
    assert_eq!(Some(&again.status), player.status.as_ref());
    assert_eq!((again.start, again.release, again.events), (vec![], vec![], vec![]));
    // A gate is created and then gets its first status: two writes.
    let only_status = |action: &_| matches!(action, crate::update::GateAction::SetState { .. });
    assert!(again.gates.iter().all(only_status));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_rules_and_comes_to_its_end(world in worlds()) {
        let mut player = player(&world);
        let mut steps = 0;
        while player.step(check) {
            steps += 1;
            prop_assert!(steps < 2_000, "the run does not come to an end:\n{}", player.history);
        }
        let status = player.status.as_ref().unwrap();
        prop_assert!(is_passed(status.status.state), "{}", player.history);
        let done = named(status, State::Completed);
        for (name, times) in &player.begun {
            let attempts = (status.stages.iter().flat_map(members))
                .find(|member| member.name == *name)
                .map_or(0, |member| member.attempt);
            prop_assert_eq!(*times, usize::try_from(attempts).unwrap());
        }
        for name in done {
            prop_assert!(player.begun.contains_key(&name));
        }
    }
}
