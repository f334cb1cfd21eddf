//! Simulated clusters: an upgrade is a ConfigMap in `kube-system` that the simulation carries out.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Inspection, Operation};
use tokio::sync::watch;

use crate::{ClientError, Observation, Provider, StartError};

mod inspect;
mod watch_anew;

use inspect::{inspect, operation};
use watch_anew::{News, watch_anew};

/// Namespace of everything that the simulation reads.
const NAMESPACE: &str = "kube-system";

/// Label of the ConfigMaps that ask for an upgrade.
const UPGRADE_LABEL: &str = "sim.stolos.dev/upgrade";

/// Their names: this and the operation id.
const UPGRADE_PREFIX: &str = "upgrade-";

/// ConfigMap with the facts of a simulated cluster and the script of what goes wrong in it; `stolos_sim` describes it.
/// What has an end is there until the simulation takes it away, so no clock is needed here.
const FACTS: &str = "simulated-cluster";

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
        let (round, rounds) = watch::channel(0);
        let any = watcher::Config::default;
        let (nodes, node_news) = watch_anew(Api::all(self.client.clone()), any(), rounds.clone());
        let requests = any().labels(UPGRADE_LABEL);
        // Upgrades are what the rounds are about; their own watch never starts over for them.
        let (requests, request_news) =
            watch_anew(self.config_maps(), requests, watch::channel(0).1);
        let facts = any().fields(&format!("metadata.name={FACTS}"));
        let (facts, fact_news) = watch_anew(self.config_maps(), facts, rounds);
        let mut world = World {
            nodes,
            requests,
            facts,
            listed: [false; 3],
            lost: [const { None }; 3],
            ended: BTreeSet::new(),
            round,
            last: None,
        };
        stream::select_all([
            node_news.map(|news| (NODES, news)).boxed(),
            request_news.map(|news| (REQUESTS, news)).boxed(),
            fact_news.map(|news| (CLUSTER_FACTS, news)).boxed(),
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
                Err(error) => Err(StartError::Request {
                    operation_id: operation_id.into(),
                    source: error.into(),
                }),
            }
        })
    }

    fn client(&self) -> BoxFuture<'_, Result<Client, ClientError>> {
        Box::pin(async { Ok(self.client.clone()) })
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
    if target.rollback {
        data.insert("rollback".to_owned(), "true".to_owned());
    }
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

/// Places of the watches in [`World`].
const NODES: usize = 0;
const REQUESTS: usize = 1;
const CLUSTER_FACTS: usize = 2;

/// What the watches have shown so far.
///
/// Watches of different kinds are not in step: the end of an upgrade may be seen before the nodes that it changed. So
/// when an upgrade has ended, nodes and facts are listed anew before anything is told; who learns that the upgrade is
/// done also learns what it has done.
struct World {
    nodes: Store<Node>,
    requests: Store<ConfigMap>,
    facts: Store<ConfigMap>,
    listed: [bool; 3],
    lost: [Option<String>; 3],
    ended: BTreeSet<String>,
    round: watch::Sender<u64>,
    last: Option<Observation>,
}

impl World {
    /// Takes news in and returns what is seen, if that is something else than before.
    fn take(&mut self, source: usize, news: News) -> Option<Observation> {
        match news {
            News::Change => {}
            News::Listed(round) => {
                self.lost[source] = None;
                self.listed[source] = source == REQUESTS || round == *self.round.borrow();
            }
            News::Lost(error) => self.lost[source] = Some(error),
        }
        let operations: BTreeMap<String, Operation> =
            self.requests.state().iter().filter_map(|request| operation(request)).collect();
        if source == REQUESTS {
            self.look_for_ends(&operations);
        }
        let seen = self.observe(operations)?;
        if self.last.as_ref() == Some(&seen) {
            return None;
        }
        self.last = Some(seen.clone());
        Some(seen)
    }

    fn look_for_ends(&mut self, operations: &BTreeMap<String, Operation>) {
        let ended: BTreeSet<String> = (operations.iter())
            .filter(|(_, operation)| !matches!(operation, Operation::Running(_)))
            .map(|(id, _)| id.clone())
            .collect();
        if !ended.is_subset(&self.ended) {
            self.listed[NODES] = false;
            self.listed[CLUSTER_FACTS] = false;
            self.round.send_modify(|round| *round += 1);
        }
        self.ended = ended;
    }

    fn observe(&self, operations: BTreeMap<String, Operation>) -> Option<Observation> {
        if let Some(error) = self.lost.iter().flatten().next() {
            let cluster = Inspection::Unknown(format!("the cluster does not answer: {error}"));
            return Some(Observation { cluster, operations });
        }
        if self.listed != [true; 3] {
            return None;
        }
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
