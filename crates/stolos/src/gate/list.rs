//! `stolos gate list`.

use clap::Args;
use jiff::Timestamp;
use stolos_api::update::{Gate, GateState};

use super::text;
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::tree::SCREEN;

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Only gates of this update run
    #[arg(long, value_name = "RUN", value_parser = arguments::name)]
    run: Option<String>,
    /// Only gates that a run waits for
    #[arg(long)]
    pending: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

const COLUMNS: [&str; 7] = ["NAME", "RUN", "PLACE", "TYPE", "STATE", "AGE", "OPENS"];
const MORE_COLUMNS: [&str; 2] = ["COMPLETED", "FOR PEOPLE"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let mut gates: Vec<Gate> = fleet.list().await?;
    gates.retain(|gate| is_wanted(gate, args.run.as_deref(), args.pending));
    // The sort keeps the order of names within a state.
    gates.sort_by_key(|gate| text::state(gate) != GateState::Pending);
    if output::list(&gates, |gate| fleet.short_name(gate).to_owned(), output)? {
        return Ok(Exit::Success);
    }
    if gates.is_empty() {
        output::note(&format!("{fleet} has no such gates; a run makes a gate when it reaches it"));
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    let rows: Vec<_> = gates.iter().map(|gate| row(fleet.short_name(gate), gate, now)).collect();
    if output == Output::Wide {
        output::table(&[&COLUMNS[..], &MORE_COLUMNS[..]].concat(), &rows)?;
    } else {
        let rows: Vec<_> = rows.iter().map(|row| row[..COLUMNS.len()].to_vec()).collect();
        output::narrow_table(&COLUMNS, &rows, SCREEN)?;
    }
    Ok(Exit::Success)
}

fn is_wanted(gate: &Gate, run: Option<&str>, pending: bool) -> bool {
    run.is_none_or(|run| gate.spec.target.update_run == run)
        && (!pending || text::state(gate) == GateState::Pending)
}

/// Returns the cells of every column, the wide ones last.
fn row(name: &str, gate: &Gate, now: Timestamp) -> Vec<String> {
    let state = text::state(gate);
    let created = gate.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let completed = gate.status.as_ref().and_then(|status| status.completed_time.as_ref());
    let opens = (state == GateState::Pending)
        .then(|| text::opens(gate, now).unwrap_or_else(|| "when approved".to_owned()));
    vec![
        name.to_owned(),
        gate.spec.target.update_run.clone(),
        text::place(gate),
        text::type_name(gate.spec.gate_type).to_owned(),
        text::state_name(state).to_owned(),
        output::since(created, now),
        opens.unwrap_or_else(|| "-".to_owned()),
        output::since(completed.map(|time| time.0), now),
        gate.spec.display_name.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::sample;

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let row = |gate: &Gate| row("g", gate, sample::now()).join(" | ");
        assert_eq!(
            row(&sample::approval("Pending")).split(" | ").count(),
            COLUMNS.len() + MORE_COLUMNS.len()
        );
        insta::assert_snapshot!(row(&sample::approval("Pending")), @"g | june | before prod | Approval | Pending | 5m | when approved | - | go ahead");
        insta::assert_snapshot!(row(&sample::approval("Completed")), @"g | june | before prod | Approval | Completed | 5m | - | - | go ahead");
        insta::assert_snapshot!(row(&sample::scheduled()), @"g | june | before prod/europe | ScheduledStart | Pending | 5m | in 3d | - |");
    }

    #[test]
    fn gates_are_picked_by_run_and_state() {
        let (pending, done) = (sample::approval("Pending"), sample::approval("Completed"));
        assert!(is_wanted(&pending, None, true) && is_wanted(&pending, Some("june"), false));
        assert!(!is_wanted(&done, None, true) && !is_wanted(&done, Some("july"), false));
    }
}
