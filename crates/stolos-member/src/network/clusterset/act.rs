//! What the agent of the clusterset does: writes on either side, and looks by name for what a list does not show, before
//! anything is taken away or made because of it: that a list leaves something out proves nothing.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};
use stolos_controller::{Change, Effect, Key, Write, find};

use super::objects::{Seen, hub, member};

/// One thing to do.
pub(super) enum Act {
    /// Writes on the hub.
    Hub(Write<hub::Object>),
    /// Writes on the member.
    Member(Client, Write<member::Object>),
    /// Looks for an object on either side.
    Look(Client, Sought),
}

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

impl Sought {
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

impl Effect for Act {
    type Object = Seen;

    async fn carry_out(&self, hub: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        match self {
            Self::Hub(write) => {
                let changes = write.carry_out(hub).await?;
                Ok(changes.into_iter().map(|change| change.map(Seen::Hub)).collect())
            }
            Self::Member(member, write) => {
                let changes = write.carry_out(member).await?;
                Ok(changes.into_iter().map(|change| change.map(Seen::Member)).collect())
            }
            Self::Look(member, sought) => {
                let found = sought.find(hub, member).await?;
                let seen = found.unwrap_or_else(|| Seen::Absent(sought.clone()));
                Ok(vec![Change::Applied(seen)])
            }
        }
    }
}
