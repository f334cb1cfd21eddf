//! `stolos autoupgrade list`.

use clap::Args;
use jiff::Timestamp;
use stolos_api::update::AutoUpgradeProfile;

use super::text;
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

const COLUMNS: [&str; 8] =
    ["NAME", "CHANNEL", "TARGET", "STATE", "TRIGGERED", "AGE", "STRATEGY", "LATEST RUN"];
const MORE_COLUMNS: [&str; 1] = ["MESSAGE"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let profiles: Vec<AutoUpgradeProfile> = fleet.list().await?;
    if output::list(&profiles, |found| fleet.short_name(found).to_owned(), output)? {
        return Ok(Exit::Success);
    }
    if profiles.is_empty() {
        output::note(&format!("{fleet} has no auto-upgrade profiles"));
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    let rows: Vec<_> =
        profiles.iter().map(|found| row(fleet.short_name(found), found, now)).collect();
    if output == Output::Wide {
        output::table(&[&COLUMNS[..], &MORE_COLUMNS[..]].concat(), &rows)?;
    } else {
        let rows: Vec<_> = rows.iter().map(|row| row[..COLUMNS.len()].to_vec()).collect();
        output::narrow_table(&COLUMNS, &rows, SCREEN)?;
    }
    Ok(Exit::Success)
}

fn row(name: &str, profile: &AutoUpgradeProfile, now: Timestamp) -> Vec<String> {
    let triggered = profile.status.as_ref().and_then(|status| status.last_triggered_at.as_ref());
    let created = profile.metadata.creation_timestamp.as_ref();
    let (state, why) = text::standing(profile);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        name.to_owned(),
        text::channel(profile),
        text::target(profile),
        state.to_owned(),
        output::since(triggered.map(|time| time.0), now),
        output::since(created.map(|time| time.0), now),
        or_dash(profile.spec.strategy_name.clone()),
        or_dash(text::latest(profile)),
        why,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto_upgrade::show::tests::stable;

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let row = row("stable", &stable(), Timestamp::UNIX_EPOCH);
        assert_eq!(row.len(), COLUMNS.len() + MORE_COLUMNS.len());
        assert_eq!(
            row.join(" | "),
            "stable | Stable | 1.34.2 | Behind | - | - | rings | stable-1-34-2 | 2 members are behind"
        );
    }
}
