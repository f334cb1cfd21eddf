//! Figures of update runs and gates. What belongs to a run goes with it, and no series is about one member.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use stolos_api::cluster::fleet::short_name;
use stolos_api::update::{Gate, GateState, UpdateRun, UpdateRunStatus};
use stolos_controller::Key;
use stolos_controller::metrics::{Family, Labels};
use stolos_core::update::{Ended, figures, turnover};

use super::{Metrics, number, seconds, text};

/// Upper bounds of durations: some seconds for one node, days for an approval.
const DURATIONS: &[f64] =
    &[1.0, 10.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0, 604_800.0];

pub(super) const RUNS: Family = Family::gauge("stolos_update_runs", "Update runs by state");
pub(super) const STARTS: Family =
    Family::gauge("stolos_update_run_start_timestamp_seconds", "When an update run was started");
pub(super) const STAGES: Family =
    Family::gauge("stolos_update_run_stages", "Stages of an update run by state");
pub(super) const GROUPS: Family =
    Family::gauge("stolos_update_run_groups", "Groups of an update run by state");
pub(super) const MEMBERS: Family =
    Family::gauge("stolos_update_run_members", "Members of an update run by state");
pub(super) const PENDING: Family = Family::gauge(
    "stolos_update_run_pending_members",
    "Members of an update run that cannot begin yet, by what they wait for",
);
pub(super) const WAITS: Family = Family::gauge(
    "stolos_update_wait_end_timestamp_seconds",
    "When the wait after a stage ends that is under way",
);
pub(super) const PENDING_GATES: Family = Family::gauge(
    "stolos_update_gate_pending_timestamp_seconds",
    "When an update run came to a gate that is pending",
);
pub(super) const GATE_WAITS: Family = Family::histogram(
    "stolos_update_gate_wait_seconds",
    "Time from the arrival of a run at a gate to the gate's completion",
    DURATIONS,
);
pub(super) const ATTEMPTS: Family =
    Family::counter("stolos_update_member_attempts_total", "Upgrades of members that began");
pub(super) const FAILURES: Family = Family::counter(
    "stolos_update_member_failures_total",
    "Members that failed in an update run, by code",
);
pub(super) const UPGRADES: Family = Family::histogram(
    "stolos_update_member_duration_seconds",
    "Time of an upgrade of a member, by its outcome",
    DURATIONS,
);

/// Gauges that belong to one object.
type Gauges = BTreeMap<(&'static str, Labels), (Family, f64)>;

/// The series of runs and gates, and of how many runs each number is made.
#[derive(Debug, Default)]
pub(super) struct Series {
    runs: BTreeMap<Key, Gauges>,
    states: BTreeMap<Key, Labels>,
    gates: BTreeMap<Key, Labels>,
}

impl Metrics {
    /// Notes how a run stands, and what happened since it was seen before.
    pub(crate) fn update_run(&self, before: Option<&UpdateRun>, run: &UpdateRun) {
        let key = Key::of(&run.metadata);
        let fleet = run.spec.fleet_name.as_str();
        let Some(name) = short_name(fleet, &key.name) else { return };
        let nothing = UpdateRunStatus::default();
        let status = run.status.as_ref().unwrap_or(&nothing);
        let of_fleet = of_fleet(&key.namespace, fleet);
        let state = with(&of_fleet, "state", status.status.state.as_str());
        let of_run = with(&of_fleet, "run", name);
        {
            let mut series = self.updates.lock().expect("no holder of this lock panics");
            let known = series.states.insert(key.clone(), state.clone());
            if known.as_ref() != Some(&state) {
                self.registry.add(&RUNS, state, 1.0);
                if let Some(known) = known {
                    self.one_run_less(&series, &known);
                }
            }
            let gauges = gauges(&of_run, status);
            for ((_, labels), (family, value)) in &gauges {
                self.registry.set(family, labels.clone(), *value);
            }
            let known = series.runs.insert(key, gauges).unwrap_or_default();
            let shown = &series.runs[&Key::of(&run.metadata)];
            for (series, (family, _)) in known.iter().filter(|(key, _)| !shown.contains_key(key)) {
                self.registry.forget(family, &series.1);
            }
        }
        // What was never seen before may be as old as the run: only changes are counted.
        if let Some(before) = before.filter(|before| before.metadata.uid == run.metadata.uid) {
            self.count_turnover(&of_fleet, before.status.as_ref().unwrap_or(&nothing), status);
        }
    }

    /// Forgets a run that is gone.
    pub(crate) fn forget_update_run(&self, run: &UpdateRun) {
        let key = Key::of(&run.metadata);
        let mut series = self.updates.lock().expect("no holder of this lock panics");
        for ((_, labels), (family, _)) in series.runs.remove(&key).into_iter().flatten() {
            self.registry.forget(&family, &labels);
        }
        if let Some(state) = series.states.remove(&key) {
            self.one_run_less(&series, &state);
        }
    }

    fn one_run_less(&self, series: &Series, state: &Labels) {
        if series.states.values().any(|other| other == state) {
            self.registry.add(&RUNS, state.clone(), -1.0);
        } else {
            self.registry.forget(&RUNS, state);
        }
    }

    fn count_turnover(&self, fleet: &Labels, before: &UpdateRunStatus, after: &UpdateRunStatus) {
        let turnover = turnover(before, after);
        for upgrade_type in turnover.begun {
            let labels = with(fleet, "type", &format!("{upgrade_type:?}"));
            self.registry.count(&ATTEMPTS, labels);
        }
        for Ended { upgrade_type, outcome, took } in turnover.ended {
            let labels = with(fleet, "type", &format!("{upgrade_type:?}"));
            let labels = with(&labels, "outcome", outcome.as_str());
            self.registry.observe(&UPGRADES, labels, took.as_secs_f64());
        }
        for code in turnover.failures {
            self.registry.count(&FAILURES, with(fleet, "code", &code));
        }
    }

    /// Notes how a gate stands, and how long it took when it was completed since it was seen before.
    pub(crate) fn gate(&self, before: Option<&Gate>, gate: &Gate) {
        let key = Key::of(&gate.metadata);
        let fleet = gate.spec.fleet_name.as_str();
        let Some(id) = short_name(fleet, &key.name) else { return };
        let Some(created) = gate.metadata.creation_timestamp.as_ref() else { return };
        let of_fleet = of_fleet(&key.namespace, fleet);
        let gate_type = format!("{:?}", gate.spec.gate_type);
        if is_pending(gate) {
            let target = &gate.spec.target;
            let labels = with(&of_fleet, "run", &target.update_run);
            let labels = with(&labels, "stage", &target.stage);
            let labels = with(&labels, "group", target.group.as_deref().unwrap_or_default());
            let labels = with(&labels, "timing", &format!("{:?}", target.timing));
            let labels = with(&labels, "type", &gate_type);
            let labels = with(&labels, "gate", id);
            self.registry.set(&PENDING_GATES, labels.clone(), seconds(created.0));
            let mut series = self.updates.lock().expect("no holder of this lock panics");
            series.gates.insert(key, labels);
            return;
        }
        self.forget_gate(gate);
        let status = gate.status.as_ref().filter(|status| status.state == GateState::Completed);
        let completed = status.and_then(|status| status.completed_time.as_ref());
        if let Some(completed) = completed.filter(|_| before.is_some_and(is_pending)) {
            // Creation is known to the second only, so it may seem to be later.
            let took = completed.0.duration_since(created.0).max(SignedDuration::ZERO);
            let labels = with(&of_fleet, "type", &gate_type);
            self.registry.observe(&GATE_WAITS, labels, took.as_secs_f64());
        }
    }

    /// Forgets a gate that is not pending any more, or gone.
    pub(crate) fn forget_gate(&self, gate: &Gate) {
        let mut series = self.updates.lock().expect("no holder of this lock panics");
        if let Some(labels) = series.gates.remove(&Key::of(&gate.metadata)) {
            self.registry.forget(&PENDING_GATES, &labels);
        }
    }
}

fn is_pending(gate: &Gate) -> bool {
    gate.status.as_ref().is_none_or(|status| status.state == GateState::Pending)
}

fn of_fleet(namespace: &str, fleet: &str) -> Labels {
    vec![("namespace", text(namespace)), ("fleet", text(fleet))]
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    labels.iter().cloned().chain([(name, text(value))]).collect()
}

fn gauges(run: &Labels, status: &UpdateRunStatus) -> Gauges {
    let figures = figures(status);
    let mut gauges = Gauges::new();
    let mut add = |family: Family, labels: Labels, value: f64| {
        gauges.insert((family.name, labels), (family, value));
    };
    if let Some(start) = &status.status.start_time {
        add(STARTS, run.clone(), seconds(start.0));
    }
    let by_state = [(STAGES, figures.stages), (GROUPS, figures.groups), (MEMBERS, figures.members)];
    for (family, counts) in by_state {
        for (state, count) in counts {
            add(family, with(run, "state", state.as_str()), number(count));
        }
    }
    for (code, count) in figures.pending {
        add(PENDING, with(run, "code", &code), number(count));
    }
    for (stage, end) in figures.waits {
        add(WAITS, with(run, "stage", &stage), seconds(end));
    }
    gauges
}
