//! `stolos up`: a whole fleet in one process.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use serde_json::json;
use stolos_api::cluster::names::member_user;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::serve::kubeconfig::{self, Login};
use stolos_controller::{Clock, Options};
use stolos_hub::traffic::SharedProvider;
use tokio::task::{AbortHandle, JoinSet};

use crate::cli::{Output, UpArgs};
use crate::exit::Exit;
use crate::hub_options::expected_agents;
use crate::output;

mod bootstrap;
mod cluster;
mod data_dir;
mod loopback;
mod planes;

use cluster::Cluster;
use data_dir::DataDir;
use loopback::Loopback;

/// Time for requests in flight when the process is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Writes of one controller under way at once. Everything is in this process, so more would only queue.
const CONCURRENCY: usize = 16;

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: UpArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::start(&args).await?;
    fleet.announce(output)?;
    crate::roles::stopped().await?;
    if output != Output::Json {
        output::note("stopping");
    }
    fleet.stop().await;
    Ok(Exit::Success)
}

fn config(args: &UpArgs, provider: Option<SharedProvider>) -> stolos_hub::Config {
    let mut config = stolos_hub::Config::default();
    config.cluster.member_limits = args.limits.of_members();
    config.update.strategy_limits = args.limits.of_strategies();
    config.network.enabled = args.enable_networking_features;
    config.network.importers = args.service_importers.into();
    config.clusterset.enabled = args.enable_mcs_api;
    config.cluster.expected_agents = expected_agents(args.enable_networking_features);
    config.traffic.provider = provider;
    config
}

/// Says how members import services: the data planes of this process serve them.
fn network(enabled: bool) -> stolos_member::network::Options {
    let mode = stolos_core::network::knobs::Mode::Proxy;
    stolos_member::network::Options { enabled, mode, ..stolos_member::network::Options::default() }
}

/// A running fleet.
pub(crate) struct Fleet {
    data_dir: DataDir,
    hub: Cluster,
    members: Vec<Cluster>,
    kubeconfig: PathBuf,
    /// Where DNS names are answered, if they are.
    dns_address: Option<SocketAddr>,
    tasks: JoinSet<()>,
    /// What plays the nodes and pods of each member.
    simulations: BTreeMap<String, AbortHandle>,
    /// Addresses of pods and services, where services cross clusters.
    loopback: Option<Loopback>,
}

impl Fleet {
    /// Starts everything and returns when every member has joined.
    pub(crate) async fn start(args: &UpArgs) -> anyhow::Result<Self> {
        let clock: Clock = Arc::new(jiff::Timestamp::now);
        let asked_for = args.dns.dns_bind_address.is_some();
        let dns = args.dns.bind(asked_for, args.enable_networking_features, clock.clone()).await?;
        let mut data_dir = if args.ephemeral {
            DataDir::ephemeral(args.members.unwrap_or(data_dir::DEFAULT_MEMBERS))?
        } else {
            DataDir::open(&args.data_dir, args.members)?
        };
        let listeners =
            cluster::Listeners::bind(args.listen, args.base_port, data_dir.n_members()).await?;
        let (hub, members) = Cluster::start_all(&data_dir, listeners, args.listen).await?;
        let kubeconfig =
            args.kubeconfig.clone().unwrap_or_else(|| data_dir.path().join("kubeconfig"));
        let wants_loopback = args.enable_networking_features;
        let loopback = wants_loopback.then(|| loopback(&mut data_dir)).transpose()?;
        let (dns_address, tasks) = (dns.address(), JoinSet::new());
        let mut fleet = Self {
            data_dir,
            hub,
            members,
            kubeconfig,
            dns_address,
            tasks,
            simulations: BTreeMap::new(),
            loopback,
        };
        fleet.write_kubeconfig(args.merge)?;
        fleet.prepare(args.enable_mcs_api).await?;
        fleet.start_controllers(args, dns.provider(), &clock);
        fleet.start_planes(&clock)?;
        fleet.tasks.spawn(dns.serve());
        bootstrap::wait_until_joined(&fleet.hub.client(), &fleet.member_names()).await?;
        Ok(fleet)
    }

    /// Name and kubeconfig context of every member.
    pub(crate) fn member_names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// Returns a client of the hub with all rights.
    pub(crate) fn hub(&self) -> Client {
        self.hub.client()
    }

    /// Returns a client of a member with all rights.
    pub(crate) fn member(&self, name: &str) -> Option<Client> {
        self.members.iter().find(|member| member.name == name).map(Cluster::client)
    }

    /// Ends the nodes of a member and their pods, as a power cut does: nobody is told.
    pub(crate) fn cut_power(&self, name: &str) {
        if let Some(simulation) = self.simulations.get(name) {
            simulation.abort();
        }
    }

    /// Installs what hub and members need before any controller starts.
    async fn prepare(&self, mcs_api: bool) -> anyhow::Result<()> {
        let (hub_crds, mut member_crds) = (stolos_api::hub_crds(), stolos_api::member_crds());
        if mcs_api {
            member_crds.extend(stolos_api::network::mcs::crds());
        }
        let members = self
            .members
            .iter()
            .map(|member| bootstrap::install_crds(member.client(), &member_crds));
        let hub = bootstrap::install_crds(self.hub.client(), &hub_crds);
        futures::future::try_join(hub, futures::future::try_join_all(members)).await?;
        bootstrap::create_fleet(&self.hub.client(), &self.members).await
    }

    fn start_controllers(
        &mut self,
        args: &UpArgs,
        provider: Option<SharedProvider>,
        clock: &Clock,
    ) {
        let tells_addresses = provider.is_some();
        let options = Options {
            name: "hub",
            concurrency: CONCURRENCY,
            clock: clock.clone(),
            readiness: stolos_controller::Readiness::default(),
        };
        let hub = self.hub.as_user("system:stolos:hub");
        self.tasks.spawn(stolos_hub::run(hub, config(args, provider), options));
        let sockets = stolos_sim::Sockets::default();
        for (index, member) in self.members.iter().enumerate() {
            let pods = self.loopback.as_ref().map(|loopback| {
                let (network, sockets) = (loopback.pods(index), sockets.clone());
                stolos_sim::Pods::Answering(stolos_sim::Answering { network, sockets })
            });
            let simulation = stolos_sim::Config {
                cluster: bootstrap::simulated(&member.name, index),
                workloads: stolos_sim::Workloads::Simulated,
                pods: pods.unwrap_or_default(),
                pod_delay: args.pod_delay,
                node_upgrade_time: args.node_upgrade_time,
                clock: clock.clone(),
            };
            let (client, name) = (member.client(), member.name.clone());
            let simulation = self.tasks.spawn(async move {
                if let Err(error) = stolos_sim::run(client, simulation).await {
                    tracing::error!(member = %name, %error, "simulation ended");
                }
            });
            self.simulations.insert(member.name.clone(), simulation);
            let agent = stolos_member::Config {
                name: member.name.clone(),
                hub: self.as_member(&member.name),
                member: member.client(),
                clock: clock.clone(),
                deletion_wait: stolos_member::DELETION_WAIT,
                collect_namespaces: false,
                metrics: Arc::default(),
                readiness: stolos_controller::Readiness::default(),
                provider: stolos_core::cluster::provider::Provider::default(),
                network: stolos_member::network::Options {
                    tells_addresses,
                    clusterset: stolos_member::network::clusterset::Options {
                        enabled: args.enable_mcs_api,
                    },
                    allows_loopback: self.loopback.is_some(),
                    ..network(args.enable_networking_features)
                },
            };
            let hub = self.hub.client();
            self.tasks.spawn(async move {
                bootstrap::wait_until_admitted(hub, agent.name.clone()).await;
                stolos_member::run(agent).await;
            });
        }
    }

    /// Starts a data plane for each member, where services cross clusters.
    fn start_planes(&mut self, clock: &Clock) -> anyhow::Result<()> {
        let Some(loopback) = &self.loopback else { return Ok(()) };
        let limits = planes::share(self.members.len())?;
        for (index, member) in self.members.iter().enumerate() {
            let owner = planes::Owner {
                name: member.name.clone(),
                hub: self.as_member(&member.name),
                member: member.client(),
                system_namespace: network(true).system_namespace,
            };
            let plane = planes::start(owner, loopback.services(index), limits, clock)?;
            let (hub, name) = (self.hub.client(), member.name.clone());
            self.tasks.spawn(async move {
                bootstrap::wait_until_admitted(hub, name).await;
                plane.await;
            });
        }
        Ok(())
    }

    /// Returns a client of the hub with the rights of a member and no more, as anywhere else.
    fn as_member(&self, name: &str) -> Client {
        let identity = UserInfo::authenticated(&member_user(name), &[]);
        Client::new(self.hub.api.as_user(identity), "default")
    }

    fn write_kubeconfig(&self, merge: bool) -> anyhow::Result<()> {
        let contexts: Vec<_> = std::iter::once(&self.hub)
            .chain(&self.members)
            .map(|cluster| self.context(cluster))
            .collect();
        kubeconfig::write(&self.kubeconfig, &contexts, &self.hub.name)
            .context("failed to write the kubeconfig")?;
        if merge {
            let home = std::env::home_dir()
                .context("there is no home directory to merge the kubeconfig into")?;
            kubeconfig::merge(&home.join(".kube/config"), &contexts, None)
                .context("failed to merge the kubeconfig")?;
        }
        Ok(())
    }

    fn context(&self, cluster: &Cluster) -> kubeconfig::Context {
        kubeconfig::Context {
            name: cluster.name.clone(),
            server: cluster.url(),
            authority: cluster.authority.clone(),
            login: Login::Certificate(cluster.admin.clone()),
            namespace: None,
        }
    }

    fn announce(&self, output: Output) -> anyhow::Result<()> {
        if output == Output::Json {
            let members: Vec<_> = self
                .members
                .iter()
                .map(|member| json!({ "name": member.name, "server": member.url() }))
                .collect();
            let ready = json!({
                "event": "ready",
                "kubeconfig": absolute(&self.kubeconfig),
                "hub": self.hub.url(),
                "members": members,
                "rest": null,
                "console": null,
                "dns": self.dns_address,
                "ca": absolute(&self.data_dir.authority_file()),
            });
            return output::line(&ready.to_string());
        }
        let names = self.member_names();
        let first = names.first().cloned().unwrap_or_default();
        let last = names.last().cloned().unwrap_or_default();
        let members = if first == last { first.clone() } else { format!("{first} … {last}") };
        output::line(&format!(
            "fleet `local` is ready: hub {} and {} members ({members})",
            self.hub.url(),
            names.len()
        ))?;
        if let Some(address) = self.dns_address {
            output::line(&format!(
                "DNS names of TrafficManagerProfiles are answered at {address}"
            ))?;
        }
        output::line("")?;
        output::line(&format!("  export KUBECONFIG={}", absolute(&self.kubeconfig).display()))?;
        output::line("  kubectl get memberclusters")?;
        output::line("  stolos updaterun create first --kubernetes-version 1.35.0 --start --wait")?;
        output::line("")?;
        output::line("Ctrl-C stops it; starting again goes on where it stopped.")
    }

    /// Ends everything in order: controllers, then servers, then the store.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
        let clusters = self.members.into_iter().chain([self.hub]);
        futures::future::join_all(clusters.map(|cluster| cluster.stop(GRACE))).await;
        self.data_dir.close();
    }
}

/// Takes addresses for pods and services: those of the start before, if no other fleet has taken them meanwhile.
fn loopback(data_dir: &mut DataDir) -> anyhow::Result<Loopback> {
    let mut hasher = std::hash::DefaultHasher::new();
    absolute(data_dir.path()).hash(&mut hasher);
    let loopback = Loopback::take(data_dir.n_members(), data_dir.loopback(), hasher.finish())?;
    data_dir.keep_loopback(loopback.slot())?;
    Ok(loopback)
}

fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
