//! What the controller of members does, and what it learns from the answers.

use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::{Api, ListParams};
use stolos_api::cluster::names::member_namespace;
use stolos_api::cluster::{InternalMemberCluster, MemberCluster};
use stolos_api::placement::Work;
use stolos_controller::{Change, Effect, Write};

use super::Object;

/// Anything the controller learns of.
#[derive(Debug)]
pub(super) enum Seen {
    Object(Object),
    /// What the hub has of this member was read by itself.
    Read(String),
}

/// What the controller does.
#[derive(Debug)]
pub(super) enum Act {
    Write(Write<Object>),
    /// Reads by itself what the hub has of a member: a list that leaves something out must not end its membership.
    Read(String),
}

impl Effect for Act {
    type Object = Seen;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        match self {
            Self::Write(write) => {
                let changes = write.carry_out(client).await?;
                Ok(changes.into_iter().map(seen).collect())
            }
            Self::Read(member) => read(client, member).await,
        }
    }
}

fn seen(change: Change<Object>) -> Change<Seen> {
    match change {
        Change::Applied(object) => Change::Applied(Seen::Object(object)),
        Change::Deleted(object) => Change::Deleted(Seen::Object(object)),
        Change::Listed { kind, keys } => Change::Listed { kind, keys },
    }
}

async fn read(client: &Client, member: &str) -> Result<Vec<Change<Seen>>, kube::Error> {
    let namespace = member_namespace(member);
    let own: Api<InternalMemberCluster> = Api::namespaced(client.clone(), &namespace);
    let works: Api<Work> = Api::namespaced(client.clone(), &namespace);
    let mut found: Vec<Seen> = Vec::new();
    found.extend(Api::<Namespace>::all(client.clone()).get_opt(&namespace).await?.map(Seen::from));
    found.extend(own.get_opt(member).await?.map(Seen::from));
    found.extend(works.list(&ListParams::default()).await?.items.into_iter().map(Seen::from));
    found.push(Seen::Read(member.to_owned()));
    Ok(found.into_iter().map(Change::Applied).collect())
}

macro_rules! seen_from {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Seen {
            fn from(object: $kind) -> Self {
                Self::Object(object.into())
            }
        }
    )*};
}

seen_from!(Event, InternalMemberCluster, MemberCluster, Namespace, Role, RoleBinding, Work);
