//! The engine against a second, simpler one: plain queues, no status, no gates, no restarts. Both must begin and end every
//! member at the same second.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::player::Player;

const NAMES: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];

#[derive(Clone, Debug)]
struct Stage {
    at_once: usize,
    tolerated: usize,
    wait: i64,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    at_once: usize,
    tolerated: usize,
    /// Seconds and success of each member.
    members: Vec<(i64, bool)>,
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let member = (1..6_i64, prop::bool::weighted(0.85));
    let group = (1..4_usize, 0..3_usize, prop::collection::vec(member, 1..4));
    let group = group.prop_map(|(at_once, tolerated, members)| Group {
        at_once: at_once.min(members.len()),
        tolerated,
        members,
    });
    let stage = (3..5_usize, 0..4_usize, 0..4_i64, prop::collection::vec(group, 1..3));
    let stage = stage.prop_map(|(at_once, tolerated, wait, groups)| Stage {
        at_once,
        tolerated,
        wait,
        groups,
    });
    let fits = |stages: &Vec<Stage>| {
        let groups = stages.iter().flat_map(|stage| &stage.groups);
        groups.map(|group| group.members.len()).sum::<usize>() <= NAMES.len()
    };
    prop::collection::vec(stage, 1..4).prop_filter("too many members", fits)
}

/// A member on its way: when it ends, its name, its group, whether it works.
type Flight = (i64, &'static str, usize, bool);

/// Returns the expected history of members and the second at which the run ends.
fn expected(stages: &[Stage]) -> Vec<String> {
    let mut history = Vec::new();
    let mut names = NAMES.into_iter();
    let mut now = 0;
    for stage in stages {
        let mut queues: Vec<VecDeque<(&str, i64, bool)>> = (stage.groups.iter())
            .map(|group| group.members.iter().zip(&mut names).map(|(m, n)| (n, m.0, m.1)).collect())
            .collect();
        let mut flights: Vec<Flight> = Vec::new();
        let mut failures: BTreeMap<usize, usize> = BTreeMap::new();
        loop {
            let over = failures.values().sum::<usize>() > stage.tolerated
                || failures.iter().any(|(group, count)| *count > stage.groups[*group].tolerated);
            let mut turn = 0;
            let mut passed = 0;
            // Groups take turns until a whole round began nobody.
            while !over && passed < queues.len() {
                let group = turn % queues.len();
                let busy = flights.iter().filter(|flight| flight.2 == group).count();
                let free = flights.len() < stage.at_once && busy < stage.groups[group].at_once;
                match queues[group].front().copied().filter(|_| free) {
                    Some((name, seconds, works)) => {
                        queues[group].pop_front();
                        history.push(format!("{now} member {name} Running"));
                        flights.push((now + seconds, name, group, works));
                        passed = 0;
                    }
                    None => passed += 1,
                }
                turn += 1;
            }
            let Some(next) = flights.iter().map(|flight| flight.0).min() else {
                if over {
                    history.push(format!("{now} run Failed"));
                    return history;
                }
                break;
            };
            now = next;
            for (_, name, group, works) in flights.extract_if(.., |flight| flight.0 == now) {
                let state = if works { "Completed" } else { "Failed" };
                history.push(format!("{now} member {name} {state}"));
                *failures.entry(group).or_default() += usize::from(!works);
            }
        }
        now += stage.wait;
    }
    history.push(format!("{now} run Completed"));
    history
}

fn played(stages: &[Stage]) -> Vec<String> {
    let mut names = NAMES.into_iter();
    let (mut strategy, mut groups, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for (s, stage) in stages.iter().enumerate() {
        let mut listed = Vec::new();
        for (g, group) in stage.groups.iter().enumerate() {
            let name = format!("g{s}-{g}");
            listed.push(json!({
                "name": name, "maxConcurrency": group.at_once.to_string(),
                "maxAllowedFailures": group.tolerated.to_string(),
            }));
            let mine: Vec<&str> = names.by_ref().take(group.members.len()).collect();
            members.extend(mine.iter().copied().zip(group.members.iter().copied()));
            groups.push((name, mine));
        }
        strategy.push(json!({
            "name": format!("s{s}"), "maxConcurrency": stage.at_once.to_string(),
            "maxAllowedFailures": stage.tolerated.to_string(),
            "afterStageWaitInSeconds": stage.wait, "groups": listed,
        }));
    }
    let groups: Vec<(&str, &[&str])> =
        groups.iter().map(|(name, members)| (name.as_str(), members.as_slice())).collect();
    let mut player = Player::new(&groups, &json!(strategy));
    for (name, (seconds, works)) in members {
        player = player.takes(name, seconds).fails(name, i32::from(!works));
    }
    let ends = |line: &&str| {
        line.contains("member") || line.ends_with("run Failed") || line.ends_with("run Completed")
    };
    player.play().lines().filter(ends).map(|line| line.trim_start().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_a_simple_model_does(stages in stages()) {
        let (mut expected, mut played) = (expected(&stages), played(&stages));
        // Within one second the order of lines is of no account.
        expected.sort();
        played.sort();
        let mut both = String::new();
        for (one, other) in expected.iter().zip(&played) {
            writeln!(both, "{one:<30}{other}").unwrap();
        }
        prop_assert_eq!(expected, played, "{}", both);
    }
}
