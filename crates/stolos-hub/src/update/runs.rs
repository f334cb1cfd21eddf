//! One step of an update run: gather what the engine reads, turn its plan into writes and starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::{Resource, ResourceExt};
use stolos_api::cluster::fleet::{FLEET_LABEL, FleetMember, UpdateLease, object_name, short_name};
use stolos_api::update::{
    Gate, GateSpec, GateState, GateStatus, RunState, State, UPDATE_RUN_FINALIZER, UPDATE_RUN_LABEL,
    UpdateRun, UpdateRunStatus,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::update::cluster::{Holder, Inspection, Member, Operation};
use stolos_core::update::{self, GateAction, Members, Observed, Run, Start, preflight};

use super::controller::{KnownCluster, Updates, run_of};
use super::effect::{Effect, Object, StartUpgrade};
use crate::event::Report;

/// Name that events are reported under.
const COMPONENT: &str = "update-run-controller";

impl Updates {
    pub(super) fn plan_run(&self, key: &Key, now: Timestamp) -> Plan<Effect> {
        let Some(run) = self.runs.get(key) else { return Plan::default() };
        let deleting = run.metadata.deletion_timestamp.is_some();
        if !deleting && run.spec.state != RunState::Initialize && !is_held(run) {
            return vec![write(Write::Replace(held(run).into()))].into();
        }
        let view = self.view(&key.namespace, &run.spec.fleet_name);
        let members = view.map(|view| view.of_run(run)).unwrap_or_default();
        let doubtful = self.doubtful_members(key, run, &members);
        if !doubtful.is_empty() {
            return doubtful.into_iter().map(Effect::Read).collect::<Vec<_>>().into();
        }
        let Some(observed) = self.observe(key, run, members) else { return Plan::default() };
        let Some(name) = short_name(&run.spec.fleet_name, &key.name) else {
            return Plan::default();
        };
        let strategy = run.spec.strategy_name.as_ref().and_then(|strategy| {
            let name = object_name(&run.spec.fleet_name, strategy);
            self.strategies.get(&Key::namespaced(&key.namespace, &name))
        });
        let plan = update::plan(
            &Run {
                name,
                uid: run.metadata.uid.as_deref().unwrap_or_default(),
                generation: run.metadata.generation,
                spec: &run.spec,
                status: run.status.as_ref(),
                strategy: strategy.map(|strategy| &strategy.spec.strategy),
                limits: self.config.strategy_limits,
                deleting,
            },
            &observed,
            now,
        );
        self.carry_out(key, run, name, plan, now)
    }

    /// Returns members that would end in a run as ones that left, although nobody has seen them go: no list shows them,
    /// or shows another cluster. Those that failed are among them, because a restart takes them up again.
    fn doubtful_members(&self, key: &Key, run: &UpdateRun, shown: &Members) -> Vec<Key> {
        let stages = run.status.iter().flat_map(|status| &status.stages);
        let members = stages.flat_map(|stage| &stage.groups).flat_map(|group| &group.members);
        let open = members.filter(|member| {
            let over = matches!(member.status.state, State::Completed | State::Skipped);
            !over || update::awaits_rollback(member)
        });
        open.filter(|member| update::has_left(member, shown.get(&member.name)))
            .map(|member| object_name(&run.spec.fleet_name, &member.name))
            .map(|name| Key::namespaced(&key.namespace, &name))
            .filter(|member| !self.confirmed.contains(member))
            .collect()
    }

    /// Returns what the engine reads; `None` while a cluster of the fleet has not been looked at for the first time, in
    /// those pre-flight checks too that the run needs: members begin in their order, not in that of the answers.
    fn observe(&self, key: &Key, run: &UpdateRun, members: Members) -> Option<Observed> {
        let fleet = &run.spec.fleet_name;
        let begun = run.spec.state != RunState::Initialize;
        let view = self.view(&key.namespace, fleet);
        if begun && view.is_some_and(|view| !view.is_complete()) {
            return None;
        }
        let needed = preflight::needed(&run.spec, run.status.as_ref());
        if !run.spec.preflight.is_empty()
            && members
                .keys()
                .any(|name| needed.contains(name) && self.is_looked_into(key, fleet, name))
        {
            return None;
        }
        let gates =
            self.gates.indexed(&run_of(&key.namespace, fleet, short_name(fleet, &key.name)?));
        Some(Observed {
            members,
            operations: run
                .status
                .as_ref()
                .map(|s| self.operations(key, run, s))
                .unwrap_or_default(),
            gates: gates
                .filter_map(|gate| {
                    let name = short_name(fleet, gate.metadata.name.as_deref()?)?;
                    Some((name.to_owned(), Gate::clone(gate)))
                })
                .collect(),
        })
    }

    /// Whether pre-flight checks of a member are under way that have found nothing yet.
    fn is_looked_into(&self, run: &Key, fleet: &str, member: &str) -> bool {
        let key = Key::namespaced(&run.namespace, &object_name(fleet, member));
        !self.preflight.contains_key(&key)
            && self.clusters.get(&key).is_some_and(can_be_looked_into)
    }

    /// Returns the upgrades that the run waits for, as far as they are known.
    fn operations(
        &self,
        key: &Key,
        run: &UpdateRun,
        status: &UpdateRunStatus,
    ) -> BTreeMap<String, Operation> {
        let groups = status.stages.iter().flat_map(|stage| &stage.groups);
        let in_flight = groups
            .flat_map(|group| &group.members)
            .filter(|member| member.status.state == State::Running);
        in_flight
            .filter_map(|member| {
                let name = object_name(&run.spec.fleet_name, &member.name);
                let known = self.clusters.get(&Key::namespaced(&key.namespace, &name))?;
                let id = member.operation_id.as_ref()?;
                Some((id.clone(), known.operation(id)?.clone()))
            })
            .collect()
    }

    fn carry_out(
        &self,
        key: &Key,
        run: &Arc<UpdateRun>,
        name: &str,
        plan: update::Plan,
        now: Timestamp,
    ) -> Plan<Effect> {
        let update::Plan { status, start, release, gates, events, wake_at } = plan;
        let fleet = &run.spec.fleet_name;
        let member = |name: &str| {
            self.members.get(&Key::namespaced(&key.namespace, &object_name(fleet, name)))
        };
        let upgrades: Vec<(&Arc<FleetMember>, Start)> = (start.into_iter())
            .filter_map(|start| Some((member(&start.member)?, start)))
            .filter(|(member, _)| !is_leased_to_another(run, member))
            .collect();
        let leases =
            upgrades.iter().filter_map(|(member, start)| lease(run, name, member, start, now));
        let mut steps = Plan::default().then(leases.collect());
        let through = !has_members_in_flight(&status);
        if run.status.as_ref() != Some(&status) {
            let reported = UpdateRun {
                metadata: run.metadata.clone(),
                spec: run.spec.clone(),
                status: Some(status),
            };
            steps = steps.then(vec![write(Write::ReplaceStatus(reported.into()))]);
        }
        let gates = gates.into_iter().filter_map(|action| self.gate(key, run, action, now));
        let releases = release.iter().filter_map(|name| member(name)).filter_map(without_lease);
        let events = events.into_iter().enumerate();
        let reports = events.map(|(index, event)| report(run, &event, index, now));
        steps = steps.then(gates.chain(releases).chain(reports).collect());
        // Last, because a cluster that does not answer ends the plan here.
        let starts = upgrades.into_iter().filter_map(|(member, start)| {
            let member = Key::of(&member.metadata);
            let provider = self.clusters.get(&member)?.provider.clone()?;
            Some(Effect::Start(StartUpgrade { member, provider, start }))
        });
        steps = steps.then(starts.collect());
        let leaves = run.metadata.deletion_timestamp.is_some() && is_held(run) && through;
        // In a step of its own: after any other write the object is not what was read.
        if leaves && steps.is_empty() {
            steps = steps.then(vec![write(Write::Replace(released(run).into()))]);
        }
        steps.waking_at(wake_at)
    }

    fn gate(
        &self,
        key: &Key,
        run: &UpdateRun,
        action: GateAction,
        now: Timestamp,
    ) -> Option<Effect> {
        let fleet = &run.spec.fleet_name;
        match action {
            GateAction::Create { id, spec } => {
                Some(write(Write::Create(new_gate(key, run, &id, *spec).into())))
            }
            GateAction::SetState { id, state } => {
                let key = Key::namespaced(&key.namespace, &object_name(fleet, &id));
                let mut gate = Gate::clone(self.gates.get(&key)?);
                let completed_time = (state != GateState::Pending).then_some(MicroTime(now));
                // The checks of a gate are written by who looks at them.
                let checks = gate.status.map(|status| status.checks).unwrap_or_default();
                gate.status = Some(GateStatus { state, completed_time, checks });
                Some(write(Write::ReplaceStatus(gate.into())))
            }
        }
    }
}

fn write(write: Write<Object>) -> Effect {
    Effect::Write(write)
}

fn is_held(run: &UpdateRun) -> bool {
    run.finalizers().iter().any(|finalizer| finalizer == UPDATE_RUN_FINALIZER)
}

/// Returns the run with a finalizer: it cannot disappear while it holds leases.
fn held(run: &UpdateRun) -> UpdateRun {
    let mut held = run.clone();
    held.finalizers_mut().push(UPDATE_RUN_FINALIZER.to_owned());
    held
}

fn released(run: &UpdateRun) -> UpdateRun {
    let mut released = run.clone();
    released.finalizers_mut().retain(|finalizer| finalizer != UPDATE_RUN_FINALIZER);
    released
}

fn has_members_in_flight(status: &UpdateRunStatus) -> bool {
    let groups = status.stages.iter().flat_map(|stage| &stage.groups);
    groups.flat_map(|group| &group.members).any(|member| member.status.state == State::Running)
}

fn is_leased_to_another(run: &UpdateRun, member: &FleetMember) -> bool {
    let lease = member.status.as_ref().and_then(|status| status.update_lease.as_ref());
    lease.is_some_and(|lease| run.metadata.uid.as_ref() != Some(&lease.update_run_uid))
}

/// Whether pre-flight checks will find something: others are kept from being updated before that.
fn can_be_looked_into(known: &KnownCluster) -> bool {
    known.provider.is_some() && matches!(known.observation.cluster, Inspection::Known(_))
}

/// Returns a member as engines read it.
pub(super) fn observe_cluster(
    namespace: &str,
    member: &FleetMember,
    cluster: Inspection,
) -> Member {
    let status = member.status.as_ref();
    let mut labels = member.spec.labels.clone();
    labels.extend(status.map(|status| status.labels.clone()).unwrap_or_default());
    Member {
        group: member.spec.group.clone(),
        labels,
        cluster_resource_id: member.spec.cluster.id(namespace),
        holder: status.and_then(|status| status.update_lease.as_ref()).map(|lease| Holder {
            update_run: lease.update_run.clone(),
            uid: lease.update_run_uid.clone(),
        }),
        cluster,
        windows: member.spec.maintenance_windows.clone().unwrap_or_default(),
        preflight: Vec::new(),
    }
}

/// Takes the lease of a member for an upgrade, unless the run has it.
fn lease(
    run: &UpdateRun,
    name: &str,
    member: &FleetMember,
    start: &Start,
    now: Timestamp,
) -> Option<Effect> {
    let mut status = member.status.clone().unwrap_or_default();
    if status.update_lease.as_ref().is_some_and(|lease| lease.operation_id == start.operation_id) {
        return None;
    }
    status.update_lease = Some(UpdateLease {
        update_run: name.to_owned(),
        update_run_uid: run.uid().unwrap_or_default(),
        operation_id: start.operation_id.clone(),
        acquired_time: Time(now),
    });
    let leased = FleetMember { status: Some(status), ..member.clone() };
    Some(write(Write::ReplaceStatus(leased.into())))
}

fn without_lease(member: &Arc<FleetMember>) -> Option<Effect> {
    let mut status = member.status.clone()?;
    status.update_lease.take()?;
    let freed = FleetMember { status: Some(status), ..FleetMember::clone(member) };
    Some(write(Write::ReplaceStatus(freed.into())))
}

fn new_gate(key: &Key, run: &UpdateRun, id: &str, spec: GateSpec) -> Gate {
    let fleet = spec.fleet_name.clone();
    let owner = OwnerReference {
        api_version: UpdateRun::api_version(&()).into_owned(),
        kind: UpdateRun::kind(&()).into_owned(),
        name: run.name_any(),
        uid: run.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let labels = [
        (FLEET_LABEL.to_owned(), fleet.clone()),
        (UPDATE_RUN_LABEL.to_owned(), spec.target.update_run.clone()),
    ];
    let metadata = ObjectMeta {
        name: Some(object_name(&fleet, id)),
        namespace: Some(key.namespace.clone()),
        labels: Some(labels.into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Gate { metadata, spec, status: None }
}

fn report(run: &UpdateRun, event: &update::Event, index: usize, now: Timestamp) -> Effect {
    let report = Report {
        component: COMPONENT,
        type_: event.severity.as_str(),
        reason: event.reason.to_owned(),
        message: event.message.clone(),
    };
    write(Write::Create(crate::event::event(run, report, index, now).into()))
}
