//! What the agent of the clusterset does: writes on either side, and looks by name for what a list does not show, before
//! anything is taken away or made because of it: that a list leaves something out proves nothing.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};
use stolos_controller::{Change, Effect, Key, Write};

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
        async fn get<K>(client: &Client, key: &Key) -> Result<Option<Seen>, kube::Error>
        where
            K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
                + Clone
                + std::fmt::Debug
                + serde::de::DeserializeOwned
                + Into<Seen>,
        {
            let api = Api::<K>::namespaced(client.clone(), &key.namespace);
            Ok(api.get_opt(&key.name).await?.map(Into::into))
        }
        match self {
            Self::Export(key) => get::<ServiceExport>(member, key).await,
            Self::Import(key) => get::<ServiceImport>(member, key).await,
            Self::Service(key) => get::<Service>(member, key).await,
            Self::Slice(key) => get::<EndpointSlice>(member, key).await,
            Self::Exported(key) => get::<ExportedService>(hub, key).await,
            Self::Imported(key) => get::<ImportedService>(hub, key).await,
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
