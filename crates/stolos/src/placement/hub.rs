//! What is read of placements from the hub.

use std::collections::BTreeMap;

use kube::api::{Api, ListParams, ObjectList, Request};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::names::label;
use stolos_api::placement::{
    ClusterResourceBinding, ClusterResourceOverride, ClusterResourceOverrideSnapshot,
    ClusterResourcePlacement, ClusterResourceSnapshot, ClusterSchedulingPolicySnapshot,
    ResourceBinding, ResourceOverride, ResourceOverrideSnapshot, ResourcePlacement,
    ResourceSnapshot, SchedulingPolicySnapshot, Work,
};

use super::PlacementArgs;
use crate::cli::HubClientArgs;
use crate::connect::{self, explain, there_are};
use crate::exit::Hinted;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// The hub that commands read from.
pub(super) struct Hub {
    pub(super) client: Client,
}

impl Hub {
    pub(super) async fn connect(args: &HubClientArgs) -> anyhow::Result<Self> {
        Ok(Self { client: connect::hub(args).await? })
    }

    /// Returns a placement; one with a namespace is a ResourcePlacement.
    pub(super) async fn placement(
        &self,
        args: &PlacementArgs,
    ) -> anyhow::Result<ClusterResourcePlacement> {
        match self.find(args.namespace.as_deref(), &args.name).await? {
            Some(placement) => Ok(placement),
            None => Err(self.no_placement(args).await),
        }
    }

    /// Returns a placement if it exists.
    pub(super) async fn find(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> anyhow::Result<Option<ClusterResourcePlacement>> {
        let found = match namespace {
            None => Api::<ClusterResourcePlacement>::all(self.client.clone()).get_opt(name).await,
            Some(namespace) => {
                let api = Api::<ResourcePlacement>::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map(|found| found.map(cluster_scoped))
            }
        };
        found.map_err(|error| explain(&format!("failed to get placement `{name}`"), error))
    }

    async fn no_placement(&self, args: &PlacementArgs) -> anyhow::Error {
        let PlacementArgs { name, namespace, .. } = args;
        let (what, message) = match namespace {
            None => (
                "ClusterResourcePlacements",
                format!("there is no ClusterResourcePlacement `{name}`"),
            ),
            Some(namespace) => (
                "ResourcePlacements",
                format!("there is no ResourcePlacement `{name}` in namespace `{namespace}`"),
            ),
        };
        let names = match self.placements(namespace.as_deref()).await {
            Ok(found) => found.iter().map(|found| format!("`{}`", name_of(found))).collect(),
            Err(error) => return error,
        };
        let otherwise = "`stolos placement list` shows the placements of every namespace";
        let there = there_are(names, what, otherwise);
        Hinted::error(message, there.replacen("it has", "there are", 1).replacen("its", "the", 1))
    }

    /// Returns the ClusterResourcePlacements, or the ResourcePlacements of a namespace.
    async fn placements(
        &self,
        namespace: Option<&str>,
    ) -> anyhow::Result<Vec<ClusterResourcePlacement>> {
        self.list::<ClusterResourcePlacement, ResourcePlacement>("placements", namespace, "").await
    }

    /// Returns the placements of a namespace, or all of them of both kinds.
    pub(super) async fn all_placements(
        &self,
        namespace: Option<&str>,
    ) -> anyhow::Result<Vec<ClusterResourcePlacement>> {
        let mut placements = self.placements(namespace).await?;
        if namespace.is_none() {
            let path = ResourcePlacement::url_path(&(), None);
            placements.extend(self.pages("ResourcePlacements", &path, "").await?);
        }
        Ok(placements)
    }

    pub(super) async fn bindings(
        &self,
        placement: &ClusterResourcePlacement,
    ) -> anyhow::Result<Vec<ClusterResourceBinding>> {
        self.children::<_, ResourceBinding>("bindings", placement).await
    }

    pub(super) async fn policies(
        &self,
        placement: &ClusterResourcePlacement,
    ) -> anyhow::Result<Vec<ClusterSchedulingPolicySnapshot>> {
        self.children::<_, SchedulingPolicySnapshot>("policy snapshots", placement).await
    }

    pub(super) async fn snapshots(
        &self,
        placement: &ClusterResourcePlacement,
    ) -> anyhow::Result<Vec<ClusterResourceSnapshot>> {
        self.children::<_, ResourceSnapshot>("resource snapshots", placement).await
    }

    /// Returns the Works of a placement by the name of their binding.
    pub(super) async fn works(
        &self,
        placement: &ClusterResourcePlacement,
    ) -> anyhow::Result<BTreeMap<String, Vec<Work>>> {
        let selector = format!("{}={}", label::PARENT_PLACEMENT, name_of(placement));
        let works: Vec<Work> = self.pages("works", &Work::url_path(&(), None), &selector).await?;
        let mut by_binding: BTreeMap<String, Vec<Work>> = BTreeMap::new();
        for work in works {
            let labels = work.metadata.labels.as_ref();
            let of = |key: &str| labels.and_then(|labels| labels.get(key)).cloned();
            if of(label::PARENT_PLACEMENT_NAMESPACE) == placement.metadata.namespace
                && let Some(binding) = of(label::PARENT_BINDING)
            {
                by_binding.entry(binding).or_default().push(work);
            }
        }
        Ok(by_binding)
    }

    pub(super) async fn members(&self) -> anyhow::Result<Vec<MemberCluster>> {
        self.pages("members", &MemberCluster::url_path(&(), None), "").await
    }

    pub(super) async fn cluster_overrides(&self) -> anyhow::Result<Vec<ClusterResourceOverride>> {
        let path = ClusterResourceOverride::url_path(&(), None);
        self.pages("ClusterResourceOverrides", &path, "").await
    }

    pub(super) async fn overrides(&self) -> anyhow::Result<Vec<ResourceOverride>> {
        self.pages("ResourceOverrides", &ResourceOverride::url_path(&(), None), "").await
    }

    pub(super) async fn cluster_override_snapshots(
        &self,
    ) -> anyhow::Result<Vec<ClusterResourceOverrideSnapshot>> {
        let path = ClusterResourceOverrideSnapshot::url_path(&(), None);
        self.pages("ClusterResourceOverrideSnapshots", &path, "").await
    }

    pub(super) async fn override_snapshots(&self) -> anyhow::Result<Vec<ResourceOverrideSnapshot>> {
        let path = ResourceOverrideSnapshot::url_path(&(), None);
        self.pages("ResourceOverrideSnapshots", &path, "").await
    }

    async fn children<K, N>(
        &self,
        what: &str,
        placement: &ClusterResourcePlacement,
    ) -> anyhow::Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
        N: Resource<DynamicType = ()>,
    {
        let selector = format!("{}={}", label::PARENT_PLACEMENT, name_of(placement));
        self.list::<K, N>(what, placement.metadata.namespace.as_deref(), &selector).await
    }

    /// Returns the objects of a cluster-scoped kind, or of its namespaced twin, which looks the same.
    async fn list<K, N>(
        &self,
        what: &str,
        namespace: Option<&str>,
        selector: &str,
    ) -> anyhow::Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
        N: Resource<DynamicType = ()>,
    {
        let path = match namespace {
            None => K::url_path(&(), None),
            Some(_) => N::url_path(&(), namespace),
        };
        self.pages(what, &path, selector).await
    }

    async fn pages<K: Clone + DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        selector: &str,
    ) -> anyhow::Result<Vec<K>> {
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let request = Request::new(path).list(&params).map_err(kube::Error::BuildRequest);
            let page: Result<ObjectList<K>, kube::Error> = match request {
                Ok(request) => self.client.request(request).await,
                Err(error) => Err(error),
            };
            let page = page.map_err(|error| explain(&format!("failed to list {what}"), error))?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

/// Returns a ResourcePlacement as its cluster-scoped twin, with its namespace.
pub(super) fn cluster_scoped(placement: ResourcePlacement) -> ClusterResourcePlacement {
    let ResourcePlacement { metadata, spec, status } = placement;
    ClusterResourcePlacement { metadata, spec, status }
}

/// Returns the kind of a placement.
pub(super) fn kind_of(placement: &ClusterResourcePlacement) -> &'static str {
    match placement.metadata.namespace {
        None => "ClusterResourcePlacement",
        Some(_) => "ResourcePlacement",
    }
}

pub(super) fn name_of(object: &impl Resource) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}
