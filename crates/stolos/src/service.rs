//! `stolos service` and `stolos explain service`.
//!
//! They are about services of Azure's kinds and of the standard's; rates are those of our data planes, which serve Azure's.
//!
//! What stands in the way of a service is decided in `stolos-core`; here is what is read for that from the hub and from
//! those members that the kubeconfig has contexts of.

use clap::{Args, Subcommand, ValueEnum};
use stolos_core::network::overview::Api;

use crate::cli::{HubClientArgs, Output};
use crate::exit::Exit;

mod explain;
mod figures;
mod list;
mod rates;
mod show;
mod top;
mod world;

#[derive(Subcommand)]
pub(crate) enum ServiceCommand {
    /// Lists the services that members export or import
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  stolos service list\n  stolos service list -n shop\n  stolos service list -o wide"
    )]
    List(list::ListArgs),
    /// Shows who exports a service, with which share of the connections, and who imports it
    #[command(
        after_help = "Examples:\n  stolos service show web -n shop\n  stolos service show web -n shop -o json\n\nMembers are asked for what they know themselves where the kubeconfig has a context with their name."
    )]
    Show(ServiceArgs),
    /// Tells why connections to a service do not go where they should
    #[command(
        after_help = "Examples:\n  stolos service explain web -n shop\n  stolos service explain shop/web\n  stolos explain service web -n shop\n\nMembers are asked for what they know themselves where the kubeconfig has a context with their name."
    )]
    Explain(ServiceArgs),
    /// Shows live rates of every cluster and endpoint, as the data planes of the importing members count them
    #[command(
        after_help = "Examples:\n  stolos service top\n  stolos service top web -n shop --interval 5s\n  stolos service top --once -o json\n  stolos service top --figures http://10.0.0.7:8090/figures\n\nData planes are found through contexts that have the names of members, or are named with --figures."
    )]
    Top(top::TopArgs),
}

/// Names a service.
#[derive(Args, Clone)]
pub(crate) struct ServiceArgs {
    /// Name of the service: web, or with its namespace, shop/web
    pub(crate) name: String,
    /// Namespace of the service
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Kinds that the service is exported with, if it is with both; fleet unless named
    #[arg(long, value_name = "API")]
    pub(crate) api: Option<Kinds>,
    #[command(flatten)]
    pub(crate) hub: HubClientArgs,
}

/// Kinds that a service is exported with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kinds {
    /// Those of networking.fleet.azure.com
    Fleet,
    /// Those of multicluster.x-k8s.io
    Mcs,
}

impl From<Kinds> for Api {
    fn from(kinds: Kinds) -> Self {
        match kinds {
            Kinds::Fleet => Self::Fleet,
            Kinds::Mcs => Self::Mcs,
        }
    }
}

impl ServiceArgs {
    /// Returns namespace and name of the service.
    fn place(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or((&self.namespace, &self.name))
    }

    fn key(&self) -> String {
        let (namespace, name) = self.place();
        format!("{namespace}/{name}")
    }
}

/// Runs one of the commands.
pub(crate) async fn run(command: ServiceCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        ServiceCommand::List(args) => list::run(args, output).await,
        ServiceCommand::Show(args) => show::run(args, output).await,
        ServiceCommand::Explain(args) => explain::run(args, output).await,
        ServiceCommand::Top(args) => top::run(args, output).await,
    }
}

/// Runs `stolos explain service`.
pub(crate) async fn explain(args: ServiceArgs, output: Output) -> anyhow::Result<Exit> {
    explain::run(args, output).await
}
