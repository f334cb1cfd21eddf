//! Asks the data planes of the importing members for their figures.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams};
use stolos_api::network::MultiClusterService;
use stolos_api::network::names::label;
use stolos_core::network::names;
use stolos_dataplane::Figures;
use stolos_member::balance::announce::{DATA_PLANE, FIGURES};

use super::world::World;
use crate::cli::HubClientArgs;
use crate::connect;
use crate::exit::Hinted;
use crate::http;

/// Data planes that are asked at the same time.
const SIDE_BY_SIDE: usize = 8;

/// A service that the user names: its namespace and its name.
pub(super) type Wanted<'a> = Option<(&'a str, &'a str)>;

/// A data plane that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The member whose services it serves, or its URL.
    pub(super) importer: String,
    url: String,
    /// Names of the derived Services to show; all without.
    derived: Option<BTreeSet<String>>,
}

impl Source {
    /// Returns the data plane at this URL. As its member is not asked, a derived Service is known by its plain name only.
    pub(super) fn at(url: &str, wanted: Wanted<'_>) -> Self {
        let plain = wanted.map(|(namespace, name)| {
            BTreeSet::from([names::derived_service(namespace, name, &BTreeMap::new())])
        });
        Self { importer: url.to_owned(), url: url.to_owned(), derived: plain }
    }

    /// Tells whether a derived Service, given as `<namespace>/<name>`, is to be shown.
    pub(super) fn shows(&self, service: &str) -> bool {
        let name = service.split_once('/').map_or(service, |(_, name)| name);
        self.derived.as_ref().is_none_or(|derived| derived.contains(name))
    }

    /// Asks for the figures.
    pub(super) async fn ask(&self) -> anyhow::Result<Figures> {
        let failed =
            || format!("failed to ask the data plane of `{}` at {}", self.importer, self.url);
        let answer = http::get(&self.url).await.with_context(failed)?;
        serde_json::from_slice(&answer).with_context(failed)
    }
}

/// Finds the data planes of all members that the kubeconfig has contexts of.
pub(super) async fn sources(
    args: &HubClientArgs,
    system_namespace: &str,
    wanted: Wanted<'_>,
) -> anyhow::Result<Vec<Source>> {
    let world = World::read(args).await?;
    let asked = world.members().map(async |name| {
        let member = connect::member(args, name).await.ok().flatten()?;
        let configs = Api::<ConfigMap>::namespaced(member.clone(), system_namespace);
        let url = configs.get_opt(DATA_PLANE).await.ok().flatten()?.data?.remove(FIGURES)?;
        let derived = match wanted {
            Some(service) => Some(derived(member, service).await?),
            None => None,
        };
        Some(Source { importer: name.to_owned(), url, derived })
    });
    let found = stream::iter(asked).buffered(SIDE_BY_SIDE);
    let found: Vec<_> = found.filter_map(async |source| source).collect().await;
    if found.is_empty() {
        return Err(Hinted::error(
            "no data plane says where its figures are".to_owned(),
            "run `stolos dataplane` with --metrics-bind-address or --figures-url, give the kubeconfig contexts with \
             the names of the members, or name a URL with --figures",
        ));
    }
    Ok(found)
}

/// Returns the names of the Services that a member has derived for a service.
async fn derived(member: Client, (namespace, name): (&str, &str)) -> Option<BTreeSet<String>> {
    let services = Api::<MultiClusterService>::namespaced(member, namespace);
    let services = services.list(&ListParams::default()).await.ok()?;
    let imports = |one: &MultiClusterService| {
        one.spec.service_import.as_ref().is_some_and(|import| import.name == name)
    };
    let derived = services.into_iter().filter(imports).filter_map(|one| {
        one.metadata.labels.and_then(|mut labels| labels.remove(label::DERIVED_SERVICE))
    });
    Some(derived.collect())
}
