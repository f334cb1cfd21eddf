//! Which endpoints a member exports, on the member (networking 6.2, 6.3).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use stolos_api::network::names::{
    annotation, condition as type_, gateway as gateway_names, label, reason,
};
use stolos_api::network::{
    AddressType, Endpoint, EndpointSliceExport, EndpointSliceExportSpec, ExportedObjectReference,
    OwnerServiceReference, Protocol, ServiceExport,
};

use super::gateway::{Entry, confirmed};
use super::keys;
use super::names::{exported_slice, is_subdomain};
use super::stamp::stamp;

/// Annotations that an exported slice has.
const ANNOTATIONS: [&str; 3] = [
    annotation::FLEET_UNIQUE_NAME,
    annotation::LAST_SEEN_GENERATION,
    annotation::LAST_SEEN_TIMESTAMP,
];

/// What a decision about an EndpointSlice reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Name of the member.
    pub cluster: &'a str,
    /// The slice.
    pub slice: &'a EndpointSlice,
    /// The ServiceExport of the slice's Service.
    pub export: Option<&'a ServiceExport>,
    /// What has the name on the hub that the slice is annotated with.
    pub stored: Option<&'a EndpointSliceExport>,
    /// Whether other members reach the pods by a gateway.
    pub by_gateway: bool,
}

/// What to do with an EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Nothing.
    Skip(Reason),
    /// Withdraw it: delete what stands for it on the hub, then its annotations.
    Withdraw {
        /// Why.
        reason: Reason,
        /// Name of the EndpointSliceExport, if there is one of this slice.
        delete: Option<String>,
        /// Annotations to remove.
        annotations: [&'static str; 3],
    },
    /// Export it: first write the annotations, then the EndpointSliceExport.
    Export {
        /// Name of the EndpointSliceExport.
        name: String,
        /// Annotations to write, if they do not say so already.
        annotations: Option<BTreeMap<String, String>>,
        /// The EndpointSliceExport, if it is another one than is stored.
        spec: Option<Box<EndpointSliceExportSpec>>,
        /// Mark of endpoints that are gateways: whether they ask for TLS.
        gateway_tls: Option<&'static str>,
    },
}

/// Why a slice is not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its addresses are not of version 4 of the internet protocol, which is all that the transport kinds can carry.
    NotIpv4,
    /// It belongs to no Service.
    NoService,
    /// Its Service is not to be exported.
    NoServiceExport,
    /// The export of its Service is not valid, in conflict, not decided yet, or being withdrawn.
    ExportNotAccepted,
    /// It is being deleted.
    Leaving,
    /// Its Service has no entry at the gateway yet. What is exported of it stays.
    NoEntry,
}

/// Decides what to do with a slice.
#[must_use]
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let slice = observed.slice;
    // Pods behind a gateway may have any addresses; its own are of version 4.
    let is_carried =
        slice.address_type == "IPv4" || observed.by_gateway && slice.address_type == "IPv6";
    let not_carried = (!is_carried).then_some(Reason::NotIpv4);
    match not_carried.or_else(|| refusal(observed)) {
        Some(reason) => match named(slice) {
            None => Plan::Skip(reason),
            Some(name) => Plan::Withdraw {
                reason,
                delete: is_its_own(observed).then(|| name.to_owned()),
                annotations: ANNOTATIONS,
            },
        },
        None if observed.by_gateway => match observed.export.and_then(confirmed) {
            Some(entry) => export(observed, Some(&entry), now),
            None => Plan::Skip(Reason::NoEntry),
        },
        None => export(observed, None, now),
    }
}

fn refusal(observed: &Observed<'_>) -> Option<Reason> {
    let metadata = &observed.slice.metadata;
    if service_name(observed.slice).is_none() {
        return Some(Reason::NoService);
    }
    let Some(export) = observed.export else { return Some(Reason::NoServiceExport) };
    if keys::is_deleting(&export.metadata) || !is_accepted(export) {
        return Some(Reason::ExportNotAccepted);
    }
    keys::is_deleting(metadata).then_some(Reason::Leaving)
}

/// Tells whether a ServiceExport is valid and in no conflict. One that was exported and is given a weight that cannot be
/// one stays as it was: a slip of the pen takes no cluster out.
fn is_accepted(export: &ServiceExport) -> bool {
    let conditions = export.status.iter().flat_map(|status| &status.conditions);
    let is = |type_: &str, holds: &dyn Fn(&Condition) -> bool| {
        conditions.clone().find(|condition| condition.type_ == type_).is_some_and(holds)
    };
    let invalid_weight = reason::INVALID_WEIGHT_ANNOTATION;
    is(type_::VALID, &|valid| valid.status == "True" || valid.reason == invalid_weight)
        && is(type_::CONFLICT, &|conflict| conflict.status == "False")
}

fn service_name(slice: &EndpointSlice) -> Option<&str> {
    keys::label(&slice.metadata, label::SERVICE_NAME).filter(|name| !name.is_empty())
}

fn named(slice: &EndpointSlice) -> Option<&str> {
    keys::annotation(&slice.metadata, annotation::FLEET_UNIQUE_NAME)
}

/// Tells whether what has the slice's name on the hub stands for the slice.
fn is_its_own(observed: &Observed<'_>) -> bool {
    observed.stored.is_some_and(|stored| {
        Some(&stored.spec.endpoint_slice_reference.uid) == observed.slice.metadata.uid.as_ref()
    })
}

fn export(observed: &Observed<'_>, entry: Option<&Entry>, now: Timestamp) -> Plan {
    let metadata = &observed.slice.metadata;
    let name = match named(observed.slice).filter(|name| is_subdomain(name)) {
        Some(name) if observed.stored.is_none() || is_its_own(observed) => name.to_owned(),
        taken => new_name(observed, taken),
    };
    let generation = metadata.generation.unwrap_or(0);
    let version = generation.to_string();
    let stamp = stamp(metadata, annotation::LAST_SEEN_GENERATION, &version, now);
    let mut annotations = stamp.annotations.unwrap_or_default();
    if named(observed.slice) != Some(&name) {
        annotations.insert(annotation::FLEET_UNIQUE_NAME.to_owned(), name.clone());
    }
    let mut spec = spec(observed, generation, stamp.since);
    if let Some(entry) = entry {
        enter(&mut spec, entry);
    }
    let gateway_tls = entry.map(|entry| entry.tls.as_str());
    let stored = observed.stored.filter(|_| is_its_own(observed));
    let is_stored = stored.is_some_and(|stored| {
        says_the_same(&stored.spec, &spec)
            && keys::annotation(&stored.metadata, gateway_names::TLS) == gateway_tls
    });
    Plan::Export {
        name,
        annotations: (!annotations.is_empty()).then_some(annotations),
        spec: (!is_stored).then(|| Box::new(spec)),
        gateway_tls,
    }
}

/// Puts the gateway in the place of the pods. It has no pods behind it if none is ready.
fn enter(spec: &mut EndpointSliceExportSpec, entry: &Entry) {
    let has_pods = !spec.endpoints.is_empty();
    let addresses = entry.addresses.iter().filter(|_| has_pods);
    spec.endpoints =
        addresses.map(|address| Endpoint { addresses: vec![address.to_string()] }).collect();
    spec.ports = std::mem::take(&mut spec.ports)
        .into_iter()
        .filter_map(|port| {
            let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or_default())?;
            let number = entry.port(port.name.as_deref().unwrap_or_default(), protocol)?;
            Some(EndpointPort { port: Some(number.into()), ..port })
        })
        .collect();
}

/// Finds a name that is not the one that something else has on the hub.
fn new_name(observed: &Observed<'_>, taken: Option<&str>) -> String {
    let metadata = &observed.slice.metadata;
    let attempt = |n| {
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let (namespace, name) = (keys::namespace(metadata), keys::name(metadata));
        exported_slice(observed.cluster, namespace, name, uid, n)
    };
    // The name that is taken tells how often this has happened.
    let n_before = (0..MAX_ATTEMPTS).find(|n| taken == Some(&attempt(*n)));
    attempt(n_before.map_or(0, |n| n + 1))
}

/// Names that are tried before the first is tried again.
const MAX_ATTEMPTS: u32 = 16;

/// Tells whether an export need not be written again. The resource version of a slice changes with our own annotations,
/// so it does not count; the generation does.
fn says_the_same(stored: &EndpointSliceExportSpec, wanted: &EndpointSliceExportSpec) -> bool {
    let mut wanted = wanted.clone();
    let reference = &stored.endpoint_slice_reference;
    wanted.endpoint_slice_reference.resource_version.clone_from(&reference.resource_version);
    *stored == wanted
}

fn spec(observed: &Observed<'_>, generation: i64, since: Timestamp) -> EndpointSliceExportSpec {
    let slice = observed.slice;
    let metadata = &slice.metadata;
    let (namespace, service) = (keys::namespace(metadata), service_name(slice).unwrap_or_default());
    let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
    };
    let endpoints = slice.endpoints.iter().filter(is_ready);
    EndpointSliceExportSpec {
        address_type: AddressType::Ipv4,
        endpoints: endpoints
            .map(|endpoint| Endpoint { addresses: endpoint.addresses.clone() })
            .collect(),
        ports: slice.ports.clone().unwrap_or_default(),
        endpoint_slice_reference: ExportedObjectReference {
            cluster_id: observed.cluster.to_owned(),
            api_version: "discovery.k8s.io/v1".to_owned(),
            kind: "EndpointSlice".to_owned(),
            namespace: namespace.to_owned(),
            name: keys::name(metadata).to_owned(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            generation,
            uid: metadata.uid.clone().unwrap_or_default(),
            namespaced_name: keys::key(metadata),
            exported_since: Some(Time(since)),
        },
        owner_service_reference: OwnerServiceReference {
            namespace: namespace.to_owned(),
            name: service.to_owned(),
            namespaced_name: format!("{namespace}/{service}"),
        },
    }
}

/// Tells whether the hub has been told of a later state of a slice. A list may be behind, and what it shows would take
/// endpoints away that are there; the slice itself is to be asked for.
#[must_use]
pub fn is_outdated(slice: &EndpointSlice, stored: Option<&EndpointSliceExport>) -> bool {
    let told = stored.map(|stored| &stored.spec.endpoint_slice_reference);
    told.is_some_and(|told| {
        Some(&told.uid) == slice.metadata.uid.as_ref()
            && told.generation > slice.metadata.generation.unwrap_or(0)
    })
}

/// Tells whether what stands for a slice on the hub has outlived it. `slice` is the slice that it refers to.
#[must_use]
pub fn is_orphan(stored: &EndpointSliceExport, slice: Option<&EndpointSlice>) -> bool {
    slice.and_then(named) != stored.metadata.name.as_deref()
}
