//! What is read of services from the hub, and from members that can be asked.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stolos_api::cluster::MemberCluster;
use stolos_api::network::names::label;
use stolos_api::network::{
    EndpointSliceExport, InternalServiceExport, InternalServiceImport, MultiClusterService,
    ServiceExport, ServiceImport,
};
use stolos_core::network::overview::{Observed, Overview, Told, overview};

use super::ServiceArgs;
use crate::cli::HubClientArgs;
use crate::connect::{self, explain, there_are};
use crate::exit::Hinted;
use crate::output;

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Members that are asked at the same time.
const SIDE_BY_SIDE: usize = 8;

/// Everything that the hub knows of services.
#[derive(Default)]
pub(super) struct World {
    imports: BTreeMap<String, ServiceImport>,
    exports: BTreeMap<String, Vec<InternalServiceExport>>,
    claimants: BTreeMap<String, Vec<InternalServiceImport>>,
    slices: BTreeMap<String, Vec<EndpointSliceExport>>,
    members: Vec<MemberCluster>,
    namespaces: BTreeSet<String>,
}

impl World {
    /// Reads all of it.
    pub(super) async fn read(args: &HubClientArgs) -> anyhow::Result<Self> {
        let hub = connect::hub(args).await?;
        let (imports, exports, claimants, slices, members, namespaces) = futures::try_join!(
            list::<ServiceImport>(&hub, "ServiceImports"),
            list::<InternalServiceExport>(&hub, "InternalServiceExports"),
            list::<InternalServiceImport>(&hub, "InternalServiceImports"),
            list::<EndpointSliceExport>(&hub, "EndpointSliceExports"),
            list::<MemberCluster>(&hub, "MemberClusters"),
            list::<Namespace>(&hub, "Namespaces"),
        )?;
        Ok(Self {
            imports: imports
                .into_iter()
                .filter_map(|import| Some((key(&import)?, import)))
                .collect(),
            exports: by_service(exports, |one| &one.spec.service_reference.namespaced_name),
            claimants: by_service(claimants, |one| {
                &one.spec.service_import_reference.namespaced_name
            }),
            slices: by_service(slices, |one| &one.spec.owner_service_reference.namespaced_name),
            members,
            namespaces: namespaces.into_iter().filter_map(|one| one.metadata.name).collect(),
        })
    }

    /// Returns every service that somebody exports or imports.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        let exported = self.exports.keys().chain(self.claimants.keys()).cloned();
        exported.chain(self.imports.keys().cloned()).collect()
    }

    /// Returns the names of all members.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter_map(|member| member.metadata.name.as_deref())
    }

    /// Tells of a service what the hub knows and what members say.
    pub(super) fn overview(&self, service: &str, told: &BTreeMap<String, Told>) -> Overview {
        let none = (Vec::new(), Vec::new(), Vec::new());
        overview(&Observed {
            key: service,
            namespace_exists: service
                .split_once('/')
                .is_some_and(|(namespace, _)| self.namespaces.contains(namespace)),
            import: self.imports.get(service),
            exports: self.exports.get(service).unwrap_or(&none.0),
            slices: self.slices.get(service).unwrap_or(&none.1),
            claimants: self.claimants.get(service).unwrap_or(&none.2),
            members: &self.members,
            told,
            now: Timestamp::now(),
        })
    }

    /// Tells of the service that the user names, and asks all members that can be asked.
    pub(super) async fn of(args: &ServiceArgs) -> anyhow::Result<Overview> {
        let world = Self::read(&args.hub).await?;
        let told = world.ask(args).await;
        let service = args.key();
        let is_known = world.keys().contains(&service)
            || told.values().any(|told| told.export.is_some() || !told.services.is_empty());
        if !is_known {
            let names = world.keys().into_iter().map(|key| format!("`{key}`")).collect();
            let otherwise = "a ServiceExport of Azure's API in a member makes one";
            return Err(Hinted::error(
                format!("no member exports or imports a service `{service}`"),
                there_are(names, "services", otherwise)
                    .replacen("it has", "there are", 1)
                    .replacen("its", "the", 1),
            ));
        }
        Ok(world.overview(&service, &told))
    }

    /// Asks every member that the kubeconfig has a context of.
    async fn ask(&self, args: &ServiceArgs) -> BTreeMap<String, Told> {
        let asked = self.members().map(async |name| {
            let client = connect::member(&args.hub, name).await.ok().flatten()?;
            match told(&client, args).await {
                Ok(told) => Some((name.to_owned(), told)),
                Err(error) => {
                    output::note(&format!("member `{name}` could not be asked: {error:#}"));
                    None
                }
            }
        });
        stream::iter(asked)
            .buffer_unordered(SIDE_BY_SIDE)
            .filter_map(async |told| told)
            .collect()
            .await
    }
}

async fn told(member: &Client, args: &ServiceArgs) -> anyhow::Result<Told> {
    let of_namespace = Api::<ServiceExport>::namespaced(member.clone(), &args.namespace);
    let export =
        of_namespace.get_opt(&args.name).await.context("failed to get its ServiceExport")?;
    let services = Api::<MultiClusterService>::namespaced(member.clone(), &args.namespace);
    let services = services.list(&ListParams::default()).await;
    let imports = |one: &MultiClusterService| {
        one.spec.service_import.as_ref().is_some_and(|import| import.name == args.name)
    };
    let mut told = Told { export, services: Vec::new() };
    for service in services.context("failed to list its MultiClusterServices")? {
        if imports(&service) {
            let derived = derived(member, &service).await?;
            told.services.push((service, derived));
        }
    }
    Ok(told)
}

/// Returns the derived Service of a MultiClusterService.
async fn derived(
    member: &Client,
    service: &MultiClusterService,
) -> anyhow::Result<Option<Service>> {
    let labels = service.metadata.labels.as_ref();
    let Some(name) = labels.and_then(|labels| labels.get(label::DERIVED_SERVICE)) else {
        return Ok(None);
    };
    let all = Api::<Service>::all(member.clone());
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = all.list(&params).await.context("failed to get its derived Service")?;
    let is_derived = |one: &Service| {
        stolos_core::network::service::origin(one).as_deref() == key(service).as_deref()
    };
    Ok(found.into_iter().find(is_derived))
}

fn key<K: Resource>(object: &K) -> Option<String> {
    let metadata = object.meta();
    Some(format!("{}/{}", metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

fn by_service<K>(objects: Vec<K>, service: impl Fn(&K) -> &String) -> BTreeMap<String, Vec<K>> {
    let mut by_service: BTreeMap<String, Vec<K>> = BTreeMap::new();
    for object in objects {
        by_service.entry(service(&object).clone()).or_default().push(object);
    }
    by_service
}

/// Returns all objects of a kind, page by page.
async fn list<K>(client: &Client, what: &str) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api = Api::<K>::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(|error| explain(&format!("failed to list {what}"), error))?;
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        all.extend(page.items);
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}
