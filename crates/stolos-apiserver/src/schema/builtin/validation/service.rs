//! Services. That their addresses and ports are free is seen where they are given out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{check_label, check_port, check_text, list};
use crate::name_rules::{label_value_problems, qualified_problems};
use crate::schema::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::status::Cause;

const ADDRESS_TEXT: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(super) const CIDR_TEXT: &str =
    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
/// Longest time for which a client stays with a pod: a day.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(super) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    let kind = spec["type"].as_str().unwrap_or_default();
    let n_ports = list(spec, "ports").count();
    if n_ports == 0 && kind != "ExternalName" && spec["clusterIP"] != "None" {
        causes.push(required("spec.ports", ""));
    }
    check_place(kind, spec, causes);
    let mut names = BTreeSet::new();
    for (index, port) in list(spec, "ports").enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && n_ports > 1 {
            causes.push(required(&format!("{path}.name"), ""));
        } else if !name.is_empty() {
            check_label(&port["name"], &format!("{path}.name"), causes);
            if !names.insert(name) {
                causes.push(duplicate(&format!("{path}.name"), &port["name"]));
            }
        }
        check_service_port(port, &path, causes);
    }
    check_selector(&spec["selector"], causes);
    check_affinity(spec, causes);
    for (index, address) in list(spec, "externalIPs").enumerate() {
        check_outside(&format!("spec.externalIPs[{index}]"), address, causes);
    }
    check_uniqueness(kind, spec, causes);
    check_balancer(kind, spec, causes);
    check_traffic(kind, spec, causes);
}

/// Whether there is an address must fit the type.
fn check_place(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    match kind {
        "LoadBalancer" | "NodePort" if spec["clusterIP"] == "None" => {
            let why = format!("may not be set to 'None' for {kind} services");
            causes.push(invalid("spec.clusterIPs[0]", &spec["clusterIPs"][0], &why));
        }
        "ExternalName" => {
            let is_set = |field: &str| match &spec[field] {
                Value::Array(items) => !items.is_empty(),
                Value::String(text) => !text.is_empty(),
                _ => false,
            };
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if is_set(field) {
                    let why = "may not be set for ExternalName services";
                    causes.push(forbidden(&format!("spec.{field}"), why));
                }
            }
            check_text(spec, "externalName", "spec.externalName", causes);
        }
        _ => {}
    }
}

fn check_service_port(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_port(&port["port"], &format!("{path}.port"), causes);
    super::check_choice(port, "protocol", path, &["SCTP", "TCP", "UDP"], causes);
    let target = format!("{path}.targetPort");
    match &port["targetPort"] {
        Value::Number(_) => check_port(&port["targetPort"], &target, causes),
        Value::String(name) => causes.extend(
            port_name_problems(name).iter().map(|why| invalid(&target, &port["targetPort"], why)),
        ),
        _ => {}
    }
    if let Some(protocol) = port["appProtocol"].as_str() {
        let problems = qualified_problems(protocol);
        let field = format!("{path}.appProtocol");
        causes.extend(problems.iter().map(|why| invalid(&field, &port["appProtocol"], why)));
    }
}

/// Checks the name of a port of a container.
pub(super) fn port_name_problems(name: &str) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if name.len() > 15 {
        problems.push("must be no more than 15 characters");
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(fits) {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        problems.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        problems.push("must not begin or end with a hyphen");
    }
    problems
}

fn check_selector(selector: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in selector.as_object().into_iter().flatten() {
        let problems = qualified_problems(key);
        let key = Value::from(key.as_str());
        causes.extend(problems.iter().map(|why| invalid("spec.selector", &key, why)));
        let problems = label_value_problems(value.as_str().unwrap_or_default());
        causes.extend(problems.iter().map(|why| invalid("spec.selector", value, why)));
    }
}

fn check_affinity(spec: &Value, causes: &mut Vec<Cause>) {
    super::check_choice(spec, "sessionAffinity", "spec", &["ClientIP", "None"], causes);
    let config = &spec["sessionAffinityConfig"];
    let field = "spec.sessionAffinityConfig";
    if spec["sessionAffinity"] == "ClientIP" {
        let seconds = &config["clientIP"]["timeoutSeconds"];
        let fits = |seconds: i64| (1..=MAX_AFFINITY_SECONDS).contains(&seconds);
        if !seconds.as_i64().is_some_and(fits) {
            let why = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
            causes.push(invalid(&format!("{field}.clientIP.timeoutSeconds"), seconds, &why));
        }
    } else if spec["sessionAffinity"] == "None" && !config.is_null() {
        let why = "must not be set when session affinity is None";
        causes.push(forbidden(field, why));
    }
}

fn check_outside(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    let Ok(address) = value.as_str().unwrap_or_default().parse::<IpAddr>() else {
        return causes.push(invalid(field, value, ADDRESS_TEXT));
    };
    let special = if address.is_unspecified() {
        Some(format!("may not be unspecified ({value})").replace('"', ""))
    } else if address.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned())
    } else if is_link_local(address) {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned())
    } else if address.is_multicast() {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned())
    } else {
        None
    };
    causes.extend(special.map(|why| invalid(field, value, &why)));
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn check_uniqueness(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let mut node_ports = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (index, port) in list(spec, "ports").enumerate() {
        let path = format!("spec.ports[{index}]");
        let protocol = port["protocol"].as_str();
        let node_port = port["nodePort"].as_i64().filter(|port| *port != 0);
        if let Some(number) = node_port {
            let field = format!("{path}.nodePort");
            if kind == "ClusterIP" {
                causes.push(forbidden(&field, "may not be used when `type` is 'ClusterIP'"));
            } else if !node_ports.insert((number, protocol)) {
                causes.push(duplicate(&field, &port["nodePort"]));
            }
        }
        if !ports.insert((port["port"].as_i64(), protocol)) {
            let key = json!({"port": port["port"], "protocol": port["protocol"]});
            causes.push(duplicate(&path, &key));
        }
    }
}

fn check_balancer(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let is_balancer = kind == "LoadBalancer";
    // Upstream names this field so.
    let ranges = "spec.LoadBalancerSourceRanges";
    for (index, range) in list(spec, "loadBalancerSourceRanges").enumerate() {
        let text = range.as_str().unwrap_or_default().trim();
        if !is_balancer {
            causes.push(forbidden(ranges, ONLY));
            break;
        }
        if !is_cidr(text) {
            causes.push(invalid(&format!("{ranges}[{index}]"), range, CIDR_TEXT));
        }
    }
    if !is_balancer && !spec["allocateLoadBalancerNodePorts"].is_null() {
        causes.push(forbidden("spec.allocateLoadBalancerNodePorts", ONLY));
    }
    let class = &spec["loadBalancerClass"];
    if let Some(text) = class.as_str() {
        if is_balancer {
            let problems = qualified_problems(text);
            causes.extend(problems.iter().map(|why| invalid("spec.loadBalancerClass", class, why)));
        } else {
            causes.push(forbidden("spec.loadBalancerClass", ONLY));
        }
    }
}

/// Tells whether a text is a range of addresses.
pub(super) fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, prefix)| {
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most)
    })
}

fn check_traffic(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let policies = [Value::from("Cluster"), Value::from("Local")];
    let outside = &spec["externalTrafficPolicy"];
    let is_reached = matches!(kind, "LoadBalancer" | "NodePort")
        || (kind == "ClusterIP" && list(spec, "externalIPs").next().is_some());
    match outside.as_str().unwrap_or_default() {
        "" if matches!(kind, "LoadBalancer" | "NodePort") => {
            causes.push(required("spec.externalTrafficPolicy", ""));
        }
        "" => {}
        _ if !is_reached => {
            let why = "may only be set for externally-accessible services";
            causes.push(invalid("spec.externalTrafficPolicy", outside, why));
        }
        "Cluster" | "Local" => {}
        _ => causes.push(not_supported("spec.externalTrafficPolicy", outside, &policies)),
    }
    let health = &spec["healthCheckNodePort"];
    let is_local = kind == "LoadBalancer" && *outside == "Local";
    if !is_local && health.as_i64().is_some_and(|port| port != 0) {
        let why =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.push(invalid("spec.healthCheckNodePort", health, why));
    }
    let inside = &spec["internalTrafficPolicy"];
    if matches!(kind, "ClusterIP" | "LoadBalancer" | "NodePort") {
        match inside.as_str().unwrap_or_default() {
            "" => causes.push(required("spec.internalTrafficPolicy", "")),
            "Cluster" | "Local" => {}
            _ => causes.push(not_supported("spec.internalTrafficPolicy", inside, &policies)),
        }
    }
}
