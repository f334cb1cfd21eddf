//! The clusters of the tour.

use anyhow::Context;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource};

use crate::up;

/// Hub and members.
pub(super) struct World {
    pub(super) hub: Client,
    pub(super) members: Vec<Member>,
}

/// A member cluster, with all rights on it.
pub(super) struct Member {
    pub(super) name: String,
    client: Client,
}

impl World {
    pub(super) fn of(fleet: &up::Fleet) -> anyhow::Result<Self> {
        let member = |name: String| {
            let client = fleet.member(&name).with_context(|| format!("there is no `{name}`"))?;
            Ok(Member { name, client })
        };
        let members =
            fleet.member_names().into_iter().map(member).collect::<anyhow::Result<_>>()?;
        Ok(Self { hub: fleet.hub(), members })
    }

    pub(super) fn hub<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Api::all(self.hub.clone())
    }

    pub(super) fn hub_in<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.hub.clone(), namespace)
    }
}

impl Member {
    pub(super) fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Api::all(self.client.clone())
    }

    pub(super) fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}
