//! EndpointSlices of a service of the clusterset, those of every cluster on their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use stolos_api::network::clusterset::{ExportedEndpoint, ExportedSlice, ImportedService};
use stolos_api::network::names::{MADE_OF_ANNOTATION, clusterset as names, label};
use stolos_api::validation::is_label_value;

use super::Observed;
use crate::network::names::{derived, imported_slices, is_label, is_slice_port};
use crate::network::vip::{Guard, routable};
use crate::network::{keys, revision};

/// Endpoints of one EndpointSlice, as Kubernetes makes them.
pub const MAX_ENDPOINTS_PER_SLICE: usize = 100;

/// What to do about EndpointSlices.
pub(super) struct Slices {
    /// Those to write.
    pub(super) write: Vec<EndpointSlice>,
    /// Names of those to delete.
    pub(super) surplus: BTreeSet<String>,
    /// By cluster: the first endpoint that was left out, and why.
    pub(super) refused: BTreeMap<String, String>,
}

pub(super) fn plan(observed: &Observed<'_>, owner: &OwnerReference) -> Slices {
    let mut refused = BTreeMap::new();
    let wanted = wanted(observed, owner, &mut refused);
    let names: BTreeSet<_> = wanted.iter().map(|slice| keys::name(&slice.metadata)).collect();
    let surplus = observed.slices.iter().map(|slice| &slice.metadata).filter(|metadata| {
        is_slice_ours(metadata, &owner.uid)
            && !keys::is_deleting(metadata)
            && !names.contains(keys::name(metadata))
    });
    let surplus = surplus.map(|metadata| keys::name(metadata).to_owned()).collect();
    let stored = |slice: &EndpointSlice| {
        let name = slice.metadata.name.as_deref();
        observed.slices.iter().find(|one| one.metadata.name.as_deref() == name).copied()
    };
    let write: Vec<_> = wanted
        .into_iter()
        .filter_map(|slice| match stored(&slice) {
            None => Some(slice),
            Some(stored) if !is_slice_ours(&stored.metadata, &owner.uid) => {
                let cluster =
                    keys::label(&slice.metadata, names::SOURCE_CLUSTER).unwrap_or_default();
                let name = keys::name(&slice.metadata);
                let why = format!("somebody else has an EndpointSlice `{name}`");
                refused.insert(cluster.to_owned(), why);
                None
            }
            // One that is being deleted must be gone before there can be another.
            Some(stored) if keys::is_deleting(&stored.metadata) => None,
            Some(stored) => renewed(stored, slice),
        })
        .collect();
    Slices { write, surplus, refused }
}

/// Tells whether an EndpointSlice is one that we keep: it says so, or belongs to the ServiceImport with this uid.
#[must_use]
pub fn is_slice_ours(metadata: &ObjectMeta, import_uid: &str) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    keys::label(metadata, label::MANAGED_BY) == Some(names::MANAGER)
        || owners.any(|owner| owner.uid == import_uid)
}

/// Tells whether one of these slices was made of a later state than a list shows.
#[must_use]
pub fn is_outdated(shown: &ImportedService, slices: &[&EndpointSlice]) -> bool {
    let made_of = slices.iter().filter_map(|slice| revision::made_of(&slice.metadata));
    let shown = revision::of(&shown.metadata);
    made_of.into_iter().any(|known| revision::is_before(&shown, &known))
}

/// Returns a slice that exists with what it is to say; nothing if it says so, of whatever state that was made.
fn renewed(stored: &EndpointSlice, wanted: EndpointSlice) -> Option<EndpointSlice> {
    let mut metadata = stored.metadata.clone();
    metadata.labels = wanted.metadata.labels;
    metadata.owner_references = wanted.metadata.owner_references;
    let is_same = metadata == stored.metadata;
    let made_of = wanted.metadata.annotations.unwrap_or_default();
    metadata.annotations.get_or_insert_default().extend(made_of);
    let renewed = EndpointSlice { metadata, ..wanted };
    let same = is_same
        && renewed.endpoints == stored.endpoints
        && renewed.ports.as_deref().unwrap_or_default()
            == stored.ports.as_deref().unwrap_or_default();
    (!same).then_some(renewed)
}

fn wanted(
    observed: &Observed<'_>,
    owner: &OwnerReference,
    refused: &mut BTreeMap<String, String>,
) -> Vec<EndpointSlice> {
    let derived = derived(observed.namespace, observed.name);
    let made_of = revision::text(&revision::of(&observed.told.metadata));
    let annotations = BTreeMap::from([(MADE_OF_ANNOTATION.to_owned(), made_of)]);
    let mut wanted = Vec::new();
    for source in &observed.told.spec.clusters {
        let cluster = &source.cluster;
        if !is_label_value(cluster) {
            refused.insert(cluster.clone(), "its name is not a label value".to_owned());
            continue;
        }
        let prefix = imported_slices(&derived, cluster);
        let labels = BTreeMap::from([
            (label::SERVICE_NAME.to_owned(), derived.clone()),
            (label::MANAGED_BY.to_owned(), names::MANAGER.to_owned()),
            (names::SERVICE_NAME.to_owned(), observed.name.to_owned()),
            (names::SOURCE_CLUSTER.to_owned(), cluster.clone()),
        ]);
        // The type of addresses is in the name: an EndpointSlice cannot change it.
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        for slice in &source.slices {
            let version = match slice.address_type.as_str() {
                "IPv4" => "v4",
                "IPv6" => "v6",
                other => {
                    refused.insert(cluster.clone(), format!("address type {other} is not known"));
                    continue;
                }
            };
            if let Some(port) = slice.ports.iter().find(|port| !is_slice_port(port)) {
                let name = port.name.as_deref().unwrap_or_default();
                refused.insert(
                    cluster.clone(),
                    format!("port `{name}` is none that a slice can have"),
                );
                continue;
            }
            let endpoints: Vec<_> = slice
                .endpoints
                .iter()
                .filter_map(|endpoint| match checked(cluster, slice, endpoint, observed.guard) {
                    Ok(endpoint) => Some(endpoint),
                    Err(why) => {
                        refused.entry(cluster.clone()).or_insert(why);
                        None
                    }
                })
                .collect();
            for endpoints in endpoints.chunks(MAX_ENDPOINTS_PER_SLICE) {
                let number = numbers.entry(version).or_default();
                wanted.push(EndpointSlice {
                    metadata: ObjectMeta {
                        name: Some(format!("{prefix}-{version}-{number}")),
                        namespace: Some(observed.namespace.to_owned()),
                        labels: Some(labels.clone()),
                        annotations: Some(annotations.clone()),
                        owner_references: Some(vec![owner.clone()]),
                        ..ObjectMeta::default()
                    },
                    address_type: slice.address_type.clone(),
                    endpoints: endpoints.to_vec(),
                    ports: Some(slice.ports.iter().map(filled_in).collect()),
                });
                *number += 1;
            }
        }
    }
    wanted
}

/// Returns a port with what an API server fills in, so that what it stores is what is wanted.
fn filled_in(port: &EndpointPort) -> EndpointPort {
    let mut port = port.clone();
    port.name.get_or_insert_default();
    port.protocol.get_or_insert_with(|| "TCP".to_owned());
    port
}

/// Returns an endpoint of another cluster, which must have one address that can be one.
fn checked(
    cluster: &str,
    slice: &ExportedSlice,
    endpoint: &ExportedEndpoint,
    guard: &Guard,
) -> Result<Endpoint, String> {
    let text = endpoint.addresses.first().ok_or("an endpoint has no address")?;
    let address = routable(text, cluster, guard).map_err(|refusal| refusal.to_string())?;
    let version = match text.parse() {
        Ok(IpAddr::V6(_)) => "IPv6",
        _ => "IPv4",
    };
    if version != slice.address_type {
        return Err(format!("endpoint address {address} is not of type {}", slice.address_type));
    }
    let ExportedEndpoint { addresses: _, ready, serving, terminating, hostname, zone } =
        endpoint.clone();
    if let Some(hostname) = hostname.as_deref().filter(|hostname| !is_label(hostname)) {
        return Err(format!("endpoint {address} has `{hostname}`, which is no host name"));
    }
    let conditions = EndpointConditions { ready, serving, terminating };
    let says_something = conditions != EndpointConditions::default();
    Ok(Endpoint {
        addresses: vec![text.clone()],
        conditions: says_something.then_some(conditions),
        hostname,
        zone,
        ..Endpoint::default()
    })
}
