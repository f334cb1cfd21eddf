//! Gates: opening them when the run arrives, and passing them when somebody or the clock completes them (section 6).

use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorDetail, Gate, GateConfiguration, GateSpec, GateState, GateTarget, GateTiming, HealthCheck,
    OnHealthFailure, RequestedGateState, ScheduledStart, ScheduledStartConfiguration,
    StageGateStatus, StageStatus, State, UpdateRunStatus,
};

use super::calendar::{parse_hour_minute, parse_offset, weekday};
use super::health::{self, Health};
use super::sequence::Sequence;
use super::states::{enter, is_final};
use super::{GateAction, Observed, Run, code, id};

/// Where a list of gates stands in a run.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) stage: &'a str,
    pub(super) group: Option<&'a str>,
    pub(super) timing: GateTiming,
}

/// Opens the gates of one place that the run has arrived at and looks which are completed. Returns the first moment at
/// which one of them completes by itself.
pub(super) fn visit(
    place: Place<'_>,
    configurations: &[GateConfiguration],
    statuses: &mut [StageGateStatus],
    run: &Run<'_>,
    observed: &Observed,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut wake_at = None;
    for (index, (status, configuration)) in statuses.iter_mut().zip(configurations).enumerate() {
        if is_final(status.status.state) {
            continue;
        }
        let Place { stage, group, timing } = place;
        let id = id::gate_id(run.uid, stage, group, timing, index);
        let gate = observed.gates.get(&id);
        let opens_at = opens_at(gate, configuration, now);
        let approved = gate.is_some_and(|gate| gate.spec.state == RequestedGateState::Completed);
        status.gate_id = Some(id);
        if approved || opens_at.is_some_and(|at| at <= now) {
            status.status.error = None;
            enter(&mut status.status, State::Completed, now);
            continue;
        }
        enter(&mut status.status, State::Pending, now);
        let next = match &configuration.health_check {
            Some(wanted) => look(status, wanted, gate, now),
            None => opens_at,
        };
        wake_at = earliest(wake_at, next);
    }
    wake_at
}

/// Looks at the health of a pending gate. Returns when to look again even if nothing is reported.
fn look(
    status: &mut StageGateStatus,
    wanted: &HealthCheck,
    gate: Option<&Gate>,
    now: Timestamp,
) -> Option<Timestamp> {
    let opened = status.status.start_time.get_or_insert(MicroTime(now)).0;
    let mut say = |message: String| {
        let code = code::HEALTH_CHECK_FAILED.into();
        status.status.error = Some(ErrorDetail { code, message, ..ErrorDetail::default() });
    };
    match health::assess(wanted, gate, opened, now) {
        Health::Reached => {
            status.status.error = None;
            enter(&mut status.status, State::Completed, now);
            None
        }
        Health::Awaited { reason, until } => {
            say(format!("waits for health: {reason}"));
            Some(until)
        }
        Health::Missed { reason } => {
            let missed = format!("health was not reached in time: {reason}");
            match wanted.on_failure.unwrap_or_default() {
                OnHealthFailure::Pause => say(format!("{missed}; complete the gate to go on")),
                // With a rollback, members are put back once the gate has failed.
                OnHealthFailure::Fail | OnHealthFailure::Rollback => {
                    say(missed);
                    enter(&mut status.status, State::Failed, now);
                }
            }
            None
        }
    }
}

/// Returns the earlier of two moments, where `None` is never.
pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Returns what makes the gate objects agree with the run's status.
pub(super) fn actions(
    run: &Run<'_>,
    sequence: &Sequence,
    status: &UpdateRunStatus,
    observed: &Observed,
    now: Timestamp,
) -> Vec<GateAction> {
    let mut actions = Vec::new();
    for (stage, configuration) in status.stages.iter().zip(&sequence.stages) {
        let mut add = |group, timing, configurations: &[_], statuses: &[_]| {
            let place = Place { stage: &stage.name, group, timing };
            let gates = configurations.iter().zip(statuses);
            actions.extend(gates.filter_map(|(c, s)| action(place, c, s, run, observed, now)));
        };
        add(None, GateTiming::Before, &configuration.before_gates, &stage.before_gates);
        for (group, configuration) in stage.groups.iter().zip(&configuration.groups) {
            let name = Some(group.name.as_str());
            add(name, GateTiming::Before, &configuration.before_gates, &group.before_gates);
            add(name, GateTiming::After, &configuration.after_gates, &group.after_gates);
        }
        add(None, GateTiming::After, &configuration.after_gates, &stage.after_gates);
    }
    actions
}

fn action(
    place: Place<'_>,
    configuration: &GateConfiguration,
    status: &StageGateStatus,
    run: &Run<'_>,
    observed: &Observed,
    now: Timestamp,
) -> Option<GateAction> {
    let id = status.gate_id.clone()?;
    let state = match status.status.state {
        State::Completed => GateState::Completed,
        State::Skipped => GateState::Skipped,
        State::Failed => GateState::Failed,
        State::NotStarted | State::Running | State::Pending | State::Stopping | State::Stopped => {
            GateState::Pending
        }
    };
    match observed.gates.get(&id) {
        Some(gate) if gate.status.as_ref().is_some_and(|status| status.state == state) => None,
        Some(_) => Some(GateAction::SetState { id, state }),
        None if state == GateState::Pending => {
            let spec = Box::new(spec(place, configuration, run, now));
            Some(GateAction::Create { id, spec })
        }
        None => None,
    }
}

fn spec(
    place: Place<'_>,
    configuration: &GateConfiguration,
    run: &Run<'_>,
    now: Timestamp,
) -> GateSpec {
    let scheduled = configuration.scheduled_start_configuration.as_ref();
    GateSpec {
        fleet_name: run.spec.fleet_name.clone(),
        display_name: configuration.display_name.clone(),
        gate_type: configuration.gate_type,
        target: GateTarget {
            update_run: run.name.to_owned(),
            stage: place.stage.to_owned(),
            group: place.group.map(str::to_owned),
            timing: place.timing,
        },
        state: RequestedGateState::Pending,
        health_check: configuration.health_check.clone(),
        scheduled_start: scheduled.and_then(|configuration| {
            Some(ScheduledStart {
                configuration: configuration.clone(),
                absolute_start_time: MicroTime(next_occurrence(configuration, now)?),
            })
        }),
    }
}

fn opens_at(
    gate: Option<&Gate>,
    configuration: &GateConfiguration,
    now: Timestamp,
) -> Option<Timestamp> {
    match gate {
        Some(gate) => Some(gate.spec.scheduled_start.as_ref()?.absolute_start_time.0),
        None => next_occurrence(configuration.scheduled_start_configuration.as_ref()?, now),
    }
}

/// Returns the first such moment of the week after `now`; the next week's when it is exactly now.
fn next_occurrence(wanted: &ScheduledStartConfiguration, now: Timestamp) -> Option<Timestamp> {
    let offset = parse_offset(&wanted.utc_offset)?;
    let (hour, minute) = parse_hour_minute(&wanted.start_time)?;
    let time = Time::new(hour, minute, 0, 0).ok()?;
    let local = offset.to_datetime(now);
    let days = local.date().weekday().until(weekday(wanted.start_day));
    let first = local.date().checked_add(i64::from(days).days()).ok()?.to_datetime(time);
    let first = offset.to_timestamp(first).ok()?;
    if first > now { Some(first) } else { first.checked_add(SignedDuration::from_hours(168)).ok() }
}

/// Returns the pending gates of a stage and of its groups.
pub(super) fn pending(stage: &StageStatus) -> impl Iterator<Item = &StageGateStatus> {
    let of_groups = |group| {
        let group: &stolos_api::update::GroupStatus = group;
        group.before_gates.iter().chain(&group.after_gates)
    };
    (stage.before_gates.iter().chain(&stage.after_gates))
        .chain(stage.groups.iter().flat_map(of_groups))
        .filter(|gate| gate.status.state == State::Pending)
}

#[cfg(test)]
mod tests {
    use stolos_api::update::Day;

    use super::*;

    #[test]
    fn a_scheduled_start_is_the_next_such_moment_of_the_week() {
        // 2026-03-04 is a Wednesday.
        for (day, time, offset, now, want) in [
            (Day::Friday, "08:30", "+00:00", "2026-03-04T10:00:00Z", "2026-03-06T08:30:00Z"),
            (Day::Wednesday, "10:30", "+00:00", "2026-03-04T10:00:00Z", "2026-03-04T10:30:00Z"),
            (Day::Wednesday, "09:30", "+00:00", "2026-03-04T10:00:00Z", "2026-03-11T09:30:00Z"),
            (Day::Wednesday, "10:00", "+00:00", "2026-03-04T10:00:00Z", "2026-03-11T10:00:00Z"),
            (Day::Thursday, "01:00", "+14:00", "2026-03-04T10:00:00Z", "2026-03-04T11:00:00Z"),
            (Day::Tuesday, "23:00", "-12:30", "2026-03-04T10:00:00Z", "2026-03-04T11:30:00Z"),
        ] {
            let wanted = ScheduledStartConfiguration {
                start_day: day,
                start_time: time.into(),
                utc_offset: offset.into(),
            };
            let next = next_occurrence(&wanted, now.parse().unwrap()).unwrap();
            assert_eq!(next.to_string(), want, "{day:?} {time} {offset}");
        }
    }
}
