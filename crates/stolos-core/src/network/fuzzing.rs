//! What fuzzing checks: a law that must hold for whatever other clusters write into the objects between members and hub.
//!
//! The program in `fuzz/` feeds it with what libFuzzer invents; a test below with changed objects, so that every build runs
//! the same code. It panics when the law is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use stolos_api::network::clusterset::{ExportedService, ExportedServiceSpec, ImportedService};
use stolos_api::network::mcs as mcs_api;
use stolos_api::network::names::clusterset;
use stolos_api::network::{
    EndpointSliceExport, EndpointSliceImport, InternalServiceExport, InternalServiceImport,
    MultiClusterService, Protocol, ServiceImport, ServicePort,
};

use super::claim::{self, Importers};
use super::names::is_subdomain;
use super::overview::{Observed, overview};
use super::pool::Pool;
use super::vip::{Guard, MAX_ENDPOINTS_PER_CLUSTER, Service, vips};
use super::{balance, distribute, import_slice, keys, knobs, mcs, resolve};

/// Objects as members and hub may find them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct World {
    import: Option<ServiceImport>,
    exports: Vec<InternalServiceExport>,
    claimants: Vec<InternalServiceImport>,
    slices: Vec<EndpointSliceExport>,
    copies: Vec<EndpointSliceImport>,
    service: Option<MultiClusterService>,
    /// What members export to the clusterset, by their names.
    exported: BTreeMap<String, ExportedServiceSpec>,
}

/// Whatever objects say is decided about without a panic: clusters speak for themselves alone, copies go to those who ask,
/// and no endpoint leads back into the importing cluster.
///
/// # Panics
/// When that is not so.
pub fn objects(bytes: &[u8]) {
    let Ok(world) = serde_json::from_slice::<World>(bytes) else { return };
    on_the_hub(&world);
    on_the_member(&world);
    in_the_clusterset(&world);
}

fn on_the_hub(world: &World) {
    let (key, import, now) = ("app/web", world.import.as_ref(), Timestamp::UNIX_EPOCH);
    let resolved = resolve::plan(key, &world.exports, import, now);
    if let resolve::Import::Present(status) = &resolved.import {
        let owners: BTreeSet<_> = world.exports.iter().filter_map(owner).collect();
        for told in &status.clusters {
            assert!(owners.contains(told.cluster.as_str()), "nobody exports as `{}`", told.cluster);
        }
    }
    for importers in [Importers::One, Importers::Many] {
        let plan = claim::plan(import, &world.claimants, importers);
        let asking: BTreeSet<_> =
            world.claimants.iter().map(|one| keys::namespace(&one.metadata)).collect();
        for namespace in plan.claim.iter().flat_map(|claim| claim.member_clusters.keys()) {
            assert!(asking.contains(namespace.as_str()), "`{namespace}` has not asked");
        }
    }
    let told = distribute::Told { weight: 1, silent_since: Some(now) };
    for slice in &world.slices {
        let plan = distribute::plan(slice, import, &told, &world.copies);
        assert!(plan.copy_to.is_disjoint(&plan.delete_from));
    }
    let _ = distribute::release(Some(now), SignedDuration::MAX, now);
    let _ = overview(&Observed {
        key,
        namespace_exists: true,
        import,
        exports: &world.exports,
        slices: &world.slices,
        claimants: &world.claimants,
        members: &[],
        told: &BTreeMap::new(),
        now,
    });
}

/// Returns the member in whose namespace an export is.
fn owner(export: &InternalServiceExport) -> Option<&str> {
    keys::member_of(keys::namespace(&export.metadata))
}

fn on_the_member(world: &World) {
    let port = |port| ServicePort { port, ..ServicePort::default() };
    let mut ports = vec![port(80), ServicePort { protocol: Protocol::Udp, ..port(53) }];
    ports.extend(world.import.iter().flat_map(|one| &one.status).flat_map(|one| one.ports.clone()));
    let node: IpAddr = [10, 0, 0, 9].into();
    let pool: Pool = "192.0.2.0/24".parse().expect("a network");
    let guard = Guard {
        allows_loopback: false,
        nodes: BTreeSet::from([node]),
        pool: Some(pool),
        cluster: "here".to_owned(),
    };
    let settings = balance::Settings::default();
    let address: IpAddr = [192, 0, 2, 1].into();
    let service = Service {
        addresses: &[address],
        ports: &ports,
        slices: &world.copies,
        settings: &settings,
    };
    for vip in vips(&service, &guard).ports {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for balance::Endpoint { id, .. } in &vip.endpoints {
            assert!(!leads_back(id.address) && id.address != node && id.port > 0, "{id}");
            assert!(!pool.contains(id.address), "{id}");
            *counts.entry(&id.cluster).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count <= MAX_ENDPOINTS_PER_CLUSTER));
        let plan = balance::plan(&vip, &balance::Observed::default(), Timestamp::UNIX_EPOCH);
        assert!(plan.routed().iter().all(|id| counts.contains_key(id.cluster.as_str())));
    }
    let services: Vec<_> = world.service.iter().cloned().collect();
    for import in &world.copies {
        let derived = services.iter().filter_map(|service| {
            let name =
                keys::label(&service.metadata, stolos_api::network::names::label::DERIVED_SERVICE)?;
            Some((name.to_owned(), k8s_openapi::api::core::v1::Service::default()))
        });
        let plan = import_slice::plan(&import_slice::Observed {
            import,
            services: &services,
            derived: &derived.collect(),
            slice: None,
            system_namespace: "fleet-system",
            guard: &guard,
        });
        let import_slice::Plan::Import(Some(written)) = plan else { continue };
        for address in written.slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses) {
            let address: IpAddr = address.parse().expect("an endpoint has an address");
            assert!(!leads_back(address) && address != node && address.is_ipv4(), "{address}");
        }
    }
    let annotations = world.service.iter().filter_map(|one| one.metadata.annotations.clone());
    let status = world.import.as_ref().and_then(|import| import.status.clone());
    for annotations in annotations {
        let _ = knobs::read(&annotations, &status.clone().unwrap_or_default(), "here");
    }
}

fn in_the_clusterset(world: &World) {
    let exported = |(cluster, spec): (&String, &ExportedServiceSpec)| {
        (cluster.clone(), ExportedService::new("app.web", spec.clone()))
    };
    let exported: Vec<_> = world.exported.iter().map(exported).collect();
    let exports: Vec<_> =
        exported.iter().map(|(cluster, told)| mcs::resolve::Export { cluster, told }).collect();
    let Some(resolved) = mcs::resolve::resolve(&exports) else { return };
    let told = ImportedService::new("app.web", resolved.told);
    let mut import = mcs_api::ServiceImport::new("web", told.spec.service.clone());
    let label = (clusterset::MANAGED_BY.to_owned(), clusterset::MANAGER.to_owned());
    import.metadata.labels = Some([label].into());
    let plan = mcs::import::plan(
        &mcs::import::Observed {
            namespace: "app",
            name: "web",
            told: &told,
            has_namespace: true,
            import: Some(&import),
            service: None,
            slices: &[],
            guard: &Guard::default(),
        },
        Timestamp::UNIX_EPOCH,
    );
    for slice in &plan.slices {
        let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        for address in addresses {
            let address: IpAddr = address.parse().expect("an endpoint has an address");
            assert!(!leads_back(address), "{address}");
        }
        assert!(is_subdomain(keys::name(&slice.metadata)));
    }
}

/// Tells whether an address leads back into the cluster that connects to it, in the words of the standard library.
fn leads_back(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_near = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_near || address.is_loopback() || address.is_unspecified() || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Objects of two members that export a service, and of one that imports it.
    fn seed() -> Value {
        let reference = |cluster: &str, kind: &str| {
            json!({
                "clusterId": cluster, "kind": kind, "namespace": "app", "name": "web", "resourceVersion": "1",
                "generation": 1, "uid": "u", "namespacedName": "app/web",
            })
        };
        let owner = json!({"namespace": "app", "name": "web", "namespacedName": "app/web"});
        let metadata = |cluster: &str| json!({"name": "app-web", "namespace": format!("fleet-member-{cluster}")});
        let export = |cluster: &str| {
            json!({"metadata": metadata(cluster), "spec": {
                "ports": [{"port": 80}], "type": "ClusterIP", "weight": 3,
                "serviceReference": reference(cluster, "Service"),
            }})
        };
        let slice = |home: &str, cluster: &str, address: &str| {
            json!({"metadata": metadata(home), "spec": {
                "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
                "ports": [{"port": 8080, "protocol": "TCP"}], "ownerServiceReference": owner,
                "endpointSliceReference": reference(cluster, "EndpointSlice"),
            }})
        };
        let claim = json!({"MemberClusters": {"fleet-member-c": "c"}}).to_string();
        json!({
            "import": {
                "metadata": {
                    "name": "web", "namespace": "app",
                    "annotations": {"networking.fleet.azure.com/service-in-use-by": claim},
                },
                "status": {"ports": [{"port": 80}], "clusters": [{"cluster": "a"}, {"cluster": "b"}]},
            },
            "exports": [export("a"), export("b")],
            "claimants": [{"metadata": metadata("c"), "spec": {
                "serviceImportReference": reference("c", "ServiceImport"),
            }}],
            "slices": [slice("a", "a", "10.1.0.1"), slice("b", "b", "10.2.0.1")],
            "copies": [slice("c", "a", "10.1.0.1"), slice("c", "b", "10.2.0.1")],
            "exported": {
                "a": {
                    "exportUid": "u", "service": {"type": "ClusterSetIP", "ports": [{"port": 80, "name": "web"}]},
                    "slices": [{
                        "name": "web-1", "addressType": "IPv4", "ports": [{"port": 8080, "name": "web"}],
                        "endpoints": [{"addresses": ["10.1.0.1"], "hostname": "one"}],
                    }],
                },
                "b": {
                    "exportUid": "u", "service": {"type": "Headless", "ports": [{"port": 80}]},
                    "slices": [{"name": "web-1", "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]}],
                },
            },
            "service": {
                "metadata": {"name": "web", "namespace": "app", "annotations": {
                    "network.fleet.stolos.dev/affinity": "ClientIP", "network.fleet.stolos.dev/drain-seconds": "30",
                }},
                "spec": {"serviceImport": {"name": "web"}},
            },
        })
    }

    /// Texts and numbers that are in the way somewhere.
    fn odd() -> impl Strategy<Value = Value> {
        prop_oneof![
            prop::sample::select(vec![
                "",
                "a",
                "b",
                "c",
                "fleet-member-",
                "fleet-member-b",
                "127.0.0.1",
                "::ffff:127.0.0.1",
                "169.254.169.254",
                "10.0.0.9",
                "fe80::1",
                "::",
                "224.0.0.1",
                "{}",
                "0",
                "1001",
                "-1",
                "UDP",
                "99999999999999999999",
                "A_B",
                "IPv6",
                "FQDN",
            ])
            .prop_map(Value::from),
            prop::sample::select(vec![0, 1, -1, 65_535, 65_536, i64::from(i32::MAX), i64::MAX])
                .prop_map(Value::from),
            Just(json!([])),
            Just(json!({})),
            Just(Value::Null),
        ]
    }

    /// Puts a value in the place of the `n`th one.
    fn put(value: &mut Value, n: &mut usize, odd: &Value) {
        if *n == 0 {
            *n = usize::MAX;
            value.clone_from(odd);
            return;
        }
        *n = n.saturating_sub(1);
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| put(item, n, odd)),
            Value::Object(fields) => fields.values_mut().for_each(|field| put(field, n, odd)),
            _ => {}
        }
    }

    #[test]
    fn the_seed_is_read() {
        let world: World = serde_json::from_value(seed()).unwrap();
        assert_eq!((world.exports.len(), world.copies.len(), world.exported.len()), (2, 2, 2));
    }

    proptest! {
        #[test]
        fn the_law_holds_for_changed_objects(
            changes in prop::collection::vec((0..260_usize, odd()), 0..5),
        ) {
            let mut world = seed();
            for (mut n, odd) in changes {
                put(&mut world, &mut n, &odd);
            }
            objects(world.to_string().as_bytes());
        }
    }
}
