//! What the network agent watches and writes, on either side.

use super::act::Sought;
use super::sides;

/// Objects of the hub, in the namespace of the member.
pub(super) mod hub {
    use stolos_api::cluster::InternalMemberCluster;
    use stolos_api::network::{
        EndpointSliceExport, EndpointSliceImport, InternalServiceExport, InternalServiceImport,
    };

    stolos_controller::kinds! {
        super::super::MANAGER;
        EndpointSliceExport, EndpointSliceImport, InternalMemberCluster, InternalServiceExport, InternalServiceImport,
    }
}

/// Objects of the member.
pub(super) mod member {
    use k8s_openapi::api::core::v1::{Event, Node, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use stolos_api::network::{MultiClusterService, ServiceExport, ServiceImport};

    stolos_controller::kinds! {
        super::super::MANAGER;
        EndpointSlice, Event, MultiClusterService, Node, Service, ServiceExport, ServiceImport,
    }
}

/// What the agent learns of.
pub(super) type Seen = sides::Seen<hub::Object, member::Object, Sought>;

sides::seen! {
    Seen;
    Hub:
    stolos_api::cluster::InternalMemberCluster, stolos_api::network::EndpointSliceExport,
    stolos_api::network::EndpointSliceImport, stolos_api::network::InternalServiceExport,
    stolos_api::network::InternalServiceImport;
    Member:
    k8s_openapi::api::core::v1::Node, k8s_openapi::api::core::v1::Service, k8s_openapi::api::discovery::v1::EndpointSlice,
    stolos_api::network::MultiClusterService, stolos_api::network::ServiceExport,
    stolos_api::network::ServiceImport;
}
