//! What the gateway watches and does.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use stolos_api::network::ServiceExport;
use stolos_controller::{Change, Effect, Key, Write, find};
use stolos_dataplane::{DataPlane, Desired};

use super::decide::{Outcome, Served};
use crate::balance::act::told;

/// Objects of the member.
pub(super) mod member {
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use stolos_api::network::ServiceExport;

    stolos_controller::kinds! {
        super::super::MANAGER;
        EndpointSlice, ServiceExport,
    }
}

/// What the gateway learns of.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Member(member::Object),
    /// The data plane has been asked to serve something.
    Applied(Arc<Outcome>),
    /// The API server says that there is no such object.
    Gone(Doubt),
}

impl From<EndpointSlice> for Seen {
    fn from(slice: EndpointSlice) -> Self {
        Self::Member(slice.into())
    }
}

impl From<ServiceExport> for Seen {
    fn from(export: ServiceExport) -> Self {
        Self::Member(export.into())
    }
}

/// An object that a list does not show. That proves nothing; whether it is gone is asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    Export(Key),
    Slice(Key),
}

impl Doubt {
    async fn look(&self, member: &Client) -> Result<Seen, kube::Error> {
        let found = match self {
            Self::Export(key) => find::<ServiceExport>(member, key).await?.map(Seen::from),
            Self::Slice(key) => find::<EndpointSlice>(member, key).await?.map(Seen::from),
        };
        Ok(found.unwrap_or_else(|| Seen::Gone(self.clone())))
    }
}

/// One thing to do.
pub(super) enum Act<P> {
    /// Asks the data plane to serve what is decided. `n_failures` counts how often that was asked in vain.
    Apply { plane: Arc<P>, decision: Served, n_failures: u32, at: Timestamp },
    /// Writes to the member.
    Write(Write<member::Object>),
    /// Asks for an object that a list does not show.
    Look(Doubt),
}

impl<P: DataPlane + Send + Sync + 'static> Effect for Act<P> {
    type Object = Seen;

    async fn carry_out(&self, member: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        let seen = match self {
            Self::Apply { plane, decision, n_failures, at } => {
                let vips = decision.values().flatten().cloned().collect();
                let report = plane.apply(Desired { vips, ..Desired::default() }).await;
                let not_served = told(report);
                let n_failures = if not_served.is_empty() { 0 } else { n_failures + 1 };
                let decision = decision.clone();
                Seen::Applied(Arc::new(Outcome { decision, not_served, n_failures, at: *at }))
            }
            Self::Write(write) => {
                let changes = write.carry_out(member).await?;
                return Ok(changes.into_iter().map(|change| change.map(Seen::Member)).collect());
            }
            Self::Look(doubt) => doubt.look(member).await?,
        };
        Ok(vec![Change::Applied(seen)])
    }
}
