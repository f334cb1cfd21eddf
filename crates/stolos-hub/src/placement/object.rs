//! What the controller learns of, and how it writes.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    ClusterResourceBinding, ClusterResourcePlacement, ClusterResourcePlacementStatus,
    ClusterResourceSnapshot, ClusterSchedulingPolicySnapshot, ResourceBinding, ResourcePlacement,
    ResourceSnapshot, SchedulingPolicySnapshot, Work,
};
use stolos_controller::{Change, Effect, How, Stored, Write, split, write_one};

use super::doubt::{Doubt, Proof};
use super::feed::Fed;
use super::overrides;

/// Field manager of what the controller writes.
const MANAGER: &str = "placement-controller";

/// An object that the controller writes. A namespaced kind is held as its cluster-scoped twin, with its namespace.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Placement(Box<ClusterResourcePlacement>),
    Policy(Box<ClusterSchedulingPolicySnapshot>),
    Snapshot(Box<ClusterResourceSnapshot>),
    Binding(Box<ClusterResourceBinding>),
    Work(Box<Work>),
    Override(Box<overrides::Object>),
    Copy(Box<ClusterResourcePlacementStatus>),
    Event(Box<Event>),
}

/// Anything the controller learns of.
#[derive(Debug)]
pub(crate) enum Seen {
    Object(Object),
    Member(Box<MemberCluster>),
    Source(Fed),
    /// Something that was asked for by itself.
    Proof(Proof),
}

/// A write, of which the controller learns the answer.
#[derive(Debug)]
pub(crate) struct Job(pub(crate) Write<Object>);

/// What the controller does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Writes.
    Write(Job),
    /// Asks before it writes.
    Ask(Box<Doubt>),
}

impl Effect for Act {
    type Object = Seen;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        match self {
            Self::Write(job) => job.carry_out(client).await,
            Self::Ask(doubt) => doubt.ask(client).await,
        }
    }
}

impl Effect for Job {
    type Object = Seen;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        let changes = self.0.carry_out(client).await?.into_iter();
        Ok(changes.map(|change| change.map(Seen::Object)).collect())
    }
}

/// A cluster-scoped kind and its namespaced twin.
pub(super) trait Twin:
    Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned
{
    type Namespaced: Resource<DynamicType = ()> + Serialize + DeserializeOwned;

    fn of(twin: Self::Namespaced) -> Self;

    fn namespaced(self) -> Self::Namespaced;
}

macro_rules! twins {
    ($($variant:ident: $cluster:ident, $namespaced:ident;)*) => {$(
        impl From<$cluster> for Object {
            fn from(object: $cluster) -> Self {
                Self::$variant(Box::new(object))
            }
        }

        impl From<$cluster> for Seen {
            fn from(object: $cluster) -> Self {
                Self::Object(object.into())
            }
        }

        impl From<$namespaced> for Seen {
            fn from(object: $namespaced) -> Self {
                Self::Object($cluster::of(object).into())
            }
        }

        impl Twin for $cluster {
            type Namespaced = $namespaced;

            fn of(twin: $namespaced) -> Self {
                let $namespaced { metadata, spec, status } = twin;
                Self { metadata, spec, status }
            }

            fn namespaced(self) -> $namespaced {
                let Self { metadata, spec, status } = self;
                $namespaced { metadata, spec, status }
            }
        }
    )*};
}

twins! {
    Placement: ClusterResourcePlacement, ResourcePlacement;
    Policy: ClusterSchedulingPolicySnapshot, SchedulingPolicySnapshot;
    Snapshot: ClusterResourceSnapshot, ResourceSnapshot;
    Binding: ClusterResourceBinding, ResourceBinding;
}

macro_rules! singles {
    ($($variant:ident: $kind:ident;)*) => {$(
        impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$variant(Box::new(object))
            }
        }

        impl From<$kind> for Seen {
            fn from(object: $kind) -> Self {
                Self::Object(object.into())
            }
        }
    )*};
}

singles! {
    Work: Work;
    Copy: ClusterResourcePlacementStatus;
    Event: Event;
}

impl From<MemberCluster> for Seen {
    fn from(object: MemberCluster) -> Self {
        Self::Member(Box::new(object))
    }
}

impl Stored for Object {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Placement(object) => &object.metadata,
            Self::Policy(object) => &object.metadata,
            Self::Snapshot(object) => &object.metadata,
            Self::Binding(object) => &object.metadata,
            Self::Work(object) => &object.metadata,
            Self::Override(object) => object.meta(),
            Self::Copy(object) => &object.metadata,
            Self::Event(object) => &object.metadata,
        }
    }

    async fn write(client: &Client, write: &Write<Self>) -> Result<Option<Self>, kube::Error> {
        let (how, object) = split(write);
        Ok(match object {
            Self::Placement(object) => write_twin(client, how, &**object).await?.map(Self::from),
            Self::Policy(object) => write_twin(client, how, &**object).await?.map(Self::from),
            Self::Snapshot(object) => write_twin(client, how, &**object).await?.map(Self::from),
            Self::Binding(object) => write_twin(client, how, &**object).await?.map(Self::from),
            Self::Work(object) => write_one(client, how, &**object, MANAGER).await?.map(Self::from),
            Self::Override(object) => {
                object.write(client, how).await?.map(|written| Self::Override(Box::new(written)))
            }
            Self::Copy(object) => write_one(client, how, &**object, MANAGER).await?.map(Self::from),
            Self::Event(object) => {
                write_one(client, how, &**object, MANAGER).await?.map(Self::from)
            }
        })
    }
}

async fn write_twin<K: Twin>(
    client: &Client,
    how: How,
    object: &K,
) -> Result<Option<K>, kube::Error> {
    if object.meta().namespace.is_none() {
        return write_one(client, how, object, MANAGER).await;
    }
    let written = write_one(client, how, &object.clone().namespaced(), MANAGER).await?;
    Ok(written.map(K::of))
}
