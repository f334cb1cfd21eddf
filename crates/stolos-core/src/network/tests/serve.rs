//! What is served of a derived Service, and what is told of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use stolos_api::network::{EndpointSliceImport, MultiClusterService, ServiceImport};

use super::super::balance::{Affinity, VipPort};
use super::super::distribute::copy;
use super::super::import_slice;
use super::super::pool::{Assignment, Refusal};
use super::super::serve::{
    Observed, Outcome, Problem, Report, Wanted, claim, is_ours, report, slices, wanted,
};
use super::super::vip::{self, Guard};
use super::{at, deleting, exported_slice, object, reasons, said};

const MODE: &str = "network.fleet.stolos.dev/mode";
const VIP: &str = "network.fleet.stolos.dev/vip";

fn service() -> Service {
    object(json!({
        "metadata": {
            "name": "app-mcs", "namespace": "fleet-system",
            "labels": {
                "networking.fleet.azure.com/multi-cluster-service-name": "mcs",
                "networking.fleet.azure.com/multi-cluster-service-namespace": "app",
            },
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "network.fleet.stolos.dev/proxy",
            "ports": [
                {"name": "p80", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"},
            ],
        },
    }))
}

fn origin(annotations: Value) -> MultiClusterService {
    object(json!({
        "metadata": {"name": "mcs", "namespace": "app", "annotations": annotations},
        "spec": {"serviceImport": {"name": "web"}},
    }))
}

fn import() -> ServiceImport {
    object(json!({"metadata": {"name": "web"}, "status": {"sessionAffinity": "ClientIP"}}))
}

fn slice(cluster: &str, addresses: &[&str], weight: i64) -> EndpointSliceImport {
    let mut export = exported_slice(cluster);
    let endpoint = |address: &&str| object(json!({"addresses": [address]}));
    export.spec.endpoints = addresses.iter().map(endpoint).collect();
    copy(&export, &super::told(weight), "fleet-member-here")
}

/// What is known of the service.
struct World {
    service: Service,
    origin: Option<MultiClusterService>,
    import: Option<ServiceImport>,
    slices: Option<Vec<EndpointSliceImport>>,
    address: Assignment,
    before: Wanted,
}

fn at_address(address: &str) -> Assignment {
    Assignment { address: Some(address.parse().unwrap()), refusal: None }
}

fn world() -> World {
    World {
        service: service(),
        origin: Some(origin(json!({}))),
        import: Some(import()),
        slices: Some(vec![slice("a", &["10.1.0.1"], 1), slice("b", &["10.2.0.1"], 3)]),
        address: at_address("192.0.2.1"),
        before: Wanted::default(),
    }
}

impl World {
    fn decide(&self) -> Wanted {
        wanted(&Observed {
            service: &self.service,
            origin: self.origin.as_ref(),
            import: self.import.as_ref(),
            slices: self.slices.as_deref(),
            address: &self.address,
            cluster: "here",
            guard: &Guard::default(),
            before: &self.before,
        })
    }

    fn report(&self, wanted: &Wanted, not_served: &[(&str, Problem)]) -> Report {
        let of = |vip: &str| {
            let ports = wanted.ports.iter().map(|port| port.vip);
            ports.into_iter().find(|port| port.to_string() == vip).unwrap()
        };
        let not_served: BTreeMap<VipPort, Problem> =
            not_served.iter().map(|(vip, problem)| (of(vip), problem.clone())).collect();
        let outcome = Outcome {
            service: &self.service,
            origin: self.origin.as_ref(),
            wanted,
            not_served: &not_served,
            told_refused: &BTreeMap::new(),
        };
        report(&outcome, at(0))
    }

    /// Reports and takes the report over.
    fn settle(&mut self, wanted: &Wanted, not_served: &[(&str, Problem)]) -> Report {
        let report = self.report(wanted, not_served);
        if let Some(status) = &report.status {
            self.service.status = Some(status.clone());
        }
        // An API server does not store a generation of 0.
        let conditions = report.status.iter().flat_map(|status| status.conditions.iter().flatten());
        assert!(conditions.into_iter().all(|one| one.observed_generation.is_none()));
        assert_eq!(self.report(wanted, not_served).status, None, "told once");
        report
    }
}

fn shown(wanted: &Wanted) -> Vec<String> {
    let port = |port: &super::super::balance::Desired| {
        let ids: Vec<_> = port.endpoints.iter().map(|one| one.id.to_string()).collect();
        format!("{}: {}", port.vip, ids.join(", "))
    };
    wanted.ports.iter().map(port).collect()
}

#[test]
fn a_service_is_served_with_the_endpoints_and_weights_of_all_members() {
    let wanted = world().decide();
    let want = ["192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:8080 of b", "192.0.2.1:53/UDP: "];
    assert_eq!(shown(&wanted), want);
    assert_eq!(wanted.ports[0].weights, [("a".to_owned(), 1), ("b".to_owned(), 3)].into());
    assert_eq!(wanted.ports[0].settings.affinity, Affinity::ClientIp, "as the service has it");
    assert_eq!((wanted.problem, wanted.proxy_protocol), (None, false));
    let mut world = world();
    world.origin = Some(origin(json!({"network.fleet.stolos.dev/proxy-protocol": "v2"})));
    assert!(world.decide().proxy_protocol);
}

#[test]
fn only_derived_services_of_our_class_are_ours() {
    assert!(is_ours(&service()));
    let changed = |change: fn(&mut Service)| {
        let mut service = service();
        change(&mut service);
        is_ours(&service)
    };
    assert!(!changed(|it| it.spec.as_mut().unwrap().load_balancer_class = None));
    assert!(!changed(|it| it.spec.as_mut().unwrap().load_balancer_class = Some("other".into())));
    assert!(!changed(|it| it.spec.as_mut().unwrap().type_ = Some("ClusterIP".into())));
    assert!(!changed(|it| it.metadata.labels = None));
    assert!(!changed(|it| deleting(&mut it.metadata)));
}

#[test]
fn what_cannot_be_read_or_done_keeps_what_is_served_and_serves_nothing_new() {
    for (annotations, reason, message) in [
        (
            json!({"network.fleet.stolos.dev/drain-seconds": "soon", VIP: "here"}),
            "AnnotationsMalformed",
            "metadata.annotations[network.fleet.stolos.dev/vip]: must be an IP address, not `here`; \
             metadata.annotations[network.fleet.stolos.dev/drain-seconds]: must be a whole number between 0 and \
             86400, not `soon`",
        ),
        (
            json!({"network.fleet.stolos.dev/announce": "l2"}),
            "NotSupported",
            "metadata.annotations[network.fleet.stolos.dev/announce]: the mode `proxy` cannot do this; remove the \
             annotation",
        ),
    ] {
        let mut world = world();
        world.origin = Some(origin(annotations));
        let new = world.decide();
        assert_eq!(shown(&new), [] as [&str; 0]);
        let problem = new.problem.clone().unwrap();
        assert_eq!((problem.reason, &*problem.message), (reason, message));
        let report = world.settle(&new, &[]);
        assert_eq!(reasons(&report.events), [reason]);

        let mut earlier = self::world();
        let knob = json!({"network.fleet.stolos.dev/drain-seconds": "7"});
        earlier.origin = Some(origin(knob));
        world.before = earlier.decide();
        world.slices = Some(vec![slice("a", &["10.1.0.9"], 1)]);
        let kept = world.decide();
        assert_eq!(kept.ports[0].settings.drain_seconds, 7);
        assert_eq!(shown(&kept)[0], "192.0.2.1:80/TCP: 10.1.0.9:8080 of a", "endpoints go on");
        assert_eq!(kept.problem, new.problem);
        let conditions = world.settle(&kept, &[]).status.unwrap().conditions.unwrap();
        assert!(said(&conditions)[0].ends_with("; served as before"), "{conditions:?}");
    }
}

#[test]
fn a_service_whose_origin_is_not_known_yet_waits_or_goes_on() {
    let mut world = world();
    let before = world.decide();
    world.origin = None;
    assert_eq!(world.decide().problem.unwrap().reason, "OriginUnknown");
    assert!(world.decide().ports.is_empty());
    world.before = before.clone();
    assert_eq!(world.decide().ports, before.ports);
}

#[test]
fn unknown_endpoints_stay_and_none_are_none() {
    let mut world = world();
    world.before = world.decide();
    world.slices = None;
    assert_eq!(world.decide().ports, world.before.ports, "nobody has said anything");
    // Another address does not lose them either.
    world.address = at_address("192.0.2.2");
    let moved = world.decide();
    assert_eq!(moved.ports[0].vip.address, "192.0.2.2".parse::<IpAddr>().unwrap());
    assert_eq!(moved.ports[0].endpoints, world.before.ports[0].endpoints);
    world.slices = Some(Vec::new());
    assert_eq!(shown(&world.decide()), ["192.0.2.2:80/TCP: ", "192.0.2.2:53/UDP: "]);
}

#[test]
fn only_the_hub_itself_takes_endpoints_away() {
    let told = [slice("a", &["10.1.0.1"], 5), slice("b", &["10.2.0.1"], 1)];
    let known = told.clone().map(|import| {
        let derived = object::<Service>(json!({"metadata": {"name": "app-mcs"}}));
        let mut service = origin(json!({}));
        let label = ("networking.fleet.azure.com/derived-service".into(), "app-mcs".into());
        service.metadata.labels = Some([label].into());
        let observed = import_slice::Observed {
            import: &import,
            services: &[service],
            derived: &[("app-mcs".to_owned(), derived)].into(),
            slice: None,
            system_namespace: "fleet-system",
            guard: &Guard::default(),
        };
        match import_slice::plan(&observed) {
            import_slice::Plan::Import(Some(written)) => written.slice,
            plan => panic!("{plan:?}"),
        }
    });
    let known: Vec<&EndpointSlice> = known.iter().collect();
    let served = |imports: &[&EndpointSliceImport]| {
        let mut world = world();
        world.slices = Some(slices(imports, &known, &BTreeMap::new()));
        let wanted = world.decide();
        (shown(&wanted)[0].clone(), wanted.ports[0].weights.clone())
    };
    let all = served(&[&told[0], &told[1]]);
    assert_eq!(all.0, "192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:8080 of b");
    assert_eq!(served(&[]), all, "clusters and weights are remembered");
    assert_eq!(served(&[&told[1]]), all);
    let mut withdrawn = told[0].clone();
    deleting(&mut withdrawn.metadata);
    assert_eq!(served(&[&withdrawn, &told[1]]).0, "192.0.2.1:80/TCP: 10.2.0.1:8080 of b");
    let mut changed = told[0].clone();
    changed.spec.endpoints.clear();
    assert_eq!(served(&[&changed, &told[1]]).0, "192.0.2.1:80/TCP: 10.2.0.1:8080 of b");

    let silent = BTreeMap::from([("a".to_owned(), at(5)), ("b".to_owned(), at(5))]);
    let mut world = world();
    world.slices = Some(slices(&[&told[1]], &known, &silent));
    let wanted = world.decide();
    assert_eq!(wanted.silent, [("a".to_owned(), at(5))].into(), "what the hub says of b counts");
}

#[test]
fn slices_of_others_are_not_endpoints_of_the_fleet() {
    let foreign: EndpointSlice = object(json!({
        "metadata": {"name": "x", "labels": {"endpointslice.kubernetes.io/managed-by": "me"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.9.0.1"]}],
    }));
    assert_eq!(slices(&[], &[&foreign], &BTreeMap::new()), []);
}

#[test]
fn a_service_without_an_address_says_why() {
    let mut world = world();
    world.before = world.decide();
    let asked = "10.0.0.1".parse().unwrap();
    let refusal = Refusal::NotInPool { asked, pool: "192.0.2.0/24".parse().unwrap() };
    world.address.refusal = Some(refusal);
    let kept = world.decide();
    assert_eq!(kept.ports, world.before.ports, "it keeps the address that it has");
    let conditions = world.report(&kept, &[]).status.unwrap().conditions.unwrap();
    let said = said(&conditions);
    assert!(said[0].contains("=False AddressNotInPool: "), "{said:?}");
    assert!(said[0].ends_with("; served as before"), "{said:?}");
    world.address.address = None;
    let wanted = world.decide();
    let report = world.settle(&wanted, &[]);
    let status = report.status.unwrap();
    let want = "network.fleet.stolos.dev/Served=False AddressNotInPool: the address 10.0.0.1 is asked for, but services \
                get addresses of 192.0.2.0/24";
    assert_eq!(super::said(status.conditions.as_ref().unwrap()), [want]);
    assert_eq!(serde_json::to_value(&status.load_balancer).unwrap(), json!({}));
    assert_eq!(reasons(&report.events), ["AddressNotInPool"]);
}

#[test]
fn the_status_tells_the_address_and_every_port_that_is_not_served() {
    let mut world = world();
    let wanted = world.decide();
    let in_use = Problem { reason: "AddressInUse", message: "it is in use".into() };
    let report = world.settle(&wanted, &[("192.0.2.1:80/TCP", in_use)]);
    let status = serde_json::to_value(report.status.unwrap()).unwrap();
    insta::assert_json_snapshot!(status["loadBalancer"], @r#"
    {
      "ingress": [
        {
          "ip": "192.0.2.1",
          "ipMode": "Proxy",
          "ports": [
            {
              "error": "network.fleet.stolos.dev/AddressInUse",
              "port": 80,
              "protocol": "TCP"
            },
            {
              "port": 53,
              "protocol": "UDP"
            }
          ]
        }
      ]
    }
    "#);
    assert_eq!(report.events[0].message, "it is in use");
    assert_eq!(report.events[0].severity.as_str(), "Warning");

    let report = world.settle(&wanted, &[]);
    let conditions = report.status.unwrap().conditions.unwrap();
    let want = "network.fleet.stolos.dev/Served=True Served: connections are taken at 192.0.2.1:80/TCP, 192.0.2.1:53/UDP";
    assert_eq!(said(&conditions), [want]);
    assert_eq!(reasons(&report.events), ["Served"], "the end of a failure is told");
}

#[test]
fn endpoints_that_are_left_out_are_told_once_for_each_change() {
    let mut world = world();
    world.slices = Some(vec![slice("evil", &["127.0.0.1"], 1)]);
    let wanted = world.decide();
    let told = |told_refused: &BTreeMap<String, vip::Refusal>| {
        let outcome = Outcome {
            service: &world.service,
            origin: world.origin.as_ref(),
            wanted: &wanted,
            not_served: &BTreeMap::new(),
            told_refused,
        };
        report(&outcome, at(0)).events.into_iter().map(|event| event.message).collect::<Vec<_>>()
    };
    let want = "endpoints of cluster `evil` are left out: endpoint address 127.0.0.1 is a loopback address; pods have \
                routable addresses";
    assert_eq!(told(&BTreeMap::new()), [want]);
    assert_eq!(told(&wanted.refused), [] as [&str; 0]);
    let other = [("evil".to_owned(), vip::Refusal::TooMany)].into();
    assert_eq!(told(&other), [want], "another reason is news");
}

#[test]
fn the_proxy_says_that_it_stands_in_for_the_kernel() {
    let mut world = world();
    world.origin = Some(origin(json!({MODE: "kernel"})));
    let wanted = world.decide();
    let conditions = world.settle(&wanted, &[]).status.unwrap().conditions.unwrap();
    assert!(said(&conditions)[0].ends_with("; the proxy stands in for the mode `kernel`"));
}

#[test]
fn a_service_claims_what_it_has_been_given_or_its_status_says_or_its_user_asks() {
    let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let mut service = service();
    service.status = Some(object(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}})));
    let of = |annotations: Value, assigned| {
        let claim = claim(&service, Some(&origin(annotations)), assigned);
        (claim.held, claim.asked)
    };
    assert_eq!(of(json!({}), None), (address("192.0.2.7"), None));
    assert_eq!(of(json!({}), address("192.0.2.8")), (address("192.0.2.8"), None));
    assert_eq!(of(json!({VIP: " 192.0.2.9 "}), None), (address("192.0.2.7"), address("192.0.2.9")));
    assert_eq!(of(json!({VIP: "here"}), None), (address("192.0.2.7"), None));
    assert_eq!(claim(&service, None, None).service, "fleet-system/app-mcs");
}
