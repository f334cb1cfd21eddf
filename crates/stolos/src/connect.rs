//! Clients of clusters from kubeconfig files.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};

use crate::cli::HubClientArgs;
use crate::exit::Hinted;
use crate::kubefleet;

/// Where `stolos up` leaves the kubeconfig in the present directory.
const LOCAL_KUBECONFIG: &str = ".stolos/kubeconfig";

/// Returns a client for the hub that the user means.
pub(crate) async fn hub(args: &HubClientArgs) -> anyhow::Result<Client> {
    from_file(path(args).as_deref(), args.context.as_deref()).await
}

/// Returns a client for a member, if the kubeconfig has a context with its name.
pub(crate) async fn member(args: &HubClientArgs, name: &str) -> anyhow::Result<Option<Client>> {
    let kubeconfig = read(path(args).as_deref())?;
    if !kubeconfig.contexts.iter().any(|context| context.name == name) {
        return Ok(None);
    }
    client(kubeconfig, Some(name)).await.map(Some)
}

/// Returns the kubeconfig file that the user means, if it is not the one that kubectl would read.
fn path(args: &HubClientArgs) -> Option<PathBuf> {
    let from_environment = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let local = PathBuf::from(LOCAL_KUBECONFIG);
    args.kubeconfig.clone().or_else(|| (!from_environment && local.is_file()).then_some(local))
}

/// Returns a client for a role: from a kubeconfig, or from the pod's service account.
pub(crate) async fn role(path: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    match (path, Config::incluster()) {
        (None, Ok(config)) => {
            Client::try_from(config).context("failed to use the pod's service account")
        }
        _ => from_file(path, context).await,
    }
}

/// Returns a client for the hub that the environment names.
pub(crate) async fn told(hub: kubefleet::Hub) -> anyhow::Result<Client> {
    let options = KubeConfigOptions::default();
    let failed = "failed to use what HUB_SERVER_URL and the variables beside it say";
    let mut config =
        Config::from_custom_kubeconfig(hub.kubeconfig, &options).await.context(failed)?;
    config.headers.extend(hub.headers);
    Client::try_from(config).context(failed)
}

async fn from_file(path: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    client(read(path)?, context).await
}

fn read(path: Option<&Path>) -> anyhow::Result<Kubeconfig> {
    match path {
        Some(path) => Kubeconfig::read_from(path)
            .with_context(|| format!("failed to read kubeconfig `{}`", path.display())),
        None => Kubeconfig::read().map_err(|error| {
            Hinted::error(
                format!("no kubeconfig: {error}"),
                "start a fleet with `stolos up`, or name a file with --kubeconfig",
            )
        }),
    }
}

async fn client(kubeconfig: Kubeconfig, context: Option<&str>) -> anyhow::Result<Client> {
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .context("failed to use the kubeconfig")?;
    Client::try_from(config).context("failed to use the kubeconfig")
}

/// Most names in a hint.
const MOST_NAMES: usize = 10;

/// Returns which objects there are, and what else to try when there are none.
pub(crate) fn there_are(mut names: Vec<String>, what: &str, otherwise: &str) -> String {
    if names.is_empty() {
        return format!("it has no {what}; {otherwise}");
    }
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("its {what} are {}{more}", names.join(", "))
}

/// Turns what a request to the hub ended with into what a person can read.
pub(crate) fn explain(doing: &str, error: kube::Error) -> anyhow::Error {
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
