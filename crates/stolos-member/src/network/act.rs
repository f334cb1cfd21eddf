//! What the network agent does: writes on either side, and looks by name for what a list of the member does not show,
//! before anything is taken away because of it: that a list leaves something out proves nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use stolos_api::network::{ServiceExport, ServiceImport};
use stolos_controller::{Change, Effect, Key, Write, find};
use stolos_core::network::stamp::Measured;

use super::objects::{Seen, hub, member};
use crate::Metrics;

/// One thing to do.
pub(super) enum Act {
    /// Writes on the hub.
    Hub(Write<hub::Object>),
    /// Writes on the member.
    Member(Client, Write<member::Object>),
    /// Looks for an object on the member.
    Look(Client, Sought),
    /// Measures how long something took, which the step before has noted.
    Measure(Arc<Metrics>, Measure),
}

/// What took how long.
pub(super) enum Measure {
    /// A Service of this member until its exporter was told about conflicts.
    Export { cluster: String, took: Measured },
    /// Endpoints of another member until they were here.
    Import { from: String, to: String, took: Measured },
}

/// An object of the member that may be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    Export(Key),
    Import(Key),
    Service(Key),
    Slice(Key),
}

impl Sought {
    async fn find(&self, member: &Client) -> Result<Option<Seen>, kube::Error> {
        match self {
            Self::Export(key) => Ok(find::<ServiceExport>(member, key).await?.map(Seen::from)),
            Self::Import(key) => Ok(find::<ServiceImport>(member, key).await?.map(Seen::from)),
            Self::Service(key) => Ok(find::<Service>(member, key).await?.map(Seen::from)),
            Self::Slice(key) => Ok(find::<EndpointSlice>(member, key).await?.map(Seen::from)),
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
            Self::Measure(metrics, measure) => {
                match measure {
                    Measure::Export { cluster, took } => metrics.exported(cluster, *took),
                    Measure::Import { from, to, took } => metrics.imported(from, to, *took),
                }
                Ok(Vec::new())
            }
            Self::Look(member, sought) => {
                let found = sought.find(member).await?;
                let seen = found.unwrap_or_else(|| Seen::Absent(sought.clone()));
                Ok(vec![Change::Applied(seen)])
            }
        }
    }
}
