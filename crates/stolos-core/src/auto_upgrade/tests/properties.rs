//! What must hold whatever happens. That no member goes back or skips a minor is checked by the player at each upgrade.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use stolos_api::update::RunState;

use super::player::{Player, cluster, member};
use crate::auto_upgrade::Action;

#[derive(Clone, Debug)]
enum Act {
    Publish(u32, u32),
    Withdraw,
    Join(u8, u32, u32),
    Leave(u8),
    Fail(u8),
    Heal,
    Disable(bool),
    Generate,
    Pass(i64),
    DeleteRun(usize),
    Channel(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (31..36_u32, 0..5_u32).prop_map(|(minor, patch)| Act::Publish(minor, patch)),
        1 => Just(Act::Withdraw),
        3 => (0..5_u8, 30..36_u32, 0..5_u32).prop_map(|(m, minor, patch)| Act::Join(m, minor, patch)),
        1 => (0..5_u8).prop_map(Act::Leave),
        1 => (0..5_u8).prop_map(Act::Fail),
        1 => Just(Act::Heal),
        1 => any::<bool>().prop_map(Act::Disable),
        1 => Just(Act::Generate),
        3 => (1..90_i64).prop_map(Act::Pass),
        1 => (0..4_usize).prop_map(Act::DeleteRun),
        1 => (0..3_u8).prop_map(Act::Channel),
    ];
    prop::collection::vec(act, 1..25)
}

fn specs() -> impl Strategy<Value = Value> {
    (any::<bool>(), any::<bool>(), 0..3_u8).prop_map(|(drift, split, wait)| {
        let mut spec = json!({"channel": "Rapid"});
        spec["reconcile"] = json!(if drift { "Drift" } else { "Published" });
        if split {
            spec["split"] = json!({"waitInSeconds": i32::from(wait) * 600});
        }
        spec
    })
}

fn act(player: &mut Player, versions: &mut Vec<String>, act: &Act) {
    match act {
        Act::Publish(minor, patch) => versions.push(format!("1.{minor}.{patch}")),
        Act::Withdraw => drop(versions.pop()),
        Act::Join(index, minor, patch) => {
            let new = member("all", cluster(&format!("1.{minor}.{patch}")));
            player.observed.members.insert(format!("m{index}"), new);
        }
        Act::Leave(index) => drop(player.observed.members.remove(&format!("m{index}"))),
        Act::Fail(index) => drop(player.failing.insert(format!("m{index}"))),
        Act::Heal => player.failing.clear(),
        Act::Disable(disabled) => player.spec.disabled = *disabled,
        Act::Generate => player.spec.generate += 1,
        Act::Pass(minutes) => player.now += SignedDuration::from_mins(*minutes),
        Act::DeleteRun(index) => {
            let name = player.observed.runs.keys().nth(*index).cloned();
            name.map(|name| player.observed.runs.remove(&name));
        }
        Act::Channel(index) => {
            let channels = ["Rapid", "Stable", "TargetKubernetesVersion"];
            player.spec.channel =
                serde_json::from_value(json!(channels[usize::from(*index)])).unwrap();
            player.spec.target_kubernetes_version = (*index == 2).then(|| "1.33".to_owned());
        }
    }
    let published: Vec<&str> = versions.iter().map(String::as_str).collect();
    player.publish(&published);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn profiles_keep_their_promises(spec in specs(), script in acts()) {
        let mut player = Player::new(spec, &[("m0", "1.32.0"), ("m1", "1.33.0")]);
        let mut versions = vec!["1.33.0".to_owned()];
        for step in &script {
            act(&mut player, &mut versions, step);
            prop_assert_eq!(player.plan(), player.plan());
            let disabled = player.spec.disabled;
            let asked = player.status.as_ref().and_then(|s| s.generated.as_ref());
            let asked = asked.map_or(0, |answer| answer.request) != player.spec.generate;
            // Comes to rest, or panics.
            let actions = player.settle();
            let created = actions.iter().filter(|action| matches!(action, Action::Create(_)));
            prop_assert!(created.count() <= 1 + usize::from(asked), "{actions:#?}");
            for action in &actions {
                match action {
                    Action::Create(run) => {
                        prop_assert!(run.name.len() <= 50);
                        prop_assert!(!disabled || (asked && run.spec.state == RunState::Initialize));
                    }
                    Action::Start { .. } | Action::Restart { .. } | Action::Delete { .. } => {
                        prop_assert!(!disabled);
                    }
                }
            }
            let answered = player.status.as_ref().and_then(|s| s.generated.as_ref());
            prop_assert_eq!(answered.map_or(0, |answer| answer.request), player.spec.generate);
            player.finish_runs();
        }
    }

    #[test]
    fn a_drift_profile_brings_every_member_that_it_can_to_the_target(script in acts()) {
        let mut player = Player::new(json!({"channel": "Rapid"}), &[("m0", "1.33.0")]);
        let mut versions = vec!["1.33.0".to_owned()];
        for step in &script {
            act(&mut player, &mut versions, step);
            player.settle();
            player.finish_runs();
        }
        player.spec.disabled = false;
        player.failing.clear();
        // As long as the pauses of all retries together.
        player.play(100);
        let told = player.condition("UpToDate");
        let ready = player.condition("Ready");
        let given_up = ready.contains("UpdateRunFailed") || ready.contains("TargetNot");
        let left_out = told.split_once("behind: ").is_none_or(|(_, behind)| {
            behind.split("), ").all(|member| member.contains('('))
        });
        prop_assert!(given_up || left_out, "{told}\n{ready}\n{}", player.history);
    }
}
