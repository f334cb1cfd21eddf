//! The fleet that a command is about, and what its hub says when it refuses.

use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stolos_api::cluster::fleet::{FleetMember, object_name, short_name};
use stolos_api::update::{UpdateRun, UpdateStrategy};

use crate::cli::FleetArgs;
use crate::connect::{self, there_are};
use crate::exit::Hinted;

pub(super) use crate::connect::explain;

/// What to do when a fleet has nothing of a kind.
const OTHER_FLEET: &str = "name another fleet with --fleet and --namespace";

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Field manager of what these commands write.
pub(super) const MANAGER: &str = "stolos";

/// A fleet on its hub.
pub(super) struct Fleet {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Fleet {
    pub(super) async fn connect(args: &FleetArgs) -> anyhow::Result<Self> {
        let client = connect::hub(&args.hub).await?;
        Ok(Self { client, namespace: args.namespace.clone(), name: args.fleet.clone() })
    }

    pub(super) fn runs(&self) -> Api<UpdateRun> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the name of the object of the fleet that has this name within it.
    pub(super) fn object_name(&self, name: &str) -> String {
        object_name(&self.name, name)
    }

    /// Returns the name of an object within the fleet.
    pub(super) fn short_name<'a>(&self, object: &'a impl Resource<DynamicType = ()>) -> &'a str {
        let name = object.meta().name.as_deref().unwrap_or_default();
        short_name(&self.name, name).unwrap_or(name)
    }

    /// Returns the run of this name.
    pub(super) async fn run(&self, name: &str) -> anyhow::Result<UpdateRun> {
        let doing = format!("failed to get update run `{name}`");
        match self.runs().get_opt(&self.object_name(name)).await {
            Ok(Some(run)) => Ok(run),
            Ok(None) => Err(self.no_run(name).await),
            Err(error) => Err(explain(&doing, error)),
        }
    }

    async fn no_run(&self, name: &str) -> anyhow::Error {
        let message = format!("there is no update run `{name}` in {self}");
        let names = match self.list::<UpdateRun>("update runs").await {
            Ok(runs) => runs.iter().map(|run| format!("`{}`", self.short_name(run))).collect(),
            Err(error) => return error,
        };
        Hinted::error(message, there_are(names, "update runs", OTHER_FLEET))
    }

    /// Returns an error unless the fleet has this strategy.
    pub(super) async fn require_strategy(&self, name: &str) -> anyhow::Result<()> {
        let strategies = self.list::<UpdateStrategy>("update strategies").await?;
        if strategies.iter().any(|strategy| self.short_name(strategy) == name) {
            return Ok(());
        }
        let names =
            strategies.iter().map(|strategy| format!("`{}`", self.short_name(strategy))).collect();
        let message = format!("there is no update strategy `{name}` in {self}");
        Err(Hinted::error(message, there_are(names, "update strategies", OTHER_FLEET)))
    }

    /// Returns an error unless the fleet exists.
    pub(super) async fn require(&self) -> anyhow::Result<()> {
        let fleets: Api<stolos_api::cluster::fleet::Fleet> =
            Api::namespaced(self.client.clone(), &self.namespace);
        match fleets.get_opt(&self.name).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let hint =
                    "name another with --fleet and --namespace; `kubectl get fleets -A` lists them";
                Err(Hinted::error(format!("there is no {self}"), hint))
            }
            Err(error) => Err(explain(&format!("failed to get {self}"), error)),
        }
    }

    pub(super) async fn members(&self) -> anyhow::Result<Vec<FleetMember>> {
        self.list("members").await
    }

    /// Returns the fleet's objects of a kind, by name.
    pub(super) async fn list<K>(&self, what: &str) -> anyhow::Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut params =
            ListParams::default().fields(&format!("spec.fleetName={}", self.name)).limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = api.list(&params).await;
            let page = page
                .map_err(|error| explain(&format!("failed to list the {what} of {self}"), error))?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fleet `{}` in namespace `{}`", self.name, self.namespace)
    }
}
