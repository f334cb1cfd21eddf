//! What the network agent does, and what may be gone of what it relies on.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use stolos_api::network::{EndpointSliceImport, ServiceExport, ServiceImport};
use stolos_controller::{Key, find};

use super::objects::{Seen, hub, member};
use super::sides;

/// One thing to do.
pub(super) type Act = sides::Act<hub::Object, member::Object, Sought>;

/// An object that may be gone, or of which a list has shown an old state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    Export(Key),
    Import(Key),
    Service(Key),
    Slice(Key),
    /// Endpoints of another member, on the hub.
    Imported(Key),
}

impl sides::Sought<hub::Object, member::Object> for Sought {
    async fn find(&self, hub: &Client, member: &Client) -> Result<Option<Seen>, kube::Error> {
        match self {
            Self::Export(key) => Ok(find::<ServiceExport>(member, key).await?.map(Seen::from)),
            Self::Import(key) => Ok(find::<ServiceImport>(member, key).await?.map(Seen::from)),
            Self::Service(key) => Ok(find::<Service>(member, key).await?.map(Seen::from)),
            Self::Slice(key) => Ok(find::<EndpointSlice>(member, key).await?.map(Seen::from)),
            Self::Imported(key) => Ok(find::<EndpointSliceImport>(hub, key).await?.map(Seen::from)),
        }
    }
}
