//! What a user may ask of a gate, given how it stands.

use stolos_api::update::{Gate, GateState, RequestedGateState};

use super::text;

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: String,
}

/// Decides whether a gate is to be approved; `false` when it is approved already and the run is about to pass.
pub(super) fn approve(gate: &Gate, name: &str) -> Result<bool, Refusal> {
    let state = text::state(gate);
    match (state, gate.spec.state) {
        (GateState::Pending, RequestedGateState::Pending) => Ok(true),
        (GateState::Pending, RequestedGateState::Completed) => Ok(false),
        (GateState::Completed | GateState::Skipped | GateState::Failed, _) => Err(Refusal {
            message: format!("gate `{name}` is {}, not pending", text::state_name(state)),
            hint: format!(
                "`stolos updaterun show {}` tells where the run is",
                gate.spec.target.update_run
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::sample;

    #[test]
    fn only_a_pending_gate_is_approved() {
        assert_eq!(approve(&sample::approval("Pending"), "g"), Ok(true));
        for over in ["Completed", "Skipped"] {
            let refusal = approve(&sample::approval(over), "g").unwrap_err();
            assert_eq!(refusal.message, format!("gate `g` is {over}, not pending"));
        }
    }

    #[test]
    fn approving_twice_changes_nothing() {
        let mut gate = sample::approval("Pending");
        gate.spec.state = RequestedGateState::Completed;
        assert_eq!(approve(&gate, "g"), Ok(false));
    }
}
