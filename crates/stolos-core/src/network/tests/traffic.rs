//! Balancing by DNS.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use stolos_api::network::{
    InternalServiceExport, ServiceImport, TrafficManagerBackend, TrafficManagerProfile,
};

use super::super::traffic::backend::{self, Answers, Endpoint, Observed, Plan, Provider};
use super::super::traffic::profile::{self, AtProvider, Leave, Provided};
use super::super::traffic::{AddressError, ProviderError, PublicAddress, PublicIp, azure_address};
use super::{at, exported, imported, object, reasons, said, with_finalizer};

fn error(status: u16) -> ProviderError {
    ProviderError { status: Some(status), message: format!("answer {status}") }
}

fn profile(monitor: Value) -> TrafficManagerProfile {
    object(json!({
        "metadata": {"name": "shop", "namespace": "app", "uid": "profile-uid", "generation": 2},
        "spec": {"resourceGroup": "rg", "monitorConfig": monitor},
    }))
}

fn programmed(status: &str) -> TrafficManagerProfile {
    let mut profile = profile(Value::Null);
    profile.status = Some(object(json!({"conditions": [{
        "type": "Programmed", "status": status, "reason": "R", "message": "", "observedGeneration": 2,
        "lastTransitionTime": at(0).to_string(),
    }]})));
    profile
}

#[test]
fn a_provider_is_asked_only_when_something_differs() {
    let headers =
        json!({"customHeaders": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]});
    let wanted = profile::wanted(&profile(headers.clone()));
    assert_eq!(profile::provider_name(&profile(headers.clone())), "fleet-profile-uid");
    assert_eq!((&*wanted.relative_name, wanted.monitor.timeout_in_seconds), ("app-shop", Some(10)));
    let fast = profile::wanted(&profile(json!({"intervalInSeconds": 10})));
    assert_eq!(fast.monitor.timeout_in_seconds, Some(9));

    let mut found = wanted.clone();
    found.tags.insert("of-somebody".into(), "else".into());
    found.monitor.custom_headers.reverse();
    let asked = profile(headers.clone());
    let provision = |found: Result<Option<&profile::ProviderProfile>, &ProviderError>| {
        profile::provision(&asked, found)
    };
    assert_eq!(provision(Ok(Some(&found))), AtProvider::Unchanged);
    found.monitor.port = 8080;
    let AtProvider::Put(put) = provision(Ok(Some(&found))) else { panic!("nothing put") };
    assert_eq!((put.monitor.port, put.tags.len()), (80, 2), "foreign tags are kept");
    assert_eq!(provision(Ok(None)), AtProvider::Put(Box::new(wanted)));
    assert_eq!(provision(Err(&error(403))), AtProvider::Unknown);
}

#[test]
fn a_profile_is_told_what_its_provider_said() {
    let provided = Provided {
        dns_name: Some("app-shop.example".into()),
        resource_id: "id".into(),
        is_new: true,
    };
    let report = profile::report(&profile(Value::Null), &Ok(provided), at(1));
    let status = report.status.unwrap();
    assert_eq!(status.dns_name.as_deref(), Some("app-shop.example"));
    assert_eq!(
        said(&status.conditions),
        ["Programmed=True Programmed: Successfully configured the Azure Traffic Manager profile"]
    );
    assert_eq!((reasons(&report.events), report.retry), (vec!["Programmed"], false));

    let mut known = profile(Value::Null);
    known.status = Some(status);
    for (code, want) in [
        (
            409,
            "Programmed=False DNSNameNotAvailable: Domain name is not available. \
            Please choose a different profile name or namespace",
        ),
        (400, "Programmed=False Invalid: Invalid profile: answer 400"),
        (403, "Programmed=False Invalid: Invalid profile: answer 403"),
        (429, "Programmed=Unknown Pending: Failed to configure profile and retrying: answer 429"),
        (500, "Programmed=Unknown Pending: Failed to configure profile and retrying: answer 500"),
    ] {
        let report = profile::report(&known, &Err(error(code)), at(2));
        let status = report.status.unwrap();
        assert_eq!(said(&status.conditions), [want]);
        assert_eq!((status.dns_name, status.resource_id.as_str()), (None, ""), "{code}");
        assert_eq!((reasons(&report.events), report.retry), (vec!["AzureAPIError"], true));
    }
}

#[test]
fn a_profile_that_its_provider_never_had_goes_at_once() {
    let mut leaving = profile(Value::Null);
    assert_eq!(profile::leave(&leaving), Leave::Release);
    let finalizer = "networking.fleet.azure.com/traffic-manager-profile-cleanup";
    with_finalizer(&mut leaving.metadata, finalizer);
    assert_eq!(profile::leave(&leaving), Leave::DeleteAtProvider);
}

fn backend_of(weight: i64) -> TrafficManagerBackend {
    object(json!({
        "metadata": {"name": "b", "namespace": "app", "uid": "Backend-UID", "generation": 1},
        "spec": {"profile": {"name": "shop"}, "backend": {"name": "web"}, "weight": weight},
    }))
}

/// An export that can be behind a profile.
fn public(cluster: &str, weight: i64) -> (String, InternalServiceExport) {
    let mut export = exported(cluster, &[80], 0);
    export.spec.weight = Some(weight);
    export.spec.is_dns_label_configured = true;
    export.spec.public_ip_resource_id = Some(format!("/IPs/{cluster}"));
    (cluster.to_owned(), export)
}

struct World {
    backend: TrafficManagerBackend,
    profile: Option<TrafficManagerProfile>,
    found: Result<Option<Vec<Endpoint>>, ProviderError>,
    import: Option<ServiceImport>,
    exports: BTreeMap<String, InternalServiceExport>,
    provider: Provider,
}

impl World {
    /// Two clusters export the service, and the profile is programmed without endpoints.
    fn new() -> Self {
        Self {
            backend: backend_of(500),
            profile: Some(programmed("True")),
            found: Ok(Some(Vec::new())),
            import: Some(imported(&["a", "b"])),
            exports: [public("a", 100), public("b", 200)].into(),
            provider: Provider::Azure,
        }
    }

    fn observed(&self) -> Observed<'_> {
        Observed {
            backend: &self.backend,
            profile: self.profile.as_ref(),
            found: self.found.as_ref().map(Option::as_deref),
            import: self.import.as_ref(),
            exports: &self.exports,
            provider: self.provider,
        }
    }

    fn plan(&self) -> Plan {
        backend::plan(&self.observed())
    }

    /// The condition when the provider takes everything.
    fn told(&self) -> String {
        let plan = self.plan();
        let report = backend::report(&self.backend, &plan, &taken(&plan), at(1));
        said(&report.status.unwrap().conditions).remove(0)
    }
}

/// The answers of a provider that does what it is asked to.
fn taken(plan: &Plan) -> Answers {
    let answer = |name: &String| (format!("id of {name}"), Some("203.0.113.7".to_owned()));
    Answers {
        put: plan.put.iter().map(|one| (one.name.clone(), Ok(answer(&one.name)))).collect(),
        kept: plan.keep.iter().map(|one| (one.name.clone(), answer(&one.name))).collect(),
        delete: None,
    }
}

#[test]
fn a_backend_waits_for_its_profile_and_its_service() {
    let change = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        (world.told(), world.plan().delete.len())
    };
    let own = || Endpoint {
        name: "fleet-backend-uid#web#a".into(),
        target: String::new(),
        weight: 1,
        is_ours_in_form: true,
    };
    let with_own = |change: fn(&mut World)| {
        let mut world = World::new();
        world.found = Ok(Some(vec![own()]));
        change(&mut world);
        (world.told(), world.plan().delete.len())
    };
    let said = |text: &str, n: usize| (text.to_owned(), n);
    assert_eq!(
        change(|world| world.profile = None),
        said("Accepted=False Invalid: TrafficManagerProfile \"shop\" is not found", 0)
    );
    assert_eq!(
        change(|world| world.profile = Some(programmed("False"))),
        said(
            "Accepted=False Invalid: Invalid trafficManagerProfile \"shop\", please check the trafficManagerProfile status",
            0
        )
    );
    let processing =
        "Accepted=Unknown Pending: In the processing of trafficManagerProfile \"shop\"";
    assert_eq!(change(|world| world.profile = Some(programmed("Unknown"))), said(processing, 0));
    assert_eq!(
        change(|world| world.profile.as_mut().unwrap().metadata.generation = Some(3)),
        said(processing, 0)
    );
    assert!(change(|world| world.found = Ok(None)).0.starts_with("Accepted=False Invalid: "));
    assert!(
        change(|world| world.found = Err(error(500))).0.starts_with("Accepted=Unknown Pending: ")
    );
    assert_eq!(
        with_own(|world| world.import = None),
        said("Accepted=False Invalid: ServiceImport \"web\" is not found", 1)
    );
    assert_eq!(
        with_own(|world| world.backend = backend_of(0)),
        said(
            "Accepted=True Accepted: 0 service(s) exported from clusters have been accepted as Traffic Manager endpoints",
            1
        )
    );
    let exporting = "Accepted=Unknown Pending: In the process of exporting the services";
    assert_eq!(with_own(|world| world.import = Some(imported(&[]))), said(exporting, 0));
    assert_eq!(with_own(|world| drop(world.exports.remove("a"))), said(exporting, 0));
}

#[test]
fn a_backend_puts_its_clusters_behind_the_profile_by_weight() {
    let mut world = World::new();
    let plan = world.plan();
    assert!(plan.finalizer);
    let put: Vec<_> = plan.put.iter().map(|one| (one.name.as_str(), one.weight)).collect();
    assert_eq!(put, [("fleet-Backend-UID#web#a", 167), ("fleet-Backend-UID#web#b", 334)]);
    let report = backend::report(&world.backend, &plan, &taken(&plan), at(1));
    let status = report.status.unwrap();
    assert_eq!(status.endpoints[0].from.as_ref().unwrap().weight, Some(100));
    assert!(
        said(&status.conditions)[0]
            .contains("2 service(s) exported from clusters have been accepted")
    );

    let endpoint = |name: &str, target: &str, weight| Endpoint {
        name: name.into(),
        target: target.into(),
        weight,
        is_ours_in_form: true,
    };
    world.found = Ok(Some(vec![
        endpoint("FLEET-BACKEND-UID#WEB#A", "/ips/A", 167),
        endpoint("fleet-backend-uid#web#b", "/IPs/b", 1),
        endpoint("fleet-backend-uid#web#gone", "/IPs/c", 1),
        endpoint("fleet-other-uid#web#a", "/IPs/d", 1),
        endpoint("of somebody else", "/IPs/e", 1),
    ]));
    let plan = world.plan();
    let names = |endpoints: &[backend::Desired]| -> Vec<String> {
        endpoints.iter().map(|one| one.cluster.clone()).collect()
    };
    assert_eq!((names(&plan.keep), names(&plan.put)), (vec!["a".into()], vec!["b".into()]));
    assert_eq!(plan.delete, ["fleet-backend-uid#web#gone"], "only what is its own");
    let finalizer = "networking.fleet.azure.com/traffic-manager-backend-cleanup";
    assert!(backend::leave(&world.observed()).is_empty());
    with_finalizer(&mut world.backend.metadata, finalizer);
    assert_eq!(backend::leave(&world.observed()).len(), 3);
}

#[test]
fn a_cluster_that_cannot_be_behind_a_profile_is_named() {
    let of = |provider, change: fn(&mut InternalServiceExport)| {
        let mut world = World { provider, ..World::new() };
        change(world.exports.get_mut("b").unwrap());
        (world.told(), world.plan().put.len())
    };
    for (change, want) in [
        (
            (|e| e.spec.type_ = "ClusterIP".into()) as fn(&mut InternalServiceExport),
            "unsupported service type \"ClusterIP\"",
        ),
        (|e| e.spec.is_internal_load_balancer = true, "internal load balancer is not supported"),
        (|e| e.spec.public_ip_resource_id = None, "in the processing of configuring public IP"),
        (
            |e| e.spec.is_dns_label_configured = false,
            "DNS label is not configured to the public IP",
        ),
    ] {
        let (told, n_put) = of(Provider::Azure, change);
        assert!(told.starts_with("Accepted=False Invalid: 1 service(s)"), "{told}");
        assert!(told.contains(want) && told.contains("from b"), "{told}");
        assert_eq!(n_put, 1, "the other is served");
    }
    let (told, n_put) = of(Provider::BuiltIn, |export| export.spec.is_dns_label_configured = false);
    assert!(told.starts_with("Accepted=True"), "the built-in provider needs no label: {told}");
    assert_eq!(n_put, 2);
}

#[test]
fn a_backend_tells_refusals_and_tries_again() {
    let world = World::new();
    let plan = world.plan();
    let report = |change: &dyn Fn(&mut Answers)| {
        let mut answers = taken(&plan);
        change(&mut answers);
        let report = backend::report(&world.backend, &plan, &answers, at(1));
        let status = report.status.unwrap();
        (said(&status.conditions).remove(0), status.endpoints.len(), report.retry)
    };
    let b = "fleet-Backend-UID#web#b".to_owned();
    let (told, n, retry) = report(&|answers| drop(answers.put.insert(b.clone(), Err(error(409)))));
    assert!(told.starts_with("Accepted=False Invalid: 1 endpoint(s) were refused"), "{told}");
    assert_eq!((n, retry), (1, true), "what was taken is listed");
    for code in [429, 500] {
        let (told, n, retry) =
            report(&|answers| drop(answers.put.insert(b.clone(), Err(error(code)))));
        assert!(told.starts_with("Accepted=Unknown Pending"), "{told}");
        assert_eq!((n, retry), (0, true));
    }
    let (told, _, retry) = report(&|answers| answers.delete = Some(error(500)));
    assert!(
        told.starts_with("Accepted=Unknown Pending: Failed to delete endpoints") && retry,
        "{told}"
    );
}

#[test]
fn the_public_address_of_a_service_is_told() {
    let service = |type_: &str, ingress: Value, annotations: Value| -> Service {
        object(json!({
            "metadata": {"name": "web", "namespace": "app", "annotations": annotations},
            "spec": {"type": type_}, "status": {"loadBalancer": {"ingress": ingress}},
        }))
    };
    let ip = json!([{"ip": "203.0.113.7"}]);
    let label = |value: &str| json!({"service.beta.kubernetes.io/azure-dns-label-name": value});
    let internal = json!({"service.beta.kubernetes.io/azure-load-balancer-internal": "true"});
    let found = |has_dns_label| PublicIp { id: "id".into(), has_dns_label };
    let address = |id: Option<&str>, has_dns_label, is_internal| PublicAddress {
        resource_id: id.map(str::to_owned),
        has_dns_label,
        is_internal,
    };
    for (name, service, found, want) in [
        (
            "not balanced",
            service("ClusterIP", ip.clone(), internal.clone()),
            Some(found(true)),
            address(None, false, false),
        ),
        (
            "internal",
            service("LoadBalancer", ip.clone(), internal),
            Some(found(true)),
            address(None, false, true),
        ),
        (
            "no address",
            service("LoadBalancer", json!([]), json!({})),
            Some(found(true)),
            address(None, false, false),
        ),
        (
            "empty address",
            service("LoadBalancer", json!([{"ip": ""}]), json!({})),
            Some(found(true)),
            address(None, false, false),
        ),
        (
            "unknown",
            service("LoadBalancer", ip.clone(), json!({})),
            None,
            address(None, false, false),
        ),
        (
            "without label",
            service("LoadBalancer", ip.clone(), json!({})),
            Some(found(false)),
            address(Some("id"), false, false),
        ),
        (
            "with label",
            service("LoadBalancer", ip.clone(), label("x")),
            Some(found(true)),
            address(Some("id"), true, false),
        ),
        (
            "label taken back",
            service("LoadBalancer", ip.clone(), label("")),
            Some(found(true)),
            address(Some("id"), false, false),
        ),
    ] {
        assert_eq!(azure_address(&service, found.as_ref()), Ok(want), "{name}");
    }
    let pending =
        azure_address(&service("LoadBalancer", ip.clone(), label("x")), Some(&found(false)));
    assert_eq!(pending, Err(AddressError::LabelPending("app/web".into())));

    let own = PublicAddress::of("east", &service("LoadBalancer", ip, json!({})));
    let id = own.resource_id.unwrap();
    assert_eq!(PublicAddress::address_of(&id), Some("203.0.113.7"), "{id}");
    let host = PublicAddress::of(
        "east",
        &service("LoadBalancer", json!([{"hostname": "lb.example"}]), json!({})),
    );
    assert_eq!(PublicAddress::address_of(&host.resource_id.unwrap()), Some("lb.example"));
    assert_eq!(PublicAddress::address_of("/subscriptions/1/other"), None);
}
