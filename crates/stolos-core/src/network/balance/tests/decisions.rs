//! Plans, health, leases and affinity by example.

use std::net::SocketAddr;

use jiff::SignedDuration;

use super::super::affinity::stick;
use super::super::{
    Affinity, CheckReason, Cut, Evidence, Health, HealthSettings, Lease, LeasePolicy, Locality,
    Observed, Protocol, Routing, SlotTable, Standing, plan,
};
use super::{at, by_cluster, desired, equal, id, ready, terminating};

fn health(evidence: &[Evidence]) -> Health {
    let settings = HealthSettings::default();
    let mut health = Health::assumed(at(0));
    for (second, one) in (1..).zip(evidence) {
        health = health.after(*one, &settings, at(second));
    }
    health
}

fn down() -> Health {
    health(&[Evidence::CheckFailed, Evidence::CheckFailed])
}

#[test]
fn two_failures_in_a_row_bring_an_endpoint_down_and_two_successes_up() {
    use Evidence::{CheckFailed, CheckPassed, ConnectionFailed, ConnectionMade};
    let cases: [(&str, &[Evidence], bool); 10] = [
        ("nothing known", &[], true),
        ("one failure", &[CheckFailed], true),
        ("two failures", &[CheckFailed, CheckFailed], false),
        ("a success between", &[CheckFailed, CheckPassed, CheckFailed], true),
        ("connections alone", &[ConnectionFailed, ConnectionFailed], false),
        ("one of each", &[ConnectionFailed, CheckFailed], false),
        ("a connection between", &[ConnectionFailed, ConnectionMade, CheckFailed], true),
        ("one success", &[CheckFailed, CheckFailed, CheckPassed], false),
        ("two successes", &[CheckFailed, CheckFailed, CheckPassed, CheckPassed], true),
        (
            "connections do not bring it up",
            &[CheckFailed, CheckFailed, ConnectionMade, ConnectionMade, CheckPassed],
            false,
        ),
    ];
    for (name, evidence, want) in cases {
        assert_eq!(health(evidence).is_up(), want, "{name}");
    }
    assert_eq!(down().since(), at(2));
}

#[test]
fn a_recovered_endpoint_gets_its_share_back_in_three_steps() {
    let up = health(&[
        Evidence::CheckFailed,
        Evidence::CheckFailed,
        Evidence::CheckPassed,
        Evidence::CheckPassed,
    ]);
    let steps: Vec<_> = [4, 13, 14, 24, 33, 34].map(|second| up.ramp(30, at(second))).into();
    let want = [
        (1, Some(at(14))),
        (1, Some(at(14))),
        (2, Some(at(24))),
        (3, Some(at(34))),
        (3, Some(at(34))),
        (4, None),
    ];
    assert_eq!(steps, want);
    assert_eq!(up.ramp(0, at(4)), (4, None), "without slow start");
    assert_eq!(Health::assumed(at(0)).ramp(30, at(1)), (4, None), "a new endpoint");

    let mut desired = desired(vec![ready(id("a", 1)), ready(id("b", 1))], &[]);
    desired.settings.slow_start_seconds = 30;
    let observed = Observed { health: [(id("a", 1), up)].into(), ..Observed::default() };
    let plan = plan(&desired, &observed, at(5));
    let counts = by_cluster(&plan.table);
    assert_eq!((counts["a"], counts["b"]), (50, 201));
    assert_eq!(plan.endpoints[&id("a", 1)], Standing::Ramping);
    assert_eq!(plan.wake_at, Some(at(14)));
}

#[test]
fn the_weight_of_a_cluster_is_spread_over_its_usable_endpoints() {
    let endpoints =
        vec![ready(id("a", 1)), ready(id("b", 1)), ready(id("b", 2)), ready(id("c", 1))];
    let mut desired = desired(endpoints, &[("a", 1), ("b", 3), ("c", 0)]);
    let table = plan(&desired, &Observed::default(), at(0)).table;
    assert_eq!((table.counts()[&id("b", 1)], table.counts()[&id("b", 2)]), (383, 383));
    assert_eq!(by_cluster(&table), [("a".into(), 255), ("b".into(), 766)].into());

    let observed = Observed { health: [(id("b", 1), down())].into(), ..Observed::default() };
    let degraded = plan(&desired, &observed, at(0));
    assert_eq!(
        by_cluster(&degraded.table)["b"] * 100 / degraded.table.len(),
        74,
        "b keeps its share"
    );
    assert_eq!(degraded.endpoints[&id("b", 1)], Standing::Down);
    assert_eq!(degraded.endpoints[&id("c", 1)], Standing::ZeroWeight);

    desired.settings.locality = Some(Locality { cluster: "a".into(), multiplier: 3 });
    let local = by_cluster(&plan(&desired, &Observed::default(), at(0)).table);
    assert_eq!(local, [("a".into(), 510), ("b".into(), 511)].into(), "the own cluster comes first");
}

#[test]
fn endpoints_that_terminate_serve_only_while_nothing_else_can() {
    let mut desired = desired(vec![ready(id("a", 1)), terminating(id("b", 1))], &[]);
    let usual = plan(&desired, &Observed::default(), at(0));
    assert_eq!(usual.routing, Routing::Ready);
    assert_eq!(usual.endpoints[&id("b", 1)], Standing::Terminating);

    let observed = Observed { health: [(id("a", 1), down())].into(), ..Observed::default() };
    let last = plan(&desired, &observed, at(0));
    assert_eq!(last.routing, Routing::Terminating);
    assert_eq!(last.routed(), [id("b", 1)].into());

    desired.weights.insert("b".into(), 0);
    let open = plan(&desired, &observed, at(0));
    assert_eq!(open.routing, Routing::FailOpen);
    assert_eq!(open.endpoints[&id("a", 1)], Standing::FailOpen);

    desired.settings.fail_open = false;
    let closed = plan(&desired, &observed, at(0));
    assert_eq!((closed.routing, closed.table.len()), (Routing::Nothing, 0));
    assert_eq!(closed.checks[&id("a", 1)], CheckReason::Configured, "how else would it come back");
}

#[test]
fn a_silent_cluster_is_checked_kept_or_dropped() {
    let mut desired = desired(vec![ready(id("a", 1)), ready(id("b", 1))], &[]);
    desired.settings.health.check = None;
    let lease = |renewed| Lease { renewed, period_seconds: 10 };
    let observed = Observed {
        leases: [("a".to_owned(), lease(at(0))), ("b".to_owned(), lease(at(20)))].into(),
        ..Observed::default()
    };
    let fresh = plan(&desired, &observed, at(29));
    assert!(fresh.checks.is_empty());
    assert_eq!(fresh.wake_at, Some(at(30)), "when the first lease is stale");

    let checked = plan(&desired, &observed, at(30));
    assert_eq!(checked.checks, [(id("a", 1), CheckReason::ClusterSilent)].into());
    assert_eq!(checked.table, fresh.table, "silence alone takes nothing away");
    assert_eq!(checked.wake_at, Some(at(50)));

    desired.settings.lease_policy = LeasePolicy::Keep;
    let kept = plan(&desired, &observed, at(30));
    assert_eq!((kept.checks.len(), kept.wake_at), (0, None));

    desired.settings.lease_policy = LeasePolicy::Drop;
    let dropped = plan(&desired, &observed, at(30));
    assert_eq!(dropped.routed(), [id("b", 1)].into());
    assert_eq!(dropped.endpoints[&id("a", 1)], Standing::LeaseExpired);
    let unheard = plan(&desired, &Observed::default(), at(30));
    assert_eq!(unheard.routed().len(), 2, "a lease that never was proves nothing");
    assert_eq!(unheard.checks[&id("a", 1)], CheckReason::ClusterSilent);
}

#[test]
fn an_endpoint_that_connections_brought_down_is_checked_until_it_is_up() {
    let mut desired = desired(vec![ready(id("a", 1)), ready(id("a", 2))], &[]);
    desired.settings.health.check = None;
    desired.settings.lease_policy = LeasePolicy::Keep;
    let observed = Observed { health: [(id("a", 1), down())].into(), ..Observed::default() };
    let plan = plan(&desired, &observed, at(3));
    assert_eq!(plan.checks, [(id("a", 1), CheckReason::Down)].into());
}

#[test]
fn connections_to_an_endpoint_that_left_go_on_for_the_drain_time() {
    let mut desired = desired(vec![ready(id("a", 1))], &[]);
    desired.settings.drain_seconds = 60;
    let mut observed = Observed { routed: [id("a", 1), id("a", 2)].into(), ..Observed::default() };
    let left = plan(&desired, &observed, at(0));
    assert_eq!(left.draining, [(id("a", 2), at(60))].into());
    assert_eq!((left.cut.len(), left.wake_at), (0, Some(at(60))));

    observed.routed = left.routed();
    observed.draining = left.draining;
    let later = plan(&desired, &observed, at(30));
    assert_eq!(later.draining[&id("a", 2)], at(60), "the time does not begin again");
    let over = plan(&desired, &observed, at(60));
    assert_eq!(over.cut, [(id("a", 2), Cut::DrainTimeOver)].into());
    assert!(over.draining.is_empty());

    let mut dead = observed.clone();
    dead.health.insert(id("a", 2), down());
    assert_eq!(plan(&desired, &dead, at(30)).cut, [(id("a", 2), Cut::Down)].into());

    let mut back = desired.clone();
    back.endpoints.push(ready(id("a", 2)));
    let back = plan(&back, &observed, at(30));
    assert!(back.draining.is_empty() && back.cut.is_empty(), "what comes back no longer drains");

    desired.vip.protocol = Protocol::Udp;
    assert_eq!(plan(&desired, &observed, at(1)).cut, [(id("a", 2), Cut::Datagrams)].into());
}

#[test]
fn a_client_keeps_its_endpoint_by_hash_and_strictly_by_memory() {
    let client = |port| SocketAddr::from(([192, 0, 2, 7], port));
    assert_ne!(Affinity::None.hash(client(1)), Affinity::None.hash(client(2)));
    assert_eq!(Affinity::ClientIp.hash(client(1)), Affinity::ClientIp.hash(client(2)));
    let mapped: SocketAddr = "[::ffff:192.0.2.7]:9".parse().unwrap();
    assert_eq!(Affinity::ClientIp.hash(mapped), Affinity::ClientIp.hash(client(1)));

    let table = SlotTable::build(&equal("a", 3));
    let ip = client(1).ip();
    let first = stick(&table, None, ip, 100, at(0)).unwrap();
    assert_eq!(Some(&first.endpoint), table.pick(Affinity::ClientIp.hash(client(1))));
    assert_eq!(first.until, at(100));

    let other = table.endpoints().iter().find(|id| **id != first.endpoint).unwrap();
    let remembered = super::super::affinity::Sticky { endpoint: other.clone(), until: first.until };
    let again = stick(&table, Some(&remembered), ip, 100, at(99)).unwrap();
    assert_eq!((&again.endpoint, again.until), (other, at(199)), "memory beats the table");
    let late = stick(&table, Some(&remembered), ip, 100, at(100)).unwrap();
    assert_eq!(late.endpoint, first.endpoint, "until the time is over");

    let without = equal("a", 3).into_iter().filter(|one| one.id != *other).collect::<Vec<_>>();
    let without = SlotTable::build(&without);
    let moved = stick(&without, Some(&remembered), ip, 100, at(1)).unwrap();
    assert_ne!(&moved.endpoint, other, "or the endpoint can no longer be used");
    assert_eq!(stick(&SlotTable::default(), Some(&remembered), ip, 100, at(1)), None);
    assert_eq!(moved.until.duration_since(at(1)), SignedDuration::from_secs(100));
}

#[test]
fn a_desired_state_survives_the_disk() {
    let mut desired = desired(vec![ready(id("a", 1)), terminating(id("b", 1))], &[("a", 7)]);
    desired.settings.affinity = Affinity::StrictClientIp { timeout_seconds: 5 };
    desired.settings.health.check = Some(super::super::Check::Http { path: "/healthz".into() });
    let text = serde_json::to_string(&desired).unwrap();
    assert_eq!(serde_json::from_str::<super::Desired>(&text).unwrap(), desired);
    assert_eq!(desired.vip.to_string(), "10.96.0.1:80/TCP");
    assert_eq!(id("a", 1).to_string(), "10.1.0.1:8080 of a");
}
