//! What DNS names are answered with, and how what is behind them is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::balance::{Evidence, Health};
use super::super::traffic::{
    Candidate, Check, Monitor, Question, Target, draw, is_label, profile, ttl_seconds,
};
use super::{at, object};

fn target(text: &str) -> Target {
    Target::parse(text).unwrap_or_else(|| panic!("`{text}` is no target"))
}

fn monitor(config: Value) -> Result<Monitor, String> {
    Monitor::new(&object(config)).map_err(|error| error.to_string())
}

/// Random numbers that are as even as any: the steps of the golden ratio.
fn numbers(n: u64) -> impl Iterator<Item = u64> {
    (0..n).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[test]
fn a_target_is_an_address_or_the_name_of_a_host() {
    for (text, want) in [
        ("203.0.113.7", Some("203.0.113.7")),
        ("2001:DB8::1", Some("2001:db8::1")),
        ("LB.Example.com.", Some("lb.example.com")),
        ("a_b.example", Some("a_b.example")),
        ("203.0.113", None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a.example", None),
        ("a b.example", None),
        ("lb.example.com:80", None),
    ] {
        assert_eq!(Target::parse(text).map(|target| target.to_string()).as_deref(), want, "{text}");
    }
    assert!(is_label(&"a".repeat(63)) && !is_label(&"a".repeat(64)));
    assert_eq!(Target::parse(&format!("{}a", "a.".repeat(127))), None, "longer than a name can be");
}

#[test]
fn a_question_is_answered_with_what_fits_it() {
    let [v4, v6, host] = ["203.0.113.7", "2001:db8::1", "lb.example"].map(target);
    let of = |target, weight| Candidate { target, weight, is_up: true };
    let both = [of(&v4, 1), of(&v6, 1)];
    for random in numbers(100) {
        assert_eq!(draw(&both, Question::V4, random), Some(&v4));
        assert_eq!(draw(&both, Question::V6, random), Some(&v6));
        assert_eq!(draw(&both, Question::Alias, random), None);
        assert_eq!(draw(&[of(&v4, 0)], Question::V4, random), None, "weight 0 is never drawn");
        assert_eq!(draw(&[of(&host, 1)], Question::V6, random), Some(&host));
        assert_eq!(draw(&[of(&host, 1)], Question::Alias, random), Some(&host));
    }
    assert_eq!(draw(&[], Question::V4, 0), None);
    assert_eq!(draw(&[of(&v4, u32::MAX), of(&v4, u32::MAX)], Question::V4, u64::MAX), Some(&v4));
}

#[test]
fn what_is_down_is_drawn_only_when_all_that_could_answer_is() {
    let [a, b, v6] = ["203.0.113.1", "203.0.113.2", "2001:db8::1"].map(target);
    let of = |target, is_up| Candidate { target, weight: 1, is_up };
    let drawn = |candidates: &[Candidate<'_>], question| {
        let drawn = numbers(200).filter_map(|random| draw(candidates, question, random));
        drawn.map(ToString::to_string).collect::<std::collections::BTreeSet<_>>()
    };
    let names = |targets: &[&Target]| targets.iter().map(ToString::to_string).collect();
    assert_eq!(drawn(&[of(&a, false), of(&b, true)], Question::V4), names(&[&b]));
    assert_eq!(drawn(&[of(&a, false), of(&b, false)], Question::V4), names(&[&a, &b]));
    let other_family = [of(&a, false), of(&b, false), of(&v6, true)];
    assert_eq!(drawn(&other_family, Question::V4), names(&[&a, &b]));
    let zero = Candidate { target: &b, weight: 0, is_up: true };
    assert_eq!(drawn(&[of(&a, false), zero], Question::V4), names(&[&a]), "0 stays 0");
}

proptest! {
    #[test]
    fn every_endpoint_is_drawn_by_its_weight(
        endpoints in prop::collection::vec((0..1000_u32, any::<bool>()), 1..8),
    ) {
        let targets: Vec<_> =
            (0..endpoints.len()).map(|n| target(&format!("203.0.113.{n}"))).collect();
        let candidates: Vec<_> = targets
            .iter()
            .zip(&endpoints)
            .map(|(target, (weight, is_up))| Candidate { target, weight: *weight, is_up: *is_up })
            .collect();
        let n = 20_000;
        let mut counts: BTreeMap<&Target, u32> = BTreeMap::new();
        for drawn in numbers(n).filter_map(|random| draw(&candidates, Question::V4, random)) {
            *counts.entry(drawn).or_default() += 1;
        }
        let any_up = candidates.iter().any(|one| one.weight > 0 && one.is_up);
        let is_used = |one: &Candidate<'_>| one.is_up || !any_up;
        let total: u32 = candidates.iter().filter(|one| is_used(one)).map(|one| one.weight).sum();
        for one in &candidates {
            let got = f64::from(counts.get(one.target).copied().unwrap_or(0));
            let want = if is_used(one) && total > 0 {
                f64::from(one.weight) / f64::from(total) * f64::from(u32::try_from(n).unwrap())
            } else {
                0.0
            };
            prop_assert!((got - want).abs() <= 20.0, "{got} instead of {want}");
            prop_assert!(want > 0.0 || got == 0.0, "drawn although its share is nothing");
        }
    }
}

#[test]
fn an_answer_is_kept_no_longer_than_the_time_between_checks() {
    for (interval, want) in [(10, 10), (30, 30)] {
        let profile = object(json!({
            "metadata": {"name": "shop", "namespace": "app", "uid": "u"},
            "spec": {"resourceGroup": "rg", "monitorConfig": {"intervalInSeconds": interval}},
        }));
        assert_eq!(ttl_seconds(&profile::wanted(&profile)), want);
    }
}

#[test]
fn an_endpoint_goes_down_with_the_failure_that_is_not_tolerated_and_up_with_a_success() {
    for tolerated in 0..=9 {
        let settings =
            monitor(json!({"toleratedNumberOfFailures": tolerated})).unwrap().health_settings();
        let mut health = Health::assumed(at(0));
        for n in 1..=tolerated {
            health = health.after(Evidence::CheckFailed, &settings, at(n));
            assert!(health.is_up(), "{n} failures of {tolerated} are tolerated");
        }
        health = health.after(Evidence::CheckFailed, &settings, at(20));
        assert!(!health.is_up());
        assert!(health.after(Evidence::CheckPassed, &settings, at(30)).is_up());
    }
}

#[test]
fn how_endpoints_are_checked_is_read_with_its_defaults() {
    let plain = monitor(json!({})).unwrap();
    assert_eq!((plain.port, plain.tolerated_failures), (80, 3));
    assert_eq!((plain.interval, plain.timeout), (Duration::from_secs(30), Duration::from_secs(10)));
    let Check::Http(request) = plain.check else { panic!("not HTTP") };
    assert_eq!((request.path.as_str(), request.headers.len()), ("/", 0));
    let tcp = monitor(json!({"protocol": "TCP", "path": "", "intervalInSeconds": 10})).unwrap();
    assert_eq!((tcp.check, tcp.timeout), (Check::Tcp, Duration::from_secs(9)));
}

#[test]
fn a_check_that_cannot_be_made_is_refused_with_its_field() {
    let with_header =
        |name: &str, value: &str| json!({"customHeaders": [{"name": name, "value": value}]});
    for (config, want) in [
        (json!({"port": 0}), "monitorConfig.port is 0 but must be from 1 to 65535"),
        (json!({"port": 65536}), "monitorConfig.port is 65536"),
        (json!({"intervalInSeconds": 20}), "must be 10 or 30"),
        (json!({"timeoutInSeconds": 11}), "is 11 but must be from 5 to 10"),
        (json!({"timeoutInSeconds": 10, "intervalInSeconds": 10}), "is 10 but must be from 5 to 9"),
        (json!({"toleratedNumberOfFailures": 10}), "is 10 but must be from 0 to 9"),
        (json!({"path": "healthz"}), "monitorConfig.path is `healthz` but must begin with `/`"),
        (json!({"path": "/a b"}), "none of them a space"),
        (json!({"path": "/a\r\nHost: b"}), "monitorConfig.path"),
        (with_header("a b", "1"), "`a b` is not a name of a header"),
        (with_header("Content-Length", "9"), "is written by the check itself"),
        (with_header("a", "1\r\nb: 2"), "must have a value"),
    ] {
        let error = monitor(config.clone()).unwrap_err();
        assert!(error.contains(want), "{config}\nwanted: {want}\n   got: {error}");
    }
}
