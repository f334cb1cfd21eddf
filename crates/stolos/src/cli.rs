//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use stolos_controller::leader::Times;

use crate::auto_upgrade::AutoUpgradeCommand;
use crate::dns_options::DnsOptions;
use crate::fleet::FleetCommand;
use crate::gate::GateCommand;
use crate::gateway_options::{EntryOptions, GatewayOptions};
use crate::hub_options::{HubOptions, ServiceImporters};
use crate::limit_options::LimitOptions;
use crate::member::MemberCommand;
use crate::placement::{ExplainCommand, PlacementCommand, PlanCommand};
use crate::service::ServiceCommand;
use crate::strategy::StrategyCommand;
use crate::update_run::UpdateRunCommand;

/// Fleet manager for Kubernetes clusters.
#[derive(Parser)]
#[command(name = "stolos", version, about, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Examples:\n  stolos up                           a whole fleet on this machine\n  stolos plan placement -f shop.yaml  where it would go, and why not elsewhere\n  stolos explain placement shop       why it is not there yet\n  stolos updaterun create june --kubernetes-version 1.35.0 --start --wait\n  stolos demo                         a guided tour that checks itself"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// Output format of data on standard output
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Logs what the program does
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// Which hub a command is about.
#[derive(Args, Clone)]
pub(crate) struct HubClientArgs {
    /// Kubeconfig of the hub [default: KUBECONFIG, else .stolos/kubeconfig, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the hub in the kubeconfig [default: its current context]
    #[arg(long)]
    pub(crate) context: Option<String>,
}

/// Which fleet a command is about.
#[derive(Args, Clone)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    pub(crate) hub: HubClientArgs,
    /// Namespace of the fleet (its resource group)
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Name of the fleet
    #[arg(long, default_value = "local")]
    pub(crate) fleet: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names only
    Name,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Starts a whole fleet in this process: hub, simulated members, controllers and agents
    Up(UpArgs),
    /// Shows what Stolos does on a fleet of its own, checking every step
    Demo(DemoArgs),
    /// Runs the hub's controllers against a hub cluster
    Hub(HubArgs),
    /// Joins, lists, shows, changes and removes members; without a command, runs the agent of one member
    Member(Box<MemberArgs>),
    /// Plays scheduler and kubelets on an API server that has none
    Simulate(SimulateArgs),
    /// Brings connections to the services that a member imports to their endpoints in all clusters
    Dataplane(DataplaneArgs),
    /// Creates, lists, shows, changes and deletes fleets
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Creates, starts, stops and shows update runs
    #[command(subcommand, name = "updaterun", visible_alias = "ur")]
    UpdateRun(UpdateRunCommand),
    /// Creates, lists, shows, changes and deletes the sequences that update runs follow
    #[command(subcommand)]
    Strategy(StrategyCommand),
    /// Creates, lists, shows, changes and deletes profiles that make update runs by themselves
    #[command(subcommand, name = "autoupgrade", visible_alias = "au")]
    AutoUpgrade(AutoUpgradeCommand),
    /// Lists and shows what update runs wait for, and lets them pass
    #[command(subcommand)]
    Gate(GateCommand),
    /// Lists, shows and follows placements, and takes their objects back to an earlier state
    #[command(subcommand, visible_alias = "pl")]
    Placement(PlacementCommand),
    /// Lists and shows services across clusters, and where their connections go
    #[command(subcommand, visible_alias = "svc")]
    Service(ServiceCommand),
    /// Shows what would happen, without doing it
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Shows what will happen in a fleet, and when
    #[command(after_help = crate::update_run::calendar::EXAMPLES)]
    Calendar(crate::update_run::calendar::CalendarArgs),
    /// Tells why something has not happened yet
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Prints the CustomResourceDefinitions, to be applied with kubectl
    Crds(CrdsArgs),
    /// Prints this reference as Markdown
    #[command(hide = true)]
    CliReference,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  stolos up\n  stolos up --members 5 --ephemeral\n  stolos up --base-port 0 -o json"
)]
pub(crate) struct UpArgs {
    /// Number of simulated member clusters [default: 3, or as many as the data directory has]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) members: Option<u32>,
    /// Directory that keeps everything; starting again with it goes on where it stopped
    #[arg(long, value_name = "DIR", default_value = ".stolos")]
    pub(crate) data_dir: PathBuf,
    /// Keeps everything in memory; nothing is left when it stops
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) ephemeral: bool,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) listen: IpAddr,
    /// First port: the hub listens on the next one, the members after it; 0 takes any free ports
    #[arg(long, value_name = "P", default_value_t = 7440)]
    pub(crate) base_port: u16,
    /// Where to write the kubeconfig [default: kubeconfig in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Adds the contexts to ~/.kube/config as well
    #[arg(long)]
    pub(crate) merge: bool,
    /// From a pod being scheduled to being ready
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = duration)]
    pub(crate) pod_delay: Duration,
    /// How long the upgrade of one simulated node takes
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(crate) node_upgrade_time: Duration,
    /// Whether services are exported to other members, imported from them and given addresses
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_networking_features: bool,
    /// How many members may import a service at the same time: `one`, as fleet-networking, or `many`
    #[arg(long, value_enum, default_value_t = ServiceImporters::One)]
    pub(crate) service_importers: ServiceImporters,
    /// Whether members have ServiceExports and ServiceImports of the Multi-Cluster Services API
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_mcs_api: bool,
    #[command(flatten)]
    pub(crate) dns: DnsOptions,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  stolos demo\n\nExit codes: 0 every step held, 1 one did not")]
pub(crate) struct DemoArgs {}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  stolos hub --hub-kubeconfig hub.yaml\n  stolos hub --hub-kubeconfig clusters.yaml --hub-context hub"
)]
pub(crate) struct HubArgs {
    #[command(flatten)]
    pub(crate) hub: HubConnection,
    #[command(flatten)]
    pub(crate) leader: LeaderArgs,
    #[command(flatten)]
    pub(crate) observe: ObserveArgs,
    #[command(flatten)]
    pub(crate) options: HubOptions,
    #[command(flatten)]
    pub(crate) dns: DnsOptions,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  stolos member list\n  stolos member taint member-1 maintenance=july:NoSchedule\n  stolos member --name east --hub-kubeconfig hub.yaml --member-kubeconfig east.yaml"
)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    pub(crate) command: Option<MemberCommand>,
    /// Name of the member, as in its MemberCluster
    #[arg(long, required = true)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) hub: HubConnection,
    /// Kubeconfig of the member cluster [default: the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) member_kubeconfig: Option<PathBuf>,
    /// Context in the member's kubeconfig
    #[arg(long)]
    pub(crate) member_context: Option<String>,
    /// Tells the hub which namespaces the member has, so that ResourcePlacements can pass over members without theirs
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_namespace_collection_in_property_provider: bool,
    /// Whose properties the member tells besides those of every cluster: `azure`, which adds costs, or `none`
    #[arg(long, value_name = "NAME", default_value = "none")]
    pub(crate) property_provider: String,
    /// With --property-provider=azure: whether the member tells what a core and 1 GiB of memory cost
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) use_cost_properties_in_azure_provider: bool,
    /// With --property-provider=azure: what a node of each SKU costs an hour, as YAML or JSON (`Standard_D4s_v5: 0.192`); without it costs are not known
    #[arg(long, value_name = "FILE")]
    pub(crate) sku_prices: Option<PathBuf>,
    /// With --property-provider=azure: whether the member tells its available resources
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) use_available_res_properties_in_azure_provider: bool,
    /// Whether services are exported to other members, imported from them and given addresses
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_networking_features: bool,
    /// Whether ServiceExports and ServiceImports of the Multi-Cluster Services API work; the member must have their
    /// definitions (`stolos crds --member --mcs-api`)
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_mcs_api: bool,
    /// Whether the hub is told the addresses of exported Services, for TrafficManagerBackends
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_traffic_manager_feature: bool,
    /// Namespace of derived Services and of the endpoints of other members
    #[arg(long, value_name = "NAMESPACE", default_value = "fleet-system")]
    pub(crate) fleet_system_namespace: String,
    /// How connections get to the endpoints of imported services whose annotations say nothing else
    #[arg(long, value_name = "MODE", value_enum, default_value_t = BalancingMode::Service)]
    pub(crate) balancing_mode: BalancingMode,
    /// Lets endpoints have loopback addresses, for clusters that are all on this machine
    #[arg(long)]
    pub(crate) allow_loopback: bool,
    #[command(flatten)]
    pub(crate) entries: EntryOptions,
    #[command(flatten)]
    pub(crate) leader: LeaderArgs,
    /// Minutes that a withdrawn Work waits for objects that others own too
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) deletion_wait_time: u64,
    #[command(flatten)]
    pub(crate) observe: ObserveArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// How whoever works for a member shows the hub who it is.
#[derive(Args)]
pub(crate) struct IdentityArgs {
    /// With HUB_SERVER_URL: IDENTITY_CERT and IDENTITY_KEY say who the agent is, not the token in CONFIG_PATH
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) use_ca_auth: bool,
    /// With HUB_SERVER_URL: trusts whatever certificate the hub has
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) tls_insecure: bool,
}

/// How connections get to the endpoints of imported services.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BalancingMode {
    /// By the load balancer of the cluster and its service proxy
    Service,
    /// By `stolos dataplane`
    Proxy,
}

impl From<BalancingMode> for stolos_core::network::knobs::Mode {
    fn from(mode: BalancingMode) -> Self {
        match mode {
            BalancingMode::Service => Self::Service,
            BalancingMode::Proxy => Self::Proxy,
        }
    }
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  stolos dataplane --name east --hub-kubeconfig hub.yaml --member-kubeconfig east.yaml --address-pool 192.0.2.0/28"
)]
pub(crate) struct DataplaneArgs {
    /// Name of the member, as in its MemberCluster
    #[arg(long)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) hub: HubConnection,
    /// Kubeconfig of the member cluster [default: the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) member_kubeconfig: Option<PathBuf>,
    /// Context in the member's kubeconfig
    #[arg(long)]
    pub(crate) member_context: Option<String>,
    /// Network from which services get their addresses, such as 192.0.2.0/28; this machine must have them
    #[arg(long, value_name = "CIDR")]
    pub(crate) address_pool: stolos_core::network::pool::Pool,
    /// Directory with the last state, by which a start without hub and member goes on. A second process with the same
    /// directory takes over from the first one without losing a connection
    #[arg(long, value_name = "DIR", default_value = ".stolos/dataplane")]
    pub(crate) folder: PathBuf,
    /// Lets endpoints have loopback addresses, for clusters that are all on this machine
    #[arg(long)]
    pub(crate) allow_loopback: bool,
    #[command(flatten)]
    pub(crate) gateway: GatewayOptions,
    /// Threads that move bytes [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Namespace of derived Services and of the endpoints of other members
    #[arg(long, value_name = "NAMESPACE", default_value = "fleet-system")]
    pub(crate) fleet_system_namespace: String,
    /// Where `stolos service top` asks for live figures [default: /figures at --metrics-bind-address, if that is an address
    /// that others can ask]
    #[arg(long, value_name = "URL")]
    pub(crate) figures_url: Option<String>,
    #[command(flatten)]
    pub(crate) observe: ObserveArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Where a role can be looked at.
#[derive(Args)]
pub(crate) struct ObserveArgs {
    /// Address of /metrics, /healthz and /readyz, such as :8090 [default: not served]
    #[arg(long, value_name = "ADDRESS", value_parser = crate::observe::address)]
    pub(crate) metrics_bind_address: Option<std::net::SocketAddr>,
    /// Another address of the same
    #[arg(long, value_name = "ADDRESS", value_parser = crate::observe::address)]
    pub(crate) health_probe_bind_address: Option<std::net::SocketAddr>,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  stolos simulate --name east --member-kubeconfig east.yaml")]
pub(crate) struct SimulateArgs {
    /// Name of the cluster, a prefix of its nodes' names
    #[arg(long)]
    pub(crate) name: String,
    /// Kubeconfig of the cluster
    #[arg(long, value_name = "FILE")]
    pub(crate) member_kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long)]
    pub(crate) member_context: Option<String>,
    /// Region of the nodes
    #[arg(long, default_value = "westeurope")]
    pub(crate) region: String,
    /// Number of nodes
    #[arg(long, default_value_t = 2)]
    pub(crate) nodes: u32,
    /// From a pod being scheduled to being ready
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = duration)]
    pub(crate) pod_delay: Duration,
    /// How long the upgrade of one node takes
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(crate) node_upgrade_time: Duration,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
}

/// How to reach the hub, for the roles.
#[derive(Args)]
pub(crate) struct HubConnection {
    /// Kubeconfig of the hub cluster [default: the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) hub_kubeconfig: Option<PathBuf>,
    /// Context in the hub's kubeconfig
    #[arg(long)]
    pub(crate) hub_context: Option<String>,
}

#[derive(Args)]
pub(crate) struct LeaderArgs {
    /// Runs without a lease; only when nothing else runs this role
    #[arg(long)]
    pub(crate) no_leader_election: bool,
    /// Whether to hold a lease while working
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) leader_elect: bool,
    /// Namespace of the lease
    #[arg(long, value_name = "NAMESPACE", default_value = "fleet-system")]
    pub(crate) leader_election_namespace: String,
    /// How long the lease holds without being renewed
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) leader_lease_duration: Duration,
    /// A leader that could not renew the lease for so long stops; less than the lease holds
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = duration)]
    pub(crate) leader_renew_deadline: Duration,
    /// Time between renewals, and between tries to take the lease; less than the deadline
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) leader_retry_period: Duration,
}

impl LeaderArgs {
    /// Tells whether a lease is wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        self.leader_elect && !self.no_leader_election
    }

    /// Returns the times of the lease.
    ///
    /// # Errors
    /// When they do not fit together.
    pub(crate) fn times(&self) -> anyhow::Result<Times> {
        let times =
            (self.leader_lease_duration, self.leader_renew_deadline, self.leader_retry_period);
        Times::new(times.0, times.1, times.2)
            .context("--leader-lease-duration, --leader-renew-deadline and --leader-retry-period")
    }
}

#[derive(Args)]
pub(crate) struct CrdsArgs {
    /// Only those that live on member clusters
    #[arg(long)]
    pub(crate) member: bool,
    /// With --member: also those of the Multi-Cluster Services API. Beside them, `kubectl get serviceexports` shows those and
    /// not the ones of networking.fleet.azure.com, which then need their full name
    #[arg(long, requires = "member")]
    pub(crate) mcs_api: bool,
}

/// Reads a duration such as `200ms`, `2s` or `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 200ms, 2s or 1m30s");
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(args: &[&str]) -> Result<MemberArgs, clap::Error> {
        match Cli::try_parse_from([&["stolos", "member"], args].concat())?.command {
            Command::Member(args) => Ok(*args),
            _ => unreachable!("another command was parsed"),
        }
    }

    #[test]
    fn member_is_a_role_with_a_name_and_a_group_of_commands_without() {
        let role = member(&["--name", "east", "--hub-kubeconfig", "hub.yaml"]).unwrap();
        assert!(role.command.is_none());
        assert_eq!(role.name.as_deref(), Some("east"));
        let list = member(&["list", "-l", "a=b"]).unwrap();
        assert!(matches!(list.command, Some(MemberCommand::List(_))));
        assert!(member(&[]).is_err());
        assert!(member(&["--name", "east", "list"]).is_err());
    }
}
