//! What the controller learns, and what it does.

use k8s_openapi::api::core::v1::Event;
use kube::Client;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{AutoUpgradeProfile, UpdateRun, UpdateStrategy, VersionCatalogue};
use stolos_controller::{Change, Write};

use super::Sighting;

stolos_controller::kinds! {
    "auto-upgrade-controller";
    AutoUpgradeProfile, Event, FleetMember, UpdateRun, UpdateStrategy, VersionCatalogue,
}

/// Something the controller learns.
pub(super) enum Fact {
    /// An object on the hub.
    Object(Object),
    /// The state of a member's cluster.
    Cluster(Box<Sighting>),
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

facts! { AutoUpgradeProfile, FleetMember, UpdateRun, UpdateStrategy, VersionCatalogue }

/// A write whose answer is a fact.
pub(super) struct Effect(pub(super) Write<Object>);

impl stolos_controller::Effect for Effect {
    type Object = Fact;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Fact>>, kube::Error> {
        let known = self.0.carry_out(client).await?.into_iter();
        Ok(known.map(|change| change.map(Fact::Object)).collect())
    }
}
