//! What lists prove, and when ports are tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::names::SILENT_SINCE_ANNOTATION;
use stolos_api::network::{EndpointSliceImport, MultiClusterService, ServiceImport};
use stolos_controller::{Change, Controller as _, Key, Readiness};
use stolos_core::network::balance::VipPort;
use stolos_core::network::serve::Problem;
use stolos_dataplane::{DataPlane, Desired, Report, VipStats};

use super::act::Act;
use super::decide::{Decision, Outcome};
use super::objects::{Doubt, Seen};
use super::{Balancer, Config, Item};

/// A data plane that nobody asks.
struct Idle;

impl DataPlane for Idle {
    async fn apply(&self, _desired: Desired) -> Report {
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

fn balancer(begun_with: Option<&Desired>) -> Balancer<Idle> {
    let nobody = || {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
                .await
        });
        Client::new(silent, "default")
    };
    let config = Config {
        name: "here".to_owned(),
        hub: nobody(),
        member: nobody(),
        clock: Arc::new(|| Timestamp::UNIX_EPOCH),
        readiness: Readiness::default(),
        system_namespace: "fleet-system".to_owned(),
        pool: "192.0.2.0/24".parse().unwrap(),
        allows_loopback: false,
        figures_url: None,
    };
    Balancer::new(config, Arc::new(Idle), begun_with)
}

fn service() -> Service {
    object(json!({
        "metadata": {
            "name": "app-web", "namespace": "fleet-system", "uid": "u", "resourceVersion": "1",
            "labels": {
                "networking.fleet.azure.com/multi-cluster-service-name": "web",
                "networking.fleet.azure.com/multi-cluster-service-namespace": "app",
            },
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "network.fleet.stolos.dev/proxy",
            "ports": [{"name": "web", "port": 80}],
        },
    }))
}

fn import(cluster: &str, address: &str) -> EndpointSliceImport {
    let reference = json!({
        "clusterId": cluster, "kind": "EndpointSlice", "namespace": "app", "name": "web", "uid": "u",
        "resourceVersion": "1", "generation": 1, "namespacedName": "app/web",
    });
    object(json!({
        "metadata": {
            "name": format!("{cluster}-app-web"), "namespace": "fleet-member-here",
            "uid": cluster, "resourceVersion": "1",
        },
        "spec": {
            "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
            "endpointSliceReference": reference,
            "ownerServiceReference": {"namespace": "app", "name": "web", "namespacedName": "app/web"},
        },
    }))
}

/// A service with endpoints of two members.
fn filled(begun_with: Option<&Desired>) -> Balancer<Idle> {
    let mut balancer = balancer(begun_with);
    let origin: MultiClusterService = object(json!({
        "metadata": {"name": "web", "namespace": "app", "uid": "u", "resourceVersion": "1"},
        "spec": {"serviceImport": {"name": "web"}},
    }));
    let of_origin: ServiceImport = object(json!({
        "metadata": {"name": "web", "namespace": "app", "uid": "u", "resourceVersion": "1"},
    }));
    for seen in [Seen::from(service()), origin.into(), of_origin.into()] {
        balancer.learn(Change::Applied(seen));
    }
    for import in [import("a", "10.1.0.1"), import("b", "10.2.0.1")] {
        balancer.learn(Change::Applied(Seen::Hub(Box::new(Change::Applied(import)))));
    }
    balancer
}

fn shown(decision: &Decision) -> Vec<String> {
    let vip = |vip: &stolos_dataplane::DesiredVip| {
        let ids: Vec<_> = vip.balance.endpoints.iter().map(|one| one.id.to_string()).collect();
        format!("{}: {}", vip.balance.vip, ids.join(", "))
    };
    decision.desired.vips.iter().map(vip).collect()
}

/// Lets the data plane have what is decided.
fn apply(balancer: &mut Balancer<Idle>, not_served: &[VipPort], n_failures: u32) {
    let problem = || Problem { reason: "AddressInUse", message: String::new() };
    let outcome = Outcome {
        decision: Arc::new(balancer.decide()),
        not_served: not_served.iter().map(|port| (*port, problem())).collect(),
        n_failures,
        at: Timestamp::UNIX_EPOCH,
    };
    balancer.learn(Change::Applied(Seen::Applied(Arc::new(outcome))));
}

fn key(namespace: &str, name: &str) -> Key {
    Key::namespaced(namespace, name)
}

#[tokio::test]
async fn what_a_list_lacks_is_asked_for_by_name_and_served_until_it_is_gone() {
    let mut balancer = filled(None);
    let all = ["192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:8080 of b"];
    assert_eq!(shown(&balancer.decide()), all);
    apply(&mut balancer, &[], 0);

    let empty = BTreeSet::new();
    let listed = |kind| Change::Listed { kind, keys: BTreeSet::new() };
    let of_hub = Change::Listed { kind: "EndpointSliceImport", keys: empty };
    let mut doubts = Vec::new();
    for change in [
        Change::Applied(Seen::Hub(Box::new(of_hub))),
        listed("Service"),
        listed("MultiClusterService"),
        listed("ServiceImport"),
        listed("EndpointSlice"),
    ] {
        let items = balancer.learn(change);
        doubts.extend(items.into_iter().filter(|item| *item != Item::Plane));
        assert_eq!(shown(&balancer.decide()), all, "a list takes nothing away");
    }
    let import = |cluster: &str| Doubt::Import(key("fleet-member-here", cluster));
    let want = [
        import("a-app-web"),
        import("b-app-web"),
        Doubt::Service(key("fleet-system", "app-web")),
        Doubt::MultiClusterService(key("app", "web")),
        Doubt::ServiceImport(key("app", "web")),
    ];
    assert_eq!(doubts, want.clone().map(Item::Doubt));
    for doubt in &doubts {
        let plan = balancer.plan(doubt, Timestamp::UNIX_EPOCH);
        assert!(matches!(&plan.steps[..], [step] if matches!(&step[..], [Act::Look { .. }])));
    }

    balancer.learn(Change::Applied(Seen::Gone(import("a-app-web"))));
    assert_eq!(shown(&balancer.decide()), ["192.0.2.1:80/TCP: 10.2.0.1:8080 of b"]);
    balancer.learn(Change::Applied(Seen::Gone(want[3].clone())));
    assert_eq!(shown(&balancer.decide()), ["192.0.2.1:80/TCP: "], "its endpoints are not known");
    balancer.learn(Change::Applied(Seen::Gone(want[2].clone())));
    assert_eq!(shown(&balancer.decide()), [] as [&str; 0]);
}

#[tokio::test]
async fn a_service_of_the_last_state_is_served_until_it_is_known_to_be_gone() {
    let last = filled(None).decide().desired;
    let mut balancer = balancer(Some(&last));
    let served = ["192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:8080 of b"];
    assert_eq!(shown(&balancer.decide()), served);
    let items = balancer.learn(Change::Listed { kind: "Service", keys: BTreeSet::new() });
    let doubt = Doubt::Service(key("fleet-system", "app-web"));
    assert_eq!(items, [Item::Doubt(doubt.clone()), Item::Plane]);
    assert_eq!(shown(&balancer.decide()), served);
    // Another service does not get its address meanwhile.
    let mut other = service();
    other.metadata.name = Some("app-api".to_owned());
    balancer.learn(Change::Applied(other.into()));
    let claimed = balancer.addresses()["fleet-system/app-api"].address;
    assert_eq!(claimed.unwrap().to_string(), "192.0.2.2");
    balancer.learn(Change::Applied(Seen::Gone(doubt)));
    assert_eq!(shown(&balancer.decide()), [] as [&str; 0]);
}

#[tokio::test]
async fn the_data_plane_is_told_of_members_that_the_hub_does_not_hear_of() {
    let mut balancer = filled(None);
    assert!(balancer.decide().desired.leases.is_empty());
    let mut silent = import("a", "10.1.0.1");
    silent.metadata.resource_version = Some("2".to_owned());
    let since = "1970-01-01T00:01:00Z".to_owned();
    silent.metadata.annotations = Some([(SILENT_SINCE_ANNOTATION.to_owned(), since)].into());
    balancer.learn(Change::Applied(Seen::Hub(Box::new(Change::Applied(silent)))));
    let told = balancer.decide().desired;
    let leases: Vec<_> =
        told.leases.iter().map(|(name, lease)| (name.as_str(), lease.stale_from())).collect();
    let since = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
    assert_eq!(leases, [("a", since)]);
    assert_eq!(told.vips[0].balance.endpoints.len(), 2, "its endpoints stay");
    // Without the hub it goes on by what it has served.
    assert_eq!(
        super::Balancer::new(balancer.config.clone(), balancer.plane.clone(), Some(&told))
            .decide()
            .desired
            .leases,
        told.leases
    );
    let mut heard = import("a", "10.1.0.1");
    heard.metadata.resource_version = Some("3".to_owned());
    balancer.learn(Change::Applied(Seen::Hub(Box::new(Change::Applied(heard)))));
    assert!(balancer.decide().desired.leases.is_empty());
}

#[tokio::test]
async fn what_goes_away_while_the_data_plane_is_asked_stays_away() {
    let mut balancer = filled(None);
    let decision = Arc::new(balancer.decide());
    balancer.learn(Change::Deleted(service().into()));
    let (not_served, at) = (BTreeMap::new(), Timestamp::UNIX_EPOCH);
    let outcome = Outcome { decision, not_served, n_failures: 0, at };
    balancer.learn(Change::Applied(Seen::Applied(Arc::new(outcome))));
    assert_eq!(shown(&balancer.decide()), [] as [&str; 0]);
}

#[tokio::test]
async fn endpoints_of_the_last_state_stay_until_the_hub_has_answered() {
    let last = filled(None).decide().desired;
    let mut balancer = filled(Some(&last));
    for cluster in ["a", "b"] {
        let doubt = Doubt::Import(key("fleet-member-here", &format!("{cluster}-app-web")));
        balancer.learn(Change::Applied(Seen::Gone(doubt)));
    }
    let served = ["192.0.2.1:80/TCP: 10.1.0.1:8080 of a, 10.2.0.1:8080 of b"];
    assert_eq!(shown(&balancer.decide()), served, "the hub has not told of all");
    let listed = Change::Listed { kind: "EndpointSliceImport", keys: BTreeSet::new() };
    balancer.learn(Change::Applied(Seen::Hub(Box::new(listed))));
    assert_eq!(shown(&balancer.decide()), ["192.0.2.1:80/TCP: "], "it says that there are none");
}

#[tokio::test]
async fn what_is_served_is_not_asked_for_again_and_what_is_not_is_after_growing_waits() {
    let mut balancer = filled(None);
    let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
    let asks = |balancer: &Balancer<Idle>, seconds| {
        let plan = balancer.plan(&Item::Plane, at(seconds));
        (plan.steps.len(), plan.wake_at)
    };
    assert_eq!(asks(&balancer, 0), (1, None));
    apply(&mut balancer, &[], 0);
    assert_eq!(asks(&balancer, 1_000_000), (0, None));
    let port = balancer.decide().desired.vips[0].balance.vip;
    for (n_failures, wait) in [(1, 1), (2, 2), (5, 16), (40, 300)] {
        apply(&mut balancer, &[port], n_failures);
        assert_eq!(asks(&balancer, wait - 1), (0, Some(at(wait))));
        assert_eq!(asks(&balancer, wait), (1, None));
    }
    // Anything new is asked for at once.
    let import = import("c", "10.3.0.1");
    balancer.learn(Change::Applied(Seen::Hub(Box::new(Change::Applied(import)))));
    assert_eq!(asks(&balancer, 0), (1, None));
}

#[tokio::test]
async fn addresses_of_this_clusters_nodes_are_no_endpoints() {
    let mut balancer = filled(None);
    let node = |version: &str, address: &str| -> Node {
        object(json!({
            "metadata": {"name": "n", "uid": "u", "resourceVersion": version},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }))
    };
    let items = balancer.learn(Change::Applied(node("1", "10.1.0.1").into()));
    assert_eq!(items, [Item::Plane]);
    assert_eq!(shown(&balancer.decide()), ["192.0.2.1:80/TCP: 10.2.0.1:8080 of b"]);
    let items = balancer.learn(Change::Applied(node("2", "10.1.0.1").into()));
    assert_eq!(items, [], "heartbeats of nodes change nothing");
}
