//! Services: addresses, and the EndpointSlices behind them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::action::Action;
use crate::kubelet::{is_active, is_ready};
use crate::meta::{controlled_by, hash, is_deleting, selects, suffix, uid};
use crate::world::World;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Endpoints per slice, as in Kubernetes.
const SLICE_SIZE: usize = 100;

/// Decides what a Service needs.
pub(crate) fn decide(world: &World, service: &Service) -> Vec<Action> {
    if is_deleting(&service.metadata) || kind(service) == "ExternalName" {
        return Vec::new();
    }
    let mut actions: Vec<Action> = Vec::new();
    actions.extend(address(world, service));
    actions.extend(balancer(service));
    actions.extend(slices(world, service));
    actions
}

/// Decides what a Service needs from the cloud of its cluster.
pub(crate) fn cloud(service: &Service) -> Vec<Action> {
    if is_deleting(&service.metadata) {
        Vec::new()
    } else {
        balancer(service).into_iter().collect()
    }
}

fn kind(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

/// Gives a Service its cluster address from 10.96.0.0/16 and its node ports, where the API server has not.
fn address(world: &World, service: &Service) -> Option<Action> {
    let spec = service.spec.as_ref()?;
    let mut patch = json!({});
    if spec.cluster_ip.as_deref().unwrap_or_default().is_empty() {
        let taken: BTreeSet<&str> = world
            .services
            .iter()
            .filter_map(|other| other.spec.as_ref()?.cluster_ip.as_deref())
            .collect();
        let ip = free(
            uid(&service.metadata),
            |n| format!("10.96.{}.{}", n / 254 % 256, n % 254 + 1),
            |ip| !taken.contains(ip.as_str()),
        );
        patch["clusterIP"] = json!(ip);
        patch["clusterIPs"] = json!([ip]);
        patch["ipFamilies"] = json!(["IPv4"]);
        patch["ipFamilyPolicy"] = json!("SingleStack");
    }
    let wants_ports = matches!(kind(service), "NodePort" | "LoadBalancer");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if wants_ports && ports.iter().any(|port| port.node_port.unwrap_or(0) == 0) {
        patch["ports"] = with_node_ports(world, service, ports);
    }
    let empty = patch.as_object().is_some_and(serde_json::Map::is_empty);
    (!empty)
        .then(|| Action::Merge { target: service.clone().into(), patch: json!({ "spec": patch }) })
}

fn with_node_ports(world: &World, service: &Service, ports: &[ServicePort]) -> Value {
    let used = |service: &Arc<Service>| -> Vec<i32> {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
        ports.iter().filter_map(|port| port.node_port).collect()
    };
    let mut taken: BTreeSet<i32> = world.services.iter().flat_map(used).collect();
    let mut result = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let mut port = port.clone();
        if port.node_port.unwrap_or(0) == 0 {
            let seed = format!("{}/{index}", uid(&service.metadata));
            let in_range =
                |n: u64| 30_000 + i32::try_from(n % 2_768).expect("a remainder below 2768");
            let free = free(&seed, in_range, |port| !taken.contains(port));
            taken.insert(free);
            port.node_port = Some(free);
        }
        result.push(port);
    }
    json!(result)
}

/// Walks a row that begins at a place drawn from `seed` to the first free entry.
fn free<T>(seed: &str, nth: impl Fn(u64) -> T, is_free: impl Fn(&T) -> bool) -> T {
    let first = hash(seed) % (1 << 32);
    (first..).map(nth).find(is_free).expect("a simulated cluster has fewer Services than addresses")
}

/// Gives a LoadBalancer its outside address. One that names a class is left to whoever serves that class, as by the load
/// balancer of any cloud.
fn balancer(service: &Service) -> Option<Action> {
    let spec = service.spec.as_ref()?;
    if kind(service) != "LoadBalancer" || spec.load_balancer_class.is_some() {
        return None;
    }
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    if status
        .and_then(|balancer| balancer.ingress.as_ref())
        .is_some_and(|ingress| !ingress.is_empty())
    {
        return None;
    }
    let n = hash(uid(&service.metadata)) % 65_024;
    let ip = format!("203.0.{}.{}", n / 254 % 256, n % 254 + 1);
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": ip, "ipMode": "VIP" }] } });
    Some(Action::MergeStatus { target: service.clone().into(), status })
}

/// Keeps the EndpointSlices of a Service with a selector equal to its pods.
fn slices(world: &World, service: &Service) -> Vec<Action> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(match_labels) = spec.selector.clone().filter(|selector| !selector.is_empty()) else {
        return Vec::new();
    };
    let selector = LabelSelector { match_labels: Some(match_labels), match_expressions: None };
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let pods: Vec<&Arc<Pod>> = world
        .pods
        .in_namespace(&namespace)
        .filter(|pod| {
            is_active(pod) && selects(&selector, &pod.metadata.labels.clone().unwrap_or_default())
        })
        .filter(|pod| pod_ip(pod).is_some())
        .collect();
    let publish_all = spec.publish_not_ready_addresses == Some(true);
    let wanted: Vec<Vec<Endpoint>> = if pods.is_empty() {
        vec![Vec::new()]
    } else {
        pods.chunks(SLICE_SIZE)
            .map(|chunk| chunk.iter().map(|pod| endpoint(pod, publish_all)).collect())
            .collect()
    };
    let ports = ports(spec.ports.as_deref().unwrap_or_default(), pods.first().map(AsRef::as_ref));
    let mut existing: Vec<&Arc<EndpointSlice>> =
        world.endpoint_slices.owned_by(uid(&service.metadata)).collect();
    existing.sort_by_key(|slice| slice.metadata.name.clone());
    let mut actions = Vec::new();
    for (index, endpoints) in wanted.iter().enumerate() {
        match existing.get(index) {
            None => {
                actions.push(Action::Create(new_slice(service, index, endpoints, &ports).into()))
            }
            Some(slice) => actions.extend(refresh(slice, endpoints, &ports)),
        }
    }
    actions.extend(
        existing
            .iter()
            .skip(wanted.len())
            .map(|slice| Action::Delete(EndpointSlice::clone(slice).into())),
    );
    actions
}

fn pod_ip(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

fn endpoint(pod: &Pod, publish_all: bool) -> Endpoint {
    let ready = is_ready(pod);
    Endpoint {
        addresses: pod_ip(pod).map(|ip| vec![ip.to_owned()]).unwrap_or_default(),
        conditions: Some(EndpointConditions {
            ready: Some(ready || publish_all),
            serving: Some(ready),
            terminating: Some(false),
        }),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// Resolves target ports; a named one through the containers of a pod.
pub(crate) fn ports(ports: &[ServicePort], pod: Option<&Pod>) -> Vec<EndpointPort> {
    let resolve = |port: &ServicePort| match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = &pod?.spec.as_ref()?.containers;
            let mut named =
                containers.iter().flat_map(|container| container.ports.iter().flatten());
            named.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }
    };
    ports
        .iter()
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: resolve(port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

fn new_slice(
    service: &Service,
    index: usize,
    endpoints: &[Endpoint],
    ports: &[EndpointPort],
) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let labels = [
        (SERVICE_NAME.to_owned(), name.clone()),
        (MANAGED_BY.to_owned(), "endpointslice-controller.k8s.io".to_owned()),
    ];
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!(
                "{name}-{}",
                suffix(&format!("{}/{index}", uid(&service.metadata)))
            )),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.into_iter().collect()),
            owner_references: Some(vec![controlled_by(service)]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: endpoints.to_vec(),
        ports: Some(ports.to_vec()),
    }
}

fn refresh(
    slice: &EndpointSlice,
    endpoints: &[Endpoint],
    ports: &[EndpointPort],
) -> Option<Action> {
    let wanted = json!({ "endpoints": endpoints, "ports": ports });
    let have = serde_json::to_value(slice).expect("a slice serialises");
    let same = wanted["endpoints"] == have["endpoints"] && wanted["ports"] == have["ports"];
    (!same).then(|| Action::Merge { target: slice.clone().into(), patch: wanted })
}
