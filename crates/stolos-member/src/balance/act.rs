//! What the balancer does: asks the data plane to serve, writes to the member, and looks for objects in doubt.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;

use kube::Client;
use stolos_controller::{Change, Effect, Key, Write};
use stolos_core::network::balance::VipPort;
use stolos_core::network::serve::Problem;
use stolos_dataplane::{DataPlane, Report};

use super::decide::{Decision, Outcome, Told};
use super::objects::{Doubt, Seen, member};

/// One thing to do.
pub(super) enum Act<P> {
    /// Asks the data plane to serve what is decided. `n_failures` counts how often that was asked in vain.
    Apply { plane: Arc<P>, decision: Arc<Decision>, n_failures: u32, at: jiff::Timestamp },
    /// Writes to the member.
    Write(Write<member::Object>),
    /// Remembers what people know of a service.
    Remember(Key, Told),
    /// Asks for an object that a list does not show.
    Look { hub: Client, doubt: Doubt },
}

impl<P: DataPlane + Send + Sync + 'static> Effect for Act<P> {
    type Object = Seen;

    async fn carry_out(&self, member: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        let seen = match self {
            Self::Apply { plane, decision, n_failures, at } => {
                let report = plane.apply(decision.desired.clone()).await;
                let not_served = told(report);
                let n_failures = if not_served.is_empty() { 0 } else { n_failures + 1 };
                let (decision, at) = (decision.clone(), *at);
                Seen::Applied(Arc::new(Outcome { decision, not_served, n_failures, at }))
            }
            Self::Write(write) => {
                let changes = write.carry_out(member).await?;
                return Ok(changes.into_iter().map(|change| change.map(Seen::Member)).collect());
            }
            Self::Remember(key, told) => Seen::Told(key.clone(), told.clone()),
            Self::Look { hub, doubt } => doubt.look(hub, member).await?,
        };
        Ok(vec![Change::Applied(seen)])
    }
}

/// Returns what people are told of ports that are not served.
pub(crate) fn told(report: Report) -> BTreeMap<VipPort, Problem> {
    let problem = |(port, error): (VipPort, stolos_dataplane::NotServed)| {
        let mut message = error.to_string();
        if let Some(source) = error.source() {
            message = format!("{message}: {source}");
        }
        (port, Problem { reason: error.reason(), message })
    };
    report.not_served.into_iter().map(problem).collect()
}
