//! Where connections to a service go, and what stands in the way.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::network::{
    Endpoint, EndpointSliceExport, InternalServiceExport, InternalServiceImport, ServiceImport,
};

use super::super::overview::{Imported, Observed, Overview, Told, overview};
use super::{at, claimant, claimed, exported, exported_slice, object};

#[derive(Default)]
struct World {
    lacks_namespace: bool,
    import: Option<ServiceImport>,
    exports: Vec<InternalServiceExport>,
    slices: Vec<EndpointSliceExport>,
    claimants: Vec<InternalServiceImport>,
    members: Vec<MemberCluster>,
    told: BTreeMap<String, Told>,
}

impl World {
    fn overview(&self) -> Overview {
        overview(&Observed {
            key: "app/web",
            namespace_exists: !self.lacks_namespace,
            import: self.import.as_ref(),
            exports: &self.exports,
            slices: &self.slices,
            claimants: &self.claimants,
            members: &self.members,
            told: &self.told,
            now: at(1_000),
        })
    }
}

fn slice(cluster: &str, addresses: &[&str]) -> EndpointSliceExport {
    let mut slice = exported_slice(cluster);
    let endpoint = |address: &&str| Endpoint { addresses: vec![(*address).to_owned()] };
    slice.spec.endpoints = addresses.iter().map(endpoint).collect();
    slice
}

fn weighted(cluster: &str, weight: i64, age: i64) -> InternalServiceExport {
    let mut export = exported(cluster, &[80], age);
    export.spec.weight = Some(weight);
    export
}

fn told(export: Value, services: &[Value]) -> Told {
    let services = services.iter().map(|service| Imported {
        service: object(service.clone()),
        derived: None,
        slices: Vec::new(),
    });
    Told { export: (!export.is_null()).then(|| object(export)), services: services.collect() }
}

/// Prints findings as `cluster: message`.
pub(super) fn found(overview: &Overview) -> Vec<String> {
    let line = |one: &super::super::overview::Finding| {
        format!("{}: {}", one.cluster.as_deref().unwrap_or("-"), one.message)
    };
    overview.findings.iter().map(line).collect()
}

/// A member that was heard of at some second.
pub(super) fn heard(name: &str, second: i64) -> MemberCluster {
    object(json!({
        "metadata": {"name": name},
        "spec": {"identity": {"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}},
        "status": {"agentStatus": [{
            "type": "MemberAgent", "lastReceivedHeartbeat": at(second).to_string(),
        }]},
    }))
}

#[test]
fn shares_follow_the_weights_of_those_that_serve() {
    let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let mcs =
        json!({"metadata": {"name": "web", "namespace": "app"}, "spec": {}, "status": address});
    let world = World {
        import: Some(claimed(&["a", "b", "c"], &["d"])),
        exports: vec![weighted("a", 3, 1), weighted("b", 1, 2), weighted("c", 5, 3)],
        slices: vec![slice("a", &["10.0.0.1", "10.0.0.2"]), slice("b", &["10.1.0.1"])],
        claimants: vec![claimant("d", 1)],
        told: BTreeMap::from([("d".to_owned(), told(Value::Null, &[mcs]))]),
        ..World::default()
    };
    let overview = world.overview();
    let shown: Vec<_> = overview
        .exporters
        .iter()
        .map(|one| {
            format!("{} {} {}% {}", one.cluster, one.endpoints, one.percent, one.state.as_str())
        })
        .collect();
    assert_eq!(shown, ["a 2 75% Serving", "b 1 25% Serving", "c 0 0% NoEndpoints"]);
    assert_eq!(overview.importers[0].addresses, ["192.0.2.1"]);
    assert_eq!(overview.importers[0].state.as_str(), "Importing");
    assert_eq!(found(&overview), ["c: exports it, but has no endpoint that takes connections"]);
}

#[test]
fn endpoints_that_an_importer_leaves_out_are_told() {
    let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let mcs =
        json!({"metadata": {"name": "web", "namespace": "app"}, "spec": {}, "status": address});
    let slice = |annotations: Value| {
        let metadata = json!({"annotations": annotations});
        object(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": []}))
    };
    let left_out = json!({
        "network.fleet.stolos.dev/cluster": "a",
        "network.fleet.stolos.dev/refused": "169.254.169.254 is link-local",
    });
    let mut says = told(Value::Null, &[mcs]);
    says.services[0].slices =
        vec![slice(left_out), slice(json!({"network.fleet.stolos.dev/cluster": "b"}))];
    let world = World {
        import: Some(claimed(&["a"], &["d"])),
        exports: vec![weighted("a", 1, 1)],
        slices: vec![self::slice("a", &["10.0.0.1"])],
        claimants: vec![claimant("d", 1)],
        told: BTreeMap::from([("d".to_owned(), says)]),
        ..World::default()
    };
    let want =
        "d: MultiClusterService web: endpoints of a are left out: 169.254.169.254 is link-local";
    assert_eq!(found(&world.overview()), [want]);
}

#[test]
fn a_conflict_names_both_sides() {
    let world = World {
        import: Some(claimed(&["b"], &["b"])),
        exports: vec![exported("a", &[81], 5), exported("b", &[80], 3)],
        slices: vec![slice("a", &["10.0.0.1"]), slice("b", &["10.1.0.1"])],
        claimants: vec![claimant("b", 1), claimant("c", 1)],
        ..World::default()
    };
    let found = found(&world.overview());
    assert!(found[0].starts_with("a: conflicts: it has ports "), "{found:?}");
    assert!(found[0].contains("81/TCP, and b, which has exported it for longer, "), "{found:?}");
    assert!(found[0].ends_with("80/TCP"), "{found:?}");
    assert_eq!(
        found[1..],
        ["c: waits: b imports it, and this hub lets one member import a service"]
    );
}

#[test]
fn a_member_that_exports_nothing_to_the_hub_says_why() {
    let valid = |status: &str, message: &str| {
        json!({"conditions": [{
            "type": "Valid", "status": status, "reason": "x", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]})
    };
    let export = |weight: &str, status: Value| {
        let annotations = json!({"networking.fleet.azure.com/weight": weight});
        json!({"metadata": {"name": "web", "namespace": "app", "annotations": annotations}, "status": status})
    };
    let zero = export("0", valid("True", "exported service app/web with 0 weight"));
    let refused = export("1", valid("False", "service app/web is not found"));
    let world = World {
        told: BTreeMap::from([
            ("a".to_owned(), told(zero, &[])),
            ("b".to_owned(), told(refused, &[])),
            ("c".to_owned(), Told::default()),
        ]),
        ..World::default()
    };
    let want = [
        "a: takes no connections: its ServiceExport has weight 0",
        "b: does not export it: service app/web is not found",
        "-: no member imports it",
    ];
    assert_eq!(found(&world.overview()), want);
    let nobody = World::default().overview();
    assert_eq!(found(&nobody), ["-: no member exports it", "-: no member imports it"]);
}

#[test]
fn weights_that_none_can_have_upset_no_share() {
    let world = World {
        import: Some(claimed(&["a", "b"], &["a"])),
        exports: vec![weighted("a", i64::MAX, 1), weighted("b", i64::MAX, 2)],
        slices: vec![slice("a", &["10.0.0.1"]), slice("b", &["10.1.0.1"])],
        ..World::default()
    };
    let shares: Vec<_> =
        world.overview().exporters.iter().map(|one| one.percent.to_string()).collect();
    assert_eq!(shares, ["50", "50"]);
}

#[test]
fn a_silent_exporter_is_told_but_still_serves() {
    let world = World {
        import: Some(claimed(&["a", "b"], &["a"])),
        exports: vec![weighted("a", 1, 1), weighted("b", 1, 2)],
        slices: vec![slice("a", &["10.0.0.1"]), slice("b", &["10.1.0.1"])],
        claimants: vec![claimant("a", 1)],
        members: vec![heard("a", 990), heard("b", 700)],
        ..World::default()
    };
    let overview = world.overview();
    assert_eq!(found(&overview), ["b: has not been heard of for 300 s"]);
    assert_eq!(overview.exporters[1].state.as_str(), "Serving");
}

#[test]
fn a_missing_namespace_is_told_once_and_not_as_a_lack_of_endpoints() {
    let exports = vec![exported("a", &[80], 1)];
    let world = World { lacks_namespace: true, exports, ..World::default() };
    let told = found(&world.overview());
    let about = |text: &str| told.iter().filter(|line| line.contains(text)).count();
    assert_eq!((about("has no namespace `app`"), about("no endpoint")), (1, 0), "{told:?}");
}
