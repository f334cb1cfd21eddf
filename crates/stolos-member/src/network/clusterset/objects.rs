//! What the agent of the clusterset watches and writes, on either side.

use super::act::Sought;
use crate::network::sides;

/// Objects of the hub, in the namespace of the member.
pub(super) mod hub {
    use stolos_api::cluster::InternalMemberCluster;
    use stolos_api::network::clusterset::{ExportedService, ImportedService};

    stolos_controller::kinds! {
        super::super::MANAGER;
        ExportedService, ImportedService, InternalMemberCluster,
    }
}

/// Objects of the member.
pub(super) mod member {
    use k8s_openapi::api::core::v1::{Event, Namespace, Node, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use stolos_api::network::mcs::{ServiceExport, ServiceImport};

    stolos_controller::kinds! {
        super::super::MANAGER;
        EndpointSlice, Event, Namespace, Node, Service, ServiceExport, ServiceImport,
    }
}

/// What the agent learns of.
pub(super) type Seen = sides::Seen<hub::Object, member::Object, Sought>;

sides::seen! {
    Seen;
    Hub:
    stolos_api::cluster::InternalMemberCluster, stolos_api::network::clusterset::ExportedService,
    stolos_api::network::clusterset::ImportedService;
    Member:
    k8s_openapi::api::core::v1::Namespace, k8s_openapi::api::core::v1::Node, k8s_openapi::api::core::v1::Service,
    k8s_openapi::api::discovery::v1::EndpointSlice, stolos_api::network::mcs::ServiceExport,
    stolos_api::network::mcs::ServiceImport;
}
