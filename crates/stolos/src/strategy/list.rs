//! `stolos strategy list`.

use clap::Args;
use jiff::Timestamp;
use stolos_api::update::{UpdateStage, UpdateStrategy};

use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::tree::SCREEN;

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    fleet: FleetArgs,
}

const COLUMNS: [&str; 6] = ["NAME", "AGE", "GROUPS", "GATES", "WAITS", "STAGES"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let strategies: Vec<UpdateStrategy> = fleet.list().await?;
    if output::list(&strategies, |found| fleet.short_name(found).to_owned(), output)? {
        return Ok(Exit::Success);
    }
    if strategies.is_empty() {
        output::note(&format!("{fleet} has no update strategies"));
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    let rows: Vec<_> =
        strategies.iter().map(|found| row(fleet.short_name(found), found, now)).collect();
    let width = if output == Output::Wide { usize::MAX } else { SCREEN };
    output::narrow_table(&COLUMNS, &rows, width)?;
    Ok(Exit::Success)
}

fn row(name: &str, strategy: &UpdateStrategy, now: Timestamp) -> Vec<String> {
    let stages = &strategy.spec.strategy.stages;
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    let n_groups: usize = stages.iter().map(|stage| stage.groups.len()).sum();
    let n_gates: usize = stages.iter().map(n_gates).sum();
    let waits: i64 =
        stages.iter().filter_map(|stage| stage.after_stage_wait_in_seconds).map(i64::from).sum();
    let created = strategy.metadata.creation_timestamp.as_ref().map(|time| time.0);
    vec![
        name.to_owned(),
        output::since(created, now),
        n_groups.to_string(),
        n_gates.to_string(),
        if waits > 0 { output::span(waits) } else { "-".to_owned() },
        names.join(", "),
    ]
}

fn n_gates(stage: &UpdateStage) -> usize {
    let of_groups =
        stage.groups.iter().map(|group| group.before_gates.len() + group.after_gates.len());
    stage.before_gates.len() + stage.after_gates.len() + of_groups.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::show::tests::rings;

    #[test]
    fn a_row_counts_what_a_strategy_has() {
        let row = row("rings", &rings(), Timestamp::UNIX_EPOCH);
        assert_eq!(row.len(), COLUMNS.len());
        insta::assert_snapshot!(row.join(" | "), @"rings | - | 3 | 2 | 60m | canary, prod, rest");
    }
}
