//! What the agent of the clusterset does, and what may be gone of what it relies on.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};
use stolos_controller::{Key, find};

use super::objects::{Seen, hub, member};
use crate::network::sides;

/// One thing to do.
pub(super) type Act = sides::Act<hub::Object, member::Object, Sought>;

/// An object that may be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    /// A ServiceExport.
    Export(Key),
    /// A ServiceImport.
    Import(Key),
    /// A Service.
    Service(Key),
    /// An EndpointSlice.
    Slice(Key),
    /// What stands on the hub for an export.
    Exported(Key),
    /// What the hub tells of a service.
    Imported(Key),
}

impl sides::Sought<hub::Object, member::Object> for Sought {
    async fn find(&self, hub: &Client, member: &Client) -> Result<Option<Seen>, kube::Error> {
        match self {
            Self::Export(key) => Ok(find::<ServiceExport>(member, key).await?.map(Seen::from)),
            Self::Import(key) => Ok(find::<ServiceImport>(member, key).await?.map(Seen::from)),
            Self::Service(key) => Ok(find::<Service>(member, key).await?.map(Seen::from)),
            Self::Slice(key) => Ok(find::<EndpointSlice>(member, key).await?.map(Seen::from)),
            Self::Exported(key) => Ok(find::<ExportedService>(hub, key).await?.map(Seen::from)),
            Self::Imported(key) => Ok(find::<ImportedService>(hub, key).await?.map(Seen::from)),
        }
    }
}
