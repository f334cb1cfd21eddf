//! The endpoints of other members in an importing member (networking 6.5).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::network::clusterset::Revision;
use stolos_api::network::names::{
    CLUSTER_ANNOTATION, DEFAULT_WEIGHT, ENDPOINT_SLICE_MANAGER, MADE_OF_ANNOTATION,
    REFUSED_ANNOTATION, annotation, class, event, finalizer, gateway, label,
};
use stolos_api::network::{EndpointSliceImport, MultiClusterService};

use super::gateway::Tls;
use super::names::{is_service_name, is_slice_port};
use super::vip::{Guard, MAX_ENDPOINTS_PER_CLUSTER, Refusal, routable};
use super::{keys, revision, service};
use crate::event::Event;

/// What to do with the endpoints of another member.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Nothing yet; a change of what is missing decides anew.
    Wait(Missing),
    /// The hub withdraws them: delete the EndpointSlice, then the finalizer.
    Withdraw {
        /// Whether the cleanup finalizer is to be there, which it is until the EndpointSlice is gone.
        finalizer: bool,
    },
    /// Add the finalizer, then write the EndpointSlice; None: it is as it should be.
    Import(Option<Box<Written>>),
}

/// An EndpointSlice that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The EndpointSlice.
    pub slice: EndpointSlice,
    /// What people should know of the MultiClusterService that has the derived Service.
    pub events: Vec<Event>,
}

/// What an import waits for, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// No MultiClusterService uses the service.
    MultiClusterService,
    /// The MultiClusterService has no derived Service yet, or not a valid name for it.
    DerivedServiceName,
    /// The derived Service does not exist, or is being deleted.
    DerivedService,
}

/// What a decision about an EndpointSliceImport reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The import.
    pub import: &'a EndpointSliceImport,
    /// The MultiClusterServices of the namespace of its service.
    pub services: &'a [MultiClusterService],
    /// The derived Services by name.
    pub derived: &'a BTreeMap<String, Service>,
    /// The EndpointSlice of the same name in the system namespace.
    pub slice: Option<&'a EndpointSlice>,
    /// The system namespace.
    pub system_namespace: &'a str,
    /// Which endpoints are refused.
    pub guard: &'a Guard,
}

/// Decides what to do with the endpoints of another member. The EndpointSlice follows when the derived Service gets
/// another name.
#[must_use]
pub fn plan(observed: &Observed<'_>) -> Plan {
    let import = observed.import;
    if keys::is_deleting(&import.metadata) {
        let finalizer = keys::has_finalizer(&import.metadata, finalizer::ENDPOINT_SLICE_IMPORT)
            && observed.slice.is_some();
        return Plan::Withdraw { finalizer };
    }
    let owner = &import.spec.owner_service_reference;
    let uses = |service: &&MultiClusterService| {
        let name = service.spec.service_import.as_ref().map(|import| import.name.as_str());
        keys::namespace(&service.metadata) == owner.namespace
            && name == Some(&owner.name)
            && !keys::is_deleting(&service.metadata)
    };
    // One that waits for the import that another holds has no derived Service.
    let mut missing = Missing::MultiClusterService;
    let derived = observed.services.iter().filter(uses).find_map(|service| {
        missing = missing.max(Missing::DerivedServiceName);
        let name = keys::label(&service.metadata, label::DERIVED_SERVICE);
        let name = name.filter(|name| is_service_name(name))?;
        missing = Missing::DerivedService;
        let derived = observed.derived.get(name);
        Some((name, derived.filter(|derived| !keys::is_deleting(&derived.metadata))?))
    });
    let Some((name, derived)) = derived else { return Plan::Wait(missing) };
    let mut slice = slice(import, name, observed.system_namespace);
    let mut left_out = sift(&mut slice, import, observed.guard);
    if is_beyond_service_proxies(&slice, derived) {
        slice.endpoints.clear();
        left_out = Some(BEYOND_SERVICE_PROXIES.to_owned());
    }
    let annotations = slice.metadata.annotations.get_or_insert_default();
    annotations.extend(left_out.clone().map(|why| (REFUSED_ANNOTATION.to_owned(), why)));
    if observed.slice.is_some_and(|stored| says_the_same(stored, &slice)) {
        return Plan::Import(None);
    }
    let told = observed.slice.and_then(|stored| refused(stored));
    // A data plane tells by itself what it leaves out.
    let is_told = told == left_out.as_deref() || service::class_of(derived) == Some(class::PROXY);
    let events = left_out.filter(|_| !is_told).map(|why| {
        let cluster = &import.spec.endpoint_slice_reference.cluster_id;
        let message = format!("endpoints of cluster `{cluster}` are left out: {why}");
        Event::warning(event::ENDPOINTS_REFUSED, message)
    });
    Plan::Import(Some(Box::new(Written { slice, events: events.into_iter().collect() })))
}

/// Returns what a slice says to be left out.
pub(super) fn refused(slice: &EndpointSlice) -> Option<&str> {
    keys::annotation(&slice.metadata, REFUSED_ANNOTATION)
}

/// Tells whether endpoints take none of the connections that the cluster's own service proxy would make.
fn is_beyond_service_proxies(slice: &EndpointSlice, derived: &Service) -> bool {
    let asks_for_tls =
        Tls::of_mark(keys::annotation(&slice.metadata, gateway::TLS)) == Some(Tls::Require);
    asks_for_tls && service::class_of(derived) != Some(class::PROXY)
}

/// Takes out what an EndpointSlice cannot have, or what another cluster must not send to; returns the first such thing.
fn sift(slice: &mut EndpointSlice, import: &EndpointSliceImport, guard: &Guard) -> Option<String> {
    let cluster = &import.spec.endpoint_slice_reference.cluster_id;
    let mut refused = Vec::new();
    slice.endpoints.retain(|endpoint| {
        let refusal = refusal_of(endpoint, cluster, guard);
        let is_fine = refusal.is_none();
        refused.extend(refusal);
        is_fine
    });
    if slice.endpoints.len() > MAX_ENDPOINTS_PER_CLUSTER {
        slice.endpoints.truncate(MAX_ENDPOINTS_PER_CLUSTER);
        refused.push(Refusal::TooMany.to_string());
    }
    let mut names = BTreeSet::new();
    let ports = slice.ports.get_or_insert_default();
    ports.retain(|port| {
        let name = port.name.clone().unwrap_or_default();
        let is_fine =
            is_slice_port(port) && names.len() < MAX_PORTS_PER_SLICE && names.insert(name.clone());
        if !is_fine {
            refused.push(format!("port `{name}` is none that a slice can have"));
        }
        is_fine
    });
    refused.into_iter().next()
}

/// Returns why an endpoint of another cluster cannot be one.
fn refusal_of(endpoint: &Endpoint, cluster: &str, guard: &Guard) -> Option<String> {
    if endpoint.addresses.is_empty() {
        return Some("an endpoint has no address".to_owned());
    }
    endpoint.addresses.iter().find_map(|text| match routable(text, cluster, guard) {
        Ok(_) if text.contains(':') => Some(format!("endpoint address {text} is not of type IPv4")),
        Ok(_) => None,
        Err(refusal) => Some(refusal.to_string()),
    })
}

/// Ports of one EndpointSlice that are taken over.
const MAX_PORTS_PER_SLICE: usize = 100;

/// Why endpoints that ask for TLS are left out in the mode `service`.
const BEYOND_SERVICE_PROXIES: &str = "its gateway asks for TLS, which the mode `service` cannot do; the annotation \
    network.fleet.stolos.dev/mode: proxy, or --gateway-tls off in that cluster, would help";

fn slice(import: &EndpointSliceImport, derived: &str, namespace: &str) -> EndpointSlice {
    let labels = [
        (label::SERVICE_NAME.to_owned(), derived.to_owned()),
        (label::MANAGED_BY.to_owned(), ENDPOINT_SLICE_MANAGER.to_owned()),
    ];
    let cluster = import.spec.endpoint_slice_reference.cluster_id.clone();
    let weight = keys::annotation(&import.metadata, annotation::WEIGHT);
    let weight = weight.map_or_else(|| DEFAULT_WEIGHT.to_string(), str::to_owned);
    let mark = keys::annotation(&import.metadata, gateway::TLS);
    let annotations = [
        (CLUSTER_ANNOTATION, cluster),
        (MADE_OF_ANNOTATION, revision::text(&source(import))),
        (annotation::WEIGHT, weight),
    ];
    let annotations = annotations.into_iter();
    let annotations = annotations.chain(mark.map(|mark| (gateway::TLS, mark.to_owned())));
    let endpoints = import.spec.endpoints.iter();
    EndpointSlice {
        metadata: ObjectMeta {
            name: import.metadata.name.clone(),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.into()),
            annotations: Some(annotations.map(|(name, value)| (name.to_owned(), value)).collect()),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: endpoints
            .map(|endpoint| Endpoint {
                addresses: endpoint.addresses.clone(),
                ..Endpoint::default()
            })
            .collect(),
        ports: Some(import.spec.ports.clone()),
    }
}

/// Returns the state of the exported EndpointSlice that endpoints are of.
fn source(import: &EndpointSliceImport) -> Revision {
    let reference = &import.spec.endpoint_slice_reference;
    Revision { uid: reference.uid.clone(), generation: reference.generation }
}

/// Tells whether an EndpointSlice was made of a later state than a list shows.
#[must_use]
pub fn is_outdated(shown: &EndpointSliceImport, slice: &EndpointSlice) -> bool {
    let known = revision::made_of(&slice.metadata);
    known.is_some_and(|known| revision::is_before(&source(shown), &known))
}

/// Tells whether a slice says what it should, of whatever state that was made.
fn says_the_same(stored: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let annotations = wanted.metadata.annotations.iter().flatten();
    let annotations = annotations.filter(|(name, _)| *name != MADE_OF_ANNOTATION);
    let mut annotations =
        annotations.map(|(name, value)| keys::annotation(&stored.metadata, name) == Some(value));
    let mark =
        |slice: &EndpointSlice| keys::annotation(&slice.metadata, gateway::TLS).map(str::to_owned);
    stored.metadata.labels == wanted.metadata.labels
        && mark(stored) == mark(wanted)
        && refused(stored) == refused(wanted)
        && annotations.all(|is_there| is_there)
        && stored.address_type == wanted.address_type
        && stored
            .endpoints
            .iter()
            .map(|endpoint| &endpoint.addresses)
            .eq(wanted.endpoints.iter().map(|endpoint| &endpoint.addresses))
        && stored.ports.as_deref().unwrap_or_default()
            == wanted.ports.as_deref().unwrap_or_default()
}
