//! What the controller learns, and what it does.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, UpdateRun, UpdateStrategy};
use stolos_controller::{Change, Key, Write};
use stolos_core::update::Start;
use stolos_core::update::cluster::{Finding, Operation};
use stolos_upgrade::{SharedProvider, StartError};

use super::clusters::ClusterNews;

stolos_controller::kinds! {
    "update-run-controller";
    Event, FleetMember, Gate, UpdateRun, UpdateStrategy,
}

/// Something the controller learns.
pub(super) enum Fact {
    /// An object on the hub.
    Object(Object),
    /// The state of a member's cluster.
    Cluster(Box<ClusterNews>),
    /// An upgrade was started, or can never be.
    Operation { member: Key, id: String, operation: Operation },
    /// A member was looked for by name.
    Sought { member: Key, found: Option<Box<FleetMember>> },
    /// What pre-flight checks find on a member; nothing when nobody looks any longer.
    Preflight { member: Key, findings: Vec<Finding> },
}

macro_rules! facts {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Fact {
            fn from(object: $kind) -> Self {
                Self::Object(object.into())
            }
        })*
    };
}

facts! { FleetMember, Gate, UpdateRun, UpdateStrategy }

/// Something the controller does.
pub(super) enum Effect {
    /// Writes an object on the hub.
    Write(Write<Object>),
    /// Starts an upgrade.
    Start(StartUpgrade),
    /// Looks for a member by name: a list that leaves it out, or shows what it was, must not end it in a run.
    Read(Key),
}

/// An upgrade to start.
pub(super) struct StartUpgrade {
    pub(super) member: Key,
    pub(super) provider: SharedProvider,
    pub(super) start: Start,
}

/// How long a cluster may take to accept an upgrade. It is asked again afterwards; until then the run is not planned
/// again, so this is short.
const START_TIMEOUT: Duration = Duration::from_secs(10);

impl stolos_controller::Effect for Effect {
    type Object = Fact;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Fact>>, kube::Error> {
        match self {
            Self::Write(write) => {
                let known = write.carry_out(client).await?.into_iter();
                Ok(known.map(|change| change.map(Fact::Object)).collect())
            }
            Self::Start(upgrade) => Ok(vec![Change::Applied(upgrade.carry_out().await?)]),
            Self::Read(key) => {
                let members: Api<FleetMember> = Api::namespaced(client.clone(), &key.namespace);
                let found = members.get_opt(&key.name).await?.map(Box::new);
                Ok(vec![Change::Applied(Fact::Sought { member: key.clone(), found })])
            }
        }
    }
}

impl StartUpgrade {
    async fn carry_out(&self) -> Result<Fact, kube::Error> {
        let Start { operation_id, target, .. } = &self.start;
        let answer = self.provider.start(operation_id, target);
        let operation = match tokio::time::timeout(START_TIMEOUT, answer).await {
            Ok(Ok(())) => Operation::Running(None),
            Ok(Err(StartError::Refused { code, message })) => Operation::Failed { code, message },
            Ok(Err(error @ StartError::Request { .. })) => {
                return Err(kube::Error::Service(Box::new(error)));
            }
            Err(elapsed) => return Err(kube::Error::Service(Box::new(elapsed))),
        };
        Ok(Fact::Operation { member: self.member.clone(), id: operation_id.clone(), operation })
    }
}
