//! What lists prove, who has a port, and what two who share a data plane get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::ServiceExport;
use stolos_controller::{Change, Controller as _, Key, Readiness};
use stolos_core::network::balance::VipPort;
use stolos_core::network::gateway::{self, Allocation, Entry};
use stolos_dataplane::{DataPlane, Desired, DesiredVip, Report, VipStats};

use super::act::{Doubt, Seen};
use super::decide::Outcome;
use super::{Config, Gateway, Item, share};

/// A data plane that remembers what it was asked for last.
#[derive(Default)]
struct Recording(Mutex<Desired>);

impl DataPlane for Recording {
    async fn apply(&self, desired: Desired) -> Report {
        *self.0.lock().unwrap() = desired;
        Report::default()
    }

    async fn stats(&self) -> BTreeMap<VipPort, VipStats> {
        BTreeMap::new()
    }

    async fn drain(&self) {}
}

fn object<K: DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).unwrap()
}

fn gateway(begun_with: Option<&Desired>) -> Gateway<Recording> {
    let silent = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>().await
    });
    let config = Config {
        name: "here".to_owned(),
        member: Client::new(silent, "default"),
        clock: Arc::new(|| Timestamp::UNIX_EPOCH),
        readiness: Readiness::default(),
        listen: Vec::new(),
    };
    Gateway::new(config, Arc::default(), begun_with)
}

fn export(name: &str, version: u32, entry: &str) -> ServiceExport {
    let mut export = noted(name, version, entry);
    if let Some(entry) = Entry::of(&export) {
        let allocation = Allocation { entry, problems: Vec::new() };
        let told = gateway::tell(&export, None, Some(&allocation), Timestamp::UNIX_EPOCH);
        export.status.get_or_insert_default().conditions = told.unwrap();
    }
    export
}

/// As [`export`], before the agent has said anything.
fn noted(name: &str, version: u32, entry: &str) -> ServiceExport {
    object(json!({
        "metadata": {
            "name": name, "namespace": "app", "uid": name, "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-11-22T10:00:00Z",
            "annotations": {"network.fleet.stolos.dev/gateway-entry": entry},
        },
    }))
}

fn entry(port: u16) -> String {
    let ports = json!([{"name": "web", "protocol": "TCP", "port": port}]);
    json!({"addresses": ["192.0.2.7"], "tls": "require", "ports": ports}).to_string()
}

fn slice(name: &str, address: &str) -> EndpointSlice {
    object(json!({
        "metadata": {
            "name": format!("{name}-1"), "namespace": "app", "uid": name, "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4", "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [address]}],
    }))
}

fn filled(begun_with: Option<&Desired>) -> Gateway<Recording> {
    let mut gateway = gateway(begun_with);
    for seen in [
        Seen::from(export("a", 1, &entry(20_001))),
        Seen::from(export("b", 1, &entry(20_002))),
        slice("a", "10.1.0.1").into(),
        slice("b", "10.1.0.2").into(),
    ] {
        gateway.learn(Change::Applied(seen));
    }
    gateway
}

fn vips(gateway: &Gateway<Recording>) -> Vec<DesiredVip> {
    gateway.decide().into_values().flatten().collect()
}

fn shown(vips: &[DesiredVip]) -> Vec<String> {
    let shown = |vip: &DesiredVip| {
        let ids: Vec<_> = vip.balance.endpoints.iter().map(|one| one.id.to_string()).collect();
        format!("{}: {}", vip.balance.vip, ids.join(", "))
    };
    vips.iter().map(shown).collect()
}

const BOTH: [&str; 2] =
    ["192.0.2.7:20001/TCP: 10.1.0.1:8080 of here", "192.0.2.7:20002/TCP: 10.1.0.2:8080 of here"];

fn key(name: &str) -> Key {
    Key::namespaced("app", name)
}

#[tokio::test]
async fn what_a_list_lacks_is_asked_for_by_name_and_served_until_it_is_gone() {
    let mut gateway = filled(None);
    assert_eq!(shown(&vips(&gateway)), BOTH);
    assert!(vips(&gateway).iter().all(|vip| vip.options.is_gateway), "TLS is asked for");
    let mut doubts = Vec::new();
    for kind in ["ServiceExport", "EndpointSlice"] {
        let items = gateway.learn(Change::Listed { kind, keys: [key("b"), key("b-1")].into() });
        doubts.extend(items.into_iter().filter(|item| *item != Item::Plane));
        assert_eq!(shown(&vips(&gateway)), BOTH, "a list takes nothing away");
    }
    let want = [Doubt::Export(key("a")), Doubt::Slice(key("a-1"))];
    assert_eq!(doubts, want.clone().map(Item::Doubt));
    gateway.learn(Change::Applied(Seen::Gone(want[1].clone())));
    assert_eq!(shown(&vips(&gateway)), ["192.0.2.7:20001/TCP: ", BOTH[1]]);
    gateway.learn(Change::Applied(Seen::Gone(want[0].clone())));
    assert_eq!(shown(&vips(&gateway)), [BOTH[1]]);
}

#[tokio::test]
async fn an_entry_that_is_served_goes_on_until_it_is_known_to_be_gone() {
    let last = Desired { vips: vips(&filled(None)), ..Desired::default() };
    let mut gateway = gateway(Some(&last));
    assert_eq!(shown(&vips(&gateway)), BOTH);
    let items = gateway.learn(Change::Listed { kind: "ServiceExport", keys: BTreeSet::new() });
    assert!(items.contains(&Item::Doubt(Doubt::Export(key("a")))), "{items:?}");
    gateway.learn(Change::Applied(Seen::Gone(Doubt::Export(key("a")))));
    assert_eq!(shown(&vips(&gateway)), [BOTH[1]]);
    // Neither does an annotation that somebody has spoilt or taken away end it.
    gateway.learn(Change::Applied(export("b", 2, "no entry").into()));
    assert_eq!(shown(&vips(&gateway)), [BOTH[1]]);
    let bare: ServiceExport = object(json!({
        "metadata": {"name": "b", "namespace": "app", "uid": "b", "resourceVersion": "3"},
    }));
    gateway.learn(Change::Applied(bare.clone().into()));
    assert_eq!(shown(&vips(&gateway)), [BOTH[1]]);
    gateway.learn(Change::Deleted(bare.into()));
    assert!(vips(&gateway).is_empty());
}

#[tokio::test]
async fn of_two_entries_with_the_same_port_one_is_served() {
    let mut gateway = filled(None);
    gateway.learn(Change::Applied(export("b", 2, &entry(20_001)).into()));
    assert_eq!(shown(&vips(&gateway)), [BOTH[0]]);
}

#[tokio::test]
async fn an_export_is_told_where_it_is_entered() {
    let mut gateway = filled(None);
    let decision = gateway.decide();
    let port = decision[&key("b")][0].balance.vip;
    let problem = stolos_core::network::serve::Problem {
        reason: "AddressInUse",
        message: "somebody has it".to_owned(),
    };
    let not_served = [(port, problem)].into();
    let outcome = Outcome { decision, not_served, n_failures: 1, at: Timestamp::UNIX_EPOCH };
    let items = gateway.learn(Change::Applied(Seen::Applied(Arc::new(outcome))));
    let told = [Item::Export(key("a")), Item::Export(key("b")), Item::Plane];
    assert_eq!(items, told);
    let plan = gateway.plan(&Item::Plane, Timestamp::UNIX_EPOCH);
    assert!(plan.wake_at.is_some(), "it is tried again");
    for name in ["a", "b"] {
        let plan = gateway.plan(&Item::Export(key(name)), Timestamp::UNIX_EPOCH);
        assert_eq!(plan.steps.len(), 1);
    }
}

#[tokio::test]
async fn two_who_share_a_data_plane_change_nothing_of_each_other() {
    let entries = vips(&filled(None));
    let mut service = entries[0].clone();
    service.balance.vip.port = 80;
    service.service = "fleet-system/app-web".to_owned();
    let begun =
        Desired { vips: [vec![service.clone()], entries.clone()].concat(), ..Desired::default() };
    let plane: Arc<Recording> = Arc::default();
    let ports = |plane: &Recording| {
        let desired = plane.0.lock().unwrap();
        let ports: BTreeSet<u16> = desired.vips.iter().map(|vip| vip.balance.vip.port).collect();
        ports.into_iter().collect::<Vec<_>>()
    };
    let of = |vips: &[DesiredVip]| Desired { vips: vips.to_vec(), ..Desired::default() };
    let (services, entered) = share(plane.clone(), Some(&begun), true);
    let entered = entered.unwrap();
    assert_eq!(services.begun_with().unwrap().vips, [service.clone()]);
    assert_eq!(entered.begun_with().unwrap().vips, entries);
    services.apply(of(&[])).await;
    assert_eq!(ports(&plane), [20_001, 20_002], "entries go on");
    entered.apply(of(&entries[1..])).await;
    services.apply(of(&[service.clone()])).await;
    assert_eq!(ports(&plane), [80, 20_002]);
    // A port that both want is the service's, and the gateway is told so.
    let mut rival = entries[1].clone();
    rival.balance.vip = service.balance.vip;
    let report = entered.apply(of(&[rival.clone()])).await;
    assert!(report.not_served.contains_key(&rival.balance.vip));
    assert_eq!(ports(&plane), [80]);
    // Who is no gateway any more serves no entry.
    let (services, none) = share(plane.clone(), Some(&begun), false);
    assert!(none.is_none());
    services.apply(of(&[service])).await;
    assert_eq!(ports(&plane), [80]);
}

#[tokio::test]
async fn an_entry_that_only_its_annotation_says_is_not_served() {
    let mut gateway = filled(None);
    gateway.learn(Change::Applied(noted("c", 1, &entry(22)).into()));
    assert_eq!(shown(&vips(&gateway)), BOTH);
    // What is served goes on while somebody plays with the annotation.
    settle(&mut gateway);
    gateway.learn(Change::Applied(
        export_with(&gateway, "a", |export| {
            export.metadata.annotations = None;
        })
        .into(),
    ));
    gateway.learn(Change::Applied(
        export_with(&gateway, "b", |export| {
            let annotations = export.metadata.annotations.get_or_insert_default();
            annotations.insert("network.fleet.stolos.dev/gateway-entry".to_owned(), entry(443));
        })
        .into(),
    ));
    assert_eq!(shown(&vips(&gateway)), BOTH);
}

#[tokio::test]
async fn what_goes_away_while_the_data_plane_is_asked_stays_away() {
    let mut gateway = filled(None);
    let decision = gateway.decide();
    let gone = export("a", 1, &entry(20_001));
    gateway.learn(Change::Deleted(gone.into()));
    answer(&mut gateway, decision);
    assert_eq!(shown(&vips(&gateway)), BOTH[1..]);
}

/// Returns an export that is known, changed and later.
fn export_with(
    gateway: &Gateway<Recording>,
    name: &str,
    change: impl FnOnce(&mut ServiceExport),
) -> ServiceExport {
    let mut export = ServiceExport::clone(gateway.exports.get(&key(name)).unwrap());
    export.metadata.resource_version = Some("2".to_owned());
    change(&mut export);
    export
}

/// Lets the data plane have what is decided.
fn settle(gateway: &mut Gateway<Recording>) {
    let decision = gateway.decide();
    answer(gateway, decision);
}

fn answer(gateway: &mut Gateway<Recording>, decision: super::decide::Served) {
    let outcome =
        Outcome { decision, not_served: BTreeMap::new(), n_failures: 0, at: Timestamp::UNIX_EPOCH };
    gateway.learn(Change::Applied(Seen::Applied(Arc::new(outcome))));
}
