//! What of members and their exports and imports may be gone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::{Client, Resource};
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::{MEMBER_NAMESPACE_PREFIX, member_namespace};
use stolos_api::network::{
    EndpointSliceExport, InternalServiceExport, InternalServiceImport, ServiceImport,
};
use stolos_controller::{Key, find};
use stolos_core::network::names;

use super::Object;
use crate::look;

/// What may be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    /// The export of a service by a member.
    Export(Service),
    /// The wish of a member to import a service.
    Claimant(Service),
    /// The ServiceImport of a service, `<namespace>/<name>`.
    Import(String),
    /// A member.
    Member(String),
    /// A namespace.
    Namespace(String),
    /// The endpoints of a member.
    Slice(Key),
}

/// A service as a member tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    /// `<namespace>/<name>`.
    pub(super) key: String,
    /// Name of the member.
    pub(super) cluster: String,
}

/// What the controller learns of.
pub(super) type Seen = look::Seen<Object, Sought>;

/// What the controller does.
pub(super) type Act = look::Act<Object, Sought>;

impl<K: Into<Object>> From<K> for Seen {
    fn from(object: K) -> Self {
        Self::Object(object.into())
    }
}

impl look::Sought<Object> for Sought {
    async fn find(&self, client: &Client) -> Result<Option<Object>, kube::Error> {
        match self {
            Self::Export(service) => {
                service
                    .find::<InternalServiceExport>(client, |one| {
                        one.spec.service_reference.namespaced_name == service.key
                    })
                    .await
            }
            Self::Claimant(service) => {
                service
                    .find::<InternalServiceImport>(client, |one| {
                        one.spec.service_import_reference.namespaced_name == service.key
                    })
                    .await
            }
            Self::Member(name) => {
                let api = Api::<MemberCluster>::all(client.clone());
                Ok(api.get_opt(name).await?.map(Object::from))
            }
            Self::Import(service) => {
                let Some((namespace, name)) = service.split_once('/') else { return Ok(None) };
                let found =
                    find::<ServiceImport>(client, &Key::namespaced(namespace, name)).await?;
                Ok(found.map(Object::from))
            }
            Self::Slice(key) => {
                Ok(find::<EndpointSliceExport>(client, key).await?.map(Object::from))
            }
            Self::Namespace(name) => {
                let api = Api::<Namespace>::all(client.clone());
                Ok(api.get_opt(name).await?.map(Object::from))
            }
        }
    }
}

impl Service {
    /// Returns a service as the member tells it in whose namespace an object is.
    pub(super) fn of(key: &str, metadata: &ObjectMeta) -> Self {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let cluster = namespace.strip_prefix(MEMBER_NAMESPACE_PREFIX).unwrap_or_default();
        Self { key: key.to_owned(), cluster: cluster.to_owned() }
    }

    /// Looks for the object that stands for the service in the namespace of the member, under both names it can have.
    async fn find<K>(
        &self,
        client: &Client,
        is_it: impl Fn(&K) -> bool,
    ) -> Result<Option<Object>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Into<Object>,
    {
        let Some((namespace, name)) = self.key.split_once('/') else { return Ok(None) };
        let plain = names::transport(namespace, name, &BTreeMap::new());
        let taken = BTreeMap::from([(plain.clone(), String::new())]);
        let api = Api::<K>::namespaced(client.clone(), &member_namespace(&self.cluster));
        for name in [plain, names::transport(namespace, name, &taken)] {
            if let Some(found) = api.get_opt(&name).await?.filter(&is_it) {
                return Ok(Some(found.into()));
            }
        }
        Ok(None)
    }
}
