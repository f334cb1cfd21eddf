//! What channels stand for, and names.

use serde_json::{Value, json};
use stolos_api::update::{MemberAction, PreflightCheck};

use super::player::{Player, cluster, member, version};
use crate::auto_upgrade::{Action, NewRun};
use crate::update::cluster::{Cluster, Offer, Pool};

fn target(player: &mut Player) -> String {
    player.settle();
    let target = player.status.as_ref().unwrap().target.join(" ");
    if target.is_empty() { player.condition("Ready") } else { target }
}

#[test]
fn version_channels_are_functions_of_what_is_published() {
    let spec = |channel: &str| json!({ "channel": channel });
    let minor = |minor: &str| json!({"channel": "TargetKubernetesVersion", "targetKubernetesVersion": minor});
    let lts = |text: &str| {
        let mut spec = minor(text);
        spec["longTermSupport"] = json!(true);
        spec
    };
    let all = ["1.31.9", "1.32.4", "1.33.2", "1.33.10", "1.34.0"];
    for (spec, published, want) in [
        (spec("Rapid"), &all[..], "1.34.0"),
        (spec("Stable"), &all[..], "1.33.10"),
        (
            spec("Stable"),
            &["1.34.0"][..],
            "False TargetNotPublished: the newest version is 1.34.0, and no version of the minor before it is published",
        ),
        (minor("1.32"), &all[..], "1.32.4"),
        (
            minor("1.35"),
            &all[..],
            "False TargetNotPublished: no generally available patch of 1.35 is published; the newest version is 1.34.0",
        ),
        (
            minor("1.31"),
            &all[..],
            "False TargetNotSupported: 1.31 is not among the three newest minor versions; choose a newer one, or set longTermSupport where clusters have it",
        ),
        (
            lts("1.31"),
            &all[..],
            "False NotLtsCluster: 1.31.9 needs long-term support, which the cluster of member `m1` does not have",
        ),
        (lts("1.33"), &all[..], "1.33.10"),
    ] {
        let mut player = Player::new(spec.clone(), &[("m1", "1.33.0")]);
        player.publish(published);
        assert_eq!(target(&mut player), want, "{spec}");
    }
}

#[test]
fn previews_and_versions_of_tomorrow_are_not_chosen() {
    let mut player = Player::new(json!({"channel": "Rapid"}), &[("m1", "1.33.0")]);
    player.observed.catalogues = vec![
        serde_json::from_value(json!({"kubernetesVersions": [
            {"version": "1.33.5"},
            {"version": "1.34.0", "preview": true},
            {"version": "1.33.9", "longTermSupportOnly": true},
            {"version": "1.33.6", "published": "2026-11-03T00:00:00Z"},
        ]}))
        .unwrap(),
    ];
    assert_eq!(target(&mut player), "1.33.5");
    let tomorrow = "2026-11-03T00:00:00Z".parse().unwrap();
    assert_eq!(player.plan().wake_at, Some(tomorrow));
    player.now = tomorrow;
    player.finish_runs();
    assert_eq!(target(&mut player), "1.33.6");
}

#[test]
fn without_a_catalogue_offers_and_running_versions_count() {
    let mut player = Player::new(json!({"channel": "Stable"}), &[]);
    let offered = Cluster {
        versions: Offer::These(vec![version("1.33.7"), version("1.33.8")]),
        ..cluster("1.32.1")
    };
    player.observed.members.insert("old".into(), member("all", offered));
    assert_eq!(target(&mut player), "1.32.1");
    player.observed.members.insert("new".into(), member("all", cluster("1.34.2")));
    assert_eq!(target(&mut player), "1.33.8");
}

#[test]
fn image_channels_take_the_newest_image_that_all_can_have() {
    let with_pool = |image: &str, offered: &[&str]| Cluster {
        pools: vec![Pool {
            name: "pool".into(),
            version: version("1.33.0"),
            image: Some(image.parse().unwrap()),
            from_snapshot: false,
        }],
        images: Offer::These(offered.iter().map(|text| text.parse().unwrap()).collect()),
        ..cluster("1.33.0")
    };
    let mut player = Player::new(json!({"channel": "NodeImage"}), &[]);
    let members = &mut player.observed.members;
    members.insert("a".into(), member("all", with_pool("u-1.0", &["u-1.0", "u-2.0", "u-3.0"])));
    members.insert("b".into(), member("all", with_pool("u-1.0", &["u-1.0", "u-2.0"])));
    members.insert("c".into(), member("all", with_pool("AKSWindows-1.0", &["AKSWindows-4.0"])));
    assert_eq!(target(&mut player), "AKSWindows-4.0 u-2.0");
    player.spec.channel = stolos_api::update::Channel::SecurityPatch;
    player.status = None;
    assert_eq!(
        target(&mut player),
        "False TargetNotPublished: no VersionCatalogue marks a node image as a security patch, and providers do not tell"
    );
    player.observed.catalogues = vec![
        serde_json::from_value(json!({"nodeImages": [
            {"version": "u-2.0", "securityPatch": true},
            {"version": "u-3.0"},
            {"version": "AKSWindows-4.0", "securityPatch": true},
        ]}))
        .unwrap(),
    ];
    assert_eq!(target(&mut player), "u-2.0");
}

fn created(mut player: Player) -> NewRun {
    match &player.settle()[..] {
        [Action::Create(run)] => (**run).clone(),
        other => panic!("{other:#?}"),
    }
}

#[test]
fn what_a_profile_says_about_members_that_cannot_be_updated_is_in_its_runs_and_not_in_their_names()
{
    let run = |spec: Value| {
        let mut player = Player::new(spec, &[("m1", "1.33.0")]);
        player.publish(&["1.33.2"]);
        created(player)
    };
    let plain = run(json!({"channel": "Rapid"}));
    assert_eq!((plain.spec.member_policy, &plain.spec.preflight[..]), (None, &[][..]));
    let asked = run(json!({
        "channel": "Rapid", "memberPolicy": {"onUnreachable": "Fail"}, "preflight": ["NodesReady"],
    }));
    let policy = asked.spec.member_policy.and_then(|policy| policy.on_unreachable);
    assert_eq!(policy, Some(MemberAction::Fail));
    assert_eq!(asked.spec.preflight, [PreflightCheck::NodesReady]);
    assert_eq!(asked.name, plain.name);
}

#[test]
fn a_name_is_a_function_of_what_the_run_is_for() {
    let player = |spec: Value, published: &[&str]| {
        let mut player = Player::new(spec, &[("m1", "1.33.0")]);
        player.publish(published);
        player
    };
    let rapid = json!({"channel": "Rapid"});
    let one = created(player(rapid.clone(), &["1.33.2"]));
    assert!(one.name.starts_with("auto-nightly-rapid-1-33-2-"), "{}", one.name);
    assert_eq!(one.name.len(), "auto-nightly-rapid-1-33-2-".len() + 6);
    assert_eq!(one, created(player(rapid.clone(), &["1.33.2", "1.33.1"])));
    assert_ne!(one.name, created(player(rapid, &["1.33.3"])).name);
    let consistent = json!({"channel": "Rapid", "nodeImageSelection": {"type": "Consistent"}});
    assert_ne!(one.name, created(player(consistent, &["1.33.2"])).name);

    let target = json!({"channel": "TargetKubernetesVersion", "targetKubernetesVersion": "1.33"});
    let mut long = player(target, &["1.33.2"]);
    long.spec.fleet_name = "f".repeat(63);
    let name = created(long).name;
    assert_eq!(name.len(), 50, "{name}");
}
