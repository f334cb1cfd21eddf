//! VIP ports of a service.

use std::net::IpAddr;

use serde_json::json;
use stolos_api::network::{EndpointSliceImport, ServicePort};

use super::super::balance::{Observed, Settings, plan};
use super::super::distribute::copy;
use super::super::vip::{Guard, MAX_ENDPOINTS_PER_CLUSTER, Refusal, Service, Vips, vips};
use super::{at, exported_slice, object};

fn slice(cluster: &str, addresses: &[&str], weight: i64) -> EndpointSliceImport {
    let mut export = exported_slice(cluster);
    let endpoint = |address: &&str| object(json!({"addresses": [address]}));
    export.spec.endpoints = addresses.iter().map(endpoint).collect();
    copy(&export, &super::told(weight), "fleet-member-b")
}

fn ports() -> Vec<ServicePort> {
    vec![
        object(json!({"name": "p80", "port": 80, "targetPort": 8080})),
        object(json!({"name": "dns", "port": 53, "protocol": "UDP"})),
    ]
}

fn decide(slices: &[EndpointSliceImport], guard: &Guard) -> Vips {
    let addresses: [IpAddr; 1] = ["10.96.0.1".parse().unwrap()];
    let settings = Settings::default();
    vips(&Service { addresses: &addresses, ports: &ports(), slices, settings: &settings }, guard)
}

fn shown(vips: &Vips) -> Vec<String> {
    let shown = |desired: &super::super::balance::Desired| {
        let ids: Vec<_> = desired.endpoints.iter().map(|one| one.id.to_string()).collect();
        format!("{}: {}", desired.vip, ids.join(", "))
    };
    vips.ports.iter().map(shown).collect()
}

#[test]
fn endpoints_of_all_members_are_behind_the_port_of_their_name() {
    let slices = [
        slice("b", &["10.2.0.1"], 3),
        slice("a", &["10.1.0.2", "10.1.0.1"], 1),
        slice("a", &["10.1.0.1"], 1),
    ];
    let vips = decide(&slices, &Guard::default());
    let want = [
        "10.96.0.1:80/TCP: 10.1.0.1:8080 of a, 10.1.0.2:8080 of a, 10.2.0.1:8080 of b",
        "10.96.0.1:53/UDP: ",
    ];
    assert_eq!(shown(&vips), want);
    assert_eq!(vips.ports[0].weights, [("a".to_owned(), 1), ("b".to_owned(), 3)].into());
    let table = plan(&vips.ports[0], &Observed::default(), at(0)).table;
    let of_b = table.slots().filter(|id| id.cluster == "b").count();
    assert_eq!(of_b * 100 / table.len(), 75);
    let mut reversed = slices.to_vec();
    reversed.reverse();
    assert_eq!(decide(&reversed, &Guard::default()), vips);
}

#[test]
fn addresses_that_no_other_cluster_can_have_are_refused_and_the_rest_serves() {
    let mut guard = Guard::default();
    guard.nodes.insert("10.9.9.9".parse().unwrap());
    for (address, why) in [
        ("127.0.0.1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("169.254.169.254", "metadata"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "metadata"),
        ("0.0.0.0", "no host"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("10.9.9.9", "of a node"),
        ("localhost", "not an IP address"),
        ("", "not an IP address"),
    ] {
        let vips = decide(&[slice("evil", &[address, "10.1.0.1"], 1)], &guard);
        assert_eq!(shown(&vips)[0], "10.96.0.1:80/TCP: 10.1.0.1:8080 of evil");
        let refusal = vips.refused["evil"].to_string();
        assert!(refusal.contains(why), "{address}: {refusal}");
    }
    guard.allows_loopback = true;
    assert!(decide(&[slice("a", &["127.0.0.1"], 1)], &guard).refused.is_empty());
}

#[test]
fn a_member_can_add_only_so_many_endpoints() {
    let many: Vec<String> =
        (0..=MAX_ENDPOINTS_PER_CLUSTER).map(|n| format!("10.3.{}.{}", n / 256, n % 256)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let vips = decide(&[slice("a", &many, 1), slice("b", &["10.2.0.1"], 1)], &Guard::default());
    assert_eq!(vips.ports[0].endpoints.len(), MAX_ENDPOINTS_PER_CLUSTER + 1);
    assert_eq!(vips.refused, [("a".to_owned(), Refusal::TooMany)].into());
}

#[test]
fn a_port_that_is_none_is_refused() {
    let mut bad = slice("a", &["10.1.0.1"], 1);
    bad.spec.ports[0].port = Some(70_000);
    let vips = decide(&[bad.clone()], &Guard::default());
    assert_eq!(vips.refused["a"], Refusal::NotAPort(70_000));
    bad.spec.ports[0].port = None;
    assert!(decide(&[bad], &Guard::default()).refused.is_empty(), "nothing to connect to");
}
