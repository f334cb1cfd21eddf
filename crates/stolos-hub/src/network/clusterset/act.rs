//! What of members and of what they export and import may be gone.

use kube::Client;
use kube::api::Api;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::member_namespace;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_controller::{Key, find};

use super::{Object, member_of};
use crate::look;

/// What may be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    /// The export of a service by a member.
    Export { service: String, member: String },
    /// What a member is told of a service.
    Import { service: String, member: String },
    /// A member.
    Member(String),
}

impl Sought {
    pub(super) fn export(export: &ExportedService) -> Self {
        let service = export.metadata.name.clone().unwrap_or_default();
        Self::Export { service, member: member_of(export).unwrap_or_default().to_owned() }
    }

    pub(super) fn import(import: &ImportedService) -> Self {
        let service = import.metadata.name.clone().unwrap_or_default();
        Self::Import { service, member: member_of(import).unwrap_or_default().to_owned() }
    }

    /// Tells whether it is about a service.
    pub(super) fn is_of(&self, wanted: &str) -> bool {
        match self {
            Self::Export { service, .. } | Self::Import { service, .. } => service == wanted,
            Self::Member(_) => false,
        }
    }
}

impl look::Sought<Object> for Sought {
    async fn find(&self, client: &Client) -> Result<Option<Object>, kube::Error> {
        let place =
            |service: &str, member: &str| Key::namespaced(&member_namespace(member), service);
        match self {
            Self::Export { service, member } => {
                let found = find::<ExportedService>(client, &place(service, member)).await?;
                Ok(found.map(Object::from))
            }
            Self::Import { service, member } => {
                let found = find::<ImportedService>(client, &place(service, member)).await?;
                Ok(found.map(Object::from))
            }
            Self::Member(name) => {
                let api = Api::<MemberCluster>::all(client.clone());
                Ok(api.get_opt(name).await?.map(Object::from))
            }
        }
    }
}

/// What the controller learns of.
pub(super) type Seen = look::Seen<Object, Sought>;

/// What the controller does.
pub(super) type Act = look::Act<Object, Sought>;

impl<K: Into<Object>> From<K> for Seen {
    fn from(object: K) -> Self {
        Self::Object(object.into())
    }
}
