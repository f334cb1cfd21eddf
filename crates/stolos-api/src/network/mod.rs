//! Kinds of `networking.fleet.azure.com`: services across clusters.
//!
//! Users write [`ServiceExport`] and [`MultiClusterService`] on members and [`TrafficManagerProfile`] and
//! [`TrafficManagerBackend`] on the hub. [`ServiceImport`] is what a fleet knows of a service. The other kinds carry
//! facts between hub and members, in the namespace of the member on the hub. The standard's kinds of the same purpose
//! are in [`mcs`], and what carries those in [`clusterset`].

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::kind::custom_resource;

pub mod clusterset;
mod definitions;
pub mod mcs;
pub mod names;
mod schema;
mod service;
mod traffic_manager;
mod transport;

pub use service::*;
pub use traffic_manager::*;
pub use transport::*;

/// API group of the kinds in this module.
pub const GROUP: &str = "networking.fleet.azure.com";

/// Returns the definitions of the kinds in this module that live on the hub, which are all.
pub fn hub_crds() -> Vec<CustomResourceDefinition> {
    vec![
        EndpointSliceExport::crd(),
        EndpointSliceImport::crd(),
        InternalServiceExport::crd(),
        InternalServiceImport::crd(),
        MultiClusterService::crd(),
        ServiceExport::crd(),
        ServiceImport::crd(),
        TrafficManagerBackend::crd(),
        TrafficManagerProfile::crd(),
    ]
}

/// Returns the definitions of the kinds in this module that live on members too.
pub fn member_crds() -> Vec<CustomResourceDefinition> {
    vec![MultiClusterService::crd(), ServiceExport::crd(), ServiceImport::crd()]
}

custom_resource! {
    /// Exports the Service of the same name to the fleet.
    ServiceExport, NamespaceResourceScope,
    status: ServiceExportStatus, defined by definitions::SERVICE_EXPORT
}

custom_resource! {
    /// A service as the fleet knows it: its ports, and the clusters that export it.
    ServiceImport, NamespaceResourceScope,
    status: ServiceImportStatus, defined by definitions::SERVICE_IMPORT
}

custom_resource! {
    /// Gives a service of the fleet one address in this cluster, behind which are the endpoints of all clusters.
    MultiClusterService, NamespaceResourceScope,
    spec: MultiClusterServiceSpec, status: MultiClusterServiceStatus,
    defined by definitions::MULTI_CLUSTER_SERVICE
}

custom_resource! {
    /// A Service that a member exports, told to the hub in the namespace of the member.
    InternalServiceExport, NamespaceResourceScope,
    spec: InternalServiceExportSpec, status: InternalServiceExportStatus,
    defined by definitions::INTERNAL_SERVICE_EXPORT
}

custom_resource! {
    /// The wish of a member to import a service, told to the hub in the namespace of the member.
    InternalServiceImport, NamespaceResourceScope,
    spec: InternalServiceImportSpec, status: ServiceImportStatus,
    defined by definitions::INTERNAL_SERVICE_IMPORT
}

custom_resource! {
    /// Endpoints that a member exports, told to the hub in the namespace of the member.
    EndpointSliceExport, NamespaceResourceScope,
    spec: EndpointSliceExportSpec, defined by definitions::ENDPOINT_SLICE_EXPORT
}

custom_resource! {
    /// Endpoints of another member, told to an importing member in its namespace on the hub.
    EndpointSliceImport, NamespaceResourceScope,
    spec: EndpointSliceExportSpec, defined by definitions::ENDPOINT_SLICE_IMPORT
}

custom_resource! {
    /// A DNS name that is answered with the addresses of healthy clusters.
    TrafficManagerProfile, NamespaceResourceScope,
    spec: TrafficManagerProfileSpec, status: TrafficManagerProfileStatus,
    defined by definitions::TRAFFIC_MANAGER_PROFILE
}

custom_resource! {
    /// Puts an exported service behind a TrafficManagerProfile.
    TrafficManagerBackend, NamespaceResourceScope,
    spec: TrafficManagerBackendSpec, status: TrafficManagerBackendStatus,
    defined by definitions::TRAFFIC_MANAGER_BACKEND
}
