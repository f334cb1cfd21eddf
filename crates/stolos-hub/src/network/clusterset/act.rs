//! Writes, and looks by name for what lists do not show, before anything is decided because of it: that a list leaves
//! something out proves nothing.

use kube::Client;
use kube::api::Api;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::member_namespace;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_controller::{Change, Effect, Write};

use super::{Object, member_of};

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

    async fn find(&self, client: &Client) -> Result<Option<Seen>, kube::Error> {
        match self {
            Self::Export { service, member } => {
                let namespace = member_namespace(member);
                let api = Api::<ExportedService>::namespaced(client.clone(), &namespace);
                Ok(api.get_opt(service).await?.map(Seen::from))
            }
            Self::Import { service, member } => {
                let namespace = member_namespace(member);
                let api = Api::<ImportedService>::namespaced(client.clone(), &namespace);
                Ok(api.get_opt(service).await?.map(Seen::from))
            }
            Self::Member(name) => {
                let api = Api::<MemberCluster>::all(client.clone());
                Ok(api.get_opt(name).await?.map(Seen::from))
            }
        }
    }
}

/// What the controller learns of.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Object(Object),
    /// It was asked for by name, and is not there.
    Absent(Sought),
}

impl<K: Into<Object>> From<K> for Seen {
    fn from(object: K) -> Self {
        Self::Object(object.into())
    }
}

/// What the controller does.
#[derive(Debug)]
pub(super) enum Act {
    Write(Write<Object>),
    Look(Sought),
}

impl Effect for Act {
    type Object = Seen;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        match self {
            Self::Write(write) => {
                let changes = write.carry_out(client).await?;
                Ok(changes.into_iter().map(|change| change.map(Seen::Object)).collect())
            }
            Self::Look(sought) => {
                let found = sought.find(client).await?;
                let seen = found.unwrap_or_else(|| Seen::Absent(sought.clone()));
                Ok(vec![Change::Applied(seen)])
            }
        }
    }
}
