//! What the controller of members does, and what it learns from the answers.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::json;
use stolos_api::cluster::names::member_namespace;
use stolos_api::cluster::{InternalMemberCluster, MemberCluster};
use stolos_api::placement::Work;
use stolos_controller::{Change, Effect, Write};

use super::{MANAGER, Object};

/// Anything the controller learns of.
#[derive(Debug)]
pub(super) enum Seen {
    Object(Object),
    Work(Box<PartialObjectMeta<Work>>),
    /// What the hub has of this member was read by itself.
    Read(String),
}

/// What the controller does.
#[derive(Debug)]
pub(super) enum Act {
    Write(Write<Object>),
    /// Takes every finalizer off a Work, if it is still in this very state.
    Free(Arc<PartialObjectMeta<Work>>),
    /// Reads by itself what the hub has of a member: a list that leaves something out must not end its membership.
    Read(String),
}

impl Effect for Act {
    type Object = Seen;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        match self {
            Self::Write(write) => {
                let changes = write.carry_out(client).await?.into_iter();
                Ok(changes.map(|change| change.map(Seen::Object)).collect())
            }
            Self::Free(work) => free(client, work).await,
            Self::Read(member) => read(client, member).await,
        }
    }
}

async fn free(
    client: &Client,
    work: &PartialObjectMeta<Work>,
) -> Result<Vec<Change<Seen>>, kube::Error> {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = &work.metadata;
    let works: Api<Work> =
        Api::namespaced(client.clone(), namespace.as_deref().unwrap_or_default());
    let patch = json!({
        "apiVersion": Work::api_version(&()), "kind": Work::kind(&()),
        "metadata": { "uid": uid, "resourceVersion": resource_version, "finalizers": null },
    });
    let name = name.as_deref().unwrap_or_default();
    let freed =
        works.patch_metadata(name, &PatchParams::apply(MANAGER), &Patch::Merge(patch)).await?;
    Ok(vec![Change::Applied(freed.into())])
}

async fn read(client: &Client, member: &str) -> Result<Vec<Change<Seen>>, kube::Error> {
    let namespace = member_namespace(member);
    let own: Api<InternalMemberCluster> = Api::namespaced(client.clone(), &namespace);
    let works: Api<Work> = Api::namespaced(client.clone(), &namespace);
    let mut found: Vec<Seen> = Vec::new();
    found.extend(Api::<Namespace>::all(client.clone()).get_opt(&namespace).await?.map(Seen::from));
    found.extend(own.get_opt(member).await?.map(Seen::from));
    let works = works.list_metadata(&ListParams::default()).await?;
    found.extend(works.items.into_iter().map(Seen::from));
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

seen_from!(Event, InternalMemberCluster, MemberCluster, Namespace, Role, RoleBinding);

impl From<PartialObjectMeta<Work>> for Seen {
    fn from(work: PartialObjectMeta<Work>) -> Self {
        Self::Work(Box::new(work))
    }
}
