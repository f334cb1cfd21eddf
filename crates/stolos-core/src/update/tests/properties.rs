//! Random runs in random worlds: every plan keeps the invariants, every run comes to its end, and a second, simpler engine
//! agrees about what happened when.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use stolos_api::update::{SkipTargetType, State, UpdateRunStatus};

use super::model;
use super::player::{Act, Player, named};
use crate::update::invariants::{self, Planned};
use crate::update::states::{is_passed, members};
use crate::update::{GateAction, Plan};

pub(super) const NAMES: [&str; 8] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"];

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) stages: Vec<Stage>,
    pub(super) members: Vec<Member>,
    pub(super) script: Vec<(i64, Act)>,
}

#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) at_once: usize,
    pub(super) tolerated: usize,
    /// Successes in quarters of the members.
    pub(super) quarters_needed: usize,
    pub(super) wait: i64,
    pub(super) gate_before: bool,
    pub(super) gate_after: bool,
    pub(super) groups: Vec<Group>,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Concurrency in quarters of the members.
    pub(super) quarters_at_once: usize,
    pub(super) tolerated: usize,
    pub(super) gate_before: bool,
    pub(super) gate_after: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Number of the group among all groups of all stages. It may not exist.
    pub(super) group: usize,
    pub(super) seconds: i64,
    /// How often its upgrade fails before it works.
    pub(super) failures: i32,
    /// The second at which its window opens for ever.
    pub(super) opens: Option<i64>,
}

impl World {
    /// Returns who does what when. In the end somebody starts the run for good, frees the clusters and approves what is
    /// left to approve.
    pub(super) fn acts(&self) -> Vec<(i64, Act)> {
        let mut script = self.script.clone();
        let known = &NAMES[..self.members.len()];
        script.extend(known.iter().map(|name| (99, Act::Hold(name, false))));
        let late = self.members.iter().any(|member| member.opens == Some(OPENS_LATE));
        let again = if late { OPENS_LATE + 1..OPENS_LATE + 600 } else { 0..0 };
        for second in (100..700).step_by(20).chain(again.step_by(20)) {
            script.extend([Act::Run, Act::Approve, Act::Restart].map(|act| (second, act)));
        }
        script
    }
}

fn groups() -> impl Strategy<Value = Group> {
    let gate = || prop::bool::weighted(0.2);
    (1..5_usize, 0..3_usize, gate(), gate()).prop_map(
        |(quarters_at_once, tolerated, gate_before, gate_after)| Group {
            quarters_at_once,
            tolerated,
            gate_before,
            gate_after,
        },
    )
}

fn stages() -> impl Strategy<Value = Stage> {
    let gate = || prop::bool::weighted(0.2);
    let needed = prop_oneof![4 => Just(0_usize), 1 => 1..5_usize];
    let groups = prop::collection::vec(groups(), 1..4);
    (1..5_usize, 0..4_usize, needed, 0..5_i64, gate(), gate(), groups).prop_map(
        |(at_once, tolerated, quarters_needed, wait, gate_before, gate_after, groups)| Stage {
            at_once,
            tolerated,
            quarters_needed,
            wait,
            gate_before,
            gate_after,
            groups,
        },
    )
}

/// More than the four hours within which a window opens soon.
const OPENS_LATE: i64 = 16_200;

const OPENINGS: [i64; 4] = [0, 60, 180, OPENS_LATE];

fn worlds() -> impl Strategy<Value = World> {
    let opens = prop_oneof![
        6 => Just(None),
        4 => (0..OPENINGS.len()).prop_map(|index| Some(OPENINGS[index])),
    ];
    let failures = prop_oneof![3 => Just(0), 1 => 1..3_i32];
    let member = (0..7_usize, 1..9_i64, failures, opens)
        .prop_map(|(group, seconds, failures, opens)| Member { group, seconds, failures, opens });
    let name = || (0..8_usize).prop_map(|index| NAMES[index]);
    let act = prop_oneof![
        Just(Act::Stop),
        Just(Act::Run),
        Just(Act::Run),
        Just(Act::Restart),
        Just(Act::Approve),
        name().prop_map(|name| Act::Skip(SkipTargetType::Member, name)),
        (0..3_usize).prop_map(|i| Act::Skip(SkipTargetType::Stage, ["s0", "s1", "s2"][i])),
        (0..3_usize).prop_map(|i| Act::Skip(SkipTargetType::AfterStageWait, ["s0", "s1", "s2"][i])),
        (0..4_usize).prop_map(|i| Act::Skip(SkipTargetType::Group, ["g0", "g1", "g2", "g3"][i])),
        name().prop_map(Act::Leave),
        (name(), any::<bool>()).prop_map(|(name, hold)| Act::Hold(name, hold)),
    ];
    let world = (
        prop::collection::vec(stages(), 1..4),
        prop::collection::vec(member, 1..9),
        prop::collection::vec((0..40_i64, act), 0..8),
    );
    world.prop_map(|(stages, members, script)| {
        let mut world = World { stages, members, script };
        let known = &NAMES[..world.members.len()];
        world.script.retain(|(_, act)| match act {
            Act::Leave(name) | Act::Busy(name) | Act::Free(name) | Act::Hold(name, _) => {
                known.contains(name)
            }
            Act::Stop | Act::Run | Act::Restart | Act::Skip(..) | Act::Approve | Act::Change(_) => {
                true
            }
        });
        world
    })
}

fn player(world: &World) -> Player {
    let gates = |gate: bool| if gate { json!([{"type": "Approval"}]) } else { json!([]) };
    let mut names = 0..;
    let mut stages = Vec::new();
    for (index, stage) in world.stages.iter().enumerate() {
        let group = |(group, name): (&Group, usize)| {
            // A percentage is never refused for being more than the group or stage has.
            json!({
                "name": format!("g{name}"),
                "maxConcurrency": format!("{}%", group.quarters_at_once * 25),
                "maxAllowedFailures": group.tolerated.to_string(),
                "beforeGates": gates(group.gate_before),
                "afterGates": gates(group.gate_after),
            })
        };
        let groups: Vec<Value> = stage.groups.iter().zip(&mut names).map(group).collect();
        stages.push(json!({
            "name": format!("s{index}"),
            "maxConcurrency": stage.at_once.to_string(),
            "maxAllowedFailures": stage.tolerated.to_string(),
            "minSuccesses": format!("{}%", stage.quarters_needed * 25),
            "afterStageWaitInSeconds": stage.wait,
            "beforeGates": gates(stage.gate_before),
            "afterGates": gates(stage.gate_after),
            "groups": groups,
        }));
    }
    let by_group: Vec<(String, &str)> = (world.members.iter().zip(NAMES))
        .map(|(member, name)| (format!("g{}", member.group), name))
        .collect();
    let groups: Vec<(&str, &[&str])> =
        by_group.iter().map(|(group, name)| (group.as_str(), std::slice::from_ref(name))).collect();
    let mut player = Player::new(&groups, &json!(stages));
    for (member, name) in world.members.iter().zip(NAMES) {
        player = player.takes(name, member.seconds).fails(name, member.failures);
        if let Some(second) = member.opens {
            // A window of a whole day is open for ever once it is open. Plays begin at 10:00.
            let (hour, minute) = (10 + second / 3600, second % 3600 / 60);
            let windows = json!({"kubernetes": {
                "schedule": {"daily": {"intervalDays": 1}}, "durationHours": 24,
                "startDate": "2026-03-04", "startTime": format!("{hour:02}:{minute:02}"),
            }});
            player.observed.members.get_mut(name).unwrap().windows =
                serde_json::from_value(windows).unwrap();
        }
    }
    player.script = world.acts();
    player
}

fn check(player: &Player, before: Option<&UpdateRunStatus>, plan: &Plan) {
    let run = player.run();
    let planned = Planned { run: &run, before, observed: &player.observed, plan, now: player.now };
    invariants::check(&planned).unwrap_or_else(|violation| panic!("{violation}"));
    if !plan.start.is_empty() {
        assert_eq!(&player.plan(), plan, "same inputs, another answer");
    }
}

/// A plan that was carried out leaves nothing to do at that moment.
fn settled(player: &Player) {
    let again = player.plan();
    assert_eq!(Some(&again.status), player.status.as_ref());
    assert!(again.start.is_empty() && again.release.is_empty() && again.events.is_empty());
    // A gate is created and then gets its first status: two writes.
    assert!(again.gates.iter().all(|action| matches!(action, GateAction::SetState { .. })));
}

fn is_over(player: &Player) -> bool {
    player.status.as_ref().is_some_and(|status| is_passed(status.status.state))
}

/// Keeps what the model tells too, sorted within each second.
fn milestones(history: &str) -> BTreeSet<String> {
    const TOLD: [&str; 4] = ["Running", "Completed", "Failed", "Skipped"];
    (history.lines().map(str::trim_start))
        .filter(|line| {
            let state = line.rsplit(' ').next().unwrap_or_default();
            (line.contains(" member ") && TOLD.contains(&state))
                || (line.contains(" run ") && state != "Running" && TOLD.contains(&state))
        })
        .map(str::to_owned)
        .collect()
}

/// A debug build plays enough to find most mistakes; a release build plays the promised number. `PROPTEST_CASES` wins.
fn cases() -> u32 {
    let default = ProptestConfig::default().cases;
    match default {
        256 if cfg!(debug_assertions) => 500,
        256 => 100_000,
        asked => asked,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_rules_comes_to_its_end_and_does_what_a_simple_model_does(world in worlds()) {
        let mut player = player(&world);
        let mut steps = 0;
        while player.step_and(check, settled) && !is_over(&player) {
            steps += 1;
            prop_assert!(steps < 2_000, "the run does not come to an end:\n{}", player.history);
        }
        let status = player.status.as_ref().unwrap();
        for (name, times) in &player.begun {
            let attempts = (status.stages.iter().flat_map(members))
                .find(|member| member.name == *name)
                .map_or(0, |member| member.attempt);
            prop_assert_eq!(*times, usize::try_from(attempts).unwrap());
        }
        for name in named(status, State::Completed) {
            prop_assert!(player.begun.contains_key(&name));
        }
        // Without successes that are asked for, every run can be brought to its end.
        if world.stages.iter().all(|stage| stage.quarters_needed == 0) {
            prop_assert!(is_passed(status.status.state), "{}", player.history);
        }
        let (played, expected) = (milestones(&player.history), model::expected(&world));
        prop_assert_eq!(
            &played, &expected,
            "only the engine: {:?}\nonly the model: {:?}\n{}",
            played.difference(&expected).collect::<Vec<_>>(),
            expected.difference(&played).collect::<Vec<_>>(),
            player.history
        );
    }
}
