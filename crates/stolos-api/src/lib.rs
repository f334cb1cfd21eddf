//! Kinds of the Stolos API: custom resources, names of conditions, labels and finalizers,
//! defaulting and validation.
//!
//! One module per wing. The Rust types are the storage version of each kind; other served versions
//! exist only as schemas, because every kind uses conversion strategy `None`. Strings that a client
//! may leave out and that mean the same when empty are plain `String`s in the kinds of `cluster`,
//! `placement` and `network` and are omitted when empty; an `Option` there always carries a difference.
#![warn(missing_docs)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

pub mod admission;
pub mod cluster;
mod crd;
mod kind;
pub mod network;
pub mod placement;
pub mod quantity;
mod schema;
pub mod update;
pub mod validation;

/// Returns the definitions of every kind that lives on the hub or on a member.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = hub_crds();
    for crd in member_crds() {
        if crds.iter().all(|other| other.metadata.name != crd.metadata.name) {
            crds.push(crd);
        }
    }
    crds
}

/// Returns the definitions of the kinds that live on the hub.
pub fn hub_crds() -> Vec<CustomResourceDefinition> {
    [
        cluster::crds(),
        cluster::fleet::crds(),
        cluster::profile::crds(),
        placement::hub_crds(),
        network::hub_crds(),
        network::clusterset::hub_crds(),
        update::crds(),
    ]
    .concat()
}

/// Returns the definitions of the kinds that live on every member.
///
/// Those of the Multi-Cluster Services API ([`network::mcs`]) are not among them: beside them `kubectl get serviceexports`
/// shows them instead of those of this fleet, so whoever wants them asks for them.
pub fn member_crds() -> Vec<CustomResourceDefinition> {
    [placement::member_crds(), network::member_crds()].concat()
}
