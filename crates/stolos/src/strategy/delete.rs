//! `stolos strategy delete`.

use std::time::Duration;

use clap::Args;
use stolos_api::update::{AutoUpgradeProfile, UpdateStrategy};

use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

/// How long a strategy may take to go. Nothing of ours holds one.
const GONE_WITHIN: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// Names of the strategies within their fleet
    #[arg(required = true, value_name = "NAME", value_parser = arguments::name)]
    names: Vec<String>,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: DeleteArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let mut strategies: Vec<UpdateStrategy> = Vec::new();
    // A name that is wrong deletes none of the others.
    for name in &args.names {
        strategies.push(fleet.get(name).await?);
    }
    let profiles: Vec<AutoUpgradeProfile> = fleet.list().await?;
    for name in &args.names {
        let named =
            profiles.iter().find(|profile| profile.spec.strategy_name.as_ref() == Some(name));
        if let Some(profile) = named {
            let profile = fleet.short_name(profile);
            return Err(Hinted::error(
                format!("auto-upgrade profile `{profile}` names update strategy `{name}`"),
                format!(
                    "`stolos autoupgrade update {profile} --no-strategy`, or --strategy with another one, first"
                ),
            ));
        }
    }
    for strategy in &strategies {
        let hint = "`kubectl describe updatestrategies` shows the finalizer that holds it";
        fleet.delete(strategy, GONE_WITHIN, hint).await?;
        let name = fleet.short_name(strategy);
        output::outcome(name, strategy, &format!("update strategy `{name}` deleted"), output)?;
    }
    Ok(Exit::Success)
}
