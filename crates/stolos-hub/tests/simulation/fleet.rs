//! A hub and members without workloads: API servers that stay, and processes that can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use stolos_api::cluster::MemberCluster;
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::clock::Clock;
use stolos_apiserver::random::Random;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::{Limits, Store};
use stolos_core::cluster::membership::Expected;
use stolos_core::network::claim::Importers;
use stolos_core::placement::eligibility::{Eligibility, KindPattern, Kinds};
use tokio::task::JoinSet;

use crate::faults::{Way, Weather};
use crate::services::Flavour;

/// Members of a fleet that places objects.
pub(crate) const MEMBERS: [&str; 2] = ["a", "b"];

/// What a fleet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wing {
    Placement,
    Services(Flavour),
}

/// An API server, and a way to it that no weather touches.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
}

impl Cluster {
    pub(crate) async fn start(
        name: &str,
        clock: &Clock,
        crds: Vec<CustomResourceDefinition>,
    ) -> Self {
        let store = Store::memory_from(1, Limits::default()).cluster(name).unwrap();
        let random = Random::seeded(name.bytes().fold(0, |seed, byte| seed << 8 | u64::from(byte)));
        let options = Options { clock: clock.clone(), random, ..Options::default() };
        let server = ApiServer::start(store, options).await.unwrap();
        let client = Client::new(server.as_user(UserInfo::internal("tester")), "default");
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        join_all(crds.iter().map(async |crd| {
            api.create(&PostParams::default(), crd).await.unwrap();
            let established = kube::runtime::conditions::is_crd_established();
            kube::runtime::wait::await_condition(api.clone(), &crd.name_any(), established)
                .await
                .unwrap();
        }))
        .await;
        Self { server, client }
    }
}

/// The fleet.
pub(crate) struct Fleet {
    wing: Wing,
    pub(crate) weather: Arc<Weather>,
    pub(crate) hub: Cluster,
    pub(crate) members: BTreeMap<&'static str, Cluster>,
    clock: Clock,
    controllers: JoinSet<()>,
    agents: BTreeMap<&'static str, JoinSet<()>>,
}

impl Fleet {
    pub(crate) async fn start(wing: Wing, names: &[&'static str]) -> Self {
        let clock = Clock::tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let placed = |crd: &CustomResourceDefinition| match crd.spec.group.as_str() {
            "cluster.kubernetes-fleet.io" | "placement.kubernetes-fleet.io" => true,
            "networking.fleet.azure.com" => wing == Wing::Services(Flavour::Azure),
            stolos_api::cluster::fleet::GROUP => wing == Wing::Services(Flavour::Standard),
            _ => false,
        };
        let crds = stolos_api::hub_crds().into_iter().filter(placed).collect();
        let hub = Cluster::start("hub", &clock, crds).await;
        let mut members = BTreeMap::new();
        for name in names {
            let mut crds = stolos_api::member_crds();
            if wing == Wing::Services(Flavour::Standard) {
                crds.extend(stolos_api::network::mcs::crds());
            }
            members.insert(*name, Cluster::start(name, &clock, crds).await);
        }
        let mut fleet = Self {
            wing,
            weather: Weather::new(),
            hub,
            members,
            clock,
            controllers: JoinSet::new(),
            agents: BTreeMap::new(),
        };
        fleet.start_hub();
        for name in names {
            fleet.join(name).await;
            fleet.start_agent(name);
        }
        fleet
    }

    fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        clock_of(&self.clock)
    }

    fn way(&self, actor: &str, cluster: &Cluster, user: UserInfo, to_hub: bool) -> Client {
        let way = Way {
            server: cluster.server.as_user(user),
            actor: actor.to_owned(),
            to_hub,
            weather: self.weather.clone(),
        };
        Client::new(way, "default")
    }

    pub(crate) async fn stop_hub(&mut self) {
        self.controllers.shutdown().await;
    }

    pub(crate) fn start_hub(&mut self) {
        let client = self.way("hub", &self.hub, UserInfo::internal("hub"), true);
        let options = stolos_controller::Options {
            name: "hub",
            concurrency: 8,
            clock: self.clock(),
            readiness: stolos_controller::Readiness::default(),
        };
        let mut config = stolos_hub::cluster::Config::default();
        if self.wing == Wing::Services(Flavour::Azure) {
            config.expected_agents = Expected::MemberAndNetworking;
        }
        let members = stolos_hub::cluster::run(client.clone(), config, options.clone());
        self.controllers.spawn(members);
        if self.wing == Wing::Services(Flavour::Standard) {
            let config = stolos_hub::network::clusterset::Config {
                enabled: true,
                ..stolos_hub::network::clusterset::Config::default()
            };
            self.controllers.spawn(stolos_hub::network::clusterset::run(client, config, options));
            return;
        }
        if self.wing == Wing::Services(Flavour::Azure) {
            let config = stolos_hub::network::Config {
                enabled: true,
                importers: Importers::Many,
                ..stolos_hub::network::Config::default()
            };
            self.controllers.spawn(stolos_hub::network::run(client, config, options));
            return;
        }
        // Reading every kind there is at each start would cost more than all the rest.
        let kinds = KindPattern::parse_list("v1/Namespace,ConfigMap").unwrap();
        let eligibility = Eligibility { kinds: Kinds::Only(kinds), ..Eligibility::default() };
        let config = stolos_hub::placement::Config {
            eligibility,
            ..stolos_hub::placement::Config::default()
        };
        self.controllers.spawn(stolos_hub::placement::run(client, config, options));
    }

    pub(crate) async fn stop_agent(&mut self, name: &'static str) {
        self.agents.entry(name).or_default().shutdown().await;
    }

    pub(crate) fn start_agent(&mut self, name: &'static str) {
        let user = UserInfo::authenticated(&format!("agent-of-{name}"), &[]);
        let member = &self.members[name];
        let agent = stolos_member::run(stolos_member::Config {
            name: name.to_owned(),
            hub: self.way(name, &self.hub, user, true),
            member: self.way(name, member, UserInfo::internal("agent"), false),
            clock: self.clock(),
            deletion_wait: stolos_member::DELETION_WAIT,
            collect_namespaces: false,
            metrics: Arc::default(),
            readiness: stolos_controller::Readiness::default(),
            provider: stolos_core::cluster::provider::Provider::default(),
            network: stolos_member::network::Options {
                enabled: self.wing == Wing::Services(Flavour::Azure),
                clusterset: stolos_member::network::clusterset::Options {
                    enabled: self.wing == Wing::Services(Flavour::Standard),
                },
                ..stolos_member::network::Options::default()
            },
        });
        self.agents.entry(name).or_default().spawn(agent);
    }

    pub(crate) async fn join(&self, name: &str) {
        let member: MemberCluster = serde_json::from_value(json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "MemberCluster",
            "metadata": {"name": name},
            "spec": {"identity": {
                "kind": "User", "name": format!("agent-of-{name}"),
                "apiGroup": "rbac.authorization.k8s.io",
            }},
        }))
        .unwrap();
        let api: Api<MemberCluster> = Api::all(self.hub.client.clone());
        api.create(&PostParams::default(), &member).await.unwrap();
    }
}

/// Returns the time of a fleet as processes ask for it.
pub(crate) fn clock_of(clock: &Clock) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

/// Lets time pass in a story. Nobody waits for it: the clock jumps to the next moment at which somebody has something to do.
pub(crate) async fn time_passes(how_long: Duration) {
    tokio::time::sleep(how_long).await;
}
