//! How soon connections on other members go where an endpoint of a service has moved to.
//!
//! The first member exports a Service whose only endpoint moves to and fro between two listeners of this program. Every
//! other member imports it, and a client of each connects again and again until the new listener answers. Between the two
//! lie the watch of the exporting agent, its write to the hub, the hub's copies, the watches of the importing agents and
//! data planes, and the slot tables. Other services may be there too, which nothing happens to.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::{join_all, try_join_all};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::{MultiClusterService, ServiceExport};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::report::Figures;
use crate::stats::percentile_ms;
use crate::{Common, fleet};

/// How long anything may take. Only a lost change takes this long.
const WITHIN: Duration = Duration::from_secs(120);

/// Requests under way at once while things are prepared.
const PARALLEL: usize = 16;

const NAMESPACE: &str = "bench";
/// The service whose endpoint moves.
const MOVES: &str = "moves";
/// Port of every service.
const PORT: u16 = 9000;

/// Where the endpoint moves between; no fleet takes its addresses from here.
const PLACES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 9, 1), Ipv4Addr::new(127, 0, 9, 2)];

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Figures: one_* until the change is effective on one other member, all_* until it is on all of them, each
p50, p90 and p99 in ms from just before the change is written.

Examples:
  stolos-bench endpoints
  stolos-bench endpoints --members 5 --services 200 --endpoints 20"
)]
pub(crate) struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: fleet::Which,
    /// How often the endpoint moves
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) changes: u32,
    /// Other services, which the first member exports and the last one imports
    #[arg(long, default_value_t = 0)]
    pub(crate) services: u32,
    /// Endpoints of each of those
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) endpoints: u32,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// Networking, where every member may import.
const NETWORKED: [&str; 3] = ["--enable-networking-features", "--service-importers", "many"];

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let fleet = args.fleet.start_with(common, scratch.path(), &NETWORKED).await?;
    let hub = fleet.client("hub").await?;
    let [first, others @ ..] = fleet.members() else { bail!("there are no members") };
    if others.is_empty() {
        bail!("it takes two members at least");
    }
    let exporter = fleet.client(first).await?;
    let importers = try_join_all(others.iter().map(|name| fleet.client(name))).await?;
    for client in [&hub, &exporter].into_iter().chain(&importers) {
        let namespace: Namespace = object(json!({"metadata": {"name": NAMESPACE}}))?;
        create(&Api::all(client.clone()), &namespace).await?;
    }
    let (port, _listeners) = listen().await?;
    export(&exporter, MOVES, port, &[PLACES[0]]).await?;
    let prepared = Instant::now();
    let last = importers.last().context("there is an importer")?;
    load(&exporter, last, args, port).await?;
    let vips = try_join_all(importers.iter().map(|client| import(client, MOVES))).await?;
    try_join_all(vips.iter().map(|vip| arrival(*vip, 0))).await?;
    let mut figures = Figures::default();
    if args.services > 0 {
        figures.add("prepare_s", prepared.elapsed().as_secs_f64());
    }

    let (mut one, mut all) = (Vec::new(), Vec::new());
    for change in 1..=args.changes {
        let place = usize::from(change % 2 == 1);
        let begin = Instant::now();
        let arrivals = join_all(vips.iter().map(|vip| arrival(*vip, place)));
        let (moved, arrivals) =
            tokio::join!(write_slice(&exporter, MOVES, port, &PLACES[place..=place]), arrivals);
        moved?;
        let times = arrivals.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let times = times.into_iter().map(|at| at.saturating_duration_since(begin));
        let times: Vec<_> = times.collect();
        all.extend(times.iter().max());
        one.extend(times);
    }
    figures.add("peak_rss_mib", fleet.usage()?.peak_rss_mib);
    fleet.kill().await?;
    for (name, times) in [("one", &mut one), ("all", &mut all)] {
        for percent in [50, 90, 99] {
            let value = percentile_ms(times, percent).context("nothing was measured")?;
            figures.add(format!("{name}_p{percent}_ms"), value);
        }
    }
    Ok(figures)
}

/// Listens at both places at the same port. Each says its number to whoever connects.
async fn listen() -> anyhow::Result<(u16, JoinSet<()>)> {
    let first = TcpListener::bind((PLACES[0], 0)).await.context("failed to listen")?;
    let port = first.local_addr().context("failed to listen")?.port();
    let second = TcpListener::bind((PLACES[1], port)).await.context("failed to listen")?;
    let mut listeners = JoinSet::new();
    for (number, listener) in [first, second].into_iter().enumerate() {
        listeners.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = stream.into_std() else { continue };
                // One byte always has room in a new connection.
                let _ = (&stream).write(&[u8::try_from(number).unwrap_or(u8::MAX)]);
            }
        });
    }
    Ok((port, listeners))
}

/// Connects until the listener at this place answers, and returns when it did.
async fn arrival(vip: SocketAddr, place: usize) -> anyhow::Result<Instant> {
    let begin = Instant::now();
    loop {
        if answer(vip).await == Some(place) {
            return Ok(Instant::now());
        }
        if begin.elapsed() > WITHIN {
            bail!("a change has not arrived at {vip} for {} s", WITHIN.as_secs());
        }
        // The load of the clients must not be what is measured.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn answer(vip: SocketAddr) -> Option<usize> {
    let mut stream = TcpStream::connect(vip).await.ok()?;
    stream.read_u8().await.ok().map(usize::from)
}

/// Has other services, so that the one that is measured is one of many.
async fn load(exporter: &Client, importer: &Client, args: &Args, port: u16) -> anyhow::Result<()> {
    let addresses: Vec<_> =
        (0..args.endpoints).map(|n| Ipv4Addr::from_bits(PLACES[0].to_bits() + 100 + n)).collect();
    stream::iter(0..args.services)
        .map(async |n| {
            let name = format!("other-{n}");
            export(exporter, &name, port, &addresses).await?;
            import(importer, &name).await.map(drop)
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}

/// Exports a Service that has these endpoints and no pods.
async fn export(
    client: &Client,
    name: &str,
    port: u16,
    addresses: &[Ipv4Addr],
) -> anyhow::Result<()> {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let service: Service = object(json!({
        "metadata": metadata, "spec": {"ports": [{"name": "tcp", "port": PORT}]},
    }))?;
    create(&within(client), &service).await?;
    write_slice(client, name, port, addresses).await?;
    let export: ServiceExport = object(json!({"metadata": metadata}))?;
    create(&within(client), &export).await
}

async fn write_slice(
    client: &Client,
    name: &str,
    port: u16,
    addresses: &[Ipv4Addr],
) -> anyhow::Result<()> {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "tcp", "protocol": "TCP", "port": port}],
    });
    let params = PatchParams::apply("stolos-bench").force();
    let slices: Api<EndpointSlice> = within(client);
    let written = slices.patch(&format!("{name}-1"), &params, &Patch::Apply(&slice)).await;
    written.map(drop).context("failed to write an EndpointSlice")
}

/// Gives a service an address on a member, and returns it.
async fn import(client: &Client, name: &str) -> anyhow::Result<SocketAddr> {
    let services: Api<MultiClusterService> = within(client);
    let service: MultiClusterService = object(json!({
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"serviceImport": {"name": name}},
    }))?;
    create(&services, &service).await?;
    let has_address =
        |service: Option<&MultiClusterService>| service.is_some_and(|one| address(one).is_some());
    let waited = tokio::time::timeout(WITHIN, await_condition(services, name, has_address)).await;
    let service = waited.with_context(|| format!("service `{name}` has no address"))??;
    let address = service.as_ref().and_then(address).context("the service is gone")?;
    Ok(SocketAddr::new(address.into(), PORT))
}

fn address(service: &MultiClusterService) -> Option<Ipv4Addr> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    balancer.ingress.as_ref()?.first()?.ip.as_ref()?.parse().ok()
}

fn within<K>(client: &Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let created = api.create(&PostParams::default(), object).await;
    created.map(drop).with_context(|| format!("failed to create a {}", K::kind(&())))
}

fn object<K: DeserializeOwned>(manifest: Value) -> anyhow::Result<K> {
    serde_json::from_value(manifest).context("a manifest of this program is wrong")
}
