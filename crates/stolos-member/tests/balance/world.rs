//! A hub and a member whose network agent is played by the tests, a balancer, and a data plane that records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::{EndpointSliceImport, MultiClusterService, ServiceImport};
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;
use stolos_controller::Readiness;
use stolos_core::network::balance::VipPort;
use stolos_dataplane::{DataPlane, Desired, NotServed, Report, VipStats};
use stolos_member::balance;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Far longer than anything here takes; whoever waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const SYSTEM: &str = "fleet-system";
const ON_HUB: &str = "fleet-member-here";

/// A cluster.
pub(crate) struct Cluster {
    _server: ApiServer,
    pub(crate) client: Client,
}

impl Cluster {
    async fn start(name: &str, crds: &[CustomResourceDefinition], namespaces: &[&str]) -> Self {
        let store = Store::memory().cluster(name).unwrap();
        let server = ApiServer::start(store, Options::default()).await.unwrap();
        let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in crds {
            api.create(&PostParams::default(), crd).await.unwrap();
        }
        for crd in crds {
            let name = crd.name_any();
            let served = await_condition(api.clone(), &name, conditions::is_crd_established());
            soon(served).await.unwrap();
        }
        let cluster = Self { _server: server, client };
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        for namespace in namespaces {
            let namespace =
                serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
            api.create(&PostParams::default(), &namespace).await.unwrap();
        }
        cluster
    }

    pub(crate) fn inside<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The hub and the member `here`.
pub(crate) struct World {
    pub(crate) hub: Cluster,
    pub(crate) member: Cluster,
}

/// A running balancer; it stops when dropped.
pub(crate) struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Running {
    /// Stops it and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let (of_hub, of_member) = (stolos_api::hub_crds(), stolos_api::member_crds());
        let (hub, member) = tokio::join!(
            Box::pin(Cluster::start("hub", &of_hub, &[ON_HUB])),
            Box::pin(Cluster::start("here", &of_member, &[SYSTEM, "app"])),
        );
        Self { hub, member }
    }

    /// Runs a balancer.
    pub(crate) fn balance<P>(
        &self,
        plane: &Arc<P>,
        pool: &str,
        begun_with: Option<Desired>,
    ) -> Running
    where
        P: DataPlane + Send + Sync + 'static,
    {
        self.balance_with(plane, pool, begun_with, self.hub.client.clone())
    }

    /// Runs a balancer whose hub never answers.
    pub(crate) fn balance_without_hub<P>(
        &self,
        plane: &Arc<P>,
        pool: &str,
        begun_with: Option<Desired>,
    ) -> Running
    where
        P: DataPlane + Send + Sync + 'static,
    {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
                .await
        });
        self.balance_with(plane, pool, begun_with, Client::new(silent, "default"))
    }

    fn balance_with<P>(
        &self,
        plane: &Arc<P>,
        pool: &str,
        begun_with: Option<Desired>,
        hub: Client,
    ) -> Running
    where
        P: DataPlane + Send + Sync + 'static,
    {
        let config = balance::Config {
            name: "here".to_owned(),
            hub,
            member: self.member.client.clone(),
            clock: Arc::new(Timestamp::now),
            readiness: Readiness::default(),
            system_namespace: SYSTEM.to_owned(),
            pool: pool.parse().unwrap(),
            allows_loopback: true,
            figures_url: None,
        };
        let plane = plane.clone();
        Running(tokio::spawn(async move {
            balance::run(config, plane, begun_with.as_ref()).await;
        }))
    }

    /// Creates what users and the network agent would: a MultiClusterService, its import, and its derived Service.
    pub(crate) async fn import(&self, name: &str, ports: Value, annotations: Value) {
        let origin = json!({
            "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "MultiClusterService",
            "metadata": {"name": name, "namespace": "app", "annotations": annotations},
            "spec": {"serviceImport": {"name": name}},
        });
        create::<MultiClusterService>(&self.member.inside("app"), origin).await;
        let import = json!({
            "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "ServiceImport",
            "metadata": {"name": name, "namespace": "app"},
        });
        create::<ServiceImport>(&self.member.inside("app"), import).await;
        let derived = json!({
            "metadata": {
                "name": derived(name), "namespace": SYSTEM,
                "labels": {
                    "networking.fleet.azure.com/multi-cluster-service-name": name,
                    "networking.fleet.azure.com/multi-cluster-service-namespace": "app",
                },
            },
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": "network.fleet.stolos.dev/proxy",
                "ports": ports,
            },
        });
        create::<Service>(&self.member.inside(SYSTEM), derived).await;
    }

    /// Lets the hub tell of endpoints of a member, and this member keep what it is told.
    pub(crate) async fn export(&self, name: &str, cluster: &str, weight: u32, to: &[(&str, u16)]) {
        self.tell(name, cluster, weight, to).await;
        self.keep(name, cluster, weight, to).await;
    }

    /// Lets the hub tell of endpoints of a member.
    pub(crate) async fn tell(&self, name: &str, cluster: &str, weight: u32, to: &[(&str, u16)]) {
        let reference = |kind: &str| {
            json!({
                "clusterId": cluster, "kind": kind, "namespace": "app", "name": name,
                "resourceVersion": "1", "generation": 1, "uid": "uid",
                "namespacedName": format!("app/{name}"),
            })
        };
        let import: EndpointSliceImport = object(json!({
            "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "EndpointSliceImport",
            "metadata": {
                "name": slice(name, cluster), "namespace": ON_HUB,
                "annotations": {"networking.fleet.azure.com/weight": weight.to_string()},
            },
            "spec": {
                "addressType": "IPv4", "endpoints": endpoints(to), "ports": ports(to),
                "endpointSliceReference": reference("EndpointSlice"),
                "ownerServiceReference": {
                    "namespace": "app", "name": name, "namespacedName": format!("app/{name}"),
                },
            },
        }));
        let params = PatchParams::apply("hub").force();
        let api = self.imports();
        api.patch(&slice(name, cluster), &params, &Patch::Apply(&import)).await.unwrap();
    }

    /// Lets this member keep what it has been told.
    async fn keep(&self, name: &str, cluster: &str, weight: u32, to: &[(&str, u16)]) {
        let kept: EndpointSlice = object(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": slice(name, cluster), "namespace": SYSTEM,
                "labels": {
                    "kubernetes.io/service-name": derived(name),
                    "endpointslice.kubernetes.io/managed-by":
                        "endpointsliceimport-controller.networking.fleet.azure.com",
                },
                "annotations": {
                    "network.fleet.stolos.dev/cluster": cluster,
                    "networking.fleet.azure.com/weight": weight.to_string(),
                },
            },
            "addressType": "IPv4", "endpoints": endpoints(to), "ports": ports(to),
        }));
        let params = PatchParams::apply("agent").force();
        let api = self.member.inside::<EndpointSlice>(SYSTEM);
        api.patch(&slice(name, cluster), &params, &Patch::Apply(&kept)).await.unwrap();
    }

    /// Lets the hub take the endpoints of a member back, and this member forget them.
    pub(crate) async fn withdraw(&self, name: &str, cluster: &str) {
        let slices = self.member.inside::<EndpointSlice>(SYSTEM);
        slices.delete(&slice(name, cluster), &DeleteParams::default()).await.unwrap();
        self.imports().delete(&slice(name, cluster), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) fn imports(&self) -> Api<EndpointSliceImport> {
        self.hub.inside(ON_HUB)
    }

    pub(crate) fn services(&self) -> Api<Service> {
        self.member.inside(SYSTEM)
    }

    /// Waits until the status of a derived Service says something; returns that.
    pub(crate) async fn status(&self, name: &str, says: impl Fn(&Value) -> bool) -> Value {
        let status = |service: &Service| {
            serde_json::to_value(service.status.clone().unwrap_or_default()).unwrap()
        };
        let found = until(&self.services(), &derived(name), |service| {
            service.is_some_and(|service| says(&status(service)))
        })
        .await;
        status(&found.unwrap())
    }

    /// Waits until a service has an address; returns it.
    pub(crate) async fn address(&self, name: &str) -> String {
        let status = self.status(name, |status| !ingress(status)["ip"].is_null()).await;
        ingress(&status)["ip"].as_str().unwrap().to_owned()
    }

    /// Returns the reasons and messages of events about a MultiClusterService.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        let all = self.member.inside::<Event>("app").list(&ListParams::default()).await.unwrap();
        let about = all.items.into_iter().filter(|event| {
            event.involved_object.name.as_deref() == Some(name)
                && event.involved_object.kind.as_deref() == Some("MultiClusterService")
        });
        about.map(|event| (event.reason.unwrap(), event.message.unwrap())).collect()
    }

    /// Waits for an event about a MultiClusterService; returns its message.
    pub(crate) async fn event(&self, name: &str, reason: &str) -> String {
        let search = async {
            loop {
                let found = self.events(name).await.into_iter().find(|event| event.0 == reason);
                match found {
                    Some((_, message)) => return message,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        soon(search).await
    }
}

pub(crate) fn derived(name: &str) -> String {
    format!("app-{name}")
}

fn slice(name: &str, cluster: &str) -> String {
    format!("{cluster}-app-{name}")
}

fn endpoints(to: &[(&str, u16)]) -> Value {
    to.iter().map(|(address, _)| json!({"addresses": [address]})).collect()
}

/// All endpoints of a slice have one port.
fn ports(to: &[(&str, u16)]) -> Value {
    let port = to.first().map_or(8080, |(_, port)| *port);
    json!([{"name": "web", "protocol": "TCP", "port": port}])
}

/// Returns the only ingress of a status.
pub(crate) fn ingress(status: &Value) -> &Value {
    &status["loadBalancer"]["ingress"][0]
}

/// Returns the condition of a status as `status reason: message`.
pub(crate) fn condition(status: &Value) -> String {
    let condition = &status["conditions"][0];
    let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
    format!("{} {}: {}", text("status"), text("reason"), text("message"))
}

fn object<K: DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).unwrap()
}

async fn create<K>(api: &Api<K>, manifest: Value)
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let manifest: K = object(manifest);
    api.create(&PostParams::default(), &manifest).await.unwrap();
}

/// Waits until an object is as wanted; panics with its last state when that takes too long.
pub(crate) async fn until<K>(
    api: &Api<K>,
    name: &str,
    holds: impl Fn(Option<&K>) -> bool,
) -> Option<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let waiting = await_condition(api.clone(), name, |object: Option<&K>| holds(object));
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(found) => found.unwrap(),
        Err(_) => panic!("it never gets there: {:?}", api.get_opt(name).await),
    }
}

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened")
}

/// A data plane that serves nothing and knows what it was asked for.
pub(crate) struct Recorder {
    asked: watch::Sender<Option<Desired>>,
    /// Ports of which it says that somebody else has them.
    taken: Mutex<BTreeSet<u16>>,
    n_asked: Mutex<usize>,
}

impl Recorder {
    pub(crate) fn start() -> Arc<Self> {
        let asked = watch::Sender::new(None);
        Arc::new(Self { asked, taken: Mutex::default(), n_asked: Mutex::default() })
    }

    /// Lets somebody else have a port, or no longer.
    pub(crate) fn take(&self, port: u16, is_taken: bool) {
        let mut taken = self.taken.lock().unwrap();
        if is_taken {
            taken.insert(port)
        } else {
            taken.remove(&port)
        };
    }

    pub(crate) fn n_asked(&self) -> usize {
        *self.n_asked.lock().unwrap()
    }

    /// Returns what it was asked for last.
    pub(crate) fn last(&self) -> Option<Desired> {
        self.asked.borrow().clone()
    }

    /// Waits until it is asked for something, given as lines `vip: endpoints`.
    pub(crate) async fn asked(&self, want: &[&str]) {
        let mut asked = self.asked.subscribe();
        let is_it =
            |desired: &Option<Desired>| desired.as_ref().is_some_and(|it| shown(it) == want);
        let waited = tokio::time::timeout(PATIENCE, asked.wait_for(is_it)).await;
        assert!(waited.is_ok(), "{:#?}", self.last().as_ref().map(shown));
    }
}

impl DataPlane for Recorder {
    async fn apply(&self, desired: Desired) -> Report {
        let taken = self.taken.lock().unwrap().clone();
        let ports = desired.vips.iter().map(|vip| vip.balance.vip);
        let ports = ports.filter(|port| taken.contains(&port.port));
        let not_served = ports.map(|port| (port, NotServed::AddressInUse { port })).collect();
        *self.n_asked.lock().unwrap() += 1;
        self.asked.send_replace(Some(desired));
        Report { not_served }
    }

    async fn stats(&self) -> BTreeMap<VipPort, VipStats> {
        BTreeMap::new()
    }

    async fn drain(&self) {}
}

/// Returns lines `vip: endpoints` of a desired state.
pub(crate) fn shown(desired: &Desired) -> Vec<String> {
    let vip = |vip: &stolos_dataplane::DesiredVip| {
        let ids: Vec<_> = vip.balance.endpoints.iter().map(|one| one.id.to_string()).collect();
        format!("{}: {}", vip.balance.vip, ids.join(", "))
    };
    desired.vips.iter().map(vip).collect()
}
