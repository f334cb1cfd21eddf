//! What happens in one story, on paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{AppliedWork, ClusterResourcePlacement, Work};

use crate::faults::Lie;
use crate::fleet::{Fleet, MEMBERS, time_passes};
use crate::oracle::Oracle;

/// How long a fleet may take to come to rest once the weather is fair. Back-offs end at half a minute, a member that left
/// without a word is forgotten after 15.
const PATIENCE: Duration = Duration::from_secs(25 * 60);

/// Resources whose lists may lie.
const LISTED: [&str; 11] = [
    "appliedworks",
    "clusterresourcebindings",
    "clusterresourceplacements",
    "clusterresourcesnapshots",
    "clusterschedulingpolicysnapshots",
    "configmaps",
    "customresourcedefinitions",
    "internalmemberclusters",
    "memberclusters",
    "namespaces",
    "works",
];

/// The first of the two placements of a story; the other places the same things.
const FIRST: &str = "p";
const SECOND: &str = "q";

struct Story<'a> {
    fleet: &'a mut Fleet,
    rng: StdRng,
    seed: u64,
    oracle: Oracle,
    /// Name and value of the objects on the hub.
    objects: BTreeMap<String, u64>,
    /// Members that each placement picks.
    placements: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// What is left on members cannot be told: lists lied, or a member left.
    may_leave_things: bool,
}

/// Plays a story and says what went wrong.
pub(crate) async fn play(fleet: &mut Fleet, seed: u64) -> Result<(), String> {
    fleet.weather.begin(seed);
    let clients: Vec<_> =
        fleet.members.iter().map(|(name, member)| (*name, member.client.clone())).collect();
    let oracle = Oracle::new(&format!("app-{seed}"), &clients);
    let mut story = Story {
        fleet,
        rng: StdRng::seed_from_u64(seed),
        seed,
        oracle,
        objects: BTreeMap::new(),
        placements: BTreeMap::new(),
        may_leave_things: false,
    };
    story.run().await
}

/// Requests of an agent in the minute in which the hub comes back: its watches and lists, a heartbeat, and a report for each
/// Work that has changed. There is one Work.
const AFTER_AN_OUTAGE: usize = 20;

/// Cuts a member off from the hub, changes what it runs, and sees it put right; then lets the hub come back.
pub(crate) async fn without_hub(fleet: &mut Fleet) -> Result<(), String> {
    fleet.weather.begin(0);
    let clients: Vec<_> =
        fleet.members.iter().map(|(name, member)| (*name, member.client.clone())).collect();
    let mut story = Story {
        fleet,
        rng: StdRng::seed_from_u64(0),
        seed: 0,
        oracle: Oracle::new("app-0", &clients),
        objects: BTreeMap::new(),
        placements: BTreeMap::new(),
        may_leave_things: false,
    };
    story.begin().await?;
    story.come_to_rest("at the beginning").await?;
    story.fleet.weather.cut_off(Some("a".to_owned()));
    story.fleet.weather.break_watches();
    time_passes(Duration::from_secs(30)).await;
    let client = story.fleet.members["a"].client.clone();
    let api: Api<ConfigMap> = Api::namespaced(client, "app-0");
    let meddled = Patch::Merge(json!({"data": {"value": "meddled"}}));
    api.patch("one", &PatchParams::default(), &meddled).await.unwrap();
    api.delete("two", &DeleteParams::default()).await.unwrap();
    // The one removal that the oracle saw is that of the user.
    story.oracle = Oracle::new("app-0", &clients);
    story.come_to_rest("without the hub").await?;
    // For hours nobody changes anything.
    time_passes(Duration::from_secs(3 * 3600)).await;
    let before = story.fleet.weather.requests_to_hub("a");
    story.fleet.weather.cut_off(None);
    time_passes(Duration::from_secs(60)).await;
    let n_requests = story.fleet.weather.requests_to_hub("a") - before;
    if n_requests == 0 || n_requests > AFTER_AN_OUTAGE {
        return Err(format!("the agent made {n_requests} requests when the hub came back"));
    }
    story.come_to_rest("with the hub again").await?;
    story.end().await
}

impl Story<'_> {
    async fn run(&mut self) -> Result<(), String> {
        self.begin().await?;
        self.come_to_rest("at the beginning").await?;
        let lie = self.rng.random_bool(0.4).then(|| {
            let resource = LISTED[self.rng.random_range(0..LISTED.len())];
            (resource, if self.rng.random_bool(0.5) { Lie::Empty } else { Lie::Old })
        });
        self.may_leave_things |= lie.is_some();
        self.fleet.weather.storm(lie);
        for _ in 0..self.rng.random_range(3..8) {
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

    fn hub(&self) -> Client {
        self.fleet.hub.client.clone()
    }

    fn namespace(&self) -> String {
        format!("app-{}", self.seed)
    }

    fn sources(&self) -> Api<ConfigMap> {
        Api::namespaced(self.hub(), &self.namespace())
    }

    fn name_of(&self, placement: &str) -> String {
        format!("{placement}-{}", self.seed)
    }

    async fn begin(&mut self) -> Result<(), String> {
        let namespaces: Api<Namespace> = Api::all(self.hub());
        namespaces.create(&PostParams::default(), &namespace(&self.namespace())).await.unwrap();
        for name in ["one", "two", "three"] {
            self.add(name).await;
        }
        for member in self.fleet.members.values() {
            let api: Api<ConfigMap> = Api::namespaced(member.client.clone(), "default");
            let foreign = config_map(&format!("foreign-{}", self.seed), 0);
            api.create(&PostParams::default(), &foreign).await.unwrap();
        }
        self.place(FIRST, MEMBERS.into()).await;
        Ok(())
    }

    async fn add(&mut self, name: &str) {
        let value = self.rng.random_range(0..1000);
        let object = config_map(name, value);
        if self.sources().create(&PostParams::default(), &object).await.is_ok() {
            self.objects.insert(name.to_owned(), value);
        }
    }

    async fn place(&mut self, placement: &'static str, members: BTreeSet<&'static str>) {
        let api: Api<ClusterResourcePlacement> = Api::all(self.hub());
        let object: ClusterResourcePlacement = serde_json::from_value(json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1",
            "kind": "ClusterResourcePlacement",
            "metadata": {"name": self.name_of(placement)},
            "spec": {
                "resourceSelectors": [{
                    "group": "", "version": "v1", "kind": "Namespace", "name": self.namespace(),
                }],
                "policy": {"placementType": "PickFixed", "clusterNames": members},
                "strategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
            },
        }))
        .unwrap();
        // An earlier one of the name may still be on its way out.
        if api.create(&PostParams::default(), &object).await.is_ok() {
            self.placements.insert(placement, members);
        }
    }

    async fn withdraw_placement(&mut self, placement: &'static str) {
        let Some(members) = self.placements.remove(placement) else { return };
        for member in members {
            self.oracle.withdraw(&self.name_of(placement), member, "");
        }
        let api: Api<ClusterResourcePlacement> = Api::all(self.hub());
        api.delete(&self.name_of(placement), &DeleteParams::default()).await.unwrap();
    }

    async fn pick(&mut self, placement: &'static str, members: BTreeSet<&'static str>) {
        let Some(picked) = self.placements.get_mut(placement) else { return };
        let before = std::mem::replace(picked, members.clone());
        for member in before.difference(&members) {
            self.oracle.withdraw(&self.name_of(placement), member, "");
        }
        let api: Api<ClusterResourcePlacement> = Api::all(self.hub());
        let patch = json!({"spec": {"policy": {"clusterNames": members}}});
        api.patch(&self.name_of(placement), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn remove(&mut self, name: &str) {
        self.objects.remove(name);
        for placement in [FIRST, SECOND] {
            for member in MEMBERS {
                self.oracle.withdraw(&self.name_of(placement), member, name);
            }
        }
        self.sources().delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn any_object(&mut self) -> Option<String> {
        let n = self.objects.len();
        (n > 0).then(|| self.objects.keys().nth(self.rng.random_range(0..n)).cloned()).flatten()
    }

    fn any_member(&mut self) -> &'static str {
        MEMBERS[self.rng.random_range(0..MEMBERS.len())]
    }

    /// Does one thing that somebody might do, or that might happen.
    async fn step(&mut self) {
        let what = self.rng.random_range(0..14);
        if self.fleet.weather.is_traced {
            eprintln!("{:?} step {what}", self.fleet.weather.elapsed());
        }
        match what {
            0 | 1 => {
                let Some(name) = self.any_object() else { return };
                let value = self.rng.random_range(0..1000);
                let patch = Patch::Merge(json!({"data": {"value": value.to_string()}}));
                self.sources().patch(&name, &PatchParams::default(), &patch).await.unwrap();
                self.objects.insert(name, value);
            }
            2 => {
                let name = format!("more-{}", self.rng.random_range(0..3));
                self.add(&name).await;
            }
            3 => {
                let Some(name) = self.any_object() else { return };
                self.remove(&name).await;
            }
            4 => {
                let member = self.any_member();
                self.pick(FIRST, [member].into()).await;
            }
            5 => self.pick(FIRST, MEMBERS.into()).await,
            6 => {
                self.fleet.stop_hub().await;
                self.pause().await;
                self.fleet.start_hub();
            }
            7 => {
                let member = self.any_member();
                self.fleet.stop_agent(member).await;
                self.pause().await;
                self.fleet.start_agent(member);
            }
            8 => {
                let member = self.any_member();
                self.fleet.weather.cut_off(Some(member.to_owned()));
                self.fleet.weather.break_watches();
                self.pause().await;
                self.fleet.weather.cut_off(None);
            }
            9 if self.placements.contains_key(SECOND) => self.withdraw_placement(SECOND).await,
            9 => self.place(SECOND, MEMBERS.into()).await,
            10 => self.meddle().await,
            11 => self.leave_and_rejoin().await,
            12 if self.placements.contains_key(FIRST) => self.withdraw_placement(FIRST).await,
            12 => self.place(FIRST, MEMBERS.into()).await,
            _ => self.fleet.weather.break_watches(),
        }
    }

    async fn pause(&mut self) {
        let wait = Duration::from_millis(self.rng.random_range(0..20_000));
        time_passes(wait).await;
    }

    /// Changes an object on a member behind the fleet's back.
    async fn meddle(&mut self) {
        let (Some(name), member) = (self.any_object(), self.any_member()) else { return };
        let client = self.fleet.members[member].client.clone();
        let api: Api<ConfigMap> = Api::namespaced(client, &self.namespace());
        let patch = Patch::Merge(json!({"data": {"value": "meddled"}}));
        // It need not be there.
        let _ = api.patch(&name, &PatchParams::default(), &patch).await;
    }

    async fn leave_and_rejoin(&mut self) {
        let member = self.any_member();
        self.may_leave_things = true;
        let api: Api<MemberCluster> = Api::all(self.hub());
        let uid = api.get(member).await.unwrap().uid().unwrap();
        api.delete(member, &DeleteParams::default()).await.unwrap();
        await_condition(api, member, conditions::is_deleted(&uid)).await.unwrap();
        self.pause().await;
        self.fleet.join(member).await;
    }

    async fn restart_everything(&mut self) {
        self.fleet.stop_hub().await;
        self.fleet.start_hub();
        for member in MEMBERS {
            self.fleet.stop_agent(member).await;
            self.fleet.start_agent(member);
        }
    }

    /// Waits until every member has what it should and, where that can be told, nothing else.
    async fn come_to_rest(&mut self, when: &str) -> Result<(), String> {
        let started = tokio::time::Instant::now();
        loop {
            self.oracle.verdict()?;
            let Some(problem) = self.problem().await else { return Ok(()) };
            if started.elapsed() > PATIENCE {
                let hub = self.report().await;
                return Err(format!("{when} the fleet does not come to rest: {problem}\n{hub}"));
            }
            time_passes(Duration::from_secs(1)).await;
        }
    }

    async fn problem(&self) -> Option<String> {
        for (name, member) in &self.fleet.members {
            let api: Api<ConfigMap> = Api::namespaced(member.client.clone(), &self.namespace());
            let found = api.list(&ListParams::default()).await.unwrap();
            let found: BTreeMap<String, String> = found
                .into_iter()
                .filter(|found| found.name_any() != "kube-root-ca.crt")
                .map(|found| {
                    let data = found.data.clone().unwrap_or_default();
                    (found.name_any(), data.get("value").cloned().unwrap_or_default())
                })
                .collect();
            let is_picked = self.placements.values().any(|members| members.contains(name));
            let wanted: BTreeMap<String, String> = self
                .objects
                .iter()
                .filter(|_| is_picked)
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect();
            let has_all = wanted.iter().all(|(name, value)| found.get(name) == Some(value));
            if !has_all || (found.len() != wanted.len() && !self.may_leave_things) {
                return Some(format!("`{name}` has {found:?} instead of {wanted:?}"));
            }
        }
        None
    }

    async fn report(&self) -> String {
        let placements: Api<ClusterResourcePlacement> = Api::all(self.hub());
        let works: Api<Work> = Api::all(self.hub());
        let placements = placements.list(&ListParams::default()).await.unwrap().items;
        let works = works.list(&ListParams::default()).await.unwrap().items;
        let mut seen = json!({"placements": placements, "works": works});
        drop_noise(&mut seen);
        seen.to_string()
    }

    /// Takes everything away, so that the next story finds the fleet as this one did.
    async fn end(&mut self) -> Result<(), String> {
        for placement in [FIRST, SECOND] {
            self.withdraw_placement(placement).await;
        }
        let namespaces: Api<Namespace> = Api::all(self.hub());
        namespaces.delete(&self.namespace(), &DeleteParams::default()).await.unwrap();
        let started = tokio::time::Instant::now();
        while let Some(left) = self.left().await {
            self.oracle.verdict()?;
            if started.elapsed() > PATIENCE {
                let hub = self.report().await;
                return Err(format!("something of the placements stays: {left}\n{hub}"));
            }
            time_passes(Duration::from_secs(1)).await;
        }
        self.oracle.verdict()?;
        for member in self.fleet.members.values() {
            let api: Api<Namespace> = Api::all(member.client.clone());
            let _ = api.delete(&self.namespace(), &DeleteParams::default()).await;
            let api: Api<ConfigMap> = Api::namespaced(member.client.clone(), "default");
            api.delete(&format!("foreign-{}", self.seed), &DeleteParams::default())
                .await
                .map_err(|error| format!("what nobody placed is gone: {error}"))?;
        }
        Ok(())
    }

    /// Says what is left of the placements.
    async fn left(&self) -> Option<String> {
        let placements: Api<ClusterResourcePlacement> = Api::all(self.hub());
        let placements = placements.list(&ListParams::default()).await.unwrap();
        let works: Api<Work> = Api::all(self.hub());
        let works = works.list(&ListParams::default()).await.unwrap();
        let mut left: Vec<_> = placements.iter().map(ResourceExt::name_any).collect();
        left.extend(works.iter().map(ResourceExt::name_any));
        if !self.may_leave_things {
            for (name, member) in &self.fleet.members {
                let records: Api<AppliedWork> = Api::all(member.client.clone());
                let records = records.list(&ListParams::default()).await.unwrap();
                // An earlier story may have left some.
                let ours = [FIRST, SECOND].map(|placement| self.name_of(placement) + "-work");
                let records = records.iter().map(ResourceExt::name_any);
                let records = records.filter(|record| ours.contains(record));
                left.extend(records.map(|record| format!("{record} on {name}")));
                let namespaces: Api<Namespace> = Api::all(member.client.clone());
                if namespaces.get_opt(&self.namespace()).await.unwrap().is_some() {
                    left.push(format!("{} on {name}", self.namespace()));
                }
            }
        }
        (!left.is_empty()).then(|| left.join(", "))
    }
}

fn drop_noise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            fields.values_mut().for_each(drop_noise);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_noise),
        _ => {}
    }
}

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn config_map(name: &str, value: u64) -> ConfigMap {
    let data = json!({"value": value.to_string()});
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}
