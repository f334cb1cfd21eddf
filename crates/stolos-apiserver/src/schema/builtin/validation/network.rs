//! Network policies and ingresses.

use std::net::IpAddr;

use serde_json::Value;

use super::selector::selector;
use super::service::{CIDR_TEXT, is_cidr, port_name_problems};
use super::{check_port, list};
use crate::name_rules::{dns1035_problems, subdomain_problems};
use crate::schema::causes::{forbidden, invalid, not_supported, required};
use crate::status::Cause;

pub(super) fn check_policy(spec: &Value, causes: &mut Vec<Cause>) {
    selector("spec.podSelector", &spec["podSelector"], causes);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(spec, rules).enumerate() {
            let path = format!("spec.{rules}[{index}]");
            for (index, port) in list(rule, "ports").enumerate() {
                check_policy_port(port, &format!("{path}.ports[{index}]"), causes);
            }
            for (index, peer) in list(rule, peers).enumerate() {
                check_peer(peer, &format!("{path}.{peers}[{index}]"), causes);
            }
        }
    }
    let types = &spec["policyTypes"];
    if types.as_array().is_some_and(|types| types.len() > 2) {
        let why = "may not specify more than two policyTypes";
        return causes.push(invalid("spec.policyTypes", types, why));
    }
    let known = [Value::from("Ingress"), Value::from("Egress")];
    for (index, kind) in list(spec, "policyTypes").enumerate() {
        if !known.contains(kind) {
            causes.push(not_supported(&format!("spec.policyTypes[{index}]"), kind, &known));
        }
    }
}

fn check_policy_port(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    if !port["protocol"].is_null() {
        super::check_choice(port, "protocol", path, &["TCP", "UDP", "SCTP"], causes);
    }
    let (own, end) = (&port["port"], &port["endPort"]);
    let at_end = format!("{path}.endPort");
    match own {
        Value::Number(_) => {
            check_port(own, &format!("{path}.port"), causes);
            if end.as_i64().zip(own.as_i64()).is_some_and(|(end, own)| end < own) {
                causes.push(invalid(&at_end, own, "must be greater than or equal to `port`"));
            }
            if !end.is_null() {
                check_port(end, &at_end, causes);
            }
        }
        Value::String(name) => {
            if !end.is_null() {
                let why = "may not be specified when `port` is non-numeric";
                causes.push(invalid(&at_end, end, why));
            }
            let problems = port_name_problems(name);
            causes.extend(problems.iter().map(|why| invalid(&format!("{path}.port"), own, why)));
        }
        _ if !end.is_null() => {
            let why = "may not be specified when `port` is not specified";
            causes.push(invalid(&at_end, end, why));
        }
        _ => {}
    }
}

fn check_peer(peer: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut n_kinds = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if peer[field].is_object() {
            n_kinds += 1;
            selector(&format!("{path}.{field}"), &peer[field], causes);
        }
    }
    let block = &peer["ipBlock"];
    if block.is_object() {
        check_block(block, &format!("{path}.ipBlock"), causes);
        if n_kinds > 0 {
            causes.push(forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if n_kinds == 0 {
        causes.push(required(path, "must specify a peer"));
    }
}

fn check_block(block: &Value, path: &str, causes: &mut Vec<Cause>) {
    let range = block["cidr"].as_str().unwrap_or_default();
    if range.is_empty() {
        return causes.push(required(&format!("{path}.cidr"), ""));
    }
    if !is_cidr(range) {
        return causes.push(invalid(&format!("{path}.cidr"), &block["cidr"], CIDR_TEXT));
    }
    for (index, except) in list(block, "except").enumerate() {
        let field = format!("{path}.except[{index}]");
        let text = except.as_str().unwrap_or_default();
        if !is_cidr(text) {
            causes.push(invalid(&field, except, CIDR_TEXT));
        } else if !is_strictly_within(text, range) {
            causes.push(invalid(&field, except, "must be a strict subset of `cidr`"));
        }
    }
}

/// Tells whether a range is a part of another, and not all of it; both are ranges.
fn is_strictly_within(inner: &str, outer: &str) -> bool {
    let read = |text: &str| {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u32 = prefix.parse().ok()?;
        let (bits, width) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        Some((bits, width, prefix))
    };
    let (Some((inner, width, inner_prefix)), Some((outer, outer_width, prefix))) =
        (read(inner), read(outer))
    else {
        return false;
    };
    let shift = width - prefix.min(width);
    let network = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
    width == outer_width && inner_prefix > prefix && network(inner) == network(outer)
}

pub(super) fn check_ingress(spec: &Value, causes: &mut Vec<Cause>) {
    if spec["defaultBackend"].is_null() && list(spec, "rules").next().is_none() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.push(invalid("spec", &Value::Null, why));
    }
    if spec["defaultBackend"].is_object() {
        check_backend(&spec["defaultBackend"], "spec.defaultBackend", causes);
    }
    for (index, rule) in list(spec, "rules").enumerate() {
        let path = format!("spec.rules[{index}]");
        check_host(&rule["host"], &format!("{path}.host"), causes);
        if rule["http"].is_object() {
            check_paths(&rule["http"], &format!("{path}.http.paths"), causes);
        }
    }
    for (index, tls) in list(spec, "tls").enumerate() {
        let path = format!("spec.tls[{index}]");
        for (index, host) in list(tls, "hosts").enumerate() {
            let text = host.as_str().unwrap_or_default();
            let problems = host_problems(text);
            let field = format!("{path}.hosts[{index}]");
            causes.extend(problems.iter().map(|why| invalid(&field, host, why)));
        }
        check_subdomain(&tls["secretName"], &format!("{path}.secretName"), causes);
    }
    check_subdomain(&spec["ingressClassName"], "spec.ingressClassName", causes);
}

fn check_subdomain(name: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(text) = name.as_str().filter(|text| !text.is_empty()) {
        causes.extend(subdomain_problems(text).iter().map(|why| invalid(path, name, why)));
    }
}

fn check_host(host: &Value, path: &str, causes: &mut Vec<Cause>) {
    let text = host.as_str().unwrap_or_default();
    if text.is_empty() {
        return;
    }
    if text.parse::<IpAddr>().is_ok() {
        let why = "must be a DNS name, not an IP address";
        causes.push(invalid(path, host, why));
    }
    causes.extend(host_problems(text).iter().map(|why| invalid(path, host, why)));
}

fn host_problems(host: &str) -> Vec<String> {
    if !host.contains('*') {
        return subdomain_problems(host);
    }
    let is_good = host.strip_prefix("*.").is_some_and(|rest| subdomain_problems(rest).is_empty());
    if is_good { Vec::new() } else { vec![WILDCARD_TEXT.to_owned()] }
}

const WILDCARD_TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which \
     must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. \
     '*.example.com', regex used for validation is \
     '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn check_paths(http: &Value, path: &str, causes: &mut Vec<Cause>) {
    if list(http, "paths").next().is_none() {
        causes.push(required(path, ""));
    }
    for (index, own) in list(http, "paths").enumerate() {
        let path = format!("{path}[{index}]");
        check_path(own, &path, causes);
        check_backend(&own["backend"], &format!("{path}.backend"), causes);
    }
}

/// Parts of a path that would be read in more than one way.
const AMBIGUOUS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];

fn check_path(own: &Value, path: &str, causes: &mut Vec<Cause>) {
    let text = own["path"].as_str().unwrap_or_default();
    let at_path = format!("{path}.path");
    let value = Value::from(text);
    match own["pathType"].as_str().unwrap_or_default() {
        "" => causes.push(required(&format!("{path}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                causes.push(invalid(&at_path, &value, "must be an absolute path"));
            }
            for part in AMBIGUOUS.iter().filter(|part| text.contains(**part)) {
                causes.push(invalid(&at_path, &value, &format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].iter().filter(|end| text.ends_with(**end)) {
                causes.push(invalid(&at_path, &value, &format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                causes.push(invalid(&at_path, &value, "must be an absolute path"));
            }
        }
        _ => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"].map(Value::from);
            causes.push(not_supported(&format!("{path}.pathType"), &own["pathType"], &known));
        }
    }
}

fn check_backend(backend: &Value, path: &str, causes: &mut Vec<Cause>) {
    let empty = Value::from("");
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            let why = "cannot set both resource and service backends";
            causes.push(invalid(path, &empty, why));
        }
        (false, false) => {
            causes.push(invalid(path, &empty, "resource or service backend is required"));
        }
        (false, true) => {}
        (true, false) => {
            let name = &service["name"];
            let at_name = format!("{path}.service.name");
            match name.as_str().unwrap_or_default() {
                "" => causes.push(required(&at_name, "")),
                text => causes
                    .extend(dns1035_problems(text).iter().map(|why| invalid(&at_name, name, why))),
            }
            check_backend_port(&service["port"], path, causes);
        }
    }
}

fn check_backend_port(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = port["name"].as_str().unwrap_or_default();
    let number = port["number"].as_i64().unwrap_or(0);
    match (name.is_empty(), number == 0) {
        (false, false) => {
            let why = "cannot set both port name & port number";
            causes.push(invalid(path, &Value::from(""), why));
        }
        (true, true) => causes.push(required(path, "port name or number is required")),
        (false, true) => {
            let field = format!("{path}.service.port.name");
            let problems = port_name_problems(name);
            causes.extend(problems.iter().map(|why| invalid(&field, &port["name"], why)));
        }
        (true, false) => {
            check_port(&port["number"], &format!("{path}.service.port.number"), causes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_lie_within_their_range() {
        for (inner, outer, want) in [
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("11.0.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/7", "10.0.0.0/8", false),
            ("fd00::/64", "10.0.0.0/8", false),
            ("fd00:1::/64", "::/0", true),
        ] {
            assert_eq!(is_strictly_within(inner, outer), want, "{inner} in {outer}");
        }
    }

    #[test]
    fn wildcards_stand_for_a_whole_first_label() {
        for good in ["example.com", "*.example.com"] {
            assert_eq!(host_problems(good), [] as [&str; 0], "{good}");
        }
        for bad in ["a.*.com", "*", "*.Example.com", "Example.com"] {
            assert_eq!(host_problems(bad).len(), 1, "{bad}");
        }
    }
}
