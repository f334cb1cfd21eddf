//! What is read of services from the hub, and from members that can be asked.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stolos_api::cluster::MemberCluster;
use stolos_api::network::clusterset::{ExportedService, ImportedService, service_of};
use stolos_api::network::names::label;
use stolos_api::network::{
    EndpointSliceExport, InternalServiceExport, InternalServiceImport, MultiClusterService,
    ServiceExport, ServiceImport, mcs,
};
use stolos_core::network::overview::{
    Api as Kinds, Imported, Observed, Overview, Told, clusterset, overview,
};

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
    exported: BTreeMap<String, Vec<ExportedService>>,
    imported: BTreeMap<String, Vec<ImportedService>>,
    members: Vec<MemberCluster>,
    namespaces: BTreeSet<String>,
}

impl World {
    /// Reads all of it.
    pub(super) async fn read(args: &HubClientArgs) -> anyhow::Result<Self> {
        let hub = connect::hub(args).await?;
        let (imports, exports, claimants, slices, exported, imported, members, namespaces) = futures::try_join!(
            list::<ServiceImport>(&hub, "ServiceImports"),
            list::<InternalServiceExport>(&hub, "InternalServiceExports"),
            list::<InternalServiceImport>(&hub, "InternalServiceImports"),
            list::<EndpointSliceExport>(&hub, "EndpointSliceExports"),
            list::<ExportedService>(&hub, "ExportedServices"),
            list::<ImportedService>(&hub, "ImportedServices"),
            list::<MemberCluster>(&hub, "MemberClusters"),
            list::<Namespace>(&hub, "Namespaces"),
        )?;
        Ok(Self {
            imports: imports
                .into_iter()
                .filter_map(|import| Some((key(&import)?, import)))
                .collect(),
            exports: by_service(exports, |one| {
                Some(one.spec.service_reference.namespaced_name.clone())
            }),
            claimants: by_service(claimants, |one| {
                Some(one.spec.service_import_reference.namespaced_name.clone())
            }),
            slices: by_service(slices, |one| {
                Some(one.spec.owner_service_reference.namespaced_name.clone())
            }),
            exported: by_service(exported, stands_for),
            imported: by_service(imported, stands_for),
            members,
            namespaces: namespaces.into_iter().filter_map(|one| one.metadata.name).collect(),
        })
    }

    /// Returns every service that somebody exports or imports, and with which kinds.
    pub(super) fn services(&self) -> BTreeSet<(String, Kinds)> {
        let of_fleet = self.exports.keys().chain(self.claimants.keys()).chain(self.imports.keys());
        let of_mcs = self.exported.keys().chain(self.imported.keys());
        let of_fleet = of_fleet.map(|key| (key.clone(), Kinds::Fleet));
        of_fleet.chain(of_mcs.map(|key| (key.clone(), Kinds::Mcs))).collect()
    }

    /// Returns the names of all members.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter_map(|member| member.metadata.name.as_deref())
    }

    /// Tells of a service what the hub knows and what members say.
    pub(super) fn overview(&self, service: &str, kinds: Kinds, said: &Said) -> Overview {
        match kinds {
            Kinds::Fleet => self.of_fleet(service, &said.fleet),
            Kinds::Mcs => clusterset::overview(&clusterset::Observed {
                key: service,
                exports: self.exported.get(service).map(Vec::as_slice).unwrap_or_default(),
                imports: self.imported.get(service).map(Vec::as_slice).unwrap_or_default(),
                members: &self.members,
                told: &said.mcs,
                now: Timestamp::now(),
            }),
        }
    }

    fn of_fleet(&self, service: &str, told: &BTreeMap<String, Told>) -> Overview {
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
        let said = world.ask(args).await;
        let service = args.key();
        let services = world.services();
        let mut known = [Kinds::Fleet, Kinds::Mcs]
            .into_iter()
            .filter(|kinds| services.contains(&(service.clone(), *kinds)) || said.knows(*kinds));
        let first = known.next();
        let is_both = first.is_some() && known.next().is_some();
        let asked = args.api.map(Kinds::from);
        let is_known = |kinds| is_both || first == Some(kinds);
        let Some(kinds) = asked.or(first).filter(|kinds| is_known(*kinds)) else {
            let names =
                services.into_iter().filter(|(_, kinds)| asked.is_none_or(|one| one == *kinds));
            let names: BTreeSet<_> = names.map(|(key, _)| format!("`{key}`")).collect();
            let names = names.into_iter().collect();
            let otherwise = "a ServiceExport in a member makes one";
            return Err(Hinted::error(
                format!("no member exports or imports a service `{service}`"),
                there_are(names, "services", otherwise)
                    .replacen("it has", "there are", 1)
                    .replacen("its", "the", 1),
            ));
        };
        if is_both && asked.is_none() {
            output::note(&format!(
                "`{service}` is exported with the kinds of the Multi-Cluster Services API too; `--api mcs` tells of those"
            ));
        }
        Ok(world.overview(&service, kinds, &said))
    }

    /// Asks every member that the kubeconfig has a context of.
    async fn ask(&self, args: &ServiceArgs) -> Said {
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
        let asked = stream::iter(asked).buffer_unordered(SIDE_BY_SIDE);
        let mut asked = std::pin::pin!(asked.filter_map(async |told| told));
        let mut said = Said::default();
        while let Some((name, (of_fleet, of_mcs))) = asked.next().await {
            said.fleet.insert(name.clone(), of_fleet);
            said.mcs.insert(name, of_mcs);
        }
        said
    }
}

/// What members say themselves.
#[derive(Default)]
pub(super) struct Said {
    fleet: BTreeMap<String, Told>,
    mcs: BTreeMap<String, clusterset::Told>,
}

impl Said {
    /// Tells whether a member has something of the service.
    fn knows(&self, kinds: Kinds) -> bool {
        let of_fleet = |told: &Told| told.export.is_some() || !told.services.is_empty();
        let of_mcs = |told: &clusterset::Told| told.export.is_some() || told.import.is_some();
        match kinds {
            Kinds::Fleet => self.fleet.values().any(of_fleet),
            Kinds::Mcs => self.mcs.values().any(of_mcs),
        }
    }
}

async fn told(member: &Client, args: &ServiceArgs) -> anyhow::Result<(Told, clusterset::Told)> {
    let (namespace, name) = args.place();
    let export = get::<ServiceExport>(member, namespace, name).await?;
    let imports = |one: &MultiClusterService| {
        one.spec.service_import.as_ref().is_some_and(|import| import.name == name)
    };
    let services = Api::<MultiClusterService>::namespaced(member.clone(), namespace);
    let services = match services.list(&ListParams::default()).await {
        Err(error) if is_unknown(&error) => Vec::new(),
        listed => listed.context("failed to list its MultiClusterServices")?.items,
    };
    let mut told = Told { export, services: Vec::new() };
    for service in services.into_iter().filter(imports) {
        let derived = derived(member, &service).await?;
        let slices = match &derived {
            Some(derived) => slices(member, derived).await?,
            None => Vec::new(),
        };
        told.services.push(Imported { service, derived, slices });
    }
    let of_mcs = clusterset::Told {
        export: get::<mcs::ServiceExport>(member, namespace, name).await?,
        import: get::<mcs::ServiceImport>(member, namespace, name).await?,
    };
    Ok((told, of_mcs))
}

/// Tells whether a member does not have an object, or does not know the kind: it need not take part in both kinds of services.
fn is_unknown(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Returns an object of a member; nothing if the member does not know the kind.
async fn get<K>(member: &Client, namespace: &str, name: &str) -> anyhow::Result<Option<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    match Api::<K>::namespaced(member.clone(), namespace).get(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to get its {}", K::kind(&()))),
    }
}

/// Returns the EndpointSlices of a derived Service.
async fn slices(member: &Client, derived: &Service) -> anyhow::Result<Vec<EndpointSlice>> {
    let namespace = derived.metadata.namespace.as_deref().unwrap_or_default();
    let name = derived.metadata.name.as_deref().unwrap_or_default();
    let params = ListParams::default().labels(&format!("{}={name}", label::SERVICE_NAME));
    let api = Api::<EndpointSlice>::namespaced(member.clone(), namespace);
    Ok(api.list(&params).await.context("failed to list its EndpointSlices")?.items)
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

/// Returns `<namespace>/<name>` of the service of the standard that an object of the hub stands for.
fn stands_for<K: Resource>(object: &K) -> Option<String> {
    let (namespace, name) = service_of(object.meta().name.as_deref()?)?;
    Some(format!("{namespace}/{name}"))
}

fn by_service<K>(
    objects: Vec<K>,
    service: impl Fn(&K) -> Option<String>,
) -> BTreeMap<String, Vec<K>> {
    let mut by_service: BTreeMap<String, Vec<K>> = BTreeMap::new();
    for object in objects {
        if let Some(service) = service(&object) {
            by_service.entry(service).or_default().push(object);
        }
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
