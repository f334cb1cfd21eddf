//! Simulated clusters: an upgrade is a ConfigMap in `kube-system` that the simulation carries out.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Cluster, Inspection, Offer, Operation, Pool, Power};
use stolos_core::update::image::NodeImage;
use stolos_core::update::version::Version;
use tracing::debug;

use crate::{Observation, Provider, StartError};

/// Namespace of everything that the simulation reads.
const NAMESPACE: &str = "kube-system";

/// Label of the ConfigMaps that ask for an upgrade.
const UPGRADE_LABEL: &str = "sim.stolos.dev/upgrade";

/// Their names: this and the operation id.
const UPGRADE_PREFIX: &str = "upgrade-";

/// ConfigMap with the facts of a simulated cluster. `controlPlaneVersion` and `region` are always there;
/// `kubernetesVersions` and `nodeImages`, separated by commas, say what the cluster is offered, and `power` set to
/// `stopped` that it is switched off.
const FACTS: &str = "simulated-cluster";

const POOL_LABEL: &str = "kubernetes.azure.com/agentpool";
const NODE_IMAGE_LABEL: &str = "kubernetes.azure.com/node-image-version";

/// Nodes without a pool label form a pool of this name.
const UNNAMED_POOL: &str = "nodes";

/// Wait after the first failed request; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Longest wait: a cluster that is back is noticed within this time.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A simulated cluster.
#[derive(Clone)]
pub struct Simulated {
    client: Client,
}

impl Simulated {
    /// Returns the provider of the simulated cluster behind a client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

impl Provider for Simulated {
    fn follow(&self) -> BoxStream<'static, Observation> {
        let (nodes, node_news) = watch(Api::all(self.client.clone()), watcher::Config::default());
        let requests = watcher::Config::default().labels(UPGRADE_LABEL);
        let (requests, request_news) = watch(self.config_maps(), requests);
        let facts = watcher::Config::default().fields(&format!("metadata.name={FACTS}"));
        let (facts, fact_news) = watch(self.config_maps(), facts);
        let mut world = World {
            nodes,
            requests,
            facts,
            listed: [false; 3],
            lost: [const { None }; 3],
            last: None,
        };
        stream::select_all([
            node_news.map(|news| (0, news)).boxed(),
            request_news.map(|news| (1, news)).boxed(),
            fact_news.map(|news| (2, news)).boxed(),
        ])
        .filter_map(move |(source, news)| future::ready(world.take(source, news)))
        .boxed()
    }

    fn start<'a>(
        &'a self,
        operation_id: &'a str,
        target: &'a MemberTarget,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move {
            let request = request(operation_id, target)?;
            match self.config_maps().create(&PostParams::default(), &request).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    Err(StartError::Refused {
                        code: status.reason.clone(),
                        message: status.message,
                    })
                }
                Err(source) => {
                    Err(StartError::Request { operation_id: operation_id.into(), source })
                }
            }
        })
    }
}

fn request(operation_id: &str, target: &MemberTarget) -> Result<ConfigMap, StartError> {
    let mut data = BTreeMap::new();
    if let Some(version) = &target.kubernetes_version {
        data.insert("kubernetesVersion".to_owned(), version.clone());
    }
    match &target.node_images[..] {
        [] => {}
        [image] => {
            data.insert("nodeImage".to_owned(), image.clone());
        }
        [_, _, ..] => {
            return Err(StartError::Refused {
                code: "NotSupported".into(),
                message: "the nodes of a simulated cluster have one image family".into(),
            });
        }
    }
    let control_plane_only = target.upgrade_type == UpgradeType::ControlPlaneOnly;
    data.insert("controlPlaneOnly".to_owned(), control_plane_only.to_string());
    Ok(ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("{UPGRADE_PREFIX}{operation_id}")),
            labels: Some([(UPGRADE_LABEL.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    })
}

/// What one of the watches says.
enum News {
    /// Something changed.
    Change,
    /// Everything has been listed.
    Listed,
    /// Nothing can be listed; it is tried again.
    Lost(String),
}

/// A watch that lists anew after every error: a resumed one would not tell that the cluster is back before something
/// changes in it.
struct Watch<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    events: Option<BoxStream<'static, watcher::Result<watcher::Event<K>>>>,
    failures: u32,
}

/// Watches a kind for ever, keeping what there is in a store.
fn watch<K>(api: Api<K>, config: watcher::Config) -> (Store<K>, BoxStream<'static, News>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    // Timeout 0: an idle watch stays open.
    let watch = Watch { api, config: config.timeout(0), writer, events: None, failures: 0 };
    let news = stream::unfold(watch, |mut watch| async move {
        let news = watch.next().await;
        Some((news, watch))
    });
    (reader, news.boxed())
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    async fn next(&mut self) -> News {
        if self.events.is_none() && self.failures > 0 {
            let doubled = FIRST_RETRY * 2_u32.saturating_pow(self.failures - 1);
            tokio::time::sleep(doubled.min(LAST_RETRY)).await;
        }
        let (api, config) = (&self.api, &self.config);
        let fresh = || watcher(api.clone(), config.clone()).boxed();
        match self.events.get_or_insert_with(fresh).next().await {
            Some(Ok(event)) => {
                self.writer.apply_watcher_event(&event);
                let listed = matches!(event, watcher::Event::InitDone);
                if listed {
                    self.failures = 0;
                }
                if listed { News::Listed } else { News::Change }
            }
            Some(Err(error)) => {
                self.events = None;
                self.failures = (self.failures + 1).min(16);
                debug!(%error, "watch of a simulated cluster failed; it starts over");
                match error {
                    watcher::Error::InitialListFailed(error) => News::Lost(error.to_string()),
                    _ => News::Change,
                }
            }
            None => {
                self.events = None;
                News::Change
            }
        }
    }
}

/// What the watches have shown so far.
struct World {
    nodes: Store<Node>,
    requests: Store<ConfigMap>,
    facts: Store<ConfigMap>,
    listed: [bool; 3],
    lost: [Option<String>; 3],
    last: Option<Observation>,
}

impl World {
    /// Takes news in and returns what is seen, if that is something else than before.
    fn take(&mut self, source: usize, news: News) -> Option<Observation> {
        match news {
            News::Change => {}
            News::Listed => {
                self.listed[source] = true;
                self.lost[source] = None;
            }
            News::Lost(error) => self.lost[source] = Some(error),
        }
        let seen = self.observe()?;
        if self.last.as_ref() == Some(&seen) {
            return None;
        }
        self.last = Some(seen.clone());
        Some(seen)
    }

    fn observe(&self) -> Option<Observation> {
        let operations = || self.requests.state().iter().filter_map(|r| operation(r)).collect();
        if let Some(error) = self.lost.iter().flatten().next() {
            let cluster = Inspection::Unknown(format!("the cluster does not answer: {error}"));
            return Some(Observation { cluster, operations: operations() });
        }
        if self.listed != [true; 3] {
            return None;
        }
        let operations: BTreeMap<String, Operation> = operations();
        let facts = self.facts.state().first().and_then(|facts| facts.data.clone());
        let nodes = self.nodes.state();
        let nodes: Vec<&Node> = nodes.iter().map(AsRef::as_ref).collect();
        let cluster = match inspect(&facts.unwrap_or_default(), &nodes, &operations) {
            Ok(cluster) => Inspection::Known(cluster),
            Err(reason) => Inspection::Unknown(reason),
        };
        Some(Observation { cluster, operations })
    }
}

fn operation(request: &ConfigMap) -> Option<(String, Operation)> {
    let id = request.metadata.name.as_deref()?.strip_prefix(UPGRADE_PREFIX)?;
    let value = |key: &str| request.data.as_ref().and_then(|data| data.get(key)).cloned();
    let message = value("message");
    let operation = match value("state").as_deref() {
        Some("Done") => Operation::Done(message),
        Some("Failed") => Operation::Failed {
            code: "SimulatedFailure".into(),
            message: message.unwrap_or_else(|| "the simulation gave no reason".into()),
        },
        _ => Operation::Running(message),
    };
    Some((id.to_owned(), operation))
}

fn inspect(
    facts: &BTreeMap<String, String>,
    nodes: &[&Node],
    operations: &BTreeMap<String, Operation>,
) -> Result<Cluster, String> {
    let mut pools: BTreeMap<&str, Pool> = BTreeMap::new();
    for node in nodes {
        let name = label(node, POOL_LABEL).unwrap_or(UNNAMED_POOL);
        let version = kubelet_version(node)?;
        let image = label(node, NODE_IMAGE_LABEL).and_then(|text| text.parse().ok());
        let pool = pools.entry(name).or_insert_with(|| Pool {
            name: name.to_owned(),
            version,
            image: image.clone(),
        });
        pool.version = pool.version.min(version);
        pool.image = oldest(pool.image.take(), image);
    }
    let control_plane = match facts.get("controlPlaneVersion") {
        Some(version) => version.parse().map_err(|error| format!("control plane: {error}"))?,
        None => pools.values().map(|pool| pool.version).max().ok_or(
            "the cluster has neither nodes nor facts that would tell its version".to_owned(),
        )?,
    };
    let busy = operations.iter().find(|(_, operation)| matches!(operation, Operation::Running(_)));
    let node_region = || nodes.iter().find_map(|node| label(node, "topology.kubernetes.io/region"));
    let stopped = facts.get("power").is_some_and(|power| power == "stopped");
    Ok(Cluster {
        region: facts.get("region").map(String::as_str).or_else(node_region).map(str::to_owned),
        control_plane,
        pools: pools.into_values().collect(),
        power: if stopped { Power::Stopped } else { Power::Running },
        busy: busy.map(|(id, _)| format!("upgrade {id} of the cluster is under way")),
        long_term_support: false,
        versions: offer(facts.get("kubernetesVersions"))?,
        images: offer(facts.get("nodeImages"))?,
    })
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn kubelet_version(node: &Node) -> Result<Version, String> {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let version = info.map(|info| info.kubelet_version.as_str()).unwrap_or_default();
    version.parse().map_err(|error| format!("node `{name}` reports no version: {error}"))
}

fn oldest(one: Option<NodeImage>, other: Option<NodeImage>) -> Option<NodeImage> {
    match (one, other) {
        (Some(one), Some(other)) if other.cmp_version(&one).is_lt() => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

fn offer<T: FromStr>(list: Option<&String>) -> Result<Offer<T>, String>
where
    T::Err: std::fmt::Display,
{
    let Some(list) = list else { return Ok(Offer::Anything) };
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(|item| item.parse().map_err(|error: T::Err| error.to_string()));
    items.collect::<Result<_, _>>().map(Offer::These)
}
