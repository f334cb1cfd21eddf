//! Where connections to a service of the standard go, and what stands in the way.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::network::clusterset::{ExportedService, ImportedService};

use super::super::overview::Overview;
use super::super::overview::clusterset::{Observed, Told, overview};
use super::overview::{found, heard};
use super::{at, deleting, object};

#[derive(Default)]
struct World {
    exports: Vec<ExportedService>,
    imports: Vec<ImportedService>,
    members: Vec<MemberCluster>,
    told: BTreeMap<String, Told>,
}

impl World {
    fn overview(&self) -> Overview {
        overview(&Observed {
            key: "app/web",
            exports: &self.exports,
            imports: &self.imports,
            members: &self.members,
            told: &self.told,
            now: at(1_000),
        })
    }
}

/// What a member exports since some second: a port, and endpoints of which these are ready.
fn exported(cluster: &str, second: i64, port: i32, ready: &[bool]) -> ExportedService {
    let endpoint = |(n, ready): (usize, &bool)| json!({"addresses": [format!("10.0.0.{}", n + 1)], "ready": ready});
    let endpoints: Vec<_> = ready.iter().enumerate().map(endpoint).collect();
    object(json!({
        "metadata": {"name": "app.web", "namespace": format!("fleet-member-{cluster}")},
        "spec": {
            "exportUid": "u", "exportedSince": at(second).to_string(),
            "service": {"type": "ClusterSetIP", "ports": [{"name": "http", "port": port, "protocol": "TCP"}]},
            "slices": [{"name": "web-1", "addressType": "IPv4", "endpoints": endpoints}],
        },
    }))
}

/// What a member is told, and what it says of that.
fn imported(cluster: &str, says: Option<(&str, &str, &str)>) -> ImportedService {
    let condition = |(status, reason, message): (&str, &str, &str)| {
        json!({
            "type": "Imported", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": at(0).to_string(),
        })
    };
    object(json!({
        "metadata": {"name": "app.web", "namespace": format!("fleet-member-{cluster}")},
        "spec": {"service": {"type": "ClusterSetIP", "ports": []}},
        "status": {"conditions": says.map(condition).into_iter().collect::<Vec<_>>()},
    }))
}

const IMPORTED: Option<(&str, &str, &str)> = Some(("True", "Imported", "the service is imported"));

fn joined_all(clusters: &[&str]) -> Vec<MemberCluster> {
    clusters.iter().map(|cluster| heard(cluster, 990)).collect()
}

/// What a member says itself: the conditions of its ServiceExport, and the address and the condition of its ServiceImport.
fn told(export: &[(&str, &str, &str)], import: Option<(&str, &str)>) -> Told {
    let condition = |(type_, status, message): &(&str, &str, &str)| {
        json!({
            "type": type_, "status": status, "reason": "R", "message": message,
            "lastTransitionTime": at(0).to_string(),
        })
    };
    let metadata = json!({"name": "web", "namespace": "app"});
    let export = (!export.is_empty()).then(|| {
        let conditions: Vec<_> = export.iter().map(condition).collect();
        object(json!({"metadata": metadata, "status": {"conditions": conditions}}))
    });
    let import = import.map(|(address, message)| {
        let ready = condition(&("Ready", "True", message));
        object(json!({
            "metadata": metadata, "status": {"conditions": [ready]},
            "spec": {"type": "ClusterSetIP", "ports": [], "ips": [address]},
        }))
    });
    Told { export, import }
}

#[test]
fn shares_follow_the_endpoints_that_are_ready() {
    let usable = told(&[], Some(("10.96.0.7", "the service can be used")));
    let world = World {
        exports: vec![
            exported("a", 1, 80, &[true, true, true, false]),
            exported("b", 2, 80, &[true]),
            exported("c", 3, 80, &[false]),
        ],
        imports: vec![imported("a", IMPORTED), imported("d", IMPORTED)],
        members: joined_all(&["a", "b", "c", "d"]),
        told: BTreeMap::from([("d".to_owned(), usable)]),
    };
    let overview = world.overview();
    let shown: Vec<_> = overview
        .exporters
        .iter()
        .map(|one| {
            format!("{} {} {}% {}", one.cluster, one.endpoints, one.percent, one.state.as_str())
        })
        .collect();
    assert_eq!(shown, ["a 3 75% Serving", "b 1 25% Serving", "c 0 0% NoEndpoints"]);
    let shown: Vec<_> = overview
        .importers
        .iter()
        .map(|one| format!("{} {:?} {}", one.cluster, one.addresses, one.was_asked))
        .collect();
    assert_eq!(shown, ["a [] false", "d [\"10.96.0.7\"] true"]);
    assert_eq!(found(&overview), ["c: exports it, but has no endpoint that takes connections"]);
    assert_eq!(overview.ports[0].port, 80);
    let printed: Value = serde_json::to_value(&overview).unwrap();
    assert_eq!(printed["api"], "multicluster.x-k8s.io");
    assert!(printed["exporters"][0].get("weight").is_none(), "the standard knows no weights");
}

#[test]
fn what_keeps_a_member_from_importing_is_told() {
    let taken = Some(("False", "NameTaken", "Service app/derived-1 is not kept by the fleet"));
    let lacks = Some(("False", "NamespaceNotFound", "the cluster has no namespace `app`"));
    let left_out = "the service can be used, without some endpoints: 127.0.0.1 is loopback";
    let mut leaving = imported("e", IMPORTED);
    deleting(&mut leaving.metadata);
    let world = World {
        exports: vec![exported("a", 1, 80, &[true])],
        imports: vec![
            imported("b", taken),
            imported("c", lacks),
            imported("d", IMPORTED),
            leaving,
            imported("f", None),
        ],
        members: joined_all(&["a"]),
        told: BTreeMap::from([("d".to_owned(), told(&[], Some(("10.96.0.7", left_out))))]),
    };
    let overview = world.overview();
    let states: Vec<_> = overview
        .importers
        .iter()
        .map(|one| format!("{} {}", one.cluster, one.state.as_str()))
        .collect();
    assert_eq!(states, ["b Waiting", "d Importing", "e Leaving", "f Waiting"]);
    let want = [
        "b: Service app/derived-1 is not kept by the fleet",
        &format!("d: {left_out}"),
        "e: is withdrawing its import",
        "f: has not said yet that it imports it",
    ];
    assert_eq!(found(&overview), want);
    let nowhere = World { imports: vec![imported("c", lacks)], ..world };
    let want = "-: no member imports it, because none has namespace `app`";
    assert_eq!(found(&nowhere.overview()).last().unwrap(), want);
}

#[test]
fn clusters_that_disagree_and_those_that_do_not_take_part_are_told() {
    let mut leaving = exported("c", 3, 80, &[true]);
    deleting(&mut leaving.metadata);
    let invalid = [("Valid", "False", "service app/web is not found"), ("Ready", "False", "no")];
    let pending = [("Valid", "True", "fine"), ("Ready", "False", "the hub has not answered yet")];
    let mut members = joined_all(&["a", "c"]);
    members.push(heard("b", 700));
    let world = World {
        exports: vec![
            exported("a", 2, 81, &[true]),
            exported("b", 1, 80, &[true]),
            leaving,
            exported("gone", 4, 80, &[true]),
        ],
        imports: vec![imported("a", IMPORTED)],
        members,
        told: BTreeMap::from([
            ("d".to_owned(), told(&invalid, None)),
            ("e".to_owned(), told(&pending, None)),
            ("f".to_owned(), Told::default()),
        ]),
    };
    let want = [
        "-: ports of a differ from those of b; the oldest export wins",
        "b: has not been heard of for 300 s",
        "c: is withdrawing its export",
        "d: does not export it: service app/web is not found",
        "e: does not export it: the hub has not answered yet",
        "gone: is withdrawing its export",
    ];
    let overview = world.overview();
    assert_eq!(found(&overview), want);
    let shares: Vec<_> = overview.exporters.iter().map(|one| one.percent.to_string()).collect();
    assert_eq!(shares, ["50", "50", "0", "0", "0", "0"], "a conflict takes nobody out");
    assert_eq!(found(&World::default().overview()), ["-: no member exports it"]);
}
