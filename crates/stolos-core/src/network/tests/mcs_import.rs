//! Services of the clusterset on the hub and on importing members.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_api::network::mcs::ServiceImport;

use super::super::mcs;
use super::super::mcs::import::{Deed, MAX_ENDPOINTS_PER_SLICE, Observed, Plan, Taken, plan};
use super::super::mcs::resolve::{
    Export, MAX_ENDPOINTS, Standing, Telling, resolve, standing, telling,
};
use super::super::vip::Guard;
use super::{at, deleting, object, said};

const MANAGED_BY: &str = "network.fleet.stolos.dev/managed-by";
const MANAGER: &str = "clusterset.fleet.stolos.dev";

/// What a member exports since some second, with endpoints of some network.
fn exported(second: i64, network: &str, endpoints: usize, change: &Value) -> ExportedService {
    let endpoints: Vec<_> = (0..endpoints)
        .map(|n| json!({"addresses": [format!("10.{network}.{}.{}", n / 250, n % 250 + 1)]}))
        .collect();
    let mut service = json!({
        "type": "ClusterSetIP", "sessionAffinity": "None",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    });
    service.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let spec = object(json!({
        "exportUid": "u", "exportedSince": at(second).to_string(), "service": service,
        "export": {"exportedLabels": {"by": network}},
        "slices": [{
            "name": "web-1", "addressType": "IPv4", "endpoints": endpoints,
            "revision": {"uid": "s", "generation": 1},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }],
    }));
    let mut exported = ExportedService::new("app.web", spec);
    exported.metadata.uid = Some(format!("uid-{network}"));
    exported.metadata.generation = Some(3);
    exported
}

fn told(exports: &[(&str, &ExportedService)]) -> ImportedService {
    let exports: Vec<_> = exports.iter().map(|(cluster, told)| Export { cluster, told }).collect();
    let mut told = ImportedService::new("app.web", resolve(&exports).unwrap().told);
    told.metadata.uid = Some("t".to_owned());
    told.metadata.generation = Some(4);
    told
}

#[test]
fn members_are_told_of_the_service_and_the_endpoints_of_every_cluster() {
    let (a, b) = (exported(2, "1", 2, &json!({})), exported(1, "2", 1, &json!({})));
    let told = told(&[("a", &a), ("b", &b)]).spec;
    let clusters: Vec<_> = told
        .clusters
        .iter()
        .map(|one| (&*one.cluster, one.slices[0].endpoints[0].addresses[0].as_str()))
        .collect();
    assert_eq!(clusters, [("b", "10.2.0.1"), ("a", "10.1.0.1")], "the oldest comes first");
    assert_eq!(told.labels["by"], "2");
    assert_eq!(resolve(&[]), None);
}

#[test]
fn one_large_cluster_does_not_push_others_out() {
    let small = exported(9, "9", 7, &json!({}));
    let large = exported(1, "1", 1_000, &json!({}));
    let names: Vec<_> = (0..6).map(|n| format!("large-{n}")).collect();
    let mut exports: Vec<_> = names.iter().map(|name| (name.as_str(), &large)).collect();
    exports.push(("small", &small));
    let told = told(&exports).spec;
    let count = |cluster: &str| {
        let one = told.clusters.iter().find(|one| one.cluster == cluster).unwrap();
        one.slices.iter().map(|slice| slice.endpoints.len()).sum::<usize>()
    };
    assert_eq!(count("small"), 7);
    assert_eq!(count("large-0"), count("large-5"));
    let all: usize = exports.iter().map(|(cluster, _)| count(cluster)).sum();
    assert!((MAX_ENDPOINTS - 6..=MAX_ENDPOINTS).contains(&all), "{all}");
}

#[test]
fn an_export_of_which_a_member_knows_a_later_state_is_outdated() {
    let mut a = exported(1, "1", 2, &json!({}));
    let told = told(&[("a", &a)]).spec;
    assert_eq!(told.clusters[0].slices[0].revision, None, "it means nothing to importers");
    assert!(!mcs::resolve::is_outdated("a", &a, &told), "the same state");
    a.metadata.generation = Some(2);
    assert!(mcs::resolve::is_outdated("a", &a, &told));
    assert!(!mcs::resolve::is_outdated("b", &a, &told), "nothing is known of another cluster");
    a.metadata.uid = Some("another".to_owned());
    assert!(
        !mcs::resolve::is_outdated("a", &a, &told),
        "generations of another object say nothing"
    );
}

#[test]
fn members_are_told_of_a_later_state_only_if_it_says_something_else() {
    let (mut a, b) = (exported(2, "1", 2, &json!({})), exported(1, "2", 1, &json!({})));
    let before = told(&[("a", &a), ("b", &b)]).spec;
    a.metadata.generation = Some(9);
    let later = told(&[("a", &a), ("b", &b)]).spec;
    assert!(before != later && mcs::resolve::says_the_same(&before, &later));
    a.spec.slices[0].endpoints.pop();
    assert!(!mcs::resolve::says_the_same(&before, &told(&[("a", &a), ("b", &b)]).spec));
    assert!(!mcs::resolve::says_the_same(&before, &told(&[("b", &b)]).spec));
}

/// A service of one exporter, and a member that has imported it.
fn settled() -> (ImportedService, Here) {
    let a = exported(1, "1", 2, &json!({}));
    let (told, mut here) = (told(&[("a", &a)]), Here::default());
    here.settle(&told);
    (told, here)
}

#[test]
fn a_service_of_which_slices_know_a_later_state_is_outdated() {
    let (mut told, mut here) = settled();
    let is_outdated = |told: &ImportedService, here: &Here| {
        mcs::import::is_outdated(told, &here.slices.iter().collect::<Vec<_>>())
    };
    assert!(!is_outdated(&told, &here), "the same state");
    told.metadata.generation = Some(3);
    assert!(is_outdated(&told, &here));
    assert!(!is_outdated(&told, &Here::default()), "nothing is known of it");
    told.metadata.uid = Some("another".to_owned());
    assert!(!is_outdated(&told, &here), "generations of another object say nothing");
    told.metadata.uid = Some("t".to_owned());
    for text in ["t", "t/x", ""] {
        let annotations = here.slices[0].metadata.annotations.as_mut().unwrap();
        annotations.insert("network.fleet.stolos.dev/made-of".to_owned(), text.to_owned());
        assert!(!is_outdated(&told, &here), "`{text}` says nothing");
    }
}

#[test]
fn a_later_state_that_changes_no_slice_writes_none() {
    let (mut told, here) = settled();
    told.metadata.generation = Some(5);
    assert_eq!(here.decide(&told).slices, []);
}

#[test]
fn a_member_is_told_while_it_has_joined_and_loses_nothing_by_being_silent() {
    let member = |joined: &str| -> MemberCluster {
        object(json!({
            "metadata": {"name": "a"}, "spec": {"identity": {"kind": "User", "name": "a"}},
            "status": {"conditions": [{
                "type": "Joined", "status": joined, "reason": "R", "message": "",
                "lastTransitionTime": at(0).to_string(),
            }]},
        }))
    };
    let mut leaving = member("True");
    deleting(&mut leaving.metadata);
    for (member, want, exported, not) in [
        (Some(member("True")), Standing::Joined, Telling::Tell, Telling::Withdraw),
        (Some(member("Unknown")), Standing::Waiting, Telling::Renew, Telling::Withdraw),
        (Some(leaving), Standing::Leaving, Telling::Withdraw, Telling::Withdraw),
        (None, Standing::Leaving, Telling::Withdraw, Telling::Withdraw),
    ] {
        let standing = standing(member.as_ref());
        assert_eq!(standing, want);
        assert_eq!((telling(standing, true), telling(standing, false)), (exported, not));
    }
}

/// What a member has of the service.
#[derive(Clone, Default)]
struct Here {
    import: Option<ServiceImport>,
    service: Option<Service>,
    slices: Vec<EndpointSlice>,
}

impl Here {
    fn decide(&self, told: &ImportedService) -> Plan {
        let slices: Vec<_> = self.slices.iter().collect();
        let observed = Observed {
            namespace: "app",
            name: "web",
            told,
            has_namespace: true,
            import: self.import.as_ref(),
            service: self.service.as_ref(),
            slices: &slices,
            guard: &Guard::default(),
        };
        plan(&observed, at(5))
    }

    /// Does what a plan says, as an API server would that gives Services this address.
    fn apply(&mut self, plan: Plan, address: &str) {
        let Plan { import, status, service, slices, surplus, told: _, taken } = plan;
        assert_eq!(taken, None);
        if let Some(import) = import {
            let mut import = *import;
            import.metadata.uid = Some("import-uid".to_owned());
            self.import = Some(import);
        }
        if let (Some(status), Some(import)) = (status, &mut self.import) {
            import.status = Some(status);
        }
        match service {
            Deed::Keep => {}
            Deed::Delete => self.service = None,
            Deed::Write(service) => {
                let mut service = *service;
                let spec = service.spec.as_mut().unwrap();
                spec.cluster_ip.get_or_insert_with(|| address.to_owned());
                spec.session_affinity.get_or_insert_with(|| "None".to_owned());
                for port in spec.ports.iter_mut().flatten() {
                    port.target_port.get_or_insert(
                        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port.port),
                    );
                }
                self.service = Some(service);
            }
        }
        self.slices.retain(|slice| {
            let name = slice.metadata.name.as_ref().unwrap();
            !surplus.contains(name)
                && !slices.iter().any(|one| one.metadata.name.as_ref() == Some(name))
        });
        self.slices.extend(slices);
    }

    /// Decides and applies until nothing is left to do.
    fn settle(&mut self, told: &ImportedService) {
        for _ in 0..8 {
            let plan = self.decide(told);
            let is_done = Plan { told: None, ..plan.clone() } == Plan::default();
            self.apply(plan, "10.96.0.7");
            if is_done {
                return;
            }
        }
        panic!("never at rest: {:?}", self.decide(told));
    }

    fn addresses(&self) -> Vec<String> {
        let label = |slice: &EndpointSlice| {
            slice.metadata.labels.as_ref().unwrap()["multicluster.kubernetes.io/source-cluster"]
                .clone()
        };
        let all = self.slices.iter().flat_map(|slice| {
            let cluster = label(slice);
            slice.endpoints.iter().map(move |one| format!("{cluster} {}", one.addresses[0]))
        });
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    }

    fn ready(&self) -> String {
        let status = self.import.as_ref().unwrap().status.as_ref().unwrap();
        said(&status.conditions).join("\n")
    }
}

#[test]
fn a_service_becomes_a_service_import_with_an_address_and_slices_of_every_cluster() {
    let sticky = json!({
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
    });
    let (a, b) = (exported(1, "1", 2, &sticky), exported(2, "2", 1, &sticky));
    let told = told(&[("a", &a), ("b", &b)]);
    let mut here = Here::default();
    here.settle(&told);

    let import = here.import.as_ref().unwrap();
    assert_eq!(import.spec.ips, ["10.96.0.7"]);
    assert_eq!(import.spec.ports, told.spec.service.ports);
    assert_eq!(import.metadata.labels.as_ref().unwrap()["by"], "1");
    let clusters = &import.status.as_ref().unwrap().clusters;
    assert_eq!(clusters.iter().map(|one| one.cluster.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(here.ready(), "Ready=True Ready: the service can be used");

    let service = here.service.as_ref().unwrap();
    let name = service.metadata.name.clone().unwrap();
    let annotations = import.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["multicluster.kubernetes.io/derived-service"], name);
    let owner = &service.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((&*owner.kind, &*owner.uid), ("ServiceImport", "import-uid"));
    let spec = service.spec.as_ref().unwrap();
    assert_eq!(spec.selector, None);
    assert_eq!(spec.session_affinity.as_deref(), Some("ClientIP"));
    assert_eq!(spec.ports.as_ref().unwrap()[0].port, 80);

    assert_eq!(here.addresses(), ["a 10.1.0.1", "a 10.1.0.2", "b 10.2.0.1"]);
    for slice in &here.slices {
        let label = |name: &str| slice.metadata.labels.as_ref().unwrap()[name].as_str();
        assert_eq!(label("kubernetes.io/service-name"), name);
        assert_eq!(label("multicluster.kubernetes.io/service-name"), "web");
        assert_eq!(label("endpointslice.kubernetes.io/managed-by"), MANAGER);
    }

    // A cluster that unexports takes its endpoints along, and nothing else.
    let mut fewer = self::told(&[("b", &b)]);
    fewer.metadata.generation = Some(5);
    here.settle(&fewer);
    assert_eq!(here.addresses(), ["b 10.2.0.1"]);
    assert_eq!(here.import.as_ref().unwrap().spec.ips, ["10.96.0.7"]);
}

#[test]
fn a_service_that_becomes_headless_is_made_anew_without_an_address() {
    let a = exported(1, "1", 1, &json!({}));
    let mut here = Here::default();
    here.settle(&told(&[("a", &a)]));
    let headless = exported(1, "1", 1, &json!({"type": "Headless", "sessionAffinity": "ClientIP"}));
    let told = told(&[("a", &headless)]);
    assert_eq!(here.decide(&told).service, Deed::Delete);
    here.settle(&told);
    let spec = here.service.as_ref().unwrap().spec.as_ref().unwrap();
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    assert_eq!(here.import.as_ref().unwrap().spec.ips, [""; 0]);
    assert!(here.ready().starts_with("Ready=True"), "{}", here.ready());
}

#[test]
fn addresses_that_no_pod_of_another_cluster_can_have_are_left_out_and_told() {
    let mut a = exported(1, "1", 2, &json!({}));
    a.spec.slices[0].endpoints[0].addresses = vec!["127.0.0.1".to_owned()];
    let mut b = exported(2, "2", 1, &json!({}));
    b.spec.slices[0].endpoints[0].addresses = vec!["169.254.169.254".to_owned()];
    let mut c = exported(2, "3", 1, &json!({}));
    c.spec.slices[0].address_type = "IPv6".to_owned();
    let mut here = Here::default();
    here.settle(&told(&[("a", &a), ("b", &b), ("c", &c)]));
    assert_eq!(here.addresses(), ["a 10.1.0.2"]);
    let ready = here.ready();
    for words in ["127.0.0.1 is a loopback", "(cluster a)", "(cluster b)", "not of type IPv6"] {
        assert!(ready.contains(words), "{ready}");
    }
}

#[test]
fn what_no_object_can_have_keeps_nothing_else_away() {
    let change = json!({"ports": [
        {"name": "http", "port": 80, "protocol": "TCP"}, {"name": "UPPER", "port": 81, "protocol": "TCP"},
        {"name": "far", "port": 70_000, "protocol": "TCP"},
    ]});
    let mut a = exported(1, "1", 2, &change);
    a.spec.slices[0].endpoints[0].hostname = Some("A_B".to_owned());
    let mut b = exported(2, "2", 1, &json!({}));
    b.spec.slices[0].ports[0].name = Some("UPPER".to_owned());
    let mut c = exported(2, "3", 1, &json!({}));
    c.spec.slices[0].address_type = "FQDN".to_owned();
    let mut here = Here::default();
    here.settle(&told(&[("a", &a), ("b", &b), ("c", &c)]));
    assert_eq!(here.addresses(), ["a 10.1.0.2"]);
    let ports = here.service.as_ref().unwrap().spec.as_ref().unwrap().ports.as_ref().unwrap();
    assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80]);
    let ready = here.ready();
    for words in ["`A_B`, which is no host name", "port `UPPER`", "address type FQDN"] {
        assert!(ready.contains(words), "{ready}");
    }
}

#[test]
fn a_slice_never_changes_the_type_of_its_addresses() {
    let mut both = exported(1, "1", 1, &json!({}));
    let mut v6 = both.spec.slices[0].clone();
    v6.address_type = "IPv6".to_owned();
    v6.endpoints[0].addresses = vec!["fd00::1".to_owned()];
    both.spec.slices.insert(0, v6);
    let mut here = Here::default();
    here.settle(&told(&[("a", &both)]));
    let types = |here: &Here| -> std::collections::BTreeMap<String, String> {
        let slices = here.slices.iter();
        slices.map(|one| (one.metadata.name.clone().unwrap(), one.address_type.clone())).collect()
    };
    let before = types(&here);
    assert_eq!(before.len(), 2);
    both.spec.slices.remove(0);
    here.settle(&told(&[("a", &both)]));
    let after = types(&here);
    assert_eq!(after.len(), 1);
    assert!(after.iter().all(|(name, type_)| before.get(name) == Some(type_)), "{after:?}");
}

#[test]
fn what_somebody_else_keeps_is_not_taken_over() {
    let a = exported(1, "1", 1, &json!({}));
    let told = told(&[("a", &a)]);
    let mut theirs = Here::default();
    theirs.import = Some(ServiceImport::new("web", told.spec.service.clone()));
    let plan = theirs.decide(&told);
    assert!(matches!(plan.taken, Some(Taken::Import(_))), "{plan:?}");
    let said_to_hub = said(&plan.told.clone().into_iter().collect::<Vec<_>>());
    assert!(said_to_hub[0].starts_with("Imported=False NameTaken: "), "{said_to_hub:?}");
    assert_eq!(Plan { taken: None, told: None, ..plan.clone() }, Plan::default());
    let mut heard = told.clone();
    heard.status.get_or_insert_default().conditions = plan.told.into_iter().collect();
    assert_eq!(theirs.decide(&heard), Plan::default(), "it is said once");

    let mut here = Here::default();
    here.settle(&told);
    here.service.as_mut().unwrap().metadata.labels = None;
    assert!(matches!(here.decide(&told).taken, Some(Taken::Service(_))));
}

#[test]
fn a_slice_that_lost_its_label_is_put_right_and_one_of_somebody_else_is_told() {
    let a = exported(1, "1", 1, &json!({}));
    let told = told(&[("a", &a)]);
    let mut here = Here::default();
    here.settle(&told);
    here.slices[0].metadata.labels = None;
    assert_eq!(here.decide(&told).slices.len(), 1, "it belongs to our ServiceImport");
    here.slices[0].metadata.owner_references = None;
    assert_eq!(here.decide(&told).slices, []);
    here.settle(&told);
    let ready = here.ready();
    assert!(ready.contains("somebody else has an EndpointSlice `derived-"), "{ready}");
}

#[test]
fn without_its_namespace_a_service_is_not_imported() {
    let a = exported(1, "1", 1, &json!({}));
    let told = told(&[("a", &a)]);
    let observed = Observed {
        namespace: "app",
        name: "web",
        told: &told,
        has_namespace: false,
        import: None,
        service: None,
        slices: &[],
        guard: &Guard::default(),
    };
    let plan = plan(&observed, at(5));
    let want = "Imported=False NamespaceNotFound: the cluster has no namespace `app`; it is not made for this";
    assert_eq!(said(&plan.told.clone().into_iter().collect::<Vec<_>>()), [want]);
    assert_eq!(Plan { told: None, ..plan }, Plan::default());
}

#[test]
fn labels_that_no_object_can_have_are_left_out() {
    let mut a = exported(1, "1", 1, &json!({}));
    let labels = [("a b", "c"), ("good", "yes"), ("bad", "no no"), (MANAGED_BY, "me")];
    a.spec.export.exported_labels =
        labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let plan = Here::default().decide(&told(&[("a", &a)]));
    let labels = plan.import.unwrap().metadata.labels.unwrap();
    let want = [("good", "yes"), (MANAGED_BY, MANAGER)];
    assert_eq!(labels, want.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

#[test]
fn labels_and_annotations_that_exporters_withdraw_go_and_those_of_others_stay() {
    let mut a = exported(1, "1", 1, &json!({}));
    a.spec.export.exported_annotations = [("note".to_owned(), "1".to_owned())].into();
    let mut here = Here::default();
    here.settle(&told(&[("a", &a)]));
    let metadata = &mut here.import.as_mut().unwrap().metadata;
    metadata.labels.as_mut().unwrap().insert("theirs".to_owned(), "yes".to_owned());
    metadata.annotations.as_mut().unwrap().insert("seen".to_owned(), "yes".to_owned());
    a.spec.export.exported_labels = [("tier".to_owned(), "front".to_owned())].into();
    a.spec.export.exported_annotations.clear();
    here.settle(&told(&[("a", &a)]));
    let metadata = &here.import.as_ref().unwrap().metadata;
    let want = [("tier", "front"), ("theirs", "yes"), (MANAGED_BY, MANAGER)];
    assert_eq!(metadata.labels, Some(want.map(|(k, v)| (k.to_owned(), v.to_owned())).into()));
    let annotations: Vec<_> = metadata.annotations.as_ref().unwrap().keys().collect();
    let want = [
        "multicluster.kubernetes.io/derived-service",
        "network.fleet.stolos.dev/exported-labels",
        "seen",
    ];
    assert_eq!(annotations, want);
}

#[test]
fn a_cluster_without_addresses_of_the_endpoints_version_says_so() {
    let a = exported(1, "1", 1, &json!({"ipFamilies": ["IPv6"]}));
    let told = told(&[("a", &a)]);
    let mut here = Here::default();
    here.settle(&told);
    here.service.as_mut().unwrap().spec.as_mut().unwrap().ip_families =
        Some(vec!["IPv4".to_owned()]);
    here.settle(&told);
    assert!(here.ready().starts_with("Ready=False IPFamilyNotSupported: "), "{}", here.ready());
    let both = vec!["IPv4".to_owned(), "IPv6".to_owned()];
    here.service.as_mut().unwrap().spec.as_mut().unwrap().ip_families = Some(both);
    here.settle(&told);
    assert!(here.ready().starts_with("Ready=True"), "{}", here.ready());
}

proptest! {
    #[test]
    fn whatever_is_told_a_member_comes_to_rest_with_just_that(
        before in proptest::collection::vec((0..3_i64, 0..230_usize, any::<bool>()), 1..4),
        after in proptest::collection::vec((0..3_i64, 0..230_usize, any::<bool>()), 1..4),
    ) {
        let mut here = Here::default();
        for round in [before, after] {
            let specs: Vec<_> = round
                .iter()
                .enumerate()
                .map(|(n, (second, endpoints, headless))| {
                    let type_ = if *headless { "Headless" } else { "ClusterSetIP" };
                    exported(*second, &n.to_string(), *endpoints, &json!({"type": type_}))
                })
                .collect();
            let names: Vec<_> = (0..specs.len()).map(|n| format!("m{n}")).collect();
            let exports: Vec<_> =
                names.iter().map(String::as_str).zip(&specs).collect();
            here.settle(&told(&exports));
            let n_endpoints: usize = round.iter().map(|(_, endpoints, _)| endpoints).sum();
            prop_assert_eq!(here.addresses().len(), n_endpoints);
            let sizes = here.slices.iter().map(|slice| slice.endpoints.len());
            prop_assert!(sizes.max().unwrap_or(0) <= MAX_ENDPOINTS_PER_SLICE);
        }
    }
}
