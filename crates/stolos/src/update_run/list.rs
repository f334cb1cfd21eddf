//! `stolos updaterun list`.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use stolos_api::update::{UpdateRun, UpgradeType};

use super::text;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    fleet: FleetArgs,
}

const COLUMNS: [&str; 7] = ["NAME", "TYPE", "VERSION", "STATE", "PROGRESS", "FAILED", "AGE"];
const MORE_COLUMNS: [&str; 3] = ["SEQUENCE", "STARTED", "MESSAGE"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let runs: Vec<UpdateRun> = fleet.list().await?;
    match output {
        Output::Json | Output::Yaml => {
            let runs: Vec<UpdateRun> = runs.iter().map(text::readable).collect();
            output::structured(
                &json!({ "apiVersion": "v1", "kind": "List", "items": runs }),
                output,
            )?;
        }
        Output::Name => {
            for run in &runs {
                output::line(fleet.short_name(run))?;
            }
        }
        Output::Table | Output::Wide if runs.is_empty() => {
            output::note(&format!("{fleet} has no update runs"));
        }
        Output::Table | Output::Wide => {
            let wide = output == Output::Wide;
            let now = Timestamp::now();
            let headings: Vec<&str> =
                COLUMNS.into_iter().chain(MORE_COLUMNS.into_iter().filter(|_| wide)).collect();
            let rows: Vec<_> =
                runs.iter().map(|run| row(fleet.short_name(run), run, wide, now)).collect();
            output::table(&headings, &rows)?;
        }
    }
    Ok(Exit::Success)
}

fn row(name: &str, run: &UpdateRun, wide: bool, now: Timestamp) -> Vec<String> {
    let upgrade = &run.spec.managed_cluster_update.upgrade;
    let upgrade_type = match upgrade.upgrade_type {
        UpgradeType::Full => "Full",
        UpgradeType::NodeImageOnly => "NodeImageOnly",
        UpgradeType::ControlPlaneOnly => "ControlPlaneOnly",
    };
    let status = run.status.as_ref();
    let since =
        |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| text::age(time, now));
    let created = run.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut row = vec![
        name.to_owned(),
        upgrade_type.to_owned(),
        upgrade.kubernetes_version.clone().unwrap_or_else(|| "-".to_owned()),
        text::state(run).as_str().to_owned(),
        status.and_then(|status| status.progress.clone()).unwrap_or_else(|| "-".to_owned()),
        status.map_or(0, |status| status.failure_count).to_string(),
        since(created),
    ];
    if wide {
        let started =
            status.and_then(|status| status.status.start_time.as_ref()).map(|time| time.0);
        let error = status.and_then(|status| status.status.error.as_ref());
        row.push(text::strategy(run));
        row.push(since(started));
        row.push(error.map(|error| error.message.clone()).unwrap_or_default());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let row = |wide| row("june", &sample::half_way(), wide, sample::now());
        assert_eq!(row(false), ["june", "Full", "1.35.0", "Running", "1/4", "1", "10m"]);
        assert_eq!(row(true).len(), COLUMNS.len() + MORE_COLUMNS.len());
        insta::assert_snapshot!(row(true)[7..].join(" | "), @"stages canary, prod | 5m |");
    }
}
