//! A hub and simulated members that are reached over TLS, as `stolos up` has them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::UpdateRun;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::rest::ApiService;
use stolos_apiserver::serve::kubeconfig::{self, Context, Login};
use stolos_apiserver::serve::{CertificateAuthority, Limits, Server, server_config};
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use stolos_core::update::StrategyLimits;
use stolos_hub::update::Config;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::{BoxError, ServiceExt};

use crate::mortal::run_until_write;

/// Namespace of the fleet, its resource group.
pub(crate) const NAMESPACE: &str = "fleet-local";

/// Name of the fleet.
pub(crate) const FLEET: &str = "local";

/// Lives after which a process that dies at a later write each time must have done everything; a run over three members
/// takes some ten.
const MOST_LIVES: usize = 60;

/// A wait that only a broken build reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hub with members.
pub(crate) struct Fleet {
    pub(crate) hub: Client,
    /// Stops with the last handle.
    pub(crate) server: ApiServer,
    /// What the controllers of [`control`](Self::control) count and measure.
    pub(crate) metrics: Arc<stolos_hub::Metrics>,
    members: BTreeMap<String, Member>,
}

struct Member {
    client: Client,
    server: ApiServer,
    _serving: Server,
}

impl Fleet {
    /// Starts a hub with the Stolos kinds and members `(name, group)` at 1.33.0.
    pub(crate) async fn start(members: &[(&str, &str)]) -> Self {
        let (server, hub) = cluster("hub").await;
        for crd in stolos_api::crds() {
            let name = crd.metadata.name.clone().unwrap();
            let api = Api::<CustomResourceDefinition>::all(hub.clone());
            api.create(&PostParams::default(), &crd).await.unwrap();
            let reached = await_condition(api.clone(), &name, conditions::is_crd_established());
            let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
            assert!(reached, "not established: {:#?}", api.get(&name).await.unwrap().status);
        }
        let mut fleet = Self { hub, server, metrics: Arc::default(), members: BTreeMap::new() };
        fleet.create::<Namespace>("v1", "Namespace", NAMESPACE, json!({})).await;
        for (name, group) in members {
            fleet.join(name, group).await;
        }
        fleet
    }

    pub(crate) async fn join(&mut self, name: &str, group: &str) {
        let (server, client) = cluster(name).await;
        let (serving, kubeconfig) = serve(name, &server).await;
        tokio::spawn(stolos_sim::run(client.clone(), simulation(name)));
        let member = Member { client, server, _serving: serving };
        self.members.insert(name.to_owned(), member);
        let secret = json!({"stringData": {"kubeconfig": kubeconfig}});
        self.create::<Secret>("v1", "Secret", name, secret).await;
        let member = json!({"spec": {
            "fleetName": FLEET,
            "group": group,
            "cluster": {"simulated": {"kubeconfigSecret": {"name": name}}},
        }});
        self.create_ours::<FleetMember>("FleetMember", name, member).await.unwrap();
    }

    /// Creates an object of the fleet, `<fleet>.<name>`.
    pub(crate) async fn create_ours<K>(
        &self,
        kind: &str,
        name: &str,
        body: Value,
    ) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
    {
        let name = format!("{FLEET}.{name}");
        self.try_create("fleet.stolos.dev/v1alpha1", kind, &name, body).await
    }

    async fn create<K>(&self, version: &str, kind: &str, name: &str, body: Value) -> K
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
    {
        self.try_create(version, kind, name, body).await.unwrap()
    }

    /// Sends the body as it is, so that the API server judges it and not our own types.
    async fn try_create<K>(
        &self,
        version: &str,
        kind: &str,
        name: &str,
        mut body: Value,
    ) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
    {
        body["apiVersion"] = json!(version);
        body["kind"] = json!(kind);
        body["metadata"] = json!({"name": name});
        let namespace = (kind != "Namespace").then_some(NAMESPACE);
        let request = kube::api::Request::new(K::url_path(&(), namespace));
        let body = serde_json::to_vec(&body).unwrap();
        let request = request.create(&PostParams::default(), body).unwrap();
        self.hub.request(request).await
    }

    /// Objects of a kind in the fleet's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.hub.clone(), NAMESPACE)
    }

    /// Starts the controller of update runs; aborting the task is what `kill -9` does to it.
    pub(crate) fn control(&self) -> JoinHandle<()> {
        self.control_within(StrategyLimits::default())
    }

    /// As [`control`](Self::control), with other limits of strategies.
    pub(crate) fn control_within(&self, strategy_limits: StrategyLimits) -> JoinHandle<()> {
        let config = Config { strategy_limits, metrics: self.metrics.clone() };
        tokio::spawn(stolos_hub::update::run(self.hub.clone(), config, options()))
    }

    /// As [`Fleet::control`], where the API servers of members answer so to `/metrics`.
    pub(crate) fn control_with_metrics(&self, metrics: &[(&str, u16, &str)]) -> JoinHandle<()> {
        let clients = metrics.iter().map(|(name, status, text)| {
            let answer = (*status, (*text).to_owned());
            let server = self.members[*name].server.as_user(UserInfo::internal("tester"));
            ((*name).to_owned(), telling(server, answer))
        });
        let clients: BTreeMap<String, Client> = clients.collect();
        let connect: stolos_hub::update::Connect = Arc::new(move |secret: Secret| {
            let client = clients[secret.metadata.name.as_deref().unwrap()].clone();
            async move { Ok(client) }.boxed()
        });
        let config = Config::default();
        tokio::spawn(stolos_hub::update::run_with(self.hub.clone(), connect, config, options()))
    }

    /// Starts the controllers of update runs again and again; each dies at its next later write. Ends when nothing is left to
    /// do, which `done` tells.
    pub(crate) async fn control_mortals(&self, done: impl AsyncFn()) {
        let server = || self.server.as_user(UserInfo::internal("tester"));
        let control = |client| stolos_hub::update::run(client, Config::default(), options());
        for n_writes in 1..MOST_LIVES {
            if !run_until_write(server(), n_writes, control, done()).await {
                return;
            }
        }
        panic!("not done after {MOST_LIVES} lives");
    }

    /// Creates a run that starts at once.
    pub(crate) async fn run(&self, name: &str, version: &str, stages: Value) {
        let mut spec = json!({
            "fleetName": FLEET,
            "state": "Run",
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": version}},
        });
        if !stages.is_null() {
            spec["strategy"] = json!({ "stages": stages });
        }
        self.create_ours::<UpdateRun>("UpdateRun", name, json!({"spec": spec})).await.unwrap();
    }

    /// Waits until an object is as wanted and returns it.
    pub(crate) async fn until<K>(&self, name: &str, wanted: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + 'static,
    {
        let name = format!("{FLEET}.{name}");
        let wanted = |object: Option<&K>| object.is_some_and(&wanted);
        let reached = await_condition(self.api::<K>(), &name, wanted);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(reached) => reached.unwrap().unwrap(),
            Err(_elapsed) => panic!("does not get there: {:#?}", self.api::<K>().get(&name).await),
        }
    }

    /// Changes an object of the fleet.
    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let name = format!("{FLEET}.{name}");
        self.api().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// A client of a member's own API.
    pub(crate) fn member(&self, name: &str) -> Client {
        self.members[name].client.clone()
    }

    /// Kubelet version and number of upgrades of every node of every member.
    pub(crate) async fn nodes(&self) -> Vec<String> {
        let mut all = Vec::new();
        for member in self.members.values() {
            let api = Api::<Node>::all(member.client.clone());
            for node in api.list(&ListParams::default()).await.unwrap() {
                let info = node.status.unwrap().node_info.unwrap();
                let upgrades =
                    node.metadata.annotations.unwrap()[stolos_sim::UPGRADES_ANNOTATION].clone();
                let name = node.metadata.name.unwrap();
                all.push(format!("{name} {} {upgrades}", info.kubelet_version));
            }
        }
        all
    }
}

/// Returns a client of a server that answers so to `/metrics`.
fn telling(server: ApiService, (status, text): (u16, String)) -> Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (server, text) = (server.clone(), text.clone());
        async move {
            if request.uri().path() == "/metrics" {
                let text = Full::new(Bytes::from(text)).map_err(BoxError::from).boxed_unsync();
                return Ok::<_, BoxError>(Response::builder().status(status).body(text)?);
            }
            let answer = server.oneshot(request).await?;
            Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
        }
    });
    Client::new(service, "default")
}

/// How controllers run in these tests.
pub(crate) fn options() -> stolos_controller::Options {
    stolos_controller::Options {
        name: "test",
        concurrency: 8,
        clock: Arc::new(Timestamp::now),
        readiness: stolos_controller::Readiness::default(),
    }
}

async fn cluster(name: &str) -> (ApiServer, Client) {
    let store = Store::memory().cluster(name).unwrap();
    let server = ApiServer::start(store, Options::default()).await.unwrap();
    let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
    (server, client)
}

async fn serve(name: &str, server: &ApiServer) -> (Server, String) {
    let now = Timestamp::now();
    let authority = CertificateAuthority::generate(name, now).unwrap();
    let tls = server_config(&authority.server(&[], now).unwrap(), &authority).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let serving = Server::start(listener, Some(tls), server.service(), Limits::default()).unwrap();
    let context = Context {
        name: name.to_owned(),
        server: format!("https://{}", serving.address()),
        authority: authority.certificate().to_owned(),
        login: Login::Certificate(authority.client("admin", Some("system:masters"), now).unwrap()),
        namespace: None,
    };
    (serving, kubeconfig::render(&[context], name))
}

fn simulation(name: &str) -> stolos_sim::Config {
    stolos_sim::Config {
        cluster: stolos_sim::Cluster {
            name: name.to_owned(),
            region: "north".into(),
            kubernetes_version: "1.33.0".into(),
            node_image: "Ubuntu-2204-202610.01.0".into(),
            kubernetes_versions: Vec::new(),
            node_images: Vec::new(),
            nodes: 2,
            cpu: 4,
            memory_gib: 16,
        },
        workloads: stolos_sim::Workloads::Simulated,
        pods: stolos_sim::Pods::Mute,
        pod_delay: Duration::from_millis(1),
        node_upgrade_time: Duration::from_millis(30),
        clock: Arc::new(Timestamp::now),
    }
}
