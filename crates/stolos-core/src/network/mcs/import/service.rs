//! The Service that has the address of a service of the clusterset.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use stolos_api::network::mcs::{ServiceImport, ServicePort};
use stolos_api::network::names::clusterset as names;
use stolos_api::network::{Protocol, ServiceImportType};
use stolos_api::validation::is_qualified_name;

use super::super::CLIENT_IP;
use super::{Deed, Observed, owner};
use crate::network::keys;
use crate::network::names::{derived, is_label};

/// Decides what to do about the derived Service.
pub(super) fn plan(observed: &Observed<'_>, import: &ServiceImport) -> Deed {
    let told = &observed.told.spec.service;
    let headless = told.type_ == ServiceImportType::Headless;
    let stored = match observed.service {
        // It goes with the ServiceImport that it was made for.
        Some(service) if keys::is_deleting(&service.metadata) => return Deed::Keep,
        Some(service) => {
            let spec = service.spec.as_ref();
            if spec.is_some_and(|spec| is_headless(spec) != headless) {
                return Deed::Delete;
            }
            service.clone()
        }
        None => Service::default(),
    };
    let mut wanted = stored.clone();
    let metadata = &mut wanted.metadata;
    metadata.namespace = Some(observed.namespace.to_owned());
    metadata.name = Some(derived(observed.namespace, observed.name));
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned());
    labels.insert(names::SERVICE_NAME.to_owned(), observed.name.to_owned());
    metadata.owner_references = Some(vec![owner(import)]);
    let spec = wanted.spec.get_or_insert_default();
    spec.selector = None;
    if headless {
        spec.cluster_ip = Some("None".to_owned());
    } else {
        let sticks = told.session_affinity == CLIENT_IP;
        spec.session_affinity = Some(if sticks { CLIENT_IP } else { "None" }.to_owned());
        // Without a time-out there is the one that the API server fills in.
        if told.session_affinity_config.is_some() || !sticks {
            spec.session_affinity_config.clone_from(&told.session_affinity_config);
        }
    }
    if told.ip_families.len() > 1 && observed.service.is_none() {
        spec.ip_family_policy = Some("PreferDualStack".to_owned());
    }
    let ports = || told.ports.iter().filter(|port| is_port(port)).map(normal);
    if ports_of(spec) != ports().collect::<Vec<_>>() {
        spec.ports = Some(ports().map(port).collect());
    }
    if observed.service.is_some() && wanted == stored {
        return Deed::Keep;
    }
    Deed::Write(Box::new(wanted))
}

fn normal(port: &ServicePort) -> ServicePort {
    let mut port = port.clone();
    if port.protocol.is_empty() {
        "TCP".clone_into(&mut port.protocol);
    }
    port
}

/// Returns the ports of a Service as the clusterset tells them, in their order.
fn ports_of(spec: &ServiceSpec) -> Vec<ServicePort> {
    let ports = spec.ports.iter().flatten().map(|port| ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
        port: port.port,
    });
    ports.collect()
}

/// Tells whether a Service can have a port. One that none can have would keep the others from being there.
fn is_port(port: &ServicePort) -> bool {
    (port.name.is_empty() || is_label(&port.name))
        && Protocol::parse(&port.protocol).is_some()
        && (1..=65_535).contains(&port.port)
        && port.app_protocol.as_deref().is_none_or(is_qualified_name)
}

fn port(port: ServicePort) -> k8s_openapi::api::core::v1::ServicePort {
    k8s_openapi::api::core::v1::ServicePort {
        name: Some(port.name).filter(|name| !name.is_empty()),
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
        port: port.port,
        ..Default::default()
    }
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}
