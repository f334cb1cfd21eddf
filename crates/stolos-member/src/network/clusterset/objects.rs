//! What the agent of the clusterset watches and writes, on either side.

use super::act::Sought;

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
    use k8s_openapi::api::core::v1::{Event, Namespace, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use stolos_api::network::mcs::{ServiceExport, ServiceImport};

    stolos_controller::kinds! {
        super::super::MANAGER;
        EndpointSlice, Event, Namespace, Service, ServiceExport, ServiceImport,
    }
}

/// What the agent learns of.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Hub(hub::Object),
    Member(member::Object),
    /// It was asked for by name, and is not there.
    Absent(Sought),
}

macro_rules! seen {
    ($side:ident as $variant:ident: $($kind:ty),* $(,)?) => {
        $(impl From<$kind> for Seen {
            fn from(object: $kind) -> Self {
                Self::$variant($side::Object::from(object))
            }
        })*
    };
}

seen! {
    hub as Hub:
    stolos_api::cluster::InternalMemberCluster, stolos_api::network::clusterset::ExportedService,
    stolos_api::network::clusterset::ImportedService,
}
seen! {
    member as Member:
    k8s_openapi::api::core::v1::Namespace, k8s_openapi::api::core::v1::Service,
    k8s_openapi::api::discovery::v1::EndpointSlice, stolos_api::network::mcs::ServiceExport,
    stolos_api::network::mcs::ServiceImport,
}
