//! A simulated cluster on the embedded API server, and its clients.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;
use stolos_sim::{Answering, Bounds, PodNetwork, Pods, Sockets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Far longer than anything here takes; whoever waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pods that answer in a network that no other test has.
pub(crate) fn answering(test: u8, bounds: Bounds) -> Pods {
    let network = PodNetwork::new(Ipv4Addr::new(127, 77, test, 0), 24);
    Pods::Answering(Answering { network, sockets: Sockets::new(bounds) })
}

/// A simulated cluster.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    server: Arc<ApiServer>,
    simulation: JoinHandle<Result<(), stolos_sim::Error>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.simulation.abort();
    }
}

impl Cluster {
    pub(crate) async fn start(pods: Pods) -> Self {
        let store = Store::memory().cluster("here").unwrap();
        let server = Arc::new(ApiServer::start(store, Options::default()).await.unwrap());
        Self::simulate(server, pods)
    }

    /// Simulates the same cluster anew.
    pub(crate) fn restart(self, pods: Pods) -> Self {
        self.simulation.abort();
        Self::simulate(self.server.clone(), pods)
    }

    fn simulate(server: Arc<ApiServer>, pods: Pods) -> Self {
        let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
        let config = stolos_sim::Config {
            cluster: stolos_sim::Cluster {
                name: "here".into(),
                region: "north".into(),
                kubernetes_version: "1.34.1".into(),
                node_image: "image".into(),
                kubernetes_versions: Vec::new(),
                node_images: Vec::new(),
                nodes: 1,
                cpu: 4,
                memory_gib: 16,
            },
            workloads: stolos_sim::Workloads::Simulated,
            pods,
            pod_delay: Duration::ZERO,
            node_upgrade_time: Duration::ZERO,
            clock: Arc::new(Timestamp::now),
        };
        let simulation = tokio::spawn(stolos_sim::run(client.clone(), config));
        Self { client, server, simulation }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates a pod with the label `app=web` and returns its address once it is ready.
    pub(crate) async fn pod(&self, name: &str, ports: Value) -> IpAddr {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "web", "ports": ports}]},
        }))
        .unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
        let ready = await_condition(self.pods(), name, conditions::is_pod_running());
        soon(ready).await.unwrap();
        self.address(name).await.unwrap()
    }

    /// Returns the address of a pod.
    pub(crate) async fn address(&self, name: &str) -> Option<IpAddr> {
        let status = self.pods().get(name).await.unwrap().status?;
        status.pod_ip?.parse().ok()
    }

    /// Lets a pod say that it is not ready.
    pub(crate) async fn unready(&self, name: &str) {
        self.set_ready(name, "False").await;
    }

    /// Lets a pod say whether it is ready.
    pub(crate) async fn set_ready(&self, name: &str, is_ready: &str) {
        let mut pod = self.pods().get(name).await.unwrap();
        let conditions = pod.status.as_mut().unwrap().conditions.as_mut().unwrap();
        let ready = conditions.iter_mut().find(|one| one.type_ == "Ready").unwrap();
        is_ready.clone_into(&mut ready.status);
        let status = Patch::Merge(json!({"status": {"conditions": conditions}}));
        self.pods().patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }

    /// Deletes a pod and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) {
        let uid = self.pods().get(name).await.unwrap().metadata.uid.unwrap();
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
        soon(await_condition(self.pods(), name, conditions::is_deleted(&uid))).await.unwrap();
    }

    /// Waits until so many endpoints of a Service are ready.
    pub(crate) async fn endpoints(&self, service: &str, wanted: usize) {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), "default");
        let of_service =
            ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let is_ready = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
        };
        self.until("the endpoints are known", async || {
            let slices = slices.list(&of_service).await.unwrap().items;
            let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
            !slices.is_empty() && endpoints.filter(|one| is_ready(one)).count() == wanted
        })
        .await;
    }

    /// Waits until something holds. Looks again after every turn of the other tasks.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "not within {PATIENCE:?}: {what}");
    }
}

/// Waits for something that has to happen.
pub(crate) fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let waiting = Box::pin(tokio::time::timeout(PATIENCE, future));
    async move { waiting.await.expect("nothing happened") }
}

/// Tells whether nobody listens there.
pub(crate) async fn is_refused(address: IpAddr, port: u16) -> bool {
    match soon(TcpStream::connect((address, port))).await {
        Ok(_) => false,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => true,
        // It was still there when the connection was made, and closed before it was taken.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
        Err(error) => panic!("neither connected nor refused: {error}"),
    }
}

/// Waits for the end of a connection on which nothing more comes.
pub(crate) async fn is_closed(connection: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match soon(connection.read_to_end(&mut rest)).await {
        Ok(_) => rest.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Sends a request and returns all that comes until the end of the connection.
pub(crate) async fn ask(address: IpAddr, port: u16, request: &str) -> String {
    let mut connection = soon(TcpStream::connect((address, port))).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(connection.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// Reads one response with a body from a connection that stays open.
pub(crate) async fn read_response(connection: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return (format!("{head}\r\n\r\n"), body.to_owned());
            }
        }
        assert!(soon(connection.read_buf(&mut bytes)).await.unwrap() > 0, "ended within {text:?}");
    }
}
