//! MultiClusterServices of a member.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use stolos_api::network::{MultiClusterService, ServiceImport};

use super::super::knobs::Mode;
use super::super::service::{Observed, Plan, Reason, plan};
use super::{at, deleting, imported, object, reasons, said};

const FINALIZER: &str = "networking.fleet.azure.com/service-resources-cleanup";
const DERIVED: &str = "networking.fleet.azure.com/derived-service";
const IMPORT: &str = "networking.fleet.azure.com/service-import";

/// What there is on a member.
#[derive(Clone, Default)]
struct World {
    imports: BTreeMap<String, ServiceImport>,
    derived: BTreeMap<String, Service>,
    mode: Option<Mode>,
}

impl World {
    fn decide(&self, service: &MultiClusterService) -> Plan {
        let observed = Observed {
            service,
            imports: &self.imports,
            derived: &self.derived,
            system_namespace: "fleet-system",
            mode: self.mode.unwrap_or(Mode::Service),
        };
        plan(&observed, at(10))
    }

    /// Carries a plan out.
    fn apply(&mut self, plan: &Plan, service: &mut MultiClusterService) {
        if let Some(name) = &plan.delete_import {
            self.imports.remove(name);
        }
        for (name, value) in &plan.labels {
            let labels = service.metadata.labels.get_or_insert_default();
            match value {
                Some(value) => labels.insert((*name).to_owned(), value.clone()),
                None => labels.remove(*name),
            };
        }
        if let Some(import) = &plan.create_import {
            self.imports.insert(import.metadata.name.clone().unwrap(), (**import).clone());
        }
        if let Some(status) = &plan.status {
            service.status = Some(status.clone());
        }
        if let Some(name) = &plan.delete_derived {
            self.derived.remove(name);
        }
        if let Some(derived) = &plan.derived {
            self.derived.insert(derived.metadata.name.clone().unwrap(), (**derived).clone());
        }
        service.metadata.finalizers = plan.finalizer.then(|| vec![FINALIZER.to_owned()]);
    }

    /// Plans and carries out until nothing is left to do.
    fn settle(&mut self, service: &mut MultiClusterService) -> Plan {
        for _ in 0..10 {
            let plan = self.decide(service);
            let before = (service.clone(), self.imports.clone(), self.derived.clone());
            self.apply(&plan, service);
            if before == (service.clone(), self.imports.clone(), self.derived.clone()) {
                return plan;
            }
        }
        panic!("it never comes to rest")
    }

    /// The hub tells that clusters export the service.
    fn export(&mut self, clusters: &[&str]) {
        self.imports.get_mut("web").unwrap().status = imported(clusters).status;
    }
}

fn service(name: &str) -> MultiClusterService {
    object(json!({
        "metadata": {"name": name, "namespace": "app", "uid": format!("{name}-uid"), "generation": 1},
        "spec": {"serviceImport": {"name": "web"}},
    }))
}

fn conditions(service: &MultiClusterService) -> Vec<String> {
    said(&service.status.as_ref().unwrap().conditions)
}

#[test]
fn a_service_is_imported_served_and_withdrawn() {
    let (mut world, mut mcs) = (World::default(), service("mcs"));
    let waiting = world.settle(&mut mcs);
    assert_eq!(waiting.reason, Reason::NotImported);
    let owner = &world.imports["web"].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((&*owner.name, owner.controller), ("mcs", Some(true)));
    assert!(conditions(&mcs)[0].starts_with(
        "Valid=Unknown UnknownServiceImport: importing service; if the condition remains for a while, "
    ));
    assert!(world.derived.is_empty());

    world.export(&["a"]);
    let found = world.decide(&mcs);
    assert_eq!(reasons(&found.events), ["FoundValidService"]);
    assert_eq!(found.labels[DERIVED].as_deref(), Some("app-mcs"));
    world.settle(&mut mcs);
    assert_eq!(conditions(&mcs), ["Valid=True FoundServiceImport: found valid service import"]);
    insta::assert_json_snapshot!(world.derived["app-mcs"], @r#"
    {
      "apiVersion": "v1",
      "kind": "Service",
      "metadata": {
        "labels": {
          "networking.fleet.azure.com/multi-cluster-service-name": "mcs",
          "networking.fleet.azure.com/multi-cluster-service-namespace": "app"
        },
        "name": "app-mcs",
        "namespace": "fleet-system"
      },
      "spec": {
        "ports": [
          {
            "name": "p80",
            "port": 80,
            "protocol": "TCP"
          }
        ],
        "type": "LoadBalancer"
      }
    }
    "#);

    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}});
    let derived = world.derived.get_mut("app-mcs").unwrap();
    derived.status = Some(object(ingress.clone()));
    let spec = derived.spec.as_mut().unwrap();
    spec.cluster_ip = Some("10.0.0.9".into());
    spec.ports.as_mut().unwrap()[0].node_port = Some(30_080);
    spec.ports.as_mut().unwrap()[0].target_port = Some(object(json!(80)));
    let balanced = world.decide(&mcs);
    assert_eq!(balanced.derived, None, "what others fill in is no difference");
    world.settle(&mut mcs);
    let status = serde_json::to_value(mcs.status.as_ref().unwrap()).unwrap();
    assert_eq!(status["loadBalancer"], ingress["loadBalancer"]);

    world.export(&[]);
    let stopped = world.settle(&mut mcs);
    assert_eq!(stopped.reason, Reason::NotImported);
    assert!(world.derived.is_empty());
    assert_eq!(mcs.metadata.labels.as_ref().unwrap().get(DERIVED), None);
    let status = serde_json::to_value(mcs.status.as_ref().unwrap()).unwrap();
    assert_eq!(status["loadBalancer"], json!({}), "no address is shown that nobody serves");
}

#[test]
fn of_the_ports_of_a_load_balancer_those_are_shown_that_failed() {
    let (mut world, mut mcs) = (World::default(), service("mcs"));
    world.settle(&mut mcs);
    world.export(&["a"]);
    world.settle(&mut mcs);
    let (good, bad) = (
        json!({"port": 80, "protocol": "TCP"}),
        json!({"port": 81, "protocol": "TCP", "error": "example.com/Taken"}),
    );
    for (ports, shown) in [(json!([good, bad]), json!([bad])), (json!([good]), json!(null))] {
        let ingress = json!([{"ip": "192.0.2.1", "ipMode": "Proxy", "ports": ports}]);
        let status = object(json!({"loadBalancer": {"ingress": ingress}}));
        world.derived.get_mut("app-mcs").unwrap().status = Some(status);
        world.settle(&mut mcs);
        let status = serde_json::to_value(mcs.status.as_ref().unwrap()).unwrap();
        let ingress = &status["loadBalancer"]["ingress"][0];
        assert_eq!((&ingress["ip"], &ingress["ports"]), (&json!("192.0.2.1"), &shown));
    }
}

#[test]
fn a_deleted_service_leaves_nothing_behind() {
    let (mut world, mut mcs) = (World::default(), service("mcs"));
    world.settle(&mut mcs);
    world.export(&["a"]);
    world.settle(&mut mcs);
    deleting(&mut mcs.metadata);
    let leaving = world.decide(&mcs);
    assert_eq!(leaving.delete_import.as_deref(), Some("web"));
    assert_eq!(leaving.delete_derived.as_deref(), Some("app-mcs"));
    assert!(leaving.finalizer && leaving.events.is_empty());
    world.apply(&leaving, &mut mcs);
    let gone = world.decide(&mcs);
    assert!(!gone.finalizer);
    assert_eq!(reasons(&gone.events), ["UnimportedService"]);
}

#[test]
fn another_service_of_the_same_import_waits_for_the_first() {
    let (mut world, mut first, mut second) =
        (World::default(), service("first"), service("second"));
    world.settle(&mut first);
    world.export(&["a"]);
    world.settle(&mut first);
    let waiting = world.settle(&mut second);
    assert_eq!(waiting.reason, Reason::UsedByOther("first".into()));
    assert!(conditions(&second)[0].contains("delete MultiClusterService first"));

    deleting(&mut second.metadata);
    let leaves = world.decide(&second);
    assert_eq!(
        (leaves.delete_import, leaves.finalizer),
        (None, false),
        "the import is not its own"
    );
    let mut second = service("second");
    world.settle(&mut second);
    deleting(&mut first.metadata);
    world.settle(&mut first);
    let takes_over = world.settle(&mut second);
    assert_eq!(takes_over.reason, Reason::NotImported);
    world.export(&["a"]);
    assert_eq!(world.settle(&mut second).reason, Reason::Imported);
}

#[test]
fn a_service_that_names_another_import_lets_go_of_the_old_one() {
    let (mut world, mut mcs) = (World::default(), service("mcs"));
    world.settle(&mut mcs);
    world.export(&["a"]);
    world.settle(&mut mcs);
    mcs.spec = object(json!({"serviceImport": {"name": "api"}}));
    let plan = world.decide(&mcs);
    assert_eq!(plan.delete_import.as_deref(), Some("web"));
    assert_eq!(plan.labels[IMPORT].as_deref(), Some("api"));
    world.settle(&mut mcs);
    assert_eq!(world.imports.keys().collect::<Vec<_>>(), ["api"]);
    assert!(world.derived.is_empty());
    mcs.spec.service_import = None;
    assert_eq!(world.settle(&mut mcs).reason, Reason::NoImportNamed);
    assert!(world.imports.is_empty());
    assert!(conditions(&mcs)[0].contains("spec.serviceImport.name must name one"));
}

#[test]
fn an_internal_address_is_asked_for_and_no_longer_asked_for() {
    let annotation = "service.beta.kubernetes.io/azure-load-balancer-internal";
    let asked = "networking.fleet.azure.com/azure-load-balancer-internal".to_owned();
    let (mut world, mut mcs) = (World::default(), service("mcs"));
    world.settle(&mut mcs);
    world.export(&["a"]);
    for (value, want) in
        [("true", true), ("T", true), ("yes", false), ("1", true), ("false", false)]
    {
        mcs.metadata.annotations = Some([(asked.clone(), value.to_owned())].into());
        world.settle(&mut mcs);
        let annotations = world.derived["app-mcs"].metadata.annotations.clone().unwrap_or_default();
        assert_eq!(annotations.contains_key(annotation), want, "{value}");
    }
}

#[test]
fn a_derived_service_never_takes_the_name_of_another() {
    let mut world = World::default();
    let mut other: MultiClusterService = object(json!({
        "metadata": {"name": "c", "namespace": "a-b", "uid": "other-uid"},
        "spec": {"serviceImport": {"name": "web"}},
    }));
    world.settle(&mut other);
    world.export(&["x"]);
    world.settle(&mut other);
    assert_eq!(world.derived.keys().collect::<Vec<_>>(), ["a-b-c"]);
    let mut mcs = service("b-c");
    mcs.metadata.namespace = Some("a".into());
    world.imports.clear();
    world.settle(&mut mcs);
    world.export(&["x"]);
    world.settle(&mut mcs);
    let names: Vec<_> = world.derived.keys().collect();
    assert_eq!(names.len(), 2);
    assert!(names[1].starts_with("a-b-c-"), "{names:?}");
}

#[test]
fn the_proxy_serves_where_the_annotation_or_the_member_says_so() {
    let mode = "network.fleet.stolos.dev/mode".to_owned();
    let (proxy, cluster) = (Some("network.fleet.stolos.dev/proxy"), None);
    for (default, asked, want) in [
        (Mode::Service, None, cluster),
        (Mode::Service, Some("proxy"), proxy),
        (Mode::Service, Some("kernel"), proxy),
        (Mode::Service, Some("fast"), cluster),
        (Mode::Proxy, None, proxy),
        (Mode::Proxy, Some("service"), cluster),
        (Mode::Proxy, Some("fast"), proxy),
    ] {
        let (mut world, mut mcs) = (World::default(), service("mcs"));
        world.mode = Some(default);
        mcs.metadata.annotations = asked.map(|asked| [(mode.clone(), asked.to_owned())].into());
        world.settle(&mut mcs);
        world.export(&["a"]);
        world.settle(&mut mcs);
        let derived = &world.derived["app-mcs"];
        let spec = derived.spec.as_ref().unwrap();
        assert_eq!(spec.load_balancer_class.as_deref(), want, "{default:?} {asked:?}");
        let labels = derived.metadata.labels.as_ref().unwrap();
        let service_proxy = labels.get("service.kubernetes.io/service-proxy-name");
        assert_eq!(service_proxy.is_some(), want.is_some(), "{default:?} {asked:?}");
    }
}

#[test]
fn a_derived_service_that_gets_another_class_goes_and_comes_again() {
    let mode = "network.fleet.stolos.dev/mode".to_owned();
    let (mut world, mut mcs) = (World::default(), service("mcs"));
    world.settle(&mut mcs);
    world.export(&["a"]);
    world.settle(&mut mcs);
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}});
    world.derived.get_mut("app-mcs").unwrap().status = Some(object(ingress));
    world.settle(&mut mcs);

    mcs.metadata.annotations = Some([(mode.clone(), "proxy".to_owned())].into());
    let plan = world.decide(&mcs);
    assert_eq!((plan.delete_derived.as_deref(), &plan.derived), (Some("app-mcs"), &None));
    let status = serde_json::to_value(plan.status.as_ref().unwrap()).unwrap();
    assert_eq!(status["loadBalancer"], json!({}), "the address goes with the class");
    world.settle(&mut mcs);
    let spec = world.derived["app-mcs"].spec.as_ref().unwrap();
    assert_eq!(spec.load_balancer_class.as_deref(), Some("network.fleet.stolos.dev/proxy"));

    // A typing error takes nothing away.
    mcs.metadata.annotations = Some([(mode, "proxi".to_owned())].into());
    let plan = world.decide(&mcs);
    assert_eq!((plan.delete_derived, plan.derived), (None, None));
}
