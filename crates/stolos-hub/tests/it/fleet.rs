//! A fleet in memory: API servers of the hub and of its members, the hub's controllers, the members' agents.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::ClusterResourcePlacement;
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::clock::Clock;
use stolos_apiserver::rest::ApiService;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;
use stolos_core::cluster::membership::Expected;
use stolos_core::network::claim::Importers;
use tokio::task::JoinSet;

/// How long a change may take on paused time. Nothing here takes longer than a few retries.
const PATIENCE: Duration = Duration::from_secs(50);

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
}

impl Cluster {
    async fn start(name: &str, clock: &Clock, crds: Vec<CustomResourceDefinition>) -> Self {
        let store = Store::memory().cluster(name).unwrap();
        let options = Options { clock: clock.clone(), ..Options::default() };
        let server = ApiServer::start(store, options).await.unwrap();
        let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        join_all(crds.iter().map(async |crd| {
            api.create(&PostParams::default(), crd).await.unwrap();
            eventually(&api, &crd.name_any(), "is established", |crd| {
                kube::runtime::wait::Condition::matches_object(
                    &conditions::is_crd_established(),
                    crd,
                )
            })
            .await;
        }))
        .await;
        Self { server, client }
    }

    /// Returns the API of a cluster-scoped kind.
    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Returns the API of a namespaced kind.
    pub(crate) fn inside<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// A hub with members that have joined.
pub(crate) struct Fleet {
    pub(crate) hub: Cluster,
    members: BTreeMap<String, Cluster>,
    clock: Clock,
    pub(crate) collect_namespaces: bool,
    /// Whether members export and import services; none for neither.
    importers: Option<Importers>,
    /// Whether they do so by the Multi-Cluster Services API.
    mcs_api: bool,
    hub_controllers: JoinSet<()>,
    agents: BTreeMap<String, JoinSet<()>>,
    simulations: JoinSet<()>,
}

impl Fleet {
    pub(crate) async fn start(members: &[&str]) -> Self {
        Self::start_with(None, false, members).await
    }

    /// Starts a fleet whose members export and import services by the Multi-Cluster Services API.
    pub(crate) async fn with_mcs_api(members: &[&str]) -> Self {
        Self::start_with(None, true, members).await
    }

    /// Starts a fleet whose members export and import services.
    pub(crate) async fn with_services(importers: Importers, members: &[&str]) -> Self {
        Self::start_with(Some(importers), false, members).await
    }

    async fn start_with(importers: Option<Importers>, mcs_api: bool, members: &[&str]) -> Self {
        let clock = Clock::tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let hub = Cluster::start("hub", &clock, stolos_api::hub_crds()).await;
        let mut fleet = Self {
            hub,
            members: BTreeMap::new(),
            clock,
            collect_namespaces: false,
            importers,
            mcs_api,
            hub_controllers: JoinSet::new(),
            agents: BTreeMap::new(),
            simulations: JoinSet::new(),
        };
        fleet.start_hub();
        for name in members {
            fleet.join(name).await;
        }
        fleet
    }

    fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let clock = self.clock.clone();
        Arc::new(move || clock.now())
    }

    /// Starts the hub's controllers.
    pub(crate) fn start_hub(&mut self) {
        self.start_hub_by(|server| Client::new(server, "default"));
    }

    /// Starts the hub's controllers with a way to the hub of their own.
    pub(crate) fn start_hub_by(&mut self, way: impl FnOnce(ApiService) -> Client) {
        let client = way(self.hub.server.as_user(UserInfo::internal("hub")));
        let options = stolos_controller::Options {
            name: "hub",
            concurrency: 8,
            clock: self.clock(),
            readiness: stolos_controller::Readiness::default(),
        };
        let mut config = stolos_hub::Config::default();
        config.clusterset.enabled = self.mcs_api;
        if let Some(importers) = self.importers {
            config.cluster.expected_agents = Expected::MemberAndNetworking;
            config.network.enabled = true;
            config.network.importers = importers;
        }
        self.hub_controllers.spawn(stolos_hub::run(client, config, options));
    }

    /// Stops the hub's controllers, wherever they are.
    pub(crate) async fn stop_hub(&mut self) {
        self.hub_controllers.shutdown().await;
    }

    /// Starts a member and waits until the hub says that it has joined.
    pub(crate) async fn join(&mut self, name: &str) {
        let mut crds = stolos_api::member_crds();
        if self.mcs_api {
            crds.extend(stolos_api::network::mcs::crds());
        }
        let cluster = Cluster::start(name, &self.clock, crds).await;
        let user = format!("agent-of-{name}");
        let member: MemberCluster = serde_json::from_value(json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "MemberCluster",
            "metadata": {"name": name, "labels": {"name": name}},
            "spec": {"identity": {
                "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io",
            }},
        }))
        .unwrap();
        create(&self.hub.all(), &member).await;
        self.simulations.spawn(simulate(name.to_owned(), cluster.client.clone(), self.clock()));
        let hub = self.as_agent(name);
        self.spawn_agent(name, hub, cluster.client.clone());
        self.members.insert(name.to_owned(), cluster);
        eventually(&self.hub.all::<MemberCluster>(), name, "has joined", |member| {
            let status = member.and_then(|member| member.status.as_ref());
            let agent = status.and_then(|status| status.agent("MemberAgent"));
            let has_joined = status.is_some_and(|status| {
                status.conditions.iter().any(|c| c.type_ == "Joined" && c.status == "True")
            });
            has_joined
                && agent.is_some_and(|agent| {
                    ["Joined", "Healthy"].iter().all(|wanted| {
                        agent.conditions.iter().any(|c| c.type_ == *wanted && c.status == "True")
                    })
                })
        })
        .await;
    }

    /// Starts the agent of a member with these ways to the hub and to the member.
    pub(crate) fn spawn_agent(&mut self, name: &str, hub: Client, member: Client) {
        let agent = stolos_member::run(stolos_member::Config {
            name: name.to_owned(),
            hub,
            member,
            clock: self.clock(),
            deletion_wait: stolos_member::DELETION_WAIT,
            collect_namespaces: self.collect_namespaces,
            metrics: Arc::default(),
            readiness: stolos_controller::Readiness::default(),
            provider: stolos_core::cluster::provider::Provider::default(),
            network: stolos_member::network::Options {
                enabled: self.importers.is_some(),
                clusterset: stolos_member::network::clusterset::Options { enabled: self.mcs_api },
                ..stolos_member::network::Options::default()
            },
        });
        self.agents.entry(name.to_owned()).or_default().spawn(agent);
    }

    /// Stops the agents of all members, wherever they are.
    pub(crate) async fn stop_agents(&mut self) {
        for agent in self.agents.values_mut() {
            agent.shutdown().await;
        }
    }

    /// Stops the agent of a member.
    pub(crate) async fn stop_agent(&mut self, name: &str) {
        self.agents.get_mut(name).unwrap().shutdown().await;
    }

    /// Starts the agents of all members.
    pub(crate) fn start_agents(&mut self) {
        self.start_agents_by(|server| Client::new(server, "default"));
    }

    /// Starts the agents of all members, each with a way of its own to its member.
    pub(crate) fn start_agents_by(&mut self, way: impl Fn(ApiService) -> Client) {
        let members = std::mem::take(&mut self.members);
        for (name, cluster) in &members {
            let hub = self.as_agent(name);
            let member = way(cluster.server.as_user(UserInfo::internal("tester")));
            self.spawn_agent(name, hub, member);
        }
        self.members = members;
    }

    /// Returns a client of the hub with the identity of a member's agent.
    pub(crate) fn as_agent(&self, name: &str) -> Client {
        Client::new(self.hub_for(name), "default")
    }

    /// Returns the hub as a member's agent reaches it.
    pub(crate) fn hub_for(&self, name: &str) -> ApiService {
        self.hub.server.as_user(UserInfo::authenticated(&format!("agent-of-{name}"), &[]))
    }

    /// Returns a member.
    pub(crate) fn member(&self, name: &str) -> &Cluster {
        &self.members[name]
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Cluster> {
        self.members.values()
    }

    pub(crate) fn placements(&self) -> Api<ClusterResourcePlacement> {
        self.hub.all()
    }

    /// Creates a placement.
    pub(crate) async fn place(&self, name: &str, spec: Value) {
        let placement: ClusterResourcePlacement = serde_json::from_value(json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1",
            "kind": "ClusterResourcePlacement",
            "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        create(&self.placements(), &placement).await;
    }

    /// Waits until a placement is available on exactly these members.
    pub(crate) async fn available(&self, placement: &str, members: &[&str]) {
        let what = format!("is available on {members:?}");
        eventually(&self.placements(), placement, &what, |placement| {
            placement.is_some_and(|placement| is_available(placement, members))
        })
        .await;
    }
}

/// Plays the controllers of a member, so that its workloads become available.
async fn simulate(name: String, client: Client, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) {
    let cluster = stolos_sim::Cluster {
        name,
        region: "here".to_owned(),
        kubernetes_version: "1.34.1".to_owned(),
        node_image: "image".to_owned(),
        kubernetes_versions: Vec::new(),
        node_images: Vec::new(),
        nodes: 1,
        cpu: 4,
        memory_gib: 16,
    };
    let config = stolos_sim::Config {
        cluster,
        workloads: stolos_sim::Workloads::Simulated,
        pods: stolos_sim::Pods::Mute,
        pod_delay: Duration::ZERO,
        node_upgrade_time: Duration::ZERO,
        clock,
    };
    stolos_sim::run(client, config).await.unwrap();
}

fn is_available(placement: &ClusterResourcePlacement, members: &[&str]) -> bool {
    let Some(status) = &placement.status else { return false };
    let mut placed: Vec<&str> = status
        .per_cluster_placement_statuses
        .iter()
        .map(|cluster| cluster.cluster_name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    placed.sort_unstable();
    placed == members
        && (members.is_empty()
            || status.conditions.iter().any(|condition| {
                condition.type_ == "ClusterResourcePlacementAvailable"
                    && condition.status == "True"
                    && condition.observed_generation == placement.metadata.generation
            }))
}

/// Waits until an object satisfies a check; panics with its last state when that takes too long.
pub(crate) async fn eventually<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    holds: impl Fn(Option<&K>) -> bool,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let waiting = await_condition(api.clone(), name, |object: Option<&K>| holds(object));
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => panic!("`{name}`: {error}"),
        Err(_) => {
            let last = api.get_opt(name).await.unwrap();
            panic!(
                "never true that `{name}` {what}: {}",
                serde_json::to_string_pretty(&last).unwrap()
            );
        }
    }
}

/// Waits until an object exists.
pub(crate) async fn exists<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    eventually(api, name, "exists", |object| object.is_some()).await;
}

/// Waits until an object is gone.
pub(crate) async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    eventually(api, name, "is gone", |object| object.is_none()).await;
}

pub(crate) async fn create<K>(api: &Api<K>, object: &K)
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    api.create(&PostParams::default(), object).await.unwrap();
}

pub(crate) async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Clone + Debug + DeserializeOwned,
{
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

pub(crate) async fn merge<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Clone + Debug + DeserializeOwned,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Tries to change an object and returns why that was refused; nothing if it was not.
pub(crate) async fn try_merge<K>(api: &Api<K>, name: &str, patch: Value) -> String
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => String::new(),
        Err(kube::Error::Api(status)) => status.message,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until events with all these reasons were written about an object, and returns the reasons of all its events
/// until then, sorted.
pub(crate) async fn told(events: &Api<Event>, about: &str, all: &[&str]) -> Vec<String> {
    let mut reasons = Vec::new();
    let listening = async {
        let changes = watcher(events.clone(), watcher::Config::default()).default_backoff();
        let mut changes = std::pin::pin!(changes.applied_objects());
        while let Some(change) = changes.next().await {
            let event = change.unwrap();
            if event.involved_object.name.as_deref() == Some(about) {
                reasons.extend(event.reason);
            }
            if all.iter().all(|wanted| reasons.iter().any(|told| told == wanted)) {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, listening).await;
    assert!(heard.is_ok(), "never told {all:?} of `{about}`, only {reasons:?}");
    reasons.sort();
    reasons
}

pub(crate) async fn merge_status<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Clone + Debug + DeserializeOwned,
{
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Returns what a list shows at the moment.
pub(crate) async fn items<K>(api: &Api<K>) -> Value
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
{
    json!(api.list(&ListParams::default()).await.unwrap().items)
}
