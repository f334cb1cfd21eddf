//! `stolos gate approve`.

use clap::Args;
use stolos_api::update::{Gate, GateState, RequestedGateState, UpdateRun};

use super::{request, text};
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

#[derive(Args)]
pub(crate) struct ApproveArgs {
    /// Names of the gates within their fleet
    #[arg(value_name = "NAME", value_parser = arguments::name, required_unless_present = "run")]
    names: Vec<String>,
    /// Every gate that this update run waits for at the moment
    #[arg(long, value_name = "RUN", value_parser = arguments::name, conflicts_with = "names")]
    run: Option<String>,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: ApproveArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let names = match &args.run {
        Some(run) => pending_gates(&fleet, run).await?,
        None => args.names,
    };
    // A name that is wrong approves none of the others.
    for name in &names {
        decide(&fleet.get(name).await?, name)?;
    }
    for name in &names {
        let approve = |gate: &mut Gate| {
            if decide(gate, name)? {
                gate.spec.state = RequestedGateState::Completed;
            }
            Ok(())
        };
        let (gate, changed) = fleet.change(name, approve).await?;
        let run = &gate.spec.target.update_run;
        let text = if changed {
            format!("gate `{name}` approved; update run `{run}` goes on")
        } else {
            format!("gate `{name}` is approved already; update run `{run}` is about to pass")
        };
        output::outcome(name, &gate, &text, output)?;
    }
    Ok(Exit::Success)
}

fn decide(gate: &Gate, name: &str) -> anyhow::Result<bool> {
    request::approve(gate, name).map_err(|refusal| Hinted::error(refusal.message, refusal.hint))
}

/// Returns the names of the gates that a run waits for; there must be one.
async fn pending_gates(fleet: &Fleet, run: &str) -> anyhow::Result<Vec<String>> {
    let gates: Vec<Gate> = fleet.list().await?;
    let waiting = gates.iter().filter(|gate| {
        gate.spec.target.update_run == run && text::state(gate) == GateState::Pending
    });
    let names: Vec<String> = waiting.map(|gate| fleet.short_name(gate).to_owned()).collect();
    if names.is_empty() {
        fleet.get::<UpdateRun>(run).await?;
        return Err(Hinted::error(
            format!("update run `{run}` waits for no gate"),
            format!("`stolos updaterun show {run}` tells where it is"),
        ));
    }
    Ok(names)
}
