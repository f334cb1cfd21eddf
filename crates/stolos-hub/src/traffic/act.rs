//! What the controller learns, and what it does.

use k8s_openapi::api::core::v1::Event;
use kube::Client;
use stolos_api::network::{
    InternalServiceExport, ServiceImport, TrafficManagerBackend, TrafficManagerProfile,
};
use stolos_controller::{Change, Effect, Key, Write, find};
use tracing::debug;

use super::ask::Ask;
use super::inputs::Inputs;
use super::progress::Progress;
use super::{backend, profile};

pub(super) const MANAGER: &str = "hub-net-controller-manager";

stolos_controller::kinds! {
    MANAGER;
    Event, InternalServiceExport, ServiceImport, TrafficManagerBackend, TrafficManagerProfile,
}

/// What may be gone. That a list leaves it out proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    /// A TrafficManagerProfile.
    Profile(Key),
    /// A ServiceImport.
    Import(Key),
}

/// What the controller learns of.
#[derive(Debug)]
pub(super) enum Seen {
    Object(Object),
    /// It was asked for by name, and is not there.
    Absent(Sought),
    /// What the provider said about a profile.
    OfProfile(Key, Progress<profile::Basis, profile::Said>),
    /// What the provider said about a backend.
    OfBackend(Key, Progress<Inputs, backend::Said>),
}

impl<K: Into<Object>> From<K> for Seen {
    fn from(object: K) -> Self {
        Self::Object(object.into())
    }
}

/// What the controller does.
pub(super) enum Act {
    Write(Write<Object>),
    Look(Sought),
    /// Asks the provider.
    Ask(Box<Ask>),
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
            Self::Ask(ask) => {
                let seen = ask.answer().await;
                if let Some(told) = ask.told_of(&seen)
                    && let Err(error) = Write::Create(told).carry_out(client).await
                {
                    debug!(%error, "failed to write an event");
                }
                Ok(vec![Change::Applied(seen)])
            }
        }
    }
}

impl Sought {
    async fn find(&self, client: &Client) -> Result<Option<Seen>, kube::Error> {
        match self {
            Self::Profile(key) => {
                Ok(find::<TrafficManagerProfile>(client, key).await?.map(Seen::from))
            }
            Self::Import(key) => Ok(find::<ServiceImport>(client, key).await?.map(Seen::from)),
        }
    }
}
