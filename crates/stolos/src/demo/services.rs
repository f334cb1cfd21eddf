//! The steps about services across clusters. The first two members export one, the last one imports it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;

use anyhow::Context;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stolos_api::network::names::label::SERVICE_NAME;
use stolos_api::network::{MultiClusterService, ServiceExport};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use super::expect::{ensure, present};
use super::manifests::{self, SHOP, WEB, WEB_PORT};
use super::world::{Member, World};
use crate::{http, up};

/// How long clients may see the state before. Everything here takes milliseconds.
const WITHIN: Duration = Duration::from_secs(60);

/// Requests by which it is seen who answers.
const FEW: u32 = 20;
/// Requests by which shares are measured: three of four, give or take five standard deviations, are 68 to 82 %.
const MANY: u32 = 900;

/// The members that export, and the one that imports.
fn roles(world: &World) -> anyhow::Result<([&Member; 2], &Member)> {
    match &*world.members {
        [first, second, .., importer] => Ok(([first, second], importer)),
        _ => anyhow::bail!("it takes three members"),
    }
}

/// Exports a Service from two members and gives it an address on another one.
pub(super) async fn share(world: &World) -> anyhow::Result<()> {
    let (exporters, importer) = roles(world)?;
    for member in exporters {
        create(member.all(), &manifests::namespace()).await?;
        create(member.within(SHOP), &manifests::web()).await?;
        create(member.within(SHOP), &manifests::web_service()).await?;
        create(member.within(SHOP), &manifests::export()).await?;
    }
    create(importer.all(), &manifests::namespace()).await?;
    create(importer.within(SHOP), &manifests::import()).await?;
    let names = exporters.map(|member| member.name.as_str());
    // There is an address before there are endpoints.
    until_these_answer(world, &names, Failures::Expected).await
}

/// Gives the first member three times the weight of the second.
pub(super) async fn weigh(world: &World) -> anyhow::Result<()> {
    let ([first, _], _) = roles(world)?;
    set_weight(first, 3).await?;
    let url = url(world).await?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let counts = answers(&url, MANY).await;
        none_failed(&url, &counts)?;
        let share = f64::from(counts.get(&first.name).copied().unwrap_or(0)) / f64::from(MANY);
        if (0.68..=0.82).contains(&share) {
            return Ok(());
        }
        let expected = format!("about 75 % of {MANY} answers from {}", first.name);
        ensure(Instant::now() < deadline, &url, &expected, shown(&counts))?;
    }
}

/// Takes the first member out, and back in.
pub(super) async fn drain(world: &World) -> anyhow::Result<()> {
    let ([first, second], _) = roles(world)?;
    set_weight(first, 0).await?;
    until_these_answer(world, &[&second.name], Failures::Wrong).await?;
    set_weight(first, 1).await?;
    until_these_answer(world, &[&first.name, &second.name], Failures::Wrong).await
}

/// Cuts the power of the second member. What is under way in that moment is lost, as with any; nothing is that comes later.
pub(super) async fn lose(world: &World, fleet: &up::Fleet) -> anyhow::Result<()> {
    let ([first, second], _) = roles(world)?;
    let pods = pods(second).await?;
    ensure(!pods.is_empty(), &second.name, "endpoints of the service", "none")?;
    fleet.cut_power(&second.name);
    for pod in pods {
        until_dead(pod).await?;
    }
    until_these_answer(world, &[&first.name], Failures::Wrong).await
}

/// Returns where the pods of the service answer themselves.
async fn pods(member: &Member) -> anyhow::Result<Vec<SocketAddr>> {
    let of_service = format!("{SERVICE_NAME}={WEB}");
    let of_service = ListParams::default().labels(&of_service);
    let slices = member.within::<EndpointSlice>(SHOP).list(&of_service).await;
    let slices = slices.with_context(|| format!("failed to list endpoints of {}", member.name))?;
    let pods = slices.into_iter().flat_map(|slice| {
        let ports = slice.ports.unwrap_or_default();
        let port = ports.into_iter().find_map(|port| u16::try_from(port.port?).ok());
        let addresses = slice.endpoints.into_iter().flat_map(|endpoint| endpoint.addresses);
        addresses.filter_map(move |address| Some(SocketAddr::new(address.parse().ok()?, port?)))
    });
    Ok(pods.collect())
}

/// Connects to a pod until that is refused.
async fn until_dead(pod: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    while TcpStream::connect(pod).await.is_ok() {
        let place = format!("http://{pod}/");
        ensure(Instant::now() < deadline, &place, "no connection", "one")?;
    }
    Ok(())
}

async fn create<K>(api: Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let created = api.create(&PostParams::default(), object).await;
    created.map(drop).with_context(|| format!("failed to create a {}", K::kind(&())))
}

async fn set_weight(member: &Member, weight: u32) -> anyhow::Result<()> {
    let exports = member.within::<ServiceExport>(SHOP);
    let patch = Patch::Merge(manifests::weight(weight));
    let patched = exports.patch(WEB, &PatchParams::default(), &patch).await;
    patched.map(drop).with_context(|| format!("failed to set the weight of {}", member.name))
}

/// Returns where the service answers.
async fn url(world: &World) -> anyhow::Result<String> {
    let (_, importer) = roles(world)?;
    let judge = |service: &MultiClusterService| address(service).map(drop);
    let services = importer.within(SHOP);
    let service = present(&importer.name, services, WEB, "an address", judge).await?;
    let address = address(&service).map_err(anyhow::Error::msg)?;
    Ok(format!("http://{address}:{WEB_PORT}/"))
}

fn address(service: &MultiClusterService) -> Result<String, String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()?.first()?.ip.clone());
    ingress.ok_or_else(|| "none".to_owned())
}

/// Whether requests may fail before the right members answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failures {
    Expected,
    Wrong,
}

/// Asks until exactly these members answer.
async fn until_these_answer(
    world: &World,
    members: &[&str],
    failures: Failures,
) -> anyhow::Result<()> {
    let url = url(world).await?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let counts = answers(&url, FEW).await;
        if failures == Failures::Wrong {
            none_failed(&url, &counts)?;
        }
        if counts.keys().eq(members.iter()) {
            return Ok(());
        }
        let expected = format!("answers from {}", members.join(" and "));
        ensure(Instant::now() < deadline, &url, &expected, shown(&counts))?;
    }
}

/// Who answered requests that failed.
const NOBODY: &str = "nobody";

fn none_failed(url: &str, counts: &BTreeMap<String, u32>) -> anyhow::Result<()> {
    ensure(!counts.contains_key(NOBODY), url, "an answer to every request", shown(counts))
}

/// Counts who answers.
async fn answers(url: &str, n: u32) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..n {
        let answer = http::get(url).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&answer);
        let mut clusters = text.split_whitespace().filter_map(|word| word.strip_prefix("cluster="));
        *counts.entry(clusters.next().unwrap_or(NOBODY).to_owned()).or_default() += 1;
    }
    counts
}

fn shown(counts: &BTreeMap<String, u32>) -> String {
    let count = |(cluster, n): (&String, &u32)| format!("{n} from {cluster}");
    counts.iter().map(count).collect::<Vec<_>>().join(", ")
}
