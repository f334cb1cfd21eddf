//! The fleet that a command is about, and what its hub says when it refuses.

use anyhow::anyhow;
use kube::api::{Api, ListParams};
use kube::core::Status;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stolos_api::cluster::fleet::{FleetMember, object_name, short_name};
use stolos_api::update::{UpdateRun, UpdateStrategy};

use crate::cli::FleetArgs;
use crate::connect;
use crate::exit::Hinted;

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
        let client = connect::hub(args).await?;
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
        Hinted::error(message, there_are(names, "update runs"))
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
        Err(Hinted::error(message, there_are(names, "update strategies")))
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

/// Most names in a hint.
const MOST_NAMES: usize = 10;

fn there_are(mut names: Vec<String>, what: &str) -> String {
    if names.is_empty() {
        return format!("it has no {what}; name another fleet with --fleet and --namespace");
    }
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("its {what} are {}{more}", names.join(", "))
}

/// Turns what a request to the hub ended with into what a person can read.
pub(super) fn explain(doing: &str, error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => refused(doing, &status),
        kube::Error::Service(error) => Hinted::error(
            format!("{doing}: the hub does not answer: {}", chain(error.as_ref())),
            "see whether the fleet runs (`stolos up`) and whether --kubeconfig and --context name its hub",
        ),
        error => anyhow::Error::from(error).context(doing.to_owned()),
    }
}

/// Returns an error with its causes: what happened to the connection is in the last one.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refused(doing: &str, status: &Status) -> anyhow::Error {
    let details = status.details.as_ref();
    let causes = details.map(|details| details.causes.as_slice()).unwrap_or_default();
    if status.is_invalid() && !causes.is_empty() {
        let line = |field: &str, message: &str| match field {
            "" | "<nil>" => format!("\n  {message}"),
            field => format!("\n  {field}: {message}"),
        };
        let lines: String = causes.iter().map(|cause| line(&cause.field, &cause.message)).collect();
        return anyhow!("{doing}: the hub does not accept it:{lines}");
    }
    let kind_is_unknown =
        status.is_not_found() && details.is_none_or(|details| details.name.is_empty());
    if kind_is_unknown {
        return Hinted::error(
            format!("{doing}: the hub does not know the kinds of Stolos"),
            "install them with `stolos crds | kubectl apply --server-side -f -`, or name another hub with --context",
        );
    }
    anyhow!("{doing}: {}", status.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_field_that_is_wrong_gets_a_line() {
        let status = status(json!({
            "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "UpdateRun.fleet.stolos.dev \"local.june\" is invalid: [spec.strategyName: …]",
            "details": { "name": "local.june", "causes": [
                { "field": "spec.strategyName", "reason": "FieldValueInvalid",
                  "message": "Invalid value: strategy and strategyName cannot both be set" },
                { "field": "<nil>", "message": "one more" },
            ]},
        }));
        insta::assert_snapshot!(refused("failed to create update run `june`", &status), @"
        failed to create update run `june`: the hub does not accept it:
          spec.strategyName: Invalid value: strategy and strategyName cannot both be set
          one more
        ");
    }

    #[test]
    fn a_hub_without_our_kinds_is_told_from_a_missing_object() {
        let of = |details| {
            status(
                json!({ "code": 404, "reason": "NotFound", "message": "gone", "details": details }),
            )
        };
        assert!(refused("x", &of(json!({}))).to_string().contains("does not know the kinds"));
        assert_eq!(refused("x", &of(json!({ "name": "local.june" }))).to_string(), "x: gone");
    }
}
