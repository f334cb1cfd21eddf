//! What services are to have, and what of it the server fills in: plain functions on the object.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::schema::causes::{duplicate, invalid, not_supported};
use crate::status::Cause;

const NONE: &str = "None";
const IPV4: &str = "IPv4";
const IPV6: &str = "IPv6";

fn kind(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

/// Returns whether a service has a place in the cluster, which may be no address.
pub(super) fn is_inside(service: &Value) -> bool {
    kind(service) != "ExternalName"
}

/// Returns whether ports of nodes lead to a service, given or to be given.
pub(super) fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Returns whether the server chooses the node ports that the client does not.
pub(super) fn wants_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Returns whether a port of each node tells balancers of its health.
pub(super) fn wants_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

/// Returns the addresses of a service that are addresses.
pub(super) fn addresses(service: &Value) -> Vec<IpAddr> {
    texts(&service["spec"]["clusterIPs"]).iter().filter_map(|text| text.parse().ok()).collect()
}

/// Returns the ports of nodes that a service has.
pub(super) fn node_ports(service: &Value) -> Vec<u16> {
    let spec = &service["spec"];
    let ports = items(&spec["ports"]).map(|port| &port["nodePort"]);
    ports.chain([&spec["healthCheckNodePort"]]).filter_map(port_number).collect()
}

/// Reads a port; 0 is none.
pub(super) fn port_number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// Takes over from the stored service what the client left out and keeps, and drops what its type has no use for.
pub(super) fn carry_over(old: &Value, new: &mut Value) {
    drop_useless(old, new);
    if is_inside(old) && is_inside(new) {
        if text(&new["spec"]["clusterIP"]).is_empty() {
            copy(old, new, "clusterIP");
        }
        let same = new["spec"]["clusterIP"] == old["spec"]["clusterIP"];
        if texts(&new["spec"]["clusterIPs"]).is_empty() && same {
            copy(old, new, "clusterIPs");
        }
    }
    if has_node_ports(old) && has_node_ports(new) {
        keep_node_ports(old, new);
    }
    let health_port = |service: &Value| port_number(&service["spec"]["healthCheckNodePort"]);
    if wants_health_port(old) && wants_health_port(new) && health_port(new).is_none() {
        copy(old, new, "healthCheckNodePort");
    }
}

/// Ports keep their node ports by name, unless another port has got it.
fn keep_node_ports(old: &Value, new: &mut Value) {
    let used = node_ports(new);
    let before: Vec<(Value, u16)> = items(&old["spec"]["ports"])
        .filter_map(|port| Some((port["name"].clone(), port_number(&port["nodePort"])?)))
        .filter(|(_, port)| !used.contains(port))
        .collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let known = before.iter().find(|(name, _)| *name == port["name"]);
        if let (None, Some((_, node_port))) = (port_number(&port["nodePort"]), known) {
            port["nodePort"] = (*node_port).into();
        }
    }
}

/// Drops what only the type that the service had until now has, unless the client has changed it.
fn drop_useless(old: &Value, new: &mut Value) {
    let lost = |needs: fn(&Value) -> bool| needs(old) && !needs(new);
    let mut dropped: Vec<&str> = Vec::new();
    if lost(is_inside) {
        dropped.extend([
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ]);
    }
    if lost(wants_health_port) {
        dropped.push("healthCheckNodePort");
    }
    if lost(has_node_ports) {
        dropped.push("externalTrafficPolicy");
    }
    if lost(|service| kind(service) == "LoadBalancer") {
        dropped.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    let loses_ports = lost(has_node_ports) && node_ports(old) == node_ports(new);
    let Some(spec) = new["spec"].as_object_mut() else { return };
    for field in dropped {
        if spec.get(field) == old["spec"].get(field) {
            spec.remove(field);
        }
    }
    if loses_ports {
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        }
    }
}

/// Brings the single address and the list of addresses together, where the client has set one of them.
pub(super) fn align(old: Option<&Value>, new: &mut Value) {
    let single = text(&new["spec"]["clusterIP"]).to_owned();
    let list = texts(&new["spec"]["clusterIPs"]);
    let Some(old) = old else {
        if !single.is_empty() && list.is_empty() {
            new["spec"]["clusterIPs"] = json!([single]);
        }
        return;
    };
    let old_list = texts(&old["spec"]["clusterIPs"]);
    let single_changed = single != text(&old["spec"]["clusterIP"]);
    match (single_changed, list == old_list) {
        (true, true) if single.is_empty() => drop(remove(new, "clusterIPs")),
        (true, true) => new["spec"]["clusterIPs"] = json!([single]),
        // Clients that know only the list take it away alone.
        (false, false) if list.is_empty() => drop(remove(new, "clusterIP")),
        _ => {}
    }
}

/// Decides families and their policy in a cluster with one family.
///
/// # Errors
///
/// What is wrong with addresses, families and policy, or needs a second family.
pub(super) fn settle_families(is_ipv6: bool, new: &mut Value) -> Result<(), Vec<Cause>> {
    if !is_inside(new) {
        return Ok(());
    }
    let causes = inconsistencies(new);
    if !causes.is_empty() {
        return Err(causes);
    }
    let own = if is_ipv6 { IPV6 } else { IPV4 };
    let spec = &mut new["spec"];
    let is_headless = text(&spec["clusterIP"]) == NONE;
    let has_selector = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if is_headless && !has_selector {
        // Whoever fills in its endpoints may use any family.
        if text(&spec["ipFamilyPolicy"]).is_empty() {
            spec["ipFamilyPolicy"] = "RequireDualStack".into();
        }
        if texts(&spec["ipFamilies"]).is_empty() {
            let other = if is_ipv6 { IPV4 } else { IPV6 };
            let single = spec["ipFamilyPolicy"] == "SingleStack";
            spec["ipFamilies"] = if single { json!([own]) } else { json!([own, other]) };
        }
        return Ok(());
    }
    let families = texts(&spec["ipFamilies"]);
    let unset = text(&spec["ipFamilyPolicy"]).is_empty();
    if unset {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    let mut causes = Vec::new();
    if families.len() > 1 && spec["ipFamilyPolicy"] == "SingleStack" {
        let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        return Err(vec![invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], why)]);
    }
    for (index, address) in texts(&spec["clusterIPs"]).iter().enumerate() {
        let family = family_of(address);
        if family.is_some_and(|family| family != own) {
            let why = format!("{} is not configured on this cluster", family.unwrap_or_default());
            let field = format!("spec.clusterIPs[{index}]");
            causes.push(invalid(&field, &spec["clusterIPs"], &why));
        }
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != own) {
        let field = format!("spec.ipFamilies[{index}]");
        causes.push(invalid(&field, &family.as_str().into(), "not configured on this cluster"));
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        causes.push(invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], why));
    }
    if !causes.is_empty() {
        return Err(causes);
    }
    if families.is_empty() {
        spec["ipFamilies"] = json!([own]);
    }
    Ok(())
}

/// Returns how addresses and families contradict each other.
fn inconsistencies(service: &Value) -> Vec<Cause> {
    const ADDRESSES: &str = "spec.clusterIPs";
    let spec = &service["spec"];
    let single = text(&spec["clusterIP"]);
    let list = texts(&spec["clusterIPs"]);
    let families = texts(&spec["ipFamilies"]);
    let mut causes = Vec::new();
    match list.first() {
        Some(_) if single.is_empty() => {
            let why = "must be empty when `clusterIP` is not specified";
            causes.push(invalid(ADDRESSES, &spec["clusterIPs"], why));
        }
        Some(first) if first != single => {
            let why = "first value must match `clusterIP`";
            causes.push(invalid(ADDRESSES, &spec["clusterIPs"], why));
        }
        _ => {}
    }
    for (index, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        let value = Value::from(family.as_str());
        if ![IPV4, IPV6].contains(&family.as_str()) {
            causes.push(not_supported(&field, &value, &[Value::from(IPV4), Value::from(IPV6)]));
        } else if families[..index].contains(family) {
            causes.push(duplicate(&field, &value));
        }
    }
    let is_address = |text: &String| text.parse::<IpAddr>().is_ok();
    for (index, address) in list.iter().enumerate() {
        if index == 0 && address == NONE {
            if list.len() > 1 {
                let why = "'None' must be the first and only value";
                causes.push(invalid(ADDRESSES, &spec["clusterIPs"], why));
            }
        } else if !is_address(address) {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            let field = format!("{ADDRESSES}[{index}]");
            causes.push(invalid(&field, &address.as_str().into(), why));
        }
    }
    if list.len() > 2 {
        causes.push(invalid(ADDRESSES, &spec["clusterIPs"], "may only hold up to 2 values"));
    }
    if list.len() > 1 && list.iter().all(is_address) && family_of(&list[0]) == family_of(&list[1]) {
        let why = "may specify no more than one IP for each IP family";
        causes.push(invalid(ADDRESSES, &spec["clusterIPs"], why));
    }
    for (index, (address, family)) in list.iter().zip(&families).enumerate() {
        if family_of(address).is_some_and(|own| own != family) {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            let field = format!("{ADDRESSES}[{index}]");
            causes.push(invalid(&field, &address.as_str().into(), &why));
        }
    }
    causes
}

fn family_of(address: &str) -> Option<&'static str> {
    let address: IpAddr = address.parse().ok()?;
    Some(if address.is_ipv6() { IPV6 } else { IPV4 })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    items(value).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn copy(old: &Value, new: &mut Value, field: &str) {
    match old["spec"].get(field) {
        Some(value) => new["spec"][field] = value.clone(),
        None => drop(remove(new, field)),
    }
}

fn remove(service: &mut Value, field: &str) -> Option<Value> {
    service["spec"].as_object_mut()?.remove(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &Value) -> Value {
        json!({"spec": spec})
    }

    fn settled(spec: Value) -> Result<Value, String> {
        let mut new = service(&spec);
        align(None, &mut new);
        match settle_families(false, &mut new) {
            Ok(()) => Ok(new["spec"].take()),
            Err(causes) => Err(format!("{}: {}", causes[0].field, causes[0].message)),
        }
    }

    #[test]
    fn families_follow_from_what_is_wished() {
        let plain = settled(json!({"type": "ClusterIP"})).unwrap();
        assert_eq!(plain["ipFamilies"], json!(["IPv4"]));
        assert_eq!(plain["ipFamilyPolicy"], "SingleStack");
        let headless = settled(json!({"clusterIP": "None"})).unwrap();
        assert_eq!(headless["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert_eq!(headless["clusterIPs"], json!(["None"]));
        let external = settled(json!({"type": "ExternalName"})).unwrap();
        assert!(external.get("ipFamilies").is_none());
        for (spec, want) in [
            (
                json!({"clusterIP": "x"}),
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid",
            ),
            (json!({"clusterIPs": ["10.0.0.1"]}), "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]"),
            (json!({"ipFamilies": ["IPv6"]}), "spec.ipFamilies[0]: Invalid value: \"IPv6\""),
            (json!({"ipFamilyPolicy": "RequireDualStack"}), "spec.ipFamilyPolicy: Invalid value"),
        ] {
            let why = settled(spec).unwrap_err();
            assert!(why.starts_with(want), "{why}");
        }
    }

    #[test]
    fn what_the_client_leaves_out_is_kept_and_what_has_no_use_goes() {
        let old = service(&json!({
            "type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "externalTrafficPolicy": "Cluster",
            "ports": [{"name": "a", "nodePort": 30001}, {"name": "b", "nodePort": 30002}],
        }));
        let mut new = service(&json!({
            "type": "NodePort", "ports": [{"name": "b"}, {"name": "c"}, {"name": "a", "nodePort": 30009}],
        }));
        carry_over(&old, &mut new);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.5"]));
        let ports = json!([{"name": "b", "nodePort": 30002}, {"name": "c"}, {"name": "a", "nodePort": 30009}]);
        assert_eq!(new["spec"]["ports"], ports);
        let mut plain = old.clone();
        plain["spec"]["type"] = "ClusterIP".into();
        carry_over(&old, &mut plain);
        let want = json!({
            "type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"name": "a"}, {"name": "b"}],
        });
        assert_eq!(plain["spec"], want);
    }
}
