//! `stolos autoupgrade delete`.

use std::time::Duration;

use clap::Args;
use stolos_api::update::AutoUpgradeProfile;

use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;

/// How long a profile may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// Names of the profiles within their fleet
    #[arg(required = true, value_name = "NAME", value_parser = arguments::name)]
    names: Vec<String>,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: DeleteArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let mut profiles: Vec<AutoUpgradeProfile> = Vec::new();
    // A name that is wrong deletes none of the others.
    for name in &args.names {
        profiles.push(fleet.get(name).await?);
    }
    for profile in &profiles {
        let hint = "`kubectl describe autoupgradeprofiles` shows the finalizer that holds it";
        fleet.delete(profile, GONE_WITHIN, hint).await?;
        let name = fleet.short_name(profile);
        output::outcome(name, profile, &format!("auto-upgrade profile `{name}` deleted"), output)?;
    }
    Ok(Exit::Success)
}
