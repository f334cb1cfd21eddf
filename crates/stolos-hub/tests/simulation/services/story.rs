//! What happens in one story of services, on paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_api::network::names::{annotation, label};
use stolos_api::network::{
    EndpointSliceExport, EndpointSliceImport, InternalServiceExport, InternalServiceImport,
    MultiClusterService, ServiceExport, ServiceImport, mcs,
};
use stolos_core::network::names;

use super::oracle::Oracle;
use super::{Flavour, MEMBERS};
use crate::faults::Lie;
use crate::fleet::{Fleet, time_passes};

/// How long a fleet may take to come to rest once the weather is fair.
const PATIENCE: Duration = Duration::from_secs(25 * 60);

/// Resources whose lists may lie.
const OF_STANDARD: [&str; 9] = [
    "endpointslices",
    "exportedservices",
    "importedservices",
    "internalmemberclusters",
    "memberclusters",
    "namespaces",
    "serviceexports",
    "serviceimports",
    "services",
];
const OF_AZURE: [&str; 12] = [
    "endpointsliceexports",
    "endpointsliceimports",
    "endpointslices",
    "internalmemberclusters",
    "internalserviceexports",
    "internalserviceimports",
    "memberclusters",
    "multiclusterservices",
    "namespaces",
    "serviceexports",
    "serviceimports",
    "services",
];

const SERVICE: &str = "web";
const SLICE: &str = "web-1";

/// What users want of a member.
#[derive(Clone, Debug, Default)]
struct Wanted {
    has_service: bool,
    endpoints: BTreeSet<String>,
    exports: bool,
    weight: u32,
    imports: bool,
}

impl Wanted {
    fn is_exporter(&self) -> bool {
        self.exports && self.has_service && self.weight > 0
    }
}

struct Story<'a> {
    fleet: &'a mut Fleet,
    rng: StdRng,
    seed: u64,
    flavour: Flavour,
    oracle: Oracle,
    members: BTreeMap<&'static str, Wanted>,
}

/// Plays a story and says what went wrong.
pub(crate) async fn play(fleet: &mut Fleet, flavour: Flavour, seed: u64) -> Result<(), String> {
    fleet.weather.begin(seed);
    let clients: Vec<_> =
        fleet.members.iter().map(|(name, member)| (*name, member.client.clone())).collect();
    let (namespace, derived) = derived(flavour, seed);
    let oracle = Oracle::new(&namespace, &derived, &clients);
    let rng = StdRng::seed_from_u64(seed);
    let mut story = Story { fleet, rng, seed, flavour, oracle, members: BTreeMap::new() };
    story.run().await
}

fn namespace(seed: u64) -> String {
    format!("app-{seed}")
}

/// Returns namespace and name of the Service that has the address on an importing member.
fn derived(flavour: Flavour, seed: u64) -> (String, String) {
    let namespace = namespace(seed);
    match flavour {
        Flavour::Azure => ("fleet-system".to_owned(), format!("{namespace}-{SERVICE}")),
        Flavour::Standard => (namespace.clone(), names::derived(&namespace, SERVICE)),
    }
}

impl Story<'_> {
    async fn run(&mut self) -> Result<(), String> {
        self.begin().await;
        self.come_to_rest("at the beginning").await?;
        let lie = self.rng.random_bool(0.6).then(|| {
            let listed: &[&str] = match self.flavour {
                Flavour::Azure => &OF_AZURE,
                Flavour::Standard => &OF_STANDARD,
            };
            let resource = listed[self.rng.random_range(0..listed.len())];
            (resource, if self.rng.random_bool(0.5) { Lie::Empty } else { Lie::Old })
        });
        self.fleet.weather.storm(lie);
        for _ in 0..self.rng.random_range(3..10) {
            self.step().await;
            if lie.is_some() && self.rng.random_bool(0.4) {
                self.fleet.weather.break_watches();
            }
            let wait = Duration::from_millis(self.rng.random_range(0..8000));
            time_passes(wait).await;
        }
        self.fleet.weather.calm();
        // Whatever was listed wrongly is listed again: nobody has to find out by himself.
        self.restart_everything().await;
        self.come_to_rest("in the end").await?;
        self.end().await
    }

    fn client(&self, member: &str) -> Client {
        self.fleet.members[member].client.clone()
    }

    fn inside<K>(&self, member: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client(member), &namespace(self.seed))
    }

    async fn begin(&mut self) {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": namespace(self.seed)}})).unwrap();
        let hub = self.fleet.hub.client.clone();
        for client in MEMBERS.map(|member| self.client(member)).into_iter().chain([hub]) {
            Api::all(client).create(&PostParams::default(), &namespace).await.unwrap();
        }
        for member in MEMBERS {
            let endpoints = self.draw_endpoints(member);
            let exports = member != "c" || self.rng.random_bool(0.3);
            let imports = (self.flavour == Flavour::Azure && member == "c")
                || self.rng.random_bool(0.5)
                || self.flavour == Flavour::Standard;
            let wanted = Wanted { endpoints, weight: 1, ..Wanted::default() };
            self.members.insert(member, wanted);
            self.create_service(member).await;
            self.create_slice(member).await;
            if exports {
                self.export(member).await;
            }
            if imports {
                self.import(member).await;
            }
        }
    }

    /// Draws the addresses of the pods of a member; no two members have the same.
    fn draw_endpoints(&mut self, member: &str) -> BTreeSet<String> {
        let network = MEMBERS.iter().position(|one| *one == member).unwrap() + 1;
        let drawn = (1..5).filter(|_| self.rng.random_bool(0.6));
        drawn.map(|host| format!("10.{network}.0.{host}")).collect()
    }

    async fn create_service(&mut self, member: &str) {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": SERVICE},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
        }))
        .unwrap();
        self.inside(member).create(&PostParams::default(), &service).await.unwrap();
        self.members.get_mut(member).unwrap().has_service = true;
    }

    async fn create_slice(&self, member: &str) {
        let endpoints = self.endpoints(member);
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": SLICE, "labels": {label::SERVICE_NAME: SERVICE}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}],
        }))
        .unwrap();
        self.inside(member).create(&PostParams::default(), &slice).await.unwrap();
    }

    fn endpoints(&self, member: &str) -> Vec<serde_json::Value> {
        let addresses = self.members[member].endpoints.iter();
        addresses.map(|address| json!({"addresses": [address]})).collect()
    }

    async fn export(&mut self, member: &str) {
        let weight = self.members[member].weight.to_string();
        let is_made = match self.flavour {
            Flavour::Azure => {
                let annotations = json!({annotation::WEIGHT: weight});
                let metadata = json!({"name": SERVICE, "annotations": annotations});
                self.create::<ServiceExport>(member, json!({"metadata": metadata})).await
            }
            Flavour::Standard => {
                let metadata = json!({"metadata": {"name": SERVICE}});
                self.create::<mcs::ServiceExport>(member, metadata).await
            }
        };
        self.members.get_mut(member).unwrap().exports |= is_made;
    }

    /// Makes an object of a kind that has finalizers, and tells whether it is made: an earlier one may be on its way out.
    async fn create<K>(&self, member: &str, mut object: Value) -> bool
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let object: K = serde_json::from_value(object).unwrap();
        self.inside(member).create(&PostParams::default(), &object).await.is_ok()
    }

    async fn delete<K>(&self, member: &str)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.inside::<K>(member).delete(SERVICE, &DeleteParams::default()).await.unwrap();
    }

    async fn import(&mut self, member: &str) {
        let is_made = match self.flavour {
            Flavour::Azure => {
                let spec = json!({"serviceImport": {"name": SERVICE}});
                let object = json!({"metadata": {"name": SERVICE}, "spec": spec});
                self.create::<MultiClusterService>(member, object).await
            }
            Flavour::Standard => true,
        };
        self.members.get_mut(member).unwrap().imports |= is_made;
    }

    /// Notes that a member exports no more.
    fn note_unexport(&self, member: &str) {
        let others = self.members.iter().filter(|(name, _)| **name != member);
        let is_last = !others.into_iter().any(|(_, wanted)| wanted.is_exporter());
        self.oracle.unexport(member, is_last);
    }

    async fn unexport(&mut self, member: &str) {
        self.note_unexport(member);
        self.members.get_mut(member).unwrap().exports = false;
        match self.flavour {
            Flavour::Azure => self.delete::<ServiceExport>(member).await,
            Flavour::Standard => self.delete::<mcs::ServiceExport>(member).await,
        }
    }

    async fn unimport(&mut self, member: &str) {
        self.oracle.unimport(member);
        self.members.get_mut(member).unwrap().imports = false;
        self.delete::<MultiClusterService>(member).await;
    }

    async fn change_endpoints(&mut self, member: &'static str) {
        let endpoints = self.draw_endpoints(member);
        let before = self.members[member].endpoints.clone();
        for address in before.difference(&endpoints) {
            self.oracle.remove(member, address);
        }
        self.members.get_mut(member).unwrap().endpoints = endpoints;
        let patch = Patch::Merge(json!({"endpoints": self.endpoints(member)}));
        let api = self.inside::<EndpointSlice>(member);
        api.patch(SLICE, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn weigh(&mut self, member: &str) {
        let weight = [0, 1, 5][self.rng.random_range(0..3)];
        if weight == 0 {
            self.note_unexport(member);
        }
        self.members.get_mut(member).unwrap().weight = weight;
        if self.members[member].exports {
            let annotations = json!({annotation::WEIGHT: weight.to_string()});
            let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
            let api = self.inside::<ServiceExport>(member);
            api.patch(SERVICE, &PatchParams::default(), &patch).await.unwrap();
        }
    }

    async fn drop_service(&mut self, member: &str) {
        self.note_unexport(member);
        self.members.get_mut(member).unwrap().has_service = false;
        self.delete::<Service>(member).await;
    }

    fn any_member(&mut self) -> &'static str {
        MEMBERS[self.rng.random_range(0..MEMBERS.len())]
    }

    /// Does one thing that somebody might do, or that might happen.
    async fn step(&mut self) {
        let (what, member) = (self.rng.random_range(0..12), self.any_member());
        if self.fleet.weather.is_traced {
            eprintln!("{:?} step {what} at {member}", self.fleet.weather.elapsed());
        }
        let wanted = self.members[member].clone();
        let has_imports = self.flavour == Flavour::Azure;
        match what {
            0..3 => self.change_endpoints(member).await,
            3 if wanted.exports => self.unexport(member).await,
            3 => self.export(member).await,
            4 if has_imports && wanted.imports => self.unimport(member).await,
            4 if has_imports => self.import(member).await,
            5 if has_imports => self.weigh(member).await,
            6 if wanted.has_service => self.drop_service(member).await,
            6 => self.create_service(member).await,
            7 => {
                self.fleet.stop_hub().await;
                self.pause().await;
                self.fleet.start_hub();
            }
            8 => {
                self.fleet.stop_agent(member).await;
                self.pause().await;
                self.fleet.start_agent(member);
            }
            9 => {
                self.fleet.weather.cut_off(Some(member.to_owned()));
                self.fleet.weather.break_watches();
                self.pause().await;
                self.fleet.weather.cut_off(None);
            }
            _ => self.fleet.weather.break_watches(),
        }
    }

    async fn restart_everything(&mut self) {
        self.fleet.stop_hub().await;
        self.fleet.start_hub();
        for member in MEMBERS {
            self.fleet.stop_agent(member).await;
            self.fleet.start_agent(member);
        }
    }

    async fn pause(&mut self) {
        let wait = Duration::from_millis(self.rng.random_range(0..20_000));
        time_passes(wait).await;
    }

    /// Waits until every importer has the endpoints that it should, and nothing else.
    async fn come_to_rest(&mut self, when: &str) -> Result<(), String> {
        let started = tokio::time::Instant::now();
        loop {
            self.oracle.verdict()?;
            let Some(problem) = self.problem().await else { return Ok(()) };
            if started.elapsed() > PATIENCE {
                return Err(format!("{when} the fleet does not come to rest: {problem}"));
            }
            time_passes(Duration::from_secs(1)).await;
        }
    }

    async fn problem(&self) -> Option<String> {
        let exporters = self.members.values().filter(|wanted| wanted.is_exporter());
        let exported: BTreeSet<&String> =
            exporters.clone().flat_map(|wanted| &wanted.endpoints).collect();
        let is_exported = exporters.count() > 0;
        let (namespace, derived) = derived(self.flavour, self.seed);
        for (name, wanted) in &self.members {
            let services = Api::<Service>::namespaced(self.client(name), &namespace);
            let has_address = services.get_opt(&derived).await.unwrap().is_some();
            if has_address != (wanted.imports && is_exported) {
                return Some(format!("`{name}` has an address: {has_address}"));
            }
            let slices = Api::<EndpointSlice>::namespaced(self.client(name), &namespace);
            let of_service = format!("{}={derived}", label::SERVICE_NAME);
            let slices = slices.list(&ListParams::default().labels(&of_service)).await.unwrap();
            let found: Vec<&String> = slices
                .iter()
                .flat_map(|slice| slice.endpoints.iter().flat_map(|one| &one.addresses))
                .collect();
            let found_once: BTreeSet<&String> = found.iter().copied().collect();
            let expected = if wanted.imports { exported.clone() } else { BTreeSet::new() };
            if found_once != expected || found.len() != expected.len() {
                return Some(format!("`{name}` balances over {found:?} instead of {expected:?}"));
            }
        }
        None
    }

    /// Takes everything away, so that the next story finds the fleet as this one did.
    async fn end(&mut self) -> Result<(), String> {
        for member in MEMBERS {
            if self.members[member].exports {
                self.unexport(member).await;
            }
            if self.flavour == Flavour::Azure && self.members[member].imports {
                self.unimport(member).await;
            }
        }
        let started = tokio::time::Instant::now();
        loop {
            self.oracle.verdict()?;
            let left = self.left().await;
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("something of the service stays: {}", left.join(", ")));
            }
            time_passes(Duration::from_secs(1)).await;
        }
    }

    /// Says what is left of the service on the hub and on members.
    async fn left(&self) -> Vec<String> {
        let hub = &self.fleet.hub.client;
        let (namespace, derived) = derived(self.flavour, self.seed);
        let mut left = match self.flavour {
            Flavour::Azure => [
                all::<ServiceImport>(hub).await,
                all::<InternalServiceExport>(hub).await,
                all::<InternalServiceImport>(hub).await,
                all::<EndpointSliceExport>(hub).await,
                all::<EndpointSliceImport>(hub).await,
            ]
            .concat(),
            Flavour::Standard => {
                [all::<ExportedService>(hub).await, all::<ImportedService>(hub).await].concat()
            }
        };
        for member in MEMBERS {
            let client = self.client(member);
            left.extend(match self.flavour {
                Flavour::Azure => [
                    all::<ServiceExport>(&client).await,
                    all::<MultiClusterService>(&client).await,
                    all::<ServiceImport>(&client).await,
                ]
                .concat(),
                Flavour::Standard => [
                    all::<mcs::ServiceExport>(&client).await,
                    all::<mcs::ServiceImport>(&client).await,
                ]
                .concat(),
            });
            let services = Api::<Service>::namespaced(client.clone(), &namespace);
            if services.get_opt(&derived).await.unwrap().is_some() {
                left.push(format!("Service {namespace}/{derived} on {member}"));
            }
        }
        left
    }
}

/// Returns everything of a kind.
async fn all<K>(client: &Client) -> Vec<String>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let found = Api::<K>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    let name = |one: &K| {
        let namespace = one.namespace().unwrap_or_default();
        format!("{} {namespace}/{}", K::kind(&()), one.name_any())
    };
    found.iter().map(name).collect()
}
