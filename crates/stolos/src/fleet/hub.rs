//! The fleet that a command is about and what belongs to it, on the hub.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::Context;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stolos_api::cluster::fleet::{FleetMember, object_name, short_name};
use stolos_api::update::{AutoUpgradeProfile, Gate, UpdateRun, UpdateStrategy};

use crate::cli::FleetArgs;
use crate::connect::{self, there_are};
use crate::exit::Hinted;

pub(crate) use crate::connect::explain;

/// What to do when a fleet has nothing of a kind.
const OTHER_FLEET: &str = "name another fleet with --fleet and --namespace";

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// How often a change is tried again because somebody else wrote in between.
const ATTEMPTS: usize = 10;

/// Field manager of what the commands write.
pub(crate) const MANAGER: &str = "stolos";

/// A kind of object that belongs to a fleet, with its words for people.
pub(crate) trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
    /// What one of them is called.
    const ONE: &'static str;
    /// What several are called.
    const MANY: &'static str;
    /// The command about them.
    const COMMAND: &'static str;
}

impl Child for UpdateRun {
    const ONE: &'static str = "update run";
    const MANY: &'static str = "update runs";
    const COMMAND: &'static str = "updaterun";
}

impl Child for UpdateStrategy {
    const ONE: &'static str = "update strategy";
    const MANY: &'static str = "update strategies";
    const COMMAND: &'static str = "strategy";
}

impl Child for AutoUpgradeProfile {
    const ONE: &'static str = "auto-upgrade profile";
    const MANY: &'static str = "auto-upgrade profiles";
    const COMMAND: &'static str = "autoupgrade";
}

impl Child for Gate {
    const ONE: &'static str = "gate";
    const MANY: &'static str = "gates";
    const COMMAND: &'static str = "gate";
}

impl Child for FleetMember {
    const ONE: &'static str = "member";
    const MANY: &'static str = "members";
    const COMMAND: &'static str = "member";
}

/// Returns how the commands write.
pub(crate) fn post() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// A fleet on its hub.
pub(crate) struct Fleet {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Fleet {
    pub(crate) async fn connect(args: &FleetArgs) -> anyhow::Result<Self> {
        let client = connect::hub(&args.hub).await?;
        Ok(Self { client, namespace: args.namespace.clone(), name: args.fleet.clone() })
    }

    pub(crate) fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the name of the object of the fleet that has this name within it.
    pub(crate) fn object_name(&self, name: &str) -> String {
        object_name(&self.name, name)
    }

    /// Returns the name of an object within the fleet.
    pub(crate) fn short_name<'a>(&self, object: &'a impl Resource<DynamicType = ()>) -> &'a str {
        let name = object.meta().name.as_deref().unwrap_or_default();
        short_name(&self.name, name).unwrap_or(name)
    }

    /// Returns the object of a kind that has this name, or says which ones there are.
    pub(crate) async fn get<K: Child>(&self, name: &str) -> anyhow::Result<K> {
        let doing = format!("failed to get {} `{name}`", K::ONE);
        let found = self.api::<K>().get_opt(&self.object_name(name)).await;
        match found.map_err(|error| explain(&doing, error))? {
            Some(object) => Ok(object),
            None => Err(self.has_no::<K>(name).await),
        }
    }

    async fn has_no<K: Child>(&self, name: &str) -> anyhow::Error {
        let message = format!("there is no {} `{name}` in {self}", K::ONE);
        let names = match self.list::<K>().await {
            Ok(objects) => objects.iter().map(|o| format!("`{}`", self.short_name(o))).collect(),
            Err(error) => return error,
        };
        Hinted::error(message, there_are(names, K::MANY, OTHER_FLEET))
    }

    /// Returns an error unless the fleet exists.
    pub(crate) async fn require(&self) -> anyhow::Result<()> {
        let fleets: Api<stolos_api::cluster::fleet::Fleet> =
            Api::namespaced(self.client.clone(), &self.namespace);
        match fleets.get_opt(&self.name).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let hint =
                    "name another with --fleet and --namespace; `stolos fleet list -A` lists them";
                Err(Hinted::error(format!("there is no {self}"), hint))
            }
            Err(error) => Err(explain(&format!("failed to get {self}"), error)),
        }
    }

    /// Returns the fleet's objects of a kind, by name.
    pub(crate) async fn list<K: Child>(&self) -> anyhow::Result<Vec<K>> {
        let api = self.api::<K>();
        let doing = format!("failed to list the {} of {self}", K::MANY);
        let mut params =
            ListParams::default().fields(&format!("spec.fleetName={}", self.name)).limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = api.list(&params).await.map_err(|error| explain(&doing, error))?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }

    /// Creates an object whose name within the fleet is `name`.
    pub(crate) async fn create<K: Child>(&self, name: &str, object: &K) -> anyhow::Result<K> {
        let created = self.api::<K>().create(&post(), object).await;
        created.map_err(|error| self.not_created::<K>(name, error))
    }

    /// Says why an object was not created.
    pub(crate) fn not_created<K: Child>(&self, name: &str, error: kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(status) if status.is_already_exists() => Hinted::error(
                format!("{} `{name}` exists already in {self}", K::ONE),
                format!("`stolos {} show {name}` shows it; choose another name", K::COMMAND),
            ),
            error => explain(&format!("failed to create {} `{name}`", K::ONE), error),
        }
    }

    /// Changes an object at the state that was seen, again when somebody else was faster. Returns it with whether there
    /// was anything to change.
    pub(crate) async fn change<K: Child + PartialEq>(
        &self,
        name: &str,
        change: impl Fn(&mut K) -> anyhow::Result<()>,
    ) -> anyhow::Result<(K, bool)> {
        let mut attempt = 1;
        loop {
            let before: K = self.get(name).await?;
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok((before, false));
            }
            match self.api::<K>().replace(&self.object_name(name), &post(), &after).await {
                Ok(written) => return Ok((written, true)),
                Err(kube::Error::Api(status)) if status.is_conflict() && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => {
                    return Err(explain(&format!("failed to change {} `{name}`", K::ONE), error));
                }
            }
        }
    }

    /// Deletes an object and waits until it is gone; somebody may be faster. `hint` says what to do if it stays.
    pub(crate) async fn delete<K: Child>(
        &self,
        object: &K,
        within: Duration,
        hint: &str,
    ) -> anyhow::Result<()> {
        let name = self.short_name(object);
        let what = format!("{} `{name}`", K::ONE);
        let object_name = self.object_name(name);
        let uid = object.meta().uid.clone().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api::<K>().delete(&object_name, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(error) => return Err(explain(&format!("failed to delete {what}"), error)),
        }
        let gone = await_condition(self.api::<K>(), &object_name, conditions::is_deleted(&uid));
        match tokio::time::timeout(within, gone).await {
            Ok(gone) => {
                gone.with_context(|| format!("failed to see whether {what} is gone")).map(|_| ())
            }
            Err(_) => Err(Hinted::error(
                format!("{what} is marked for deletion but not gone after {} s", within.as_secs()),
                hint,
            )),
        }
    }
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fleet `{}` in namespace `{}`", self.name, self.namespace)
    }
}
