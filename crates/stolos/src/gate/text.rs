//! Words for where a gate stands and what opens it.

use jiff::Timestamp;
use stolos_api::update::{Gate, GateState, GateTiming, GateType};
use stolos_core::update;

use crate::output;

/// Returns the state of a gate, as far as the hub has written one.
pub(super) fn state(gate: &Gate) -> GateState {
    gate.status.as_ref().map_or(GateState::Pending, |status| status.state)
}

pub(super) fn state_name(state: GateState) -> &'static str {
    match state {
        GateState::Pending => "Pending",
        GateState::Skipped => "Skipped",
        GateState::Completed => "Completed",
        GateState::Failed => "Failed",
    }
}

pub(super) fn type_name(gate_type: GateType) -> &'static str {
    match gate_type {
        GateType::Approval => "Approval",
        GateType::ScheduledStart => "ScheduledStart",
        GateType::HealthCheck => "HealthCheck",
    }
}

/// Returns where a gate stands within its run: `before prod/europe`.
pub(super) fn place(gate: &Gate) -> String {
    let target = &gate.spec.target;
    let timing = match target.timing {
        GateTiming::Before => "before",
        GateTiming::After => "after",
    };
    let group = target.group.as_ref().map(|group| format!("/{group}")).unwrap_or_default();
    format!("{timing} {}{group}", target.stage)
}

/// Returns when a gate opens by itself: `in 3h`, `when its checks pass`; nothing for one that somebody has to open.
pub(super) fn opens(gate: &Gate, now: Timestamp) -> Option<String> {
    if let Some(wanted) = &gate.spec.health_check {
        let opened = gate.metadata.creation_timestamp.as_ref();
        let is_over = opened.is_some_and(|at| update::health_deadline(wanted, at.0) <= now);
        return (!is_over).then(|| "when its checks pass".to_owned());
    }
    let at = gate.spec.scheduled_start.as_ref()?.absolute_start_time.0;
    let left = at.duration_since(now).as_secs();
    Some(if left > 0 { format!("in {}", output::span(left)) } else { "at any moment".to_owned() })
}
