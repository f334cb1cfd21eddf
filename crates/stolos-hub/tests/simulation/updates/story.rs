//! What happens in one story, on paused time.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, MemberStatus, State, UpdateRun};

use super::fleet::{FLEET, Fleet, MEMBERS, NAMESPACE};
use super::watchers::Watchers;
use crate::faults::Lie;
use crate::fleet::time_passes;

/// How long runs may take to come to their end once the weather is fair and somebody approves and starts what waits.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How long a hub may take to see that a run was stopped.
const SETTLED: Duration = Duration::from_secs(60);

/// Resources whose lists may lie.
const LISTED: [&str; 6] =
    ["configmaps", "fleetmembers", "gates", "nodes", "updateruns", "updatestrategies"];

/// The two runs of a story. Both want every member.
const RUNS: [&str; 2] = ["one", "two"];

struct Story<'a> {
    fleet: &'a mut Fleet,
    rng: StdRng,
    seed: u64,
    watchers: Watchers,
    /// Runs that were created.
    runs: Vec<&'static str>,
}

/// Plays a story and says what went wrong.
pub(crate) async fn play(fleet: &mut Fleet, seed: u64) -> Result<(), String> {
    fleet.weather.begin(seed);
    let members: Vec<_> =
        fleet.members.iter().map(|(name, member)| (*name, member.client.clone())).collect();
    let watchers = Watchers::start(&members);
    let rng = StdRng::seed_from_u64(seed);
    let mut story = Story { fleet, rng, seed, watchers, runs: Vec::new() };
    story.run().await
}

impl Story<'_> {
    async fn run(&mut self) -> Result<(), String> {
        self.create(RUNS[0]).await;
        let lie = self.rng.random_bool(0.4).then(|| {
            let resource = LISTED[self.rng.random_range(0..LISTED.len())];
            (resource, if self.rng.random_bool(0.5) { Lie::Empty } else { Lie::Old })
        });
        self.fleet.weather.storm(lie);
        for _ in 0..self.rng.random_range(4..12) {
            self.step().await?;
            if lie.is_some() && self.rng.random_bool(0.4) {
                self.fleet.weather.break_watches();
            }
            time_passes(Duration::from_millis(self.rng.random_range(0..6000))).await;
            self.verdict()?;
        }
        self.fleet.weather.calm();
        for (name, _) in MEMBERS {
            self.fleet.tell(name, json!({"failUpgrades": null, "power": null})).await;
        }
        self.restart_everything().await;
        self.come_to_an_end().await?;
        self.look_back().await?;
        self.clean_up().await;
        Ok(())
    }

    fn hub(&self) -> Client {
        self.fleet.hub.client.clone()
    }

    fn api(&self) -> Api<UpdateRun> {
        Api::namespaced(self.hub(), NAMESPACE)
    }

    fn name_of(&self, run: &str) -> String {
        format!("{FLEET}.{run}-{}", self.seed)
    }

    /// Each run wants a patch of its own, later ones a newer one.
    async fn create(&mut self, run: &'static str) {
        let later = u64::from(run == RUNS[1]);
        let version = format!("1.33.{}", 2 * self.seed + 1 + later);
        let failures = if self.rng.random_bool(0.5) { "0" } else { "100%" };
        let mut stages = json!([
            {"name": "first", "groups": [{"name": "canary"}], "afterStageWaitInSeconds": 3, "maxAllowedFailures": failures},
            {"name": "second", "groups": [{"name": "prod", "maxAllowedFailures": failures}, {"name": "late"}],
             "maxConcurrency": "1", "maxAllowedFailures": failures},
        ]);
        if self.rng.random_bool(0.4) {
            stages[1]["beforeGates"] = json!([{"type": "Approval", "displayName": "go"}]);
        }
        let object: UpdateRun = serde_json::from_value(json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "UpdateRun",
            "metadata": {"name": self.name_of(run)},
            "spec": {
                "fleetName": FLEET, "state": "Run", "strategy": {"stages": stages},
                "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": version}},
            },
        }))
        .unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap();
        self.runs.push(run);
    }

    fn any_run(&mut self) -> &'static str {
        self.runs[self.rng.random_range(0..self.runs.len())]
    }

    fn any_member(&mut self) -> &'static str {
        MEMBERS[self.rng.random_range(0..MEMBERS.len())].0
    }

    async fn patch(&self, run: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        // Some changes are not allowed in some states.
        let _ = self.api().patch(&self.name_of(run), &PatchParams::default(), &patch).await;
    }

    async fn get(&self, run: &str) -> UpdateRun {
        self.api().get(&self.name_of(run)).await.unwrap()
    }

    /// Does one thing that somebody might do, or that might happen.
    async fn step(&mut self) -> Result<(), String> {
        let what = self.rng.random_range(0..13);
        if self.fleet.weather.is_traced {
            eprintln!("{:?} step {what}", self.fleet.weather.elapsed());
        }
        match what {
            0 | 1 => {
                self.fleet.stop_hub().await;
                self.pause(15_000).await;
                self.fleet.start_hub();
            }
            2 => {
                let member = self.any_member();
                self.fleet.stop_simulation(member).await;
                self.pause(15_000).await;
                self.fleet.start_simulation(member);
            }
            3 => {
                let run = self.any_run();
                self.patch(run, json!({"state": "Stop"})).await;
            }
            4 => {
                let run = self.any_run();
                self.stop_and_see(run).await?;
            }
            5 => {
                let run = self.any_run();
                self.patch(run, json!({"state": "Run"})).await;
            }
            6 => {
                let run = self.any_run();
                self.restart(run).await;
            }
            7 => {
                let (run, member) = (self.any_run(), self.any_member());
                let mut skip = self.get(run).await.spec.skip;
                let target = json!({"type": "Member", "name": member});
                skip.push(serde_json::from_value(target).unwrap());
                skip.dedup();
                self.patch(run, json!({ "skip": skip })).await;
            }
            8 => self.approve().await,
            9 => {
                let (member, stopped) = (self.any_member(), self.rng.random_bool(0.3));
                let facts = if stopped {
                    json!({"power": "stopped"})
                } else {
                    json!({"failUpgrades": "no luck"})
                };
                self.fleet.tell(member, facts).await;
            }
            10 => {
                let member = self.any_member();
                self.fleet.tell(member, json!({"failUpgrades": null, "power": null})).await;
            }
            11 if self.runs.len() < RUNS.len() => self.create(RUNS[1]).await,
            _ => self.fleet.weather.break_watches(),
        }
        Ok(())
    }

    async fn pause(&mut self, milliseconds: u64) {
        let wait = Duration::from_millis(self.rng.random_range(0..milliseconds));
        time_passes(wait).await;
    }

    /// Stops a run. Once it says that it is stopped, it begins nothing until it is started.
    async fn stop_and_see(&mut self, run: &'static str) -> Result<(), String> {
        self.patch(run, json!({"state": "Stop"})).await;
        time_passes(SETTLED).await;
        let seen = self.get(run).await;
        if state(&seen) != State::Stopped {
            return Ok(());
        }
        let mine = |story: &Self, seen: &UpdateRun| -> Vec<String> {
            let ids = members(seen).into_iter().filter_map(|member| member.operation_id);
            ids.filter(|id| story.has_begun(id)).collect()
        };
        let before = (self.watchers.count(), mine(self, &seen));
        self.pause(20_000).await;
        let after = self.get(run).await;
        let now = (self.watchers.count(), mine(self, &after));
        if before.1 != now.1 {
            return Err(format!(
                "`{run}` began something although it was stopped: {before:?}, {now:?}"
            ));
        }
        Ok(())
    }

    fn has_begun(&self, operation_id: &str) -> bool {
        let upgrade = format!("upgrade-{operation_id}");
        MEMBERS.iter().any(|(member, _)| self.watchers.begun(member).contains(&upgrade))
    }

    async fn restart(&self, run: &str) {
        let restarts = self.get(run).await.spec.restarts;
        self.patch(run, json!({"state": "Run", "restarts": restarts + 1})).await;
    }

    async fn approve(&self) {
        let api: Api<Gate> = Api::namespaced(self.hub(), NAMESPACE);
        for gate in api.list(&ListParams::default()).await.unwrap() {
            let patch = Patch::Merge(json!({"spec": {"state": "Completed"}}));
            let _ = api.patch(&gate.name_any(), &PatchParams::default(), &patch).await;
        }
    }

    async fn restart_everything(&mut self) {
        self.fleet.stop_hub().await;
        self.fleet.start_hub();
        for (member, _) in MEMBERS {
            self.fleet.stop_simulation(member).await;
            self.fleet.start_simulation(member);
        }
    }

    fn verdict(&self) -> Result<(), String> {
        self.watchers.problem().map_or(Ok(()), Err)
    }

    /// Approves, starts and restarts whatever waits for somebody, until every run is through.
    async fn come_to_an_end(&mut self) -> Result<(), String> {
        let started = tokio::time::Instant::now();
        loop {
            self.verdict()?;
            let mut open = Vec::new();
            for run in self.runs.clone() {
                let seen = self.get(run).await;
                match state(&seen) {
                    State::Completed | State::Skipped => continue,
                    State::Failed => self.restart(run).await,
                    _ => self.patch(run, json!({"state": "Run"})).await,
                }
                self.approve().await;
                open.push(seen);
            }
            if open.is_empty() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                let open: Vec<_> =
                    open.iter().map(|run| json!({"name": run.name_any(), "spec": run.spec, "status": run.status})).collect();
                return Err(format!("a run does not come to its end: {}", json!(open)));
            }
            time_passes(Duration::from_secs(10)).await;
        }
    }

    /// Compares what runs say that they did with what members were asked for, and what nodes went through.
    async fn look_back(&self) -> Result<(), String> {
        // Every member is either where the run wanted it or was left out for a reason.
        let mut attempts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for run in &self.runs {
            let seen = self.get(run).await;
            side_by_side(&seen)?;
            for member in members(&seen) {
                if !matches!(member.status.state, State::Completed | State::Skipped | State::Failed)
                {
                    return Err(format!("`{run}` ended and forgot {}: {member:?}", member.name));
                }
                let left = member.status.error.as_ref().is_some_and(|e| e.code == "MemberLeft");
                if left {
                    return Err(format!("`{run}` says that {} left, and nobody did", member.name));
                }
                let n = usize::try_from(member.attempt).unwrap();
                attempts
                    .entry(member.name.clone())
                    .or_default()
                    .extend(std::iter::repeat_n((*run).to_owned(), n));
            }
        }
        for (name, cluster) in &self.fleet.members {
            let begun = self.watchers.begun(name).len();
            let said = attempts.get(*name).map_or(0, Vec::len);
            if begun != said {
                return Err(format!("{name} was asked for {begun} upgrades, runs know of {said}"));
            }
            let nodes: Api<Node> = Api::all(cluster.client.clone());
            for node in nodes.list(&ListParams::default()).await.unwrap() {
                let count: usize =
                    node.annotations()[stolos_sim::UPGRADES_ANNOTATION].parse().unwrap();
                if count > begun {
                    return Err(format!(
                        "{} went through {count} upgrades of {begun}",
                        node.name_any()
                    ));
                }
            }
        }
        self.leases_are_given_back().await
    }

    /// A run gives its leases back after it has said that it is through.
    async fn leases_are_given_back(&self) -> Result<(), String> {
        let api: Api<FleetMember> = Api::namespaced(self.hub(), NAMESPACE);
        let started = tokio::time::Instant::now();
        loop {
            let members = api.list(&ListParams::default()).await.unwrap();
            let lease = |member: &FleetMember| {
                let lease = member.status.as_ref()?.update_lease.clone()?;
                Some(format!("{} is still held: {lease:?}", member.name_any()))
            };
            let Some(held) = members.iter().find_map(lease) else { return Ok(()) };
            if started.elapsed() > SETTLED {
                return Err(held);
            }
            time_passes(Duration::from_secs(1)).await;
        }
    }

    /// Takes the runs away, and what they left on members.
    async fn clean_up(&self) {
        for run in &self.runs {
            let uid = self.get(run).await.uid().unwrap();
            let name = self.name_of(run);
            self.api().delete(&name, &DeleteParams::default()).await.unwrap();
            await_condition(self.api(), &name, conditions::is_deleted(&uid)).await.unwrap();
        }
        for cluster in self.fleet.members.values() {
            let upgrades: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
            let labelled = ListParams::default().labels("sim.stolos.dev/upgrade");
            upgrades.delete_collection(&DeleteParams::default(), &labelled).await.unwrap();
            let nodes: Api<Node> = Api::all(cluster.client.clone());
            for node in nodes.list(&ListParams::default()).await.unwrap() {
                let zero =
                    json!({"metadata": {"annotations": {stolos_sim::UPGRADES_ANNOTATION: "0"}}});
                nodes
                    .patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(zero))
                    .await
                    .unwrap();
            }
        }
    }
}

/// Says which members of the second stage a run updated at the same time, although it allows one.
fn side_by_side(run: &UpdateRun) -> Result<(), String> {
    let second = run.status.iter().flat_map(|status| &status.stages).skip(1);
    let members = second.flat_map(|stage| &stage.groups).flat_map(|group| &group.members);
    let mut spans: Vec<_> = members
        .filter(|member| member.attempt > 0)
        .filter_map(|member| {
            let (start, end) =
                (member.status.start_time.as_ref()?, member.status.completed_time.as_ref()?);
            Some((start.0, end.0, member.name.as_str()))
        })
        .collect();
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        None => Ok(()),
        Some(pair) => Err(format!("two members at once: {pair:?}")),
    }
}

fn state(run: &UpdateRun) -> State {
    run.status.as_ref().map(|status| status.status.state).unwrap_or_default()
}

fn members(run: &UpdateRun) -> Vec<MemberStatus> {
    let stages = run.status.iter().flat_map(|status| &status.stages);
    stages.flat_map(|stage| &stage.groups).flat_map(|group| group.members.clone()).collect()
}
