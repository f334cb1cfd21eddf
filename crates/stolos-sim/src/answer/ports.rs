//! At which ports a pod answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::meta::{key, selects};
use crate::service;
use crate::world::World;

/// A transport protocol that pods speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Where a pod answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        write!(f, "{protocol} port {}", self.number)
    }
}

impl Port {
    /// Reads a port of an object; nothing if it is none, or of a protocol that nobody here speaks.
    fn read(protocol: Option<&str>, number: i32) -> Option<Self> {
        let protocol = match protocol {
            None | Some("" | "TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(_) => return None,
        };
        let number = u16::try_from(number).ok().filter(|number| *number > 0)?;
        Some(Self { protocol, number })
    }
}

/// Returns the ports of a pod: those that its containers declare, and those to which the Services that select it send.
pub(super) fn of(world: &World, pod: &Pod) -> BTreeSet<Port> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let declared = containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| Port::read(port.protocol.as_deref(), port.container_port));
    let namespace = key(&pod.metadata).namespace;
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let services = world.services.in_namespace(&namespace);
    let services = services.filter(|service| is_selected(service, &labels));
    let sent_to = services.flat_map(|service| targets(service, pod));
    declared.chain(sent_to).collect()
}

fn is_selected(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
    let Some(match_labels) = selector.filter(|selector| !selector.is_empty()) else { return false };
    let selector = LabelSelector { match_labels: Some(match_labels), match_expressions: None };
    selects(&selector, labels)
}

fn targets(service: &Service, pod: &Pod) -> Vec<Port> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let resolved = service::ports(ports, Some(pod));
    let read = |port: &k8s_openapi::api::discovery::v1::EndpointPort| {
        Port::read(port.protocol.as_deref(), port.port?)
    };
    resolved.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world::Object;

    fn pod(containers: Value) -> Pod {
        let labels = json!({"app": "web"});
        let metadata = json!({"name": "web", "namespace": "shop", "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": containers}}))
            .unwrap()
    }

    fn service(name: &str, namespace: &str, selector: Value, ports: Value) -> Object {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"},
            "spec": {"selector": selector, "ports": ports},
        }))
        .unwrap();
        service.into()
    }

    fn shown(world: &World, pod: &Pod) -> Vec<String> {
        of(world, pod).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pod_answers_at_what_its_containers_declare_and_its_services_send_to() {
        let pod = pod(json!([{"name": "c", "ports": [
            {"name": "http", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"},
            {"containerPort": 99, "protocol": "SCTP"},
        ]}]));
        let mut world = World::default();
        assert_eq!(shown(&world, &pod), ["TCP port 8080", "UDP port 53"]);
        let selector = json!({"app": "web"});
        let ports = json!([
            {"name": "named", "port": 80, "targetPort": "http"},
            {"name": "number", "port": 81, "targetPort": 9000},
            {"name": "same", "port": 9001},
            {"name": "unknown", "port": 82, "targetPort": "nothing"},
        ]);
        world.insert(service("web", "shop", selector.clone(), ports));
        world.insert(service("far", "other", selector, json!([{"port": 1001}])));
        world.insert(service("db", "shop", json!({"app": "db"}), json!([{"port": 1002}])));
        world.insert(service("bare", "shop", json!({}), json!([{"port": 1003}])));
        let want = ["TCP port 8080", "TCP port 9000", "TCP port 9001", "UDP port 53"];
        assert_eq!(shown(&world, &pod), want);
    }
}
