//! Members that are entered by a gateway.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use stolos_api::network::names::gateway::{ENTRY, TLS};
use stolos_api::network::{EndpointSliceExport, EndpointSliceImport, Protocol, ServiceExport};

use super::super::balance::{EndpointState, Settings as Balancing};
use super::super::gateway::{
    Allocation, Entry, EntryPort, Holders, Settings, Source, Tls, allocate, confirmed, is_starved,
    tell, untell, vips,
};
use super::super::slice::{self, Plan, Reason};
use super::super::vip::{self, Guard};
use super::super::{distribute, import_slice, serve};
use super::{at, object, said};

fn settings(ports: &str, tls: Tls) -> Settings {
    let addresses = vec!["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()];
    Settings { addresses, ports: ports.parse().unwrap(), tls }
}

fn service(ports: Value) -> Service {
    object(json!({"metadata": {"name": "web", "namespace": "app"}, "spec": {"ports": ports}}))
}

fn export(name: &str, second: i64) -> ServiceExport {
    object(json!({
        "metadata": {
            "name": name, "namespace": "app", "generation": 2,
            "creationTimestamp": at(second).to_string(),
        },
    }))
}

fn with_entry(mut export: ServiceExport, entry: &Entry) -> ServiceExport {
    export.metadata.annotations = Some([(ENTRY.to_owned(), entry.text())].into());
    export
}

/// As [`with_entry`], once the agent has said it.
fn entered(export: ServiceExport, entry: &Entry) -> ServiceExport {
    let allocation = Allocation { entry: entry.clone(), problems: Vec::new() };
    let mut export = with_entry(export, entry);
    let told = tell(&export, None, Some(&allocation), at(0)).unwrap();
    export.status.get_or_insert_default().conditions = told;
    export
}

fn web() -> Service {
    service(json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81}]))
}

fn ports(allocation: &Allocation) -> Vec<u16> {
    allocation.entry.ports.iter().map(|one| one.port).collect()
}

#[test]
fn every_port_has_one_of_its_own_which_it_keeps() {
    let settings = settings("20000-29999", Tls::Require);
    let mut holders = Holders::default();
    let mut all = BTreeSet::new();
    for n in 0..500 {
        let fresh = export(&format!("web-{n}"), n);
        let allocation = allocate(&settings, &fresh, &web(), &holders);
        assert_eq!(allocation.problems, []);
        let known = with_entry(fresh, &allocation.entry);
        assert_eq!(holders.learn(&known), BTreeSet::new());
        assert_eq!(allocate(&settings, &known, &web(), &holders), allocation, "a port has moved");
        all.extend(ports(&allocation));
    }
    assert_eq!(all.len(), 1_000);
    assert!(all.iter().all(|port| (20_000..30_000).contains(port)));
}

#[test]
fn a_port_that_comes_or_goes_moves_no_other_one() {
    let settings = settings("20000-29999", Tls::Require);
    let holders = Holders::default();
    let both = allocate(&settings, &export("web", 0), &web(), &holders);
    let known = with_entry(export("web", 0), &both.entry);
    let one = service(json!([{"name": "admin", "port": 9}]));
    let one = allocate(&settings, &known, &one, &holders);
    assert_eq!(ports(&one), [both.entry.port("admin", Protocol::Tcp).unwrap()]);
    let known = with_entry(known, &one.entry);
    assert_eq!(ports(&allocate(&settings, &known, &web(), &holders))[1], ports(&one)[0]);
}

#[test]
fn of_two_that_have_the_same_port_the_older_one_keeps_it() {
    let settings = settings("20000-29999", Tls::Require);
    let single = service(json!([{"port": 80}]));
    let entry = allocate(&settings, &export("a", 0), &single, &Holders::default()).entry;
    let (older, younger) = (with_entry(export("b", 1), &entry), with_entry(export("a", 2), &entry));
    let mut holders = Holders::default();
    assert_eq!(holders.learn(&younger), BTreeSet::new());
    assert_eq!(holders.learn(&older), ["app/a".to_owned()].into());
    assert_eq!(allocate(&settings, &older, &single, &holders).entry, entry);
    assert_ne!(allocate(&settings, &younger, &single, &holders).entry, entry);
    assert!(holders.forget("app/b") && !holders.forget("app/b"));
    assert_eq!(allocate(&settings, &younger, &single, &holders).entry, entry);
}

#[test]
fn an_entry_counts_once_the_agent_has_said_it_in_the_status() {
    let mixed = service(
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]),
    );
    for (settings, service) in [
        (settings("20000-20009", Tls::Require), service(json!([{"port": 80}]))),
        // Said beside what it lacks.
        (settings("20000-20009", Tls::Require), mixed),
    ] {
        let bare = export("a", 0);
        let allocation = allocate(&settings, &bare, &service, &Holders::default());
        let mut noted = with_entry(bare.clone(), &allocation.entry);
        assert_eq!(confirmed(&noted), None, "anybody may have written it");
        noted.status.get_or_insert_default().conditions =
            tell(&bare, None, Some(&allocation), at(0)).unwrap();
        assert_eq!(confirmed(&noted), Some(allocation.entry.clone()));
        let mut forged = allocation.entry.clone();
        forged.tls = Tls::Off;
        assert_eq!(confirmed(&with_entry(noted.clone(), &forged)), None);
        forged = allocation.entry.clone();
        forged.ports[0].port += 1;
        assert_eq!(confirmed(&with_entry(noted.clone(), &forged)), None);
        noted.metadata.annotations = None;
        assert_eq!(confirmed(&noted), None);
    }
}

#[test]
fn an_entry_without_ports_counts_too() {
    let dns = service(json!([{"name": "dns", "port": 53, "protocol": "UDP"}]));
    let settings = settings("20000-20009", Tls::Require);
    let none = allocate(&settings, &export("a", 0), &dns, &Holders::default());
    assert_eq!(ports(&none), [0; 0]);
    let mut noted = with_entry(export("a", 0), &none.entry);
    noted.status.get_or_insert_default().conditions =
        tell(&noted, None, Some(&none), at(0)).unwrap();
    assert_eq!(confirmed(&noted), Some(none.entry), "what was served before ends");
}

#[test]
fn an_export_whose_annotation_is_taken_away_keeps_its_ports() {
    let (settings, single) =
        (settings("20000-20001", Tls::Require), service(json!([{"port": 80}])));
    let mut holders = Holders::default();
    let first = allocate(&settings, &export("a", 0), &single, &holders).entry.ports[0].port;
    // Not the one that it would get anew, which is free by now.
    let mut entry = entry(Tls::Require);
    entry.ports.truncate(1);
    entry.addresses.clone_from(&settings.addresses);
    entry.ports[0] = EntryPort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: if first == 20_000 { 20_001 } else { 20_000 },
    };
    holders.learn(&with_entry(export("a", 0), &entry));
    holders.learn(&export("a", 0));
    let other = allocate(&settings, &export("b", 1), &single, &holders).entry;
    assert_eq!(other.ports[0].port, first);
    // Also if it was made anew meanwhile.
    for made in [0, 7] {
        assert_eq!(allocate(&settings, &export("a", made), &single, &holders).entry, entry);
    }
}

#[test]
fn a_port_outside_of_the_range_moves_into_it() {
    let single = service(json!([{"port": 80}]));
    let before = settings("100-100", Tls::Require);
    let entry = allocate(&before, &export("a", 0), &single, &Holders::default()).entry;
    let after = settings("200-200", Tls::Require);
    let moved = allocate(&after, &with_entry(export("a", 0), &entry), &single, &Holders::default());
    assert_eq!((entry.ports[0].port, moved.entry.ports[0].port), (100, 200));
}

#[test]
fn people_are_told_of_the_entry_and_of_what_it_lacks() {
    let mixed = service(json!([
        {"name": "http", "port": 80},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "late", "port": 82},
    ]));
    let export = export("web", 0);
    let told = |settings: &Settings| {
        let allocation = allocate(settings, &export, &mixed, &Holders::default());
        said(&tell(&export, None, Some(&allocation), at(0)).unwrap()).join("\n")
    };
    let require = told(&settings("20000-20000", Tls::Require));
    insta::assert_snapshot!(require, @"network.fleet.stolos.dev/Entered=False ProtocolNotCarried: port 53/UDP is not exported: gateways encrypt TCP alone; the agent's option --gateway-tls=off would let it pass; port 82/TCP is not exported: all ports 20000-20000 of the gateway are taken; a larger range (--gateway-ports) or fewer exports would help; other members connect to 192.0.2.7, 192.0.2.8 at 20000/TCP; TLS: require");
    let off = told(&settings("20000-20002", Tls::Off));
    let want = "network.fleet.stolos.dev/Entered=True EntryAllocated: other members connect to 192.0.2.7, 192.0.2.8 at 2000";
    assert!(off.starts_with(want) && off.ends_with("; TLS: off"), "{off}");

    let exhausted =
        allocate(&settings("20000-20000", Tls::Off), &export, &mixed, &Holders::default());
    let mut known = export.clone();
    known.status.get_or_insert_default().conditions =
        tell(&export, None, Some(&exhausted), at(0)).unwrap();
    assert_eq!(tell(&known, None, Some(&exhausted), at(5)), None, "it is no news");
    assert!(is_starved(&known) && !is_starved(&export));

    assert_eq!(untell(&export, None), None);
    assert_eq!(untell(&known, None), Some(Vec::new()), "there is no gateway any more");
}

#[test]
fn a_range_is_two_ports_the_lower_one_first() {
    assert_eq!(
        "20000-29999".parse::<super::super::gateway::PortRange>().unwrap().to_string(),
        "20000-29999"
    );
    for text in ["20000", "3-2", "0-9", "1-65536", "a-b", ""] {
        let error = text.parse::<super::super::gateway::PortRange>().unwrap_err();
        assert!(error.contains("must be two ports such as"), "{error}");
    }
}

fn pods(ready: bool) -> EndpointSlice {
    object(json!({
        "metadata": {
            "name": "web-1", "namespace": "app", "uid": "slice-uid", "generation": 4,
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "other", "port": 8081, "protocol": "TCP"},
        ],
        "endpoints": [
            {"addresses": ["10.1.0.1"], "conditions": {"ready": ready}},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        ],
    }))
}

fn accepted() -> ServiceExport {
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": at(0).to_string(),
        })
    };
    object(json!({
        "metadata": {"name": "web", "namespace": "app"},
        "status": {"conditions": [condition("Valid", "True"), condition("Conflict", "False")]},
    }))
}

fn entry(tls: Tls) -> Entry {
    let addresses = settings("1-1", tls).addresses;
    let json = json!([{"name": "http", "protocol": "TCP", "port": 20_001}]);
    Entry { addresses, tls, ports: object(json) }
}

fn exported(
    slice: &EndpointSlice,
    export: &ServiceExport,
    stored: Option<&EndpointSliceExport>,
    by_gateway: bool,
) -> Plan {
    let export = Some(export);
    slice::plan(&slice::Observed { cluster: "east", slice, export, stored, by_gateway }, at(10))
}

#[test]
fn the_gateway_is_exported_in_place_of_the_pods() {
    let export = entered(accepted(), &entry(Tls::Require));
    let plan = exported(&pods(true), &export, None, true);
    let Plan::Export { name, spec: Some(spec), gateway_tls, .. } = plan else { panic!("{plan:?}") };
    let addresses: Vec<_> = spec.endpoints.iter().map(|one| one.addresses.join(" ")).collect();
    assert_eq!(addresses, ["192.0.2.7", "192.0.2.8"]);
    let ports: Vec<_> = spec.ports.iter().map(|one| (one.name.as_deref(), one.port)).collect();
    assert_eq!(ports, [(Some("http"), Some(20_001))]);
    assert_eq!(gateway_tls, Some("require"));

    // The mark belongs to it: without it, it is written again.
    let mut slice = pods(true);
    slice.metadata.annotations =
        Some([("networking.fleet.azure.com/fleet-unique-name".to_owned(), name.clone())].into());
    let mut stored = EndpointSliceExport::new(&name, *spec);
    let is_written = |stored: &EndpointSliceExport, export: &ServiceExport, by_gateway| {
        let plan = exported(&slice, export, Some(stored), by_gateway);
        let Plan::Export { spec, .. } = plan else { panic!("{plan:?}") };
        spec.is_some()
    };
    assert!(is_written(&stored, &export, true));
    stored.metadata.annotations = Some([(TLS.to_owned(), "require".to_owned())].into());
    assert!(!is_written(&stored, &export, true));
    assert!(is_written(&stored, &entered(accepted(), &entry(Tls::Off)), true));
    assert!(is_written(&stored, &export, false), "the pods are exported again");

    // Which addresses pods have behind it is nobody else's concern.
    let mut v6 = pods(true);
    v6.address_type = "IPv6".to_owned();
    assert!(matches!(exported(&v6, &export, None, true), Plan::Export { .. }));
    assert_eq!(exported(&v6, &export, None, false), Plan::Skip(Reason::NotIpv4));
}

#[test]
fn a_gateway_without_ready_pods_is_no_endpoint_and_one_without_an_entry_changes_nothing() {
    let export = entered(accepted(), &entry(Tls::Require));
    let plan = exported(&pods(false), &export, None, true);
    let Plan::Export { spec: Some(spec), .. } = plan else { panic!("{plan:?}") };
    assert!(spec.endpoints.is_empty());
    assert_eq!(exported(&pods(true), &accepted(), None, true), Plan::Skip(Reason::NoEntry));
}

#[test]
fn the_ports_of_an_entry_lead_to_the_pods() {
    let slices = [&pods(true)];
    let source = Source { cluster: "east", slices: &slices, listen: &[] };
    let served = vips(&entry(Tls::Require), &source);
    let shown: Vec<_> = served.iter().map(|port| port.vip.to_string()).collect();
    assert_eq!(shown, ["192.0.2.7:20001/TCP", "192.0.2.8:20001/TCP"]);
    let behind: Vec<_> =
        served[0].endpoints.iter().map(|one| (one.id.to_string(), one.state)).collect();
    let want = [
        ("10.1.0.1:8080 of east".to_owned(), EndpointState::Ready),
        ("10.1.0.2:8080 of east".to_owned(), EndpointState::Terminating),
    ];
    assert_eq!(behind, want);
    let listen = ["10.9.9.9".parse().unwrap()];
    let served = vips(&entry(Tls::Require), &Source { listen: &listen, ..source });
    assert_eq!(served[0].vip.to_string(), "10.9.9.9:20001/TCP");
}

#[test]
fn importers_know_gateways_by_their_mark() {
    let import = |cluster: &str, mark: Option<&str>| -> EndpointSliceImport {
        let reference = json!({
            "clusterId": cluster, "kind": "EndpointSlice", "namespace": "app", "name": "web",
            "uid": "u", "resourceVersion": "1", "generation": 1, "namespacedName": "app/web",
        });
        let mut import: EndpointSliceImport = object(json!({
            "metadata": {"name": cluster, "namespace": "fleet-member-here"},
            "spec": {
                "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}],
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": 20_001},
                    {"name": "dns", "protocol": "UDP", "port": 20_002},
                ],
                "endpointSliceReference": reference,
                "ownerServiceReference":
                    {"namespace": "app", "name": "web", "namespacedName": "app/web"},
            },
        }));
        import.metadata.annotations = mark.map(|mark| [(TLS.to_owned(), mark.to_owned())].into());
        import
    };
    let slices = [
        import("flat", None),
        import("off", Some("off")),
        import("tls", Some("require")),
        import("odd", Some("rquire")),
    ];
    let ports = object::<Vec<_>>(json!([
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80},
        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
    ]));
    let addresses = ["198.51.100.1".parse().unwrap()];
    let settings = Balancing::default();
    let service =
        vip::Service { addresses: &addresses, ports: &ports, slices: &slices, settings: &settings };
    // The gateway of this very cluster may be at one of its nodes; that of another one may not.
    let nodes = ["192.0.2.7".parse().unwrap()].into();
    let guard = Guard { nodes, cluster: "tls".to_owned(), ..Guard::default() };
    let own: Vec<_> = vip::vips(&service, &guard).ports[0].endpoints.clone();
    assert_eq!(own.len(), 1);

    let vips = vip::vips(&service, &Guard::default());
    let gateways: Vec<_> = vips.gateways.iter().map(|id| &*id.cluster).collect();
    assert_eq!(gateways, ["odd", "tls"]);
    let clusters = |n: usize| {
        let all = vips.ports[n].endpoints.iter().map(|one| one.id.cluster.clone());
        all.collect::<Vec<_>>()
    };
    assert_eq!(clusters(0), ["flat", "odd", "off", "tls"]);
    assert_eq!(clusters(1), ["flat", "off"], "datagrams are not encrypted");
}

#[test]
fn the_mark_of_gateways_goes_with_the_endpoints_to_importers() {
    let export = entered(accepted(), &entry(Tls::Require));
    let plan = exported(&pods(true), &export, None, true);
    let Plan::Export { name, spec: Some(spec), .. } = plan else { panic!("{plan:?}") };
    let mark = |metadata: &ObjectMeta| metadata.annotations.clone().unwrap_or_default().remove(TLS);
    let mut stored = EndpointSliceExport::new(&name, *spec);
    assert_eq!(
        mark(&distribute::copy(&stored, &super::told(1), "fleet-member-west").metadata),
        None
    );
    stored.metadata.annotations = Some([(TLS.to_owned(), "require".to_owned())].into());
    let copy = distribute::copy(&stored, &super::told(1), "fleet-member-west");
    assert_eq!(mark(&copy.metadata).as_deref(), Some("require"));

    // It stands on the member, too, so that a data plane knows it without the hub.
    let service = object(json!({
        "metadata": {"name": "web", "namespace": "app", "labels":
            {"networking.fleet.azure.com/derived-service": "app-web"}},
        "spec": {"serviceImport": {"name": "web"}},
    }));
    let derived = [("app-web".to_owned(), web())].into();
    let imported = |import: &EndpointSliceImport, slice: Option<&EndpointSlice>| {
        let services = std::slice::from_ref(&service);
        let system_namespace = "fleet-system";
        let observed = import_slice::Observed {
            import,
            services,
            derived: &derived,
            slice,
            system_namespace,
            guard: &Guard::default(),
        };
        match import_slice::plan(&observed) {
            import_slice::Plan::Import(written) => written.map(|written| written.slice),
            plan => panic!("{plan:?}"),
        }
    };
    let slice = imported(&copy, None).unwrap();
    assert_eq!(mark(&slice.metadata).as_deref(), Some("require"));
    assert_eq!(imported(&copy, Some(&slice)), None, "it is there");
    let remembered = serve::slices(&[], &[&slice], &BTreeMap::new());
    assert_eq!(mark(&remembered[0].metadata).as_deref(), Some("require"));
    let mut flat = copy;
    flat.metadata.annotations.as_mut().unwrap().remove(TLS);
    let slice = imported(&flat, Some(&slice)).expect("it is written without the mark");
    assert_eq!(mark(&slice.metadata), None);
}
