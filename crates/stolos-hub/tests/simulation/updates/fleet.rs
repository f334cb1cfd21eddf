//! A hub that updates, and simulated members that carry upgrades out: API servers that stay, processes that can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stolos_api::cluster::fleet::FleetMember;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::clock::Clock;
use tokio::task::JoinSet;

use crate::faults::{Way, Weather};
use crate::fleet::{Cluster, clock_of};

pub(super) const NAMESPACE: &str = "fleets";
pub(super) const FLEET: &str = "local";

/// Members and their groups.
pub(super) const MEMBERS: [(&str, &str); 4] =
    [("m1", "canary"), ("m2", "prod"), ("m3", "prod"), ("m4", "late")];

/// How long a simulated node takes.
const NODE_TIME: Duration = Duration::from_secs(2);

pub(crate) struct Fleet {
    pub(super) weather: Arc<Weather>,
    pub(super) hub: Cluster,
    pub(super) members: BTreeMap<&'static str, Cluster>,
    clock: Clock,
    controllers: JoinSet<()>,
    simulations: BTreeMap<&'static str, JoinSet<()>>,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let clock = Clock::tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let ours = |group: &str| group == "fleet.stolos.dev";
        let crds = stolos_api::hub_crds().into_iter().filter(|crd| ours(&crd.spec.group)).collect();
        let hub = Cluster::start("hub", &clock, crds).await;
        let mut fleet = Self {
            weather: Weather::new(),
            hub,
            members: BTreeMap::new(),
            clock,
            controllers: JoinSet::new(),
            simulations: BTreeMap::new(),
        };
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
        let api: Api<Namespace> = Api::all(fleet.hub.client.clone());
        api.create(&PostParams::default(), &namespace).await.unwrap();
        for (name, group) in MEMBERS {
            let cluster = Cluster::start(name, &fleet.clock, Vec::new()).await;
            fleet.members.insert(name, cluster);
            fleet.start_simulation(name);
            fleet.join(name, group).await;
        }
        fleet.start_hub();
        fleet
    }

    async fn join(&self, name: &str, group: &str) {
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let api: Api<Secret> = Api::namespaced(self.hub.client.clone(), NAMESPACE);
        api.create(&PostParams::default(), &secret).await.unwrap();
        let member: FleetMember = serde_json::from_value(json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "FleetMember",
            "metadata": {"name": format!("{FLEET}.{name}")},
            "spec": {
                "fleetName": FLEET, "group": group,
                "cluster": {"simulated": {"kubeconfigSecret": {"name": name}}},
            },
        }))
        .unwrap();
        let api: Api<FleetMember> = Api::namespaced(self.hub.client.clone(), NAMESPACE);
        api.create(&PostParams::default(), &member).await.unwrap();
    }

    pub(super) async fn stop_hub(&mut self) {
        self.controllers.shutdown().await;
    }

    pub(super) fn start_hub(&mut self) {
        let way = |server, actor: &str, to_hub| {
            let (actor, weather) = (actor.to_owned(), self.weather.clone());
            Client::new(Way { server, actor, to_hub, weather }, "default")
        };
        let user = || UserInfo::internal("hub");
        let client = way(self.hub.server.as_user(user()), "hub", true);
        let clients: BTreeMap<String, Client> = (self.members.iter())
            .map(|(name, member)| {
                let actor = format!("hub-at-{name}");
                (name.to_string(), way(member.server.as_user(user()), &actor, false))
            })
            .collect();
        // The secret names the member; what is in it does not matter here.
        let connect: stolos_hub::update::Connect = Arc::new(move |secret: Secret| {
            let client = clients[secret.metadata.name.as_deref().unwrap()].clone();
            async move { Ok(client) }.boxed()
        });
        let options = stolos_controller::Options {
            name: "hub",
            concurrency: 8,
            clock: clock_of(&self.clock),
            readiness: stolos_controller::Readiness::default(),
        };
        self.controllers.spawn(stolos_hub::update::run_with(
            client,
            connect,
            stolos_hub::update::Config::default(),
            options,
        ));
    }

    pub(super) async fn stop_simulation(&mut self, name: &'static str) {
        self.simulations.entry(name).or_default().shutdown().await;
    }

    pub(super) fn start_simulation(&mut self, name: &'static str) {
        let config = stolos_sim::Config {
            cluster: stolos_sim::Cluster {
                name: name.to_owned(),
                region: "north".to_owned(),
                kubernetes_version: "1.33.0".to_owned(),
                node_image: "Ubuntu-202610.1.0".to_owned(),
                kubernetes_versions: Vec::new(),
                node_images: Vec::new(),
                nodes: 2,
                cpu: 4,
                memory_gib: 16,
            },
            workloads: stolos_sim::Workloads::Simulated,
            pods: stolos_sim::Pods::Mute,
            pod_delay: Duration::from_millis(1),
            node_upgrade_time: NODE_TIME,
            clock: clock_of(&self.clock),
        };
        let client = self.members[name].client.clone();
        self.simulations.entry(name).or_default().spawn(async move {
            let _ = stolos_sim::run(client, config).await;
        });
    }

    /// Changes the facts of a simulated cluster; null takes one away.
    pub(super) async fn tell(&self, name: &str, facts: Value) {
        let client = self.members[name].client.clone();
        let api: Api<ConfigMap> = Api::namespaced(client, "kube-system");
        let patch = Patch::Merge(json!({ "data": facts }));
        // The simulation may not have made them yet.
        let _ = api.patch("simulated-cluster", &PatchParams::default(), &patch).await;
    }
}
