//! Asks the data planes of the importing members for their figures.

use anyhow::Context;
use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use stolos_dataplane::Figures;
use stolos_member::balance::announce::{DATA_PLANE, FIGURES};

use super::world::World;
use crate::cli::HubClientArgs;
use crate::connect;
use crate::exit::Hinted;
use crate::http;

/// Data planes that are asked at the same time.
const SIDE_BY_SIDE: usize = 8;

/// A data plane that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The member whose services it serves, or its URL.
    pub(super) importer: String,
    url: String,
}

impl Source {
    /// Returns the data plane at this URL.
    pub(super) fn at(url: &str) -> Self {
        Self { importer: url.to_owned(), url: url.to_owned() }
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
) -> anyhow::Result<Vec<Source>> {
    let world = World::read(args).await?;
    let asked = world.members().map(async |name| {
        let member = connect::member(args, name).await.ok().flatten()?;
        let config =
            Api::<ConfigMap>::namespaced(member, system_namespace).get_opt(DATA_PLANE).await;
        let url = config.ok().flatten()?.data?.remove(FIGURES)?;
        Some(Source { importer: name.to_owned(), url })
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
