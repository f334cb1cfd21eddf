//! The loop of a simulated cluster: watch, decide, write.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::{SelectAll, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher;
use tracing::warn;

use crate::action::{Action, execute};
use crate::answer::Answers;
use crate::meta::{Key, controller_uid, key, label, selects};
use crate::watch::{Change, watch};
use crate::world::{Kind, Object, World};
use crate::{
    CLUSTER_CONFIG_MAP, daemon_set, deployment, job, kubelet, nodes, replica_set, service,
    stateful_set, upgrade,
};
use crate::{Config, Pods, UPGRADE_LABEL, Workloads};

/// Why a simulation ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The nodes could not be created.
    #[error("failed to create the nodes of simulated cluster `{cluster}`")]
    Nodes {
        /// Name of the cluster.
        cluster: String,
        /// What the API server said.
        source: kube::Error,
    },
}

/// How many writes are under way at once; the embedded server answers in a fraction of a millisecond.
const CONCURRENCY: usize = 8;

/// How long to wait before a decision is made again whose writes failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the loop has to look at again.
type Item = (Kind, Key);

/// Simulates a cluster until the future is dropped.
///
/// # Errors
/// When the nodes cannot be created. Later failures of the API server are retried.
pub async fn run(client: Client, config: Config) -> Result<(), Error> {
    let cluster = config.cluster.name.clone();
    let nodes = nodes::ensure(&client, &config.cluster, (config.clock)()).await;
    nodes.map_err(|source| Error::Nodes { cluster, source })?;
    let mut simulation = Simulation::new(client, config);
    loop {
        let event = simulation.select().await;
        simulation.apply(event);
        simulation.work().await;
    }
}

/// A change of the cluster, or a moment that was waited for.
enum Event {
    Changed(Change),
    Due,
    /// There may be room for pods that answer nobody.
    Room,
}

struct Simulation {
    client: Client,
    config: Config,
    world: World,
    /// The pods that answer, if any do.
    answers: Option<Answers>,
    changes: SelectAll<Pin<Box<dyn Stream<Item = Change> + Send>>>,
    /// Objects seen since a watch started over.
    listed: BTreeMap<Kind, BTreeSet<Key>>,
    /// Kinds whose first list is complete; nothing is decided before all are.
    synced: BTreeSet<Kind>,
    dirty: BTreeSet<Item>,
    wake: BTreeSet<(Timestamp, Item)>,
}

impl Simulation {
    fn new(client: Client, config: Config) -> Self {
        let mut changes = SelectAll::new();
        let config_of = || watcher::Config::default().timeout(0);
        changes.push(watch(Api::<Pod>::all(client.clone()), config_of()));
        changes.push(watch(Api::<Node>::all(client.clone()), config_of()));
        changes
            .push(watch(Api::<ConfigMap>::namespaced(client.clone(), "kube-system"), config_of()));
        changes.push(watch(Api::<ReplicaSet>::all(client.clone()), config_of()));
        changes.push(watch(Api::<StatefulSet>::all(client.clone()), config_of()));
        changes.push(watch(Api::<DaemonSet>::all(client.clone()), config_of()));
        changes.push(watch(Api::<Job>::all(client.clone()), config_of()));
        changes.push(watch(Api::<Service>::all(client.clone()), config_of()));
        if config.workloads == Workloads::Simulated {
            changes.push(watch(Api::<Deployment>::all(client.clone()), config_of()));
            changes.push(watch(Api::<EndpointSlice>::all(client.clone()), config_of()));
        }
        let answers = match &config.pods {
            Pods::Mute => None,
            Pods::Answering(answering) => {
                Some(Answers::new(&config.cluster.name, answering.sockets.clone()))
            }
        };
        let world = World { pod_network: config.pods.network(), ..World::default() };
        Self {
            client,
            config,
            world,
            answers,
            changes,
            listed: BTreeMap::new(),
            synced: BTreeSet::new(),
            dirty: BTreeSet::new(),
            wake: BTreeSet::new(),
        }
    }

    fn now(&self) -> Timestamp {
        (self.config.clock)()
    }

    /// Waits for the next event and changes nothing.
    async fn select(&mut self) -> Event {
        let due = self.wake.first().map(|(at, _)| *at);
        let timer = async {
            match due {
                Some(at) => {
                    let wait = at.duration_since((self.config.clock)());
                    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
                }
                None => futures::future::pending().await,
            }
        };
        let room = async {
            match &self.answers {
                Some(answers) => answers.room().await,
                None => futures::future::pending().await,
            }
        };
        tokio::select! {
            Some(change) = self.changes.next() => Event::Changed(change),
            () = timer => Event::Due,
            () = room => Event::Room,
        }
    }

    /// Takes an event in and marks what it may concern.
    fn apply(&mut self, event: Event) {
        match event {
            Event::Changed(Change::Applied(object)) => {
                if let Some(listed) = self.listed.get_mut(&object.kind()) {
                    listed.insert(key(object.meta()));
                }
                self.learn(&object);
            }
            Event::Changed(Change::Deleted(object)) => {
                if self.world.remove(&object) {
                    self.touch(&object);
                }
            }
            Event::Changed(Change::Restarted(kind)) => {
                self.listed.insert(kind, BTreeSet::new());
            }
            Event::Changed(Change::Listed(kind)) => {
                let listed = self.listed.remove(&kind).unwrap_or_default();
                for gone in self.world.retain(kind, &listed) {
                    self.touch(&gone);
                }
                self.synced.insert(kind);
            }
            Event::Room => {
                let mute = self.answers.iter().flat_map(Answers::mute);
                self.dirty.extend(mute.map(|pod| (Kind::Pod, pod.clone())));
            }
            Event::Due => {
                let now = self.now();
                while self.wake.first().is_some_and(|(at, _)| *at <= now) {
                    let (_, item) = self.wake.pop_first().expect("just looked at");
                    self.dirty.insert(item);
                }
            }
        }
    }

    fn learn(&mut self, object: &Object) {
        if self.world.insert(object.clone()) {
            self.touch(object);
        }
    }

    /// Marks an object and those whose decisions look at it.
    fn touch(&mut self, object: &Object) {
        let (kind, key) = (object.kind(), key(object.meta()));
        match object {
            Object::Pod(pod) => {
                self.touch_owner(object);
                let labels = pod.metadata.labels.clone().unwrap_or_default();
                self.touch_services(&key.namespace, &labels);
            }
            Object::ReplicaSet(_) | Object::EndpointSlice(_) => self.touch_owner(object),
            Object::Node(_) => {
                let sets = self
                    .world
                    .daemon_sets
                    .iter()
                    .map(|set| (Kind::DaemonSet, crate::meta::key(&set.metadata)));
                self.dirty.extend(sets);
                // A changed node may take pods that wait.
                let waiting =
                    self.world.pods.iter().filter(|pod| {
                        pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())
                    });
                self.dirty.extend(waiting.map(|pod| (Kind::Pod, crate::meta::key(&pod.metadata))));
            }
            Object::Service(_) if self.answers.is_some() => {
                // Where it sends to, there the pods must answer.
                let pods = self.world.pods.in_namespace(&key.namespace);
                let pods = pods.filter(|pod| kubelet::is_ready(pod));
                self.dirty.extend(pods.map(|pod| (Kind::Pod, crate::meta::key(&pod.metadata))));
            }
            _ => {}
        }
        self.dirty.insert((kind, key));
    }

    fn touch_owner(&mut self, object: &Object) {
        let owners = object.meta().owner_references.as_deref().unwrap_or_default();
        let Some(uid) = controller_uid(object.meta()) else { return };
        let Some(owner) = owners.iter().find(|owner| owner.uid == uid) else { return };
        let kind = match owner.kind.as_str() {
            "Deployment" => Kind::Deployment,
            "ReplicaSet" => Kind::ReplicaSet,
            "StatefulSet" => Kind::StatefulSet,
            "DaemonSet" => Kind::DaemonSet,
            "Job" => Kind::Job,
            "Service" => Kind::Service,
            _ => return,
        };
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        self.dirty.insert((kind, Key { namespace, name: owner.name.clone() }));
    }

    fn touch_services(&mut self, namespace: &str, labels: &BTreeMap<String, String>) {
        for service in self.world.services.in_namespace(namespace) {
            let match_labels = service.spec.as_ref().and_then(|spec| spec.selector.clone());
            let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
                match_labels,
                match_expressions: None,
            };
            if selects(&selector, labels) {
                self.dirty.insert((Kind::Service, key(&service.metadata)));
            }
        }
    }

    /// Decides and writes until nothing is left to look at.
    async fn work(&mut self) {
        let watched = if self.config.workloads == Workloads::Simulated { 10 } else { 8 };
        if self.synced.len() < watched {
            return;
        }
        while !self.dirty.is_empty() {
            let items = std::mem::take(&mut self.dirty);
            let mut actions = Vec::new();
            let now = self.now();
            for item in items {
                let (decided, wake_at) = self.decide(&item, now);
                self.assume(&decided);
                self.wake.extend(wake_at.map(|at| (at, item.clone())));
                // Before anything is written: whoever reads of an endpoint may connect to it.
                let told = self.follow(&item, now);
                actions
                    .extend(decided.into_iter().chain(told).map(|action| (item.clone(), action)));
            }
            if let Some(answers) = &mut self.answers {
                answers.closed().await;
            }
            self.write(actions).await;
        }
    }

    /// Lets a pod answer as it should, and returns what people are to be told.
    fn follow(&mut self, (kind, key): &Item, at: Timestamp) -> Vec<Action> {
        let (Kind::Pod, Some(answers)) = (kind, &mut self.answers) else { return Vec::new() };
        let failed = answers.follow(&self.world, key);
        let Some(pod) = self.world.pods.get(key) else { return Vec::new() };
        let tell = |message| Action::Tell {
            pod: Box::new(Pod::clone(pod)),
            reason: "PortNotOpened",
            message,
            at,
        };
        failed.into_iter().map(tell).collect()
    }

    /// Counts pods as placed from the decision on, so that those decided together spread over the nodes.
    fn assume(&mut self, decided: &[Action]) {
        for action in decided {
            if let Action::Bind { pod, node } = action {
                self.world.assumed.insert(pod.clone(), node.clone());
            }
        }
    }

    async fn write(&mut self, actions: Vec<(Item, Action)>) {
        let client = &self.client;
        let results: Vec<_> = futures::stream::iter(actions)
            .map(|(item, action)| async move { (item, execute(client, action).await) })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        self.world.assumed.clear();
        for (item, result) in results {
            match result {
                Ok(Some(object)) => self.learn(&object),
                Ok(None) => {}
                Err(error) => {
                    warn!(cluster = %self.config.cluster.name, kind = ?item.0, name = %item.1.name, %error, "failed to simulate");
                    let retry = jiff::SignedDuration::try_from(RETRY_AFTER).unwrap_or_default();
                    self.wake
                        .insert((self.now().saturating_add(retry).unwrap_or(Timestamp::MAX), item));
                }
            }
        }
    }

    fn decide(&self, (kind, key): &Item, now: Timestamp) -> (Vec<Action>, Option<Timestamp>) {
        let world = &self.world;
        let simulated = self.config.workloads == Workloads::Simulated;
        let actions = match kind {
            Kind::Pod => {
                let Some(pod) = world.pods.get(key) else { return (Vec::new(), None) };
                let step = kubelet::decide(world, pod, self.config.pod_delay, now);
                return (step.actions, step.wake_at);
            }
            Kind::ConfigMap | Kind::Node => {
                let concerns = *kind == Kind::Node
                    || key.name == CLUSTER_CONFIG_MAP
                    || self.asks_for_upgrade(key);
                if !concerns {
                    return (Vec::new(), None);
                }
                let step = upgrade::decide(world, self.config.node_upgrade_time, now);
                return (step.actions, step.wake_at);
            }
            Kind::EndpointSlice => Vec::new(),
            // kube-controller-manager leaves load balancers to the cloud.
            Kind::Service if !simulated => {
                world.services.get(key).map_or(Vec::new(), |object| service::cloud(object))
            }
            _ if !simulated => Vec::new(),
            Kind::Deployment => world
                .deployments
                .get(key)
                .map_or(Vec::new(), |object| deployment::decide(world, object, now)),
            Kind::ReplicaSet => world
                .replica_sets
                .get(key)
                .map_or(Vec::new(), |object| replica_set::decide(world, object)),
            Kind::StatefulSet => world
                .stateful_sets
                .get(key)
                .map_or(Vec::new(), |object| stateful_set::decide(world, object)),
            Kind::DaemonSet => world
                .daemon_sets
                .get(key)
                .map_or(Vec::new(), |object| daemon_set::decide(world, object)),
            Kind::Job => {
                world.jobs.get(key).map_or(Vec::new(), |object| job::decide(world, object, now))
            }
            Kind::Service => {
                world.services.get(key).map_or(Vec::new(), |object| service::decide(world, object))
            }
        };
        (actions, None)
    }

    fn asks_for_upgrade(&self, key: &Key) -> bool {
        self.world
            .config_maps
            .get(key)
            .is_some_and(|map| label(&map.metadata, UPGRADE_LABEL).is_some())
    }
}
