//! Services and what leads to them.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, UNSET, age, at, at_most, int, list, name, or, scalar, text, texts};
use super::{AGE, Heading, NAME, Printer, selector};

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "Service",
        columns: &[
            NAME,
            Heading::string("Type", "How the service is exposed."),
            Heading::string("Cluster-IP", "Address within the cluster."),
            Heading::string("External-IP", "Addresses from outside of the cluster."),
            Heading::string("Port(s)", "Ports, with their node ports."),
            AGE,
            Heading::string("Selector", "Labels of the pods behind the service.").wide(),
        ],
        cells: service,
    },
    Printer {
        group: "",
        kind: "Endpoints",
        columns: &[NAME, Heading::string("Endpoints", "Addresses behind the service."), AGE],
        cells: |object, now| vec![name(object), endpoints(object).into(), age(object, now)],
    },
    Printer {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        columns: &[
            NAME,
            Heading::string("AddressType", "Kind of the addresses."),
            Heading::string("Ports", "Ports that every endpoint serves."),
            Heading::string("Endpoints", "Addresses of the endpoints."),
            AGE,
        ],
        cells: endpoint_slice,
    },
    Printer {
        group: "networking.k8s.io",
        kind: "Ingress",
        columns: &[
            NAME,
            Heading::string("Class", "Class of controllers that serve the ingress."),
            Heading::string("Hosts", "Hosts that are routed."),
            Heading::string("Address", "Addresses of the load balancer."),
            Heading::string("Ports", "Ports that are open."),
            AGE,
        ],
        cells: ingress,
    },
    Printer {
        group: "networking.k8s.io",
        kind: "IngressClass",
        columns: &[
            NAME,
            Heading::string("Controller", "Controller that serves the class."),
            Heading::string("Parameters", "Object that configures the controller."),
            AGE,
        ],
        cells: |object, now| {
            let controller = text(object, "spec.controller").into();
            vec![name(object), controller, class_parameters(object).into(), age(object, now)]
        },
    },
    Printer {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        columns: &[NAME, Heading::string("Pod-Selector", "Labels of the pods it applies to."), AGE],
        cells: |object, now| {
            vec![name(object), selector::cell(at(object, "spec.podSelector")), age(object, now)]
        },
    },
];

fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let cluster_ip = match list(service, "spec.clusterIPs").first() {
        Some(first) => first.as_str().unwrap_or_default(),
        None => or(text(service, "spec.clusterIP"), NONE),
    };
    let ports: Vec<String> = list(service, "spec.ports").iter().map(port).collect();
    vec![
        name(service),
        text(service, "spec.type").into(),
        cluster_ip.into(),
        external_ip(service).into(),
        or(&ports.join(","), NONE).into(),
        age(service, now),
        selector::labels(at(service, "spec.selector")).into(),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (int(port, "port"), text(port, "protocol"));
    match int(port, "nodePort") {
        ..=0 => format!("{number}/{protocol}"),
        node_port => format!("{number}:{node_port}/{protocol}"),
    }
}

fn external_ip(service: &Value) -> String {
    let assigned = texts(service, "spec.externalIPs").join(",");
    match text(service, "spec.type") {
        "ClusterIP" | "NodePort" => or(&assigned, NONE).to_owned(),
        "LoadBalancer" => {
            let balanced = load_balancer(service);
            let both = [balanced, assigned];
            let known: Vec<&str> =
                both.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
            or(&known.join(","), "<pending>").to_owned()
        }
        "ExternalName" => text(service, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Writes the addresses of a load balancer in their alphabetical order.
fn load_balancer(object: &Value) -> String {
    let ingress = list(object, "status.loadBalancer.ingress").iter();
    let addresses: BTreeSet<&str> = ingress
        .map(|point| or(text(point, "ip"), text(point, "hostname")))
        .filter(|text| !text.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

fn endpoints(endpoints: &Value) -> String {
    let subsets = list(endpoints, "subsets");
    if subsets.is_empty() {
        return NONE.to_owned();
    }
    let mut written = Vec::new();
    for subset in subsets {
        let addresses = || list(subset, "addresses").iter().map(|address| text(address, "ip"));
        let ports = list(subset, "ports");
        if ports.is_empty() {
            written.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            written.extend(addresses().map(|address| with_port(address, int(port, "port"))));
        }
    }
    at_most(3, &written, ",")
}

fn with_port(address: &str, port: i64) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{address}]:{port}"),
        Err(_) => format!("{address}:{port}"),
    }
}

fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(slice, "ports").iter().map(slice_port).collect();
    let endpoints = list(slice, "endpoints").iter();
    let addresses: Vec<String> =
        endpoints.flat_map(|endpoint| texts(endpoint, "addresses")).map(str::to_owned).collect();
    vec![
        name(slice),
        text(slice, "addressType").into(),
        or(&at_most(3, &ports, ","), UNSET).into(),
        or(&at_most(3, &addresses, ","), UNSET).into(),
        age(slice, now),
    ]
}

/// A port may be open to all numbers, and then perhaps has a name.
fn slice_port(port: &Value) -> String {
    let (number, name) = (at(port, "port"), at(port, "name"));
    if number.is_null() { name.as_str().unwrap_or("*").to_owned() } else { scalar(number) }
}

fn ingress(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let encrypted = !list(ingress, "spec.tls").is_empty();
    vec![
        name(ingress),
        at(ingress, "spec.ingressClassName").as_str().unwrap_or(NONE).into(),
        hosts(list(ingress, "spec.rules")).into(),
        load_balancer(ingress).into(),
        if encrypted { "80, 443" } else { "80" }.into(),
        age(ingress, now),
    ]
}

/// Names up to three hosts; every rule after the third host counts as one more.
fn hosts(rules: &[Value]) -> String {
    let named = |rule: &&Value| !text(rule, "host").is_empty();
    let shown: Vec<&str> =
        rules.iter().filter(named).take(3).map(|rule| text(rule, "host")).collect();
    let third = rules.iter().enumerate().filter(|(_, rule)| named(rule)).nth(2);
    match third {
        Some((index, _)) if index + 1 < rules.len() => {
            format!("{} + {} more...", shown.join(","), rules.len() - 3)
        }
        _ => or(&shown.join(","), "*").to_owned(),
    }
}

fn class_parameters(class: &Value) -> String {
    let parameters = at(class, "spec.parameters");
    if parameters.is_null() {
        return NONE.to_owned();
    }
    let (kind, name) = (text(parameters, "kind"), text(parameters, "name"));
    match at(parameters, "apiGroup").as_str() {
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}
