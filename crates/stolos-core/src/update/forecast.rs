//! What a run would do: the engine itself, played on a simulated clock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stolos_api::update::{
    Gate, GateTiming, GateType, MemberStatus, MemberTarget, RequestedGateState, RunState,
    StageGateStatus, StageStatus, State, UpdateRunStatus,
};

use super::cluster::Operation;
use super::plan::{Known, plan_knowing};
use super::states::members;
use super::{GateAction, Observed, Plan, Run, rollback};

/// How long upgrades take.
#[derive(Clone, Debug)]
pub struct Durations {
    /// Members that are not listed.
    pub default: SignedDuration,
    /// Members whose upgrades are known to take another time.
    pub members: BTreeMap<String, SignedDuration>,
}

impl Durations {
    fn of(&self, member: &str) -> SignedDuration {
        let duration = self.members.get(member).copied().unwrap_or(self.default);
        // Time must pass, or a play could stand still.
        duration.max(SignedDuration::from_secs(1))
    }
}

/// What a run would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// How the run would stand in the end.
    pub state: State,
    /// When it would end; `None` when something would be waited for that no clock brings.
    pub ends: Option<Timestamp>,
    /// Members in the order in which their upgrades begin, then those that are not upgraded.
    pub members: Vec<MemberForecast>,
    /// The stages.
    pub stages: Vec<StageForecast>,
    /// The gates in the order in which they are reached.
    pub gates: Vec<GateForecast>,
    /// Most members that are upgraded at one moment.
    pub most_at_once: usize,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// The status that the run would have in the end.
    pub status: UpdateRunStatus,
}

/// What a run would do with a member.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberForecast {
    /// Name of the member.
    pub name: String,
    /// Stage of the member.
    pub stage: String,
    /// Group of the member.
    pub group: String,
    /// State in the end.
    pub state: State,
    /// When its upgrade begins.
    pub starts: Option<Timestamp>,
    /// When its upgrade ends.
    pub ends: Option<Timestamp>,
    /// What it is brought to.
    pub target: Option<MemberTarget>,
    /// Why it is left out or what it waits for.
    pub message: Option<String>,
}

/// What would happen in a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageForecast {
    /// Name of the stage.
    pub name: String,
    /// When it begins.
    pub starts: Option<Timestamp>,
    /// When it ends.
    pub ends: Option<Timestamp>,
    /// Members that are upgraded.
    pub upgraded: usize,
    /// Most members that are upgraded at one moment.
    pub most_at_once: usize,
}

/// When a gate would be reached.
#[derive(Clone, Debug, PartialEq)]
pub struct GateForecast {
    /// Stage of the gate.
    pub stage: String,
    /// Group of the gate; `None` for a gate of a stage.
    pub group: Option<String>,
    /// Whether it stands before or after.
    pub timing: GateTiming,
    /// Name for people.
    pub name: Option<String>,
    /// When it would be passed, at once if nothing but a person or health is waited for.
    pub passed: Option<Timestamp>,
}

/// Plays a run from where it stands, as if somebody started it, or started it again, at `now`, until nothing happens by
/// itself any more.
#[must_use]
pub fn forecast(
    run: &Run<'_>,
    observed: &Observed,
    durations: &Durations,
    now: Timestamp,
) -> Forecast {
    let status = run.status.cloned().unwrap_or_default();
    let mut spec = run.spec.clone();
    spec.state = RunState::Run;
    if status.status.state == State::Failed {
        spec.restarts = status.observed_restarts.saturating_add(1);
    }
    let run = Run { spec: &spec, status: None, deleting: false, ..*run };
    let mut play = Play {
        run,
        observed: observed.clone(),
        status,
        known: Known::default(),
        ends: BTreeSet::new(),
        now,
    };
    play.take_over(durations);
    play.run_through(durations);
    let mut forecast = summarize(play.status, durations);
    let strategy = spec.strategy.as_ref().or(forecast.status.strategy.as_ref());
    let guarded = strategy.map(rollback::guarded).unwrap_or_default();
    if !guarded.is_empty() {
        let text = "health is reached; where it is not, members are put back in";
        forecast.assumptions.push(format!("{text} {}", guarded.join(", ")));
    }
    forecast
}

/// A run on a simulated clock.
struct Play<'a> {
    run: Run<'a>,
    observed: Observed,
    status: UpdateRunStatus,
    known: Known,
    /// When upgrades end, with their ids.
    ends: BTreeSet<(Timestamp, String)>,
    now: Timestamp,
}

impl Play<'_> {
    /// Upgrades in flight take as long as if they had begun now, and nobody is waited for at gates.
    fn take_over(&mut self, durations: &Durations) {
        for member in self.status.stages.iter().flat_map(members) {
            let id = member.operation_id.as_ref().filter(|_| member.status.state == State::Running);
            let Some(id) = id.filter(|id| self.observed.operations.contains_key(*id)) else {
                continue;
            };
            let end = self.now.saturating_add(durations.of(&member.name));
            self.ends.insert((end.unwrap_or(Timestamp::MAX), id.clone()));
        }
        self.observed.gates.values_mut().for_each(approve);
    }

    fn run_through(&mut self, durations: &Durations) {
        // Each plan begins or ends an upgrade, opens a gate, or was woken for a window, a wait or a gate.
        let mut bound = 1_000;
        while bound > 0 {
            bound -= 1;
            let status = std::mem::take(&mut self.status);
            let fresh = status.status.start_time.is_none();
            let plan = plan_knowing(&self.run, status, &mut self.known, &self.observed, self.now);
            let wake_at = plan.wake_at;
            let opened = self.carry_out(plan, durations);
            if fresh {
                bound += 10 * self.status.stages.iter().map(size).sum::<usize>();
            }
            if opened {
                continue;
            }
            let next = self.ends.first().map(|(end, _)| *end).into_iter().chain(wake_at).min();
            let Some(next) = next else { return };
            self.now = self.now.max(next);
            self.end_upgrades();
        }
    }

    /// Returns whether a gate was opened, which somebody completes at once.
    fn carry_out(&mut self, plan: Plan, durations: &Durations) -> bool {
        let Plan { status, start, release: _, gates, events: _, wake_at: _ } = plan;
        self.status = status;
        // What the engine has read is not needed again.
        self.observed.operations.retain(|_, operation| matches!(operation, Operation::Running(_)));
        for start in start {
            let end = self.now.saturating_add(durations.of(&start.member));
            self.ends.insert((end.unwrap_or(Timestamp::MAX), start.operation_id.clone()));
            self.observed.operations.insert(start.operation_id, Operation::Running(None));
        }
        let mut opened = false;
        for action in gates {
            if let GateAction::Create { id, spec } = action {
                let mut gate = Gate::new(&id, *spec);
                approve(&mut gate);
                self.observed.gates.insert(id, gate);
                opened = true;
            }
        }
        opened
    }

    fn end_upgrades(&mut self) {
        while let Some((end, id)) = self.ends.pop_first() {
            if end > self.now {
                self.ends.insert((end, id));
                return;
            }
            self.observed.operations.insert(id, Operation::Done(None));
        }
    }
}

fn approve(gate: &mut Gate) {
    match gate.spec.gate_type {
        GateType::Approval | GateType::HealthCheck => {
            gate.spec.state = RequestedGateState::Completed;
        }
        GateType::ScheduledStart => {}
    }
}

/// Returns the number of things in a stage that something can happen to.
fn size(stage: &StageStatus) -> usize {
    let gates = stage.before_gates.len() + stage.after_gates.len();
    let of_group = |group: &stolos_api::update::GroupStatus| {
        group.members.len() + group.before_gates.len() + group.after_gates.len()
    };
    1 + gates + stage.groups.iter().map(of_group).sum::<usize>()
}

fn summarize(status: UpdateRunStatus, durations: &Durations) -> Forecast {
    let mut all: Vec<MemberForecast> = Vec::new();
    let mut gates = Vec::new();
    for stage in &status.stages {
        stage_gates(stage, &mut gates);
        for group in &stage.groups {
            all.extend(group.members.iter().map(|m| member(&stage.name, &group.name, m)));
        }
    }
    let stages: Vec<StageForecast> = status.stages.iter().map(stage).collect();
    let most_at_once = most_at_once(status.stages.iter().flat_map(members));
    // Those that never begin come last, in the order of the run.
    all.sort_by_key(|member| member.starts.unwrap_or(Timestamp::MAX));
    gates.sort_by_key(|gate: &GateForecast| gate.passed.unwrap_or(Timestamp::MAX));
    let assumptions = assumptions(&all, &gates, durations);
    Forecast {
        state: status.status.state,
        ends: status.status.completed_time.as_ref().map(|time| time.0),
        members: all,
        stages,
        gates,
        most_at_once,
        assumptions,
        status,
    }
}

fn member(stage: &str, group: &str, member: &MemberStatus) -> MemberForecast {
    let begins = member.attempt > 0;
    let starts = member.status.start_time.as_ref().filter(|_| begins).map(|time| time.0);
    MemberForecast {
        name: member.name.clone(),
        stage: stage.into(),
        group: group.into(),
        state: member.status.state,
        starts,
        ends: member.status.completed_time.as_ref().filter(|_| begins).map(|time| time.0),
        target: member.target.clone(),
        message: member.message.clone(),
    }
}

fn stage(stage: &StageStatus) -> StageForecast {
    StageForecast {
        name: stage.name.clone(),
        starts: stage.status.start_time.as_ref().map(|time| time.0),
        ends: stage.status.completed_time.as_ref().map(|time| time.0),
        upgraded: members(stage).filter(|member| member.attempt > 0).count(),
        most_at_once: most_at_once(members(stage)),
    }
}

fn stage_gates(stage: &StageStatus, gates: &mut Vec<GateForecast>) {
    let mut add = |group: Option<&str>, timing, statuses: &[StageGateStatus]| {
        gates.extend(statuses.iter().map(|gate| GateForecast {
            stage: stage.name.clone(),
            group: group.map(str::to_owned),
            timing,
            name: gate.display_name.clone(),
            passed: gate.status.completed_time.as_ref().map(|time| time.0),
        }));
    };
    add(None, GateTiming::Before, &stage.before_gates);
    for group in &stage.groups {
        add(Some(&group.name), GateTiming::Before, &group.before_gates);
        add(Some(&group.name), GateTiming::After, &group.after_gates);
    }
    add(None, GateTiming::After, &stage.after_gates);
}

/// Returns the most members whose upgrades go on at one moment. One that ends as another begins does not count twice.
fn most_at_once<'a>(members: impl Iterator<Item = &'a MemberStatus>) -> usize {
    let mut moments: Vec<(Timestamp, i32)> = Vec::new();
    for member in members.filter(|member| member.attempt > 0) {
        let MemberStatus { status, .. } = member;
        let Some(start) = &status.start_time else { continue };
        moments.push((start.0, 1));
        moments.extend(status.completed_time.as_ref().map(|end| (end.0, -1)));
    }
    // Ends come before beginnings of the same moment.
    moments.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in moments {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or(0)
}

fn assumptions(
    members: &[MemberForecast],
    gates: &[GateForecast],
    durations: &Durations,
) -> Vec<String> {
    let mut assumed = Vec::new();
    if members.iter().any(|member| member.starts.is_some()) {
        assumed.push("no upgrade fails".into());
        let known = members.iter().filter(|m| durations.members.contains_key(&m.name)).count();
        let guessed = members.len() - known;
        if guessed > 0 {
            assumed.push(format!(
                "the upgrade of a member takes {:#}, where nothing else is known ({guessed} members)",
                durations.default
            ));
        }
    }
    if !gates.is_empty() {
        assumed.push("gates of type Approval and HealthCheck are completed at once".into());
    }
    if members.iter().any(|member| member.state == State::Pending) {
        assumed.push("clusters that are busy, stopped or not reachable stay so".into());
    }
    assumed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::update::StrategyLimits;
    use crate::update::cluster::{Inspection, Member};

    fn at(time: &str) -> Timestamp {
        format!("2026-03-04T{time}Z").parse().unwrap()
    }

    fn observed(groups: &[(&str, &str)]) -> Observed {
        let member = |(name, group): &(&str, &str)| {
            let cluster = crate::update::cluster::Cluster::running("1.33.0".parse().unwrap());
            let member = Member {
                group: Some((*group).to_owned()),
                ..Member::new(*name, Inspection::Known(cluster))
            };
            ((*name).to_owned(), member)
        };
        Observed { members: groups.iter().map(member).collect(), ..Observed::default() }
    }

    fn told(forecast: &Forecast) -> String {
        let time = |moment: Option<Timestamp>| {
            moment.map_or("never".into(), |moment| moment.strftime("%d %H:%M:%S").to_string())
        };
        let members = forecast
            .members
            .iter()
            .map(|m| format!("{} {} - {} {:?}", m.name, time(m.starts), time(m.ends), m.state));
        let stages = forecast.stages.iter().map(|s| {
            let (starts, ends) = (time(s.starts), time(s.ends));
            format!(
                "{} {starts} - {ends}, {} upgraded, {} at once",
                s.name, s.upgraded, s.most_at_once
            )
        });
        let gates = forecast.gates.iter().map(|gate| {
            format!("gate {} {}", gate.name.as_deref().unwrap_or("?"), time(gate.passed))
        });
        let end = format!(
            "{:?} {}, {} at once",
            forecast.state,
            time(forecast.ends),
            forecast.most_at_once
        );
        let assumed = forecast.assumptions.iter().map(|text| format!("if {text}"));
        members
            .chain(stages)
            .chain(gates)
            .chain([end])
            .chain(assumed)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_forecast_tells_order_windows_waits_gates_and_how_much_is_touched() {
        let spec: Value = json!({
            "fleetName": "f",
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
            "strategy": {"stages": [
                {"name": "first", "groups": [{"name": "canary"}], "afterStageWaitInSeconds": 600,
                 "afterGates": [
                    {"type": "Approval", "displayName": "go"},
                    {"type": "HealthCheck", "displayName": "up", "healthCheck": {
                        "checks": [{"name": "a", "prometheus": {"url": "http://p", "query": "up"}}],
                        "onFailure": "Rollback",
                    }},
                 ]},
                {"name": "second", "groups": [{"name": "prod", "maxConcurrency": "2"}]},
            ]},
        });
        let spec = serde_json::from_value(spec).unwrap();
        let mut observed = observed(&[
            ("c1", "canary"),
            ("p1", "prod"),
            ("p2", "prod"),
            ("p3", "prod"),
            ("p4", "prod"),
        ]);
        observed.members.get_mut("p1").unwrap().windows = serde_json::from_value(json!({"kubernetes": {
            "schedule": {"daily": {"intervalDays": 1}}, "durationHours": 4, "startTime": "22:00",
        }}))
        .unwrap();
        observed.members.get_mut("p4").unwrap().cluster = Inspection::Unknown("no answer".into());
        let run = Run {
            name: "run",
            uid: "uid",
            generation: None,
            spec: &spec,
            status: None,
            strategy: None,
            limits: StrategyLimits::default(),
            deleting: false,
        };
        let durations = Durations {
            default: SignedDuration::from_mins(30),
            members: [("p3".to_owned(), SignedDuration::from_mins(45))].into(),
        };
        let forecast = forecast(&run, &observed, &durations, at("10:00:00"));
        insta::assert_snapshot!(told(&forecast), @r"
        c1 04 10:00:00 - 04 10:30:00 Completed
        p2 04 10:40:00 - 04 11:10:00 Completed
        p3 04 10:40:00 - 04 11:25:00 Completed
        p1 04 22:00:00 - 04 22:30:00 Completed
        p4 never - never Pending
        first 04 10:00:00 - 04 10:40:00, 1 upgraded, 1 at once
        second 04 10:40:00 - never, 3 upgraded, 2 at once
        gate go 04 10:30:00
        gate up 04 10:30:00
        Pending never, 2 at once
        if no upgrade fails
        if the upgrade of a member takes 30m, where nothing else is known (4 members)
        if gates of type Approval and HealthCheck are completed at once
        if clusters that are busy, stopped or not reachable stay so
        if health is reached; where it is not, members are put back in stage `first`
        ");
    }
}
