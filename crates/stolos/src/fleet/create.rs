//! `stolos fleet create`.

use clap::Args;
use kube::api::Api;
use stolos_api::cluster::fleet::{AzureAccess, Fleet, FleetSpec, Hub, SecretReference};

use super::FleetName;
use super::hub::{explain, post};
use crate::cli::Output;
use crate::connect;
use crate::exit::{Exit, Hinted};
use crate::output;

#[derive(Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    fleet: FleetName,
    /// With a hub: the cluster that holds the fleet places workloads on the members
    #[arg(long)]
    hub: bool,
    /// First label of the hub's DNS name
    #[arg(long, value_name = "PREFIX", requires = "hub")]
    dns_prefix: Option<String>,
    /// Secret of the fleet's namespace with credentials for Azure; without it, members of AKS are not upgraded
    #[arg(long, value_name = "SECRET")]
    azure_credentials: Option<String>,
}

pub(super) async fn run(args: CreateArgs, output: Output) -> anyhow::Result<Exit> {
    let FleetName { name, namespace, hub } = &args.fleet;
    let client = connect::hub(hub).await?;
    let azure = args.azure_credentials.clone().map(|name| AzureAccess {
        credentials_secret: SecretReference { name },
        poll_interval_seconds: None,
    });
    let hub = args.hub.then(|| Hub { dns_prefix: args.dns_prefix.clone() });
    let mut fleet = Fleet::new(name, FleetSpec { hub, azure, allow_hub_upgrade: None });
    fleet.metadata.namespace = Some(namespace.clone());
    match Api::namespaced(client, namespace).create(&post(), &fleet).await {
        Ok(created) => {
            let kind = if args.hub { "with a hub" } else { "without a hub" };
            output::outcome(name, &created, &format!("fleet `{name}` created, {kind}"), output)?;
            if output == Output::Table {
                output::note(&format!(
                    "`stolos member join NAME --fleet {name}` adds clusters to it"
                ));
            }
            Ok(Exit::Success)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Err(Hinted::error(
            format!("fleet `{name}` exists already in namespace `{namespace}`"),
            format!("`stolos fleet show {name}` shows it; choose another name or --namespace"),
        )),
        Err(error) => Err(explain(&format!("failed to create fleet `{name}`"), error)),
    }
}
