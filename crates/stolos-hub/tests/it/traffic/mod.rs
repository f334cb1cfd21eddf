//! Balancing by DNS: profiles and backends on a hub of which nothing else runs.

mod backends;
mod built_in;
mod fake;
mod profiles;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::conditions;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::{
    InternalServiceExport, ServiceImport, TrafficManagerBackend, TrafficManagerProfile,
};
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::clock::Clock;
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use stolos_hub::traffic::{Config, SharedProvider};
use tokio::task::AbortHandle;

use crate::fleet::{eventually, merge_status};

const NAMESPACE: &str = "app";

/// A hub with the members `a` and `b`.
struct Hub {
    _server: ApiServer,
    client: Client,
    clock: Clock,
    metrics: Arc<stolos_hub::Metrics>,
    controllers: Mutex<Vec<AbortHandle>>,
}

/// Ends the controllers before their API server.
impl Drop for Hub {
    fn drop(&mut self) {
        self.controllers.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

impl Hub {
    async fn start(clock: Clock) -> Self {
        let store = Store::memory().cluster("hub").unwrap();
        let options = Options { clock: clock.clone(), ..Options::default() };
        let server = ApiServer::start(store, options).await.unwrap();
        let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        for crd in stolos_api::hub_crds() {
            definitions.create(&PostParams::default(), &crd).await.unwrap();
            eventually(&definitions, &crd.name_any(), "is established", |crd| {
                let established = conditions::is_crd_established();
                kube::runtime::wait::Condition::matches_object(&established, crd)
            })
            .await;
        }
        for name in [NAMESPACE, "fleet-member-a", "fleet-member-b"] {
            let namespace: Namespace = object(json!({"metadata": {"name": name}}));
            let api = Api::<Namespace>::all(client.clone());
            api.create(&PostParams::default(), &namespace).await.unwrap();
        }
        Self {
            _server: server,
            client,
            clock,
            metrics: Arc::default(),
            controllers: Mutex::default(),
        }
    }

    /// A hub whose time is that of the test.
    async fn paused() -> Self {
        Self::start(Clock::tokio("2026-01-01T00:00:00Z".parse().unwrap())).await
    }

    /// Starts the controller; aborting the task is what `kill -9` does to it.
    fn control(&self, provider: SharedProvider) -> AbortHandle {
        let clock = self.clock.clone();
        let options = stolos_controller::Options {
            name: "test",
            concurrency: 8,
            clock: Arc::new(move || clock.now()),
            readiness: stolos_controller::Readiness::default(),
        };
        let config = Config { provider: Some(provider), metrics: self.metrics.clone() };
        let running = stolos_hub::traffic::run(self.client.clone(), config, options);
        let handle = tokio::spawn(running).abort_handle();
        self.controllers.lock().unwrap().push(handle.clone());
        handle
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn profiles(&self) -> Api<TrafficManagerProfile> {
        self.api()
    }

    fn backends(&self) -> Api<TrafficManagerBackend> {
        self.api()
    }

    fn imports(&self) -> Api<ServiceImport> {
        self.api()
    }

    fn events(&self) -> Api<Event> {
        self.api()
    }

    fn exports(&self, member: &str) -> Api<InternalServiceExport> {
        Api::namespaced(self.client.clone(), &format!("fleet-member-{member}"))
    }

    async fn create_profile(&self, name: &str, monitor: Value) {
        let spec = json!({"resourceGroup": "rg", "monitorConfig": monitor});
        create(&self.profiles(), name, json!({ "spec": spec })).await;
    }

    async fn create_backend(&self, name: &str, profile: &str, weight: i64) {
        let spec = json!({
            "profile": {"name": profile}, "backend": {"name": "web"}, "weight": weight,
        });
        create(&self.backends(), name, json!({ "spec": spec })).await;
    }

    /// Lets members export the service `app/web` with these weights, each behind an address of its own.
    async fn export(&self, members: &[(&str, i64, &str)]) {
        for (member, weight, address) in members {
            let spec = json!({
                "ports": [{"port": 80, "protocol": "TCP"}],
                "serviceReference": {
                    "clusterId": member, "apiVersion": "v1", "kind": "Service", "namespace": NAMESPACE,
                    "name": "web", "resourceVersion": "1", "generation": 1, "uid": "uid",
                    "namespacedName": "app/web",
                },
                "type": "LoadBalancer", "isDNSLabelConfigured": true,
                "publicIPResourceID": address_id(member, address), "weight": weight,
            });
            create(&self.exports(member), "app-web", json!({ "spec": spec })).await;
        }
        create(&self.imports(), "web", json!({})).await;
        let members: Vec<_> = members.iter().map(|(member, ..)| *member).collect();
        self.accept(&members).await;
    }

    /// Lets the fleet know the service from these members.
    async fn accept(&self, members: &[&str]) {
        let clusters: Vec<_> = members.iter().map(|name| json!({"cluster": name})).collect();
        let status = json!({"type": "ClusterSetIP", "clusters": clusters});
        merge_status(&self.imports(), "web", json!({ "status": status })).await;
    }

    /// Waits until a profile says this.
    async fn profile_says(&self, name: &str, want: &str) {
        eventually(&self.profiles(), name, &format!("says {want}"), |profile| {
            profile.is_some_and(|profile| {
                let status = profile.status.as_ref();
                let conditions = status.map(|status| status.conditions.as_slice());
                said(conditions, profile.metadata.generation).starts_with(want)
            })
        })
        .await;
    }

    /// Waits until a backend says this.
    async fn backend_says(&self, name: &str, want: &str) {
        eventually(&self.backends(), name, &format!("says {want}"), |backend| {
            backend.is_some_and(|backend| {
                let status = backend.status.as_ref();
                let conditions = status.map(|status| status.conditions.as_slice());
                said(conditions, backend.metadata.generation).starts_with(want)
            })
        })
        .await;
    }

    /// Waits until a backend has these endpoints, as `<member> <weight>`.
    async fn backend_has(&self, name: &str, want: &[&str]) {
        eventually(&self.backends(), name, &format!("has {want:?}"), |backend| {
            let endpoints = backend.and_then(|backend| backend.status.as_ref());
            let endpoints = endpoints.map(|status| status.endpoints.as_slice()).unwrap_or_default();
            let has = endpoints.iter().map(|one| {
                let member =
                    one.from.as_ref().map(|from| from.cluster.as_str()).unwrap_or_default();
                format!("{member} {}", one.weight.unwrap_or_default())
            });
            has.eq(want.iter().map(|one| (*one).to_owned()))
        })
        .await;
    }
}

/// The id of an address as members tell it outside Azure.
fn address_id(member: &str, address: &str) -> String {
    format!(
        "/subscriptions/stolos/resourceGroups/{member}/providers/Microsoft.Network/publicIPAddresses/{address}"
    )
}

/// What the condition of an object says of this generation: `<status> <reason>: <message>`.
fn said(conditions: Option<&[Condition]>, generation: Option<i64>) -> String {
    let condition = conditions.and_then(|conditions| conditions.first());
    let condition = condition.filter(|condition| condition.observed_generation == generation);
    condition.map_or_else(String::new, |c| format!("{} {}: {}", c.status, c.reason, c.message))
}

fn object<K: DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).unwrap()
}

async fn create<K>(api: &Api<K>, name: &str, mut body: Value)
where
    K: DeserializeOwned + Serialize + Clone + Debug,
{
    body["metadata"] = json!({ "name": name });
    api.create(&PostParams::default(), &object(body)).await.unwrap();
}
