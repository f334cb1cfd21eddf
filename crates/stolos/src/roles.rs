//! The roles for real clusters: one process each, with a kubeconfig and a lease.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use stolos_controller::leader::{self, Lease, Times};
use stolos_controller::{Clock, Options, Readiness};
use stolos_core::cluster::costs::Prices;
use stolos_core::cluster::provider::Provider;
use stolos_dataplane::{DataPlane as _, Proxy};
use stolos_member::gateway;
use tracing::warn;

use crate::cli::{
    DataplaneArgs, HubArgs, HubConnection, IdentityArgs, LeaderArgs, MemberArgs, ObserveArgs,
    SimulateArgs,
};
use crate::connect;
use crate::exit::Exit;
use crate::gateway_options::Reachability;
use crate::input;
use crate::kubefleet;
use crate::observe::{self, Pages};

/// Writes of one controller under way at once. A kube-apiserver gives one client about as many by default.
const CONCURRENCY: usize = 32;

fn clock() -> Clock {
    Arc::new(jiff::Timestamp::now)
}

/// `stolos hub`.
pub(crate) async fn hub(args: HubArgs) -> anyhow::Result<Exit> {
    let client =
        connect::role(args.hub.hub_kubeconfig.as_deref(), args.hub.hub_context.as_deref()).await?;
    let times = args.leader.times()?;
    let readiness = Readiness::default();
    let options = Options {
        name: "hub",
        concurrency: CONCURRENCY,
        clock: clock(),
        readiness: readiness.clone(),
    };
    let metrics: Arc<stolos_hub::Metrics> = Arc::default();
    let (traffic, networking) = args.options.networking();
    let dns = args.dns.bind(traffic, networking, clock()).await?;
    let config = args.options.config(&metrics, dns.provider());
    // Boxed: all controllers of the hub are one large future.
    let work = Box::pin(stolos_hub::run(client.clone(), config, options));
    tokio::select! {
        ended = lead(lease(client, "stolos-hub", &args.leader, times, &readiness), work) => ended,
        failed = observed(&args.observe, &readiness, Pages::metrics(move || metrics.render())) => failed.map(|()| Exit::Success),
        // It answers before this process leads: that it does not know yet.
        () = dns.serve() => Ok(Exit::Success),
    }
}

/// `stolos member --name`.
pub(crate) async fn member(args: MemberArgs) -> anyhow::Result<Exit> {
    let name = args.name.context("--name is required")?;
    let hub = hub_of_member(&args.hub, &args.identity).await?;
    let member =
        connect::role(args.member_kubeconfig.as_deref(), args.member_context.as_deref()).await?;
    let prices = match args.sku_prices.as_deref() {
        Some(file) => prices_of(file)?,
        None => Prices::default(),
    };
    let provider = Provider::named(
        &args.property_provider,
        args.use_cost_properties_in_azure_provider.then_some(prices),
        args.use_available_res_properties_in_azure_provider,
    );
    if let Some(problem) = provider.problem() {
        warn!(provider = %args.property_provider, "{problem}");
    }
    let times = args.leader.times()?;
    let readiness = Readiness::default();
    let config = stolos_member::Config {
        name,
        hub,
        member: member.clone(),
        clock: clock(),
        deletion_wait: Duration::from_secs(60 * args.deletion_wait_time),
        collect_namespaces: args.enable_namespace_collection_in_property_provider,
        metrics: Arc::default(),
        readiness: readiness.clone(),
        provider,
        network: stolos_member::network::Options {
            enabled: args.enable_networking_features,
            system_namespace: args.fleet_system_namespace,
            mode: args.balancing_mode.into(),
            tells_addresses: args.enable_traffic_manager_feature,
            clusterset: stolos_member::network::clusterset::Options {
                enabled: args.enable_mcs_api,
            },
            allows_loopback: args.allow_loopback,
            gateway: args.entries.settings()?,
        },
    };
    let metrics = config.metrics.clone();
    // The lease is on the member: its agent has no right to leases on the hub.
    tokio::select! {
        ended = lead(
            lease(member, "stolos-member", &args.leader, times, &readiness),
            stolos_member::run(config),
        ) => ended,
        failed = observed(&args.observe, &readiness, Pages::metrics(move || metrics.render())) => failed.map(|()| Exit::Success),
    }
}

/// Returns a client of the hub for whoever works for a member.
async fn hub_of_member(args: &HubConnection, identity: &IdentityArgs) -> anyhow::Result<Client> {
    let environment = |name: &str| std::env::var(name).ok();
    let told = kubefleet::hub(environment, identity.use_ca_auth, identity.tls_insecure)?;
    match told.filter(|_| args.hub_kubeconfig.is_none()) {
        Some(told) => connect::told(told).await,
        None => connect::role(args.hub_kubeconfig.as_deref(), args.hub_context.as_deref()).await,
    }
}

/// Time for connections to end by themselves when a data plane without a successor is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// `stolos dataplane`.
pub(crate) async fn dataplane(args: DataplaneArgs) -> anyhow::Result<Exit> {
    let hub = hub_of_member(&args.hub, &args.identity).await?;
    let member =
        connect::role(args.member_kubeconfig.as_deref(), args.member_context.as_deref()).await?;
    let mut config = stolos_dataplane::Config {
        folder: Some(args.folder),
        seed: rand_seed(),
        ..stolos_dataplane::Config::default()
    };
    config.workers = args.workers.map_or(config.workers, usize::from);
    let plane = Arc::new(Proxy::start(&config).context("failed to start the data plane")?);
    let (readiness, pages) = (Readiness::default(), Pages::of_plane(&plane));
    let is_gateway = args.gateway.reachability == Reachability::Gateway;
    let (services, entries) = gateway::share(plane.clone(), plane.begun_with(), is_gateway);
    let of_gateway = gateway::Config {
        name: args.name.clone(),
        member: member.clone(),
        clock: clock(),
        readiness: readiness.clone(),
        listen: args.gateway.gateway_bind_address,
    };
    let (namespace, secret) = (&args.fleet_system_namespace, &args.gateway.gateway_tls_secret);
    let identify = |identity| plane.identify(identity);
    let keys = gateway::follow(member.clone(), namespace, secret, identify);
    let config = stolos_member::balance::Config {
        name: args.name,
        hub,
        member,
        clock: clock(),
        readiness: readiness.clone(),
        system_namespace: args.fleet_system_namespace.clone(),
        pool: args.address_pool,
        allows_loopback: args.allow_loopback,
        figures_url: args.figures_url.or_else(|| figures_url(args.observe.metrics_bind_address?)),
    };
    // No lease: whoever loses one must stop, and this one must go on when it hears of nobody.
    let work = async {
        let balance = stolos_member::balance::run(config, services.clone(), services.begun_with());
        let enter = async {
            if let Some(entries) = &entries {
                gateway::run(of_gateway, entries.clone(), entries.begun_with()).await;
            }
        };
        tokio::join!(balance, enter, keys);
    };
    tokio::select! {
        () = work => Ok(Exit::Success),
        () = plane.superseded() => {
            // The successor serves; what is left are connections, each with its drain time.
            plane.drain().await;
            Ok(Exit::Success)
        }
        stopped = stopped() => {
            let drained = tokio::time::timeout(DRAIN, plane.drain()).await;
            if drained.is_err() {
                warn!("connections were cut off");
            }
            stopped.map(|()| Exit::Success)
        }
        failed = observed(&args.observe, &readiness, pages) => failed.map(|()| Exit::Success),
    }
}

/// Returns where others ask for the figures of a data plane, if its address is one that others can ask.
fn figures_url(bound: SocketAddr) -> Option<String> {
    let ip = bound.ip();
    let is_known = !ip.is_unspecified() && !ip.is_loopback() && bound.port() != 0;
    is_known.then(|| format!("http://{bound}/figures"))
}

/// Returns what the times of health checks are spread by: different for every process.
fn rand_seed() -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    u64::try_from(now.rem_euclid(i128::from(u64::MAX))).unwrap_or(0) ^ u64::from(std::process::id())
}

/// Reads what a node of each SKU costs an hour.
fn prices_of(file: &Path) -> anyhow::Result<Prices> {
    let text = input::text_of(file)?;
    let prices: BTreeMap<String, f64> = serde_saphyr::from_str(&text).with_context(|| {
        format!(
            "`{}` must hold a price an hour for each SKU, such as `Standard_D4s_v5: 0.192`",
            file.display()
        )
    })?;
    Prices::new(prices).with_context(|| format!("`{}` cannot be used", file.display()))
}

/// Serves figures and health at every address that is given, until the future is dropped.
async fn observed(args: &ObserveArgs, readiness: &Readiness, pages: Pages) -> anyhow::Result<()> {
    let addresses: BTreeSet<SocketAddr> =
        args.metrics_bind_address.into_iter().chain(args.health_probe_bind_address).collect();
    if addresses.is_empty() {
        return std::future::pending().await;
    }
    let servers = addresses
        .into_iter()
        .map(|address| observe::serve(address, readiness.clone(), pages.clone()));
    futures::future::try_join_all(servers).await.map(drop)
}

/// `stolos simulate`.
pub(crate) async fn simulate(args: SimulateArgs) -> anyhow::Result<Exit> {
    let client =
        connect::role(args.member_kubeconfig.as_deref(), args.member_context.as_deref()).await?;
    let config = stolos_sim::Config {
        cluster: stolos_sim::Cluster {
            name: args.name,
            region: args.region,
            kubernetes_version: "1.34.1".to_owned(),
            node_image: "StolosLinux-202610.1.0".to_owned(),
            kubernetes_versions: Vec::new(),
            node_images: Vec::new(),
            nodes: args.nodes,
            cpu: 4,
            memory_gib: 16,
        },
        workloads: stolos_sim::Workloads::Kubelet,
        pods: stolos_sim::Pods::Mute,
        pod_delay: args.pod_delay,
        node_upgrade_time: args.node_upgrade_time,
        clock: clock(),
    };
    tokio::select! {
        ended = stolos_sim::run(client, config) => ended.map(|()| Exit::Success).context("the simulation ended"),
        stopped = stopped() => stopped.map(|()| Exit::Success),
    }
}

/// Returns the lease of a role, if it is to hold one.
fn lease(
    client: Client,
    name: &str,
    args: &LeaderArgs,
    times: Times,
    readiness: &Readiness,
) -> Option<Lease> {
    let namespace = &args.leader_election_namespace;
    args.is_wanted()
        .then(|| Lease::new(client, namespace, name, times, clock()).telling(readiness.clone()))
}

/// Works while holding the lease, until the process is told to stop. Losing the lease ends the work at once.
async fn lead(lease: Option<Lease>, work: impl Future<Output = ()>) -> anyhow::Result<Exit> {
    let work = async {
        let Some(lease) = lease else {
            work.await;
            return Ok(Exit::Success);
        };
        leader::hold(&lease, work).await.map(|()| Exit::Success).context("lost the lease")
    };
    tokio::select! {
        ended = work => ended,
        stopped = stopped() => stopped.map(|()| Exit::Success),
    }
}

/// Returns when the process is told to stop.
pub(crate) async fn stopped() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt.context("failed to listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
