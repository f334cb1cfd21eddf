//! What has to be looked at, from the runs and gates of the hub.

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource;
use kube::runtime::watcher;
use stolos_api::cluster::fleet::{object_name, short_name};
use stolos_api::update::{
    Gate, GateState, MemberStatus, PreflightCheck, RequestedGateState, State, UpdateRun,
};
use stolos_controller::Key;
use stolos_core::update::code;
use stolos_core::update::preflight::{self, Needed};

use super::{News, Providers, gate};

/// What has to be looked at.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) gates: BTreeMap<Key, gate::Job>,
    /// The pre-flight checks to make on each member.
    pub(super) members: BTreeMap<Key, BTreeSet<PreflightCheck>>,
}

/// The runs and gates of the hub that may need a look.
#[derive(Default)]
pub(super) struct World {
    runs: Mirror<UpdateRun>,
    gates: Mirror<Gate>,
}

impl World {
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Run(event) => self.runs.take(*event, is_open),
            News::Gate(event) => self.gates.take(*event, is_pending),
        }
    }

    pub(super) fn wanted(&self, providers: &Providers) -> Wanted {
        let mut members: BTreeMap<Key, BTreeSet<PreflightCheck>> = BTreeMap::new();
        for (key, run) in &self.runs.objects {
            for member in members_of(key, run, providers) {
                members.entry(member).or_default().extend(&run.spec.preflight);
            }
        }
        let gates = self.gates.objects.iter();
        let gates = gates.filter_map(|(key, gate)| Some((key.clone(), self.job(key, gate)?)));
        Wanted { members, gates: gates.collect() }
    }

    fn job(&self, key: &Key, gate: &Gate) -> Option<gate::Job> {
        let check = gate.spec.health_check.as_ref()?;
        let (fleet, target) = (&gate.spec.fleet_name, &gate.spec.target);
        let run = Key::namespaced(&key.namespace, &object_name(fleet, &target.update_run));
        let stages = &self.runs.objects.get(&run)?.status.as_ref()?.stages;
        let stage = stages.iter().find(|stage| stage.name == target.stage)?;
        let groups = stage.groups.iter();
        let groups =
            groups.filter(|group| target.group.as_ref().is_none_or(|name| *name == group.name));
        let members = groups.flat_map(|group| &group.members).filter(|member| counts(member));
        let named = |name: &String| {
            (name.clone(), Key::namespaced(&key.namespace, &object_name(fleet, name)))
        };
        Some(gate::Job {
            uid: gate.metadata.uid.clone().unwrap_or_default(),
            checks: check.checks.clone(),
            members: members.map(|member| named(&member.name)).collect(),
        })
    }
}

fn members_of(key: &Key, run: &UpdateRun, providers: &Providers) -> Vec<Key> {
    let fleet = &run.spec.fleet_name;
    match preflight::needed(&run.spec, run.status.as_ref()) {
        Needed::Members(names) => (names.iter())
            .map(|name| Key::namespaced(&key.namespace, &object_name(fleet, name)))
            .collect(),
        Needed::Everybody => (providers.keys())
            .filter(|member| member.namespace == key.namespace)
            .filter(|member| short_name(fleet, &member.name).is_some())
            .cloned()
            .collect(),
    }
}

/// Whether a gate is about the member: not when its run has left it out, unless for having been at the goal.
fn counts(member: &MemberStatus) -> bool {
    member.status.state != State::Skipped || member.reason.as_deref() == Some(code::AT_TARGET)
}

fn is_open(run: &UpdateRun) -> bool {
    let state = run.status.as_ref().map(|status| status.status.state).unwrap_or_default();
    !matches!(state, State::Completed | State::Skipped | State::Failed)
}

fn is_pending(gate: &Gate) -> bool {
    let state = gate.status.as_ref().map(|status| status.state);
    gate.spec.health_check.is_some()
        && gate.spec.state == RequestedGateState::Pending
        && state == Some(GateState::Pending)
}

/// Objects of a kind that are of interest.
struct Mirror<K> {
    objects: BTreeMap<Key, K>,
    /// What was listed since the list began.
    fresh: BTreeMap<Key, K>,
}

impl<K> Default for Mirror<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), fresh: BTreeMap::new() }
    }
}

impl<K: Resource> Mirror<K> {
    fn take(&mut self, event: watcher::Event<K>, matters: fn(&K) -> bool) {
        match event {
            watcher::Event::Init => self.fresh.clear(),
            watcher::Event::InitApply(object) => {
                if matters(&object) {
                    self.fresh.insert(Key::of(object.meta()), object);
                }
            }
            watcher::Event::InitDone => self.objects = std::mem::take(&mut self.fresh),
            watcher::Event::Apply(object) if matters(&object) => {
                self.objects.insert(Key::of(object.meta()), object);
            }
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
                self.objects.remove(&Key::of(object.meta()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(state: &str) -> UpdateRun {
        let member = |name: &str, state: &str, reason: Value| json!({"name": name, "status": {"state": state}, "reason": reason});
        serde_json::from_value(json!({
            "metadata": {"name": "f.weekly", "namespace": "n"},
            "spec": {
                "fleetName": "f", "state": "Run", "preflight": ["NodesReady"],
                "managedClusterUpdate": {"upgrade": {"type": "NodeImageOnly"}},
            },
            "status": {"status": {"state": state}, "stages": [{"name": "s", "groups": [
                {"name": "a", "members": [
                    member("done", "Completed", Value::Null),
                    member("there", "Skipped", json!("AtTarget")),
                    member("off", "Skipped", json!("ClusterStopped")),
                ]},
                {"name": "b", "members": [member("next", "Pending", Value::Null)]},
            ]}]},
        }))
        .unwrap()
    }

    fn gate(group: Value, state: &str) -> Gate {
        let check = json!({"name": "c", "prometheus": {"url": "http://p", "query": "up"}});
        serde_json::from_value(json!({
            "metadata": {"name": "f.gate", "namespace": "n", "uid": "1"},
            "spec": {
                "fleetName": "f", "gateType": "HealthCheck", "healthCheck": {"checks": [check]},
                "target": {"updateRun": "weekly", "stage": "s", "group": group, "timing": "After"},
            },
            "status": {"state": state},
        }))
        .unwrap()
    }

    fn wanted(run: UpdateRun, gate: Gate) -> String {
        let mut world = World::default();
        world.take(News::Run(Box::new(watcher::Event::Apply(run))));
        world.take(News::Gate(Box::new(watcher::Event::Apply(gate))));
        let wanted = world.wanted(&Providers::new());
        let gates = wanted.gates.values().map(|job| {
            let members = job.members.iter().map(|(name, _)| name.as_str());
            format!("gate of {}", members.collect::<Vec<_>>().join(","))
        });
        let members = wanted.members.keys().map(|key| format!("member {}", key.name));
        gates.chain(members).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn pending_gates_and_members_that_may_begin_are_looked_at() {
        for (run, gate, want) in [
            (run("Running"), gate(json!("a"), "Pending"), "gate of done,there; member f.next"),
            (
                run("Running"),
                gate(Value::Null, "Pending"),
                "gate of done,there,next; member f.next",
            ),
            (run("Running"), gate(json!("a"), "Completed"), "member f.next"),
            (run("Failed"), gate(json!("a"), "Pending"), ""),
            (run("Completed"), gate(json!("a"), "Pending"), ""),
        ] {
            assert_eq!(wanted(run, gate), want);
        }
    }
}
