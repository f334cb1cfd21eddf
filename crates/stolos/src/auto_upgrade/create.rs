//! `stolos autoupgrade create`.

use clap::Args;
use stolos_api::update::{AutoUpgradeProfile, UpdateStrategy};

use super::wish::{self, ChannelName, Wish};
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name of the profile within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    /// Which versions members are brought to
    #[arg(long, value_enum)]
    channel: ChannelName,
    #[command(flatten)]
    wish: Wish,
    /// Allows versions that have long-term support only
    #[arg(long)]
    long_term_support: bool,
    /// Starts nothing before it is enabled
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: CreateArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    if let Some(strategy) = &args.wish.strategy {
        fleet.get::<UpdateStrategy>(strategy).await?;
    }
    let name = &args.name;
    let mut spec = wish::plain(&fleet.name, args.channel.of_api());
    args.wish.apply(&mut spec);
    spec.long_term_support = args.long_term_support;
    spec.disabled = args.disabled;
    let mut profile = AutoUpgradeProfile::new(&fleet.object_name(name), spec);
    profile.metadata.namespace = Some(fleet.namespace.clone());
    let profile = fleet.create(name, &profile).await?;
    let disabled = if args.disabled { ", disabled" } else { "" };
    let text = format!("auto-upgrade profile `{name}` created{disabled}");
    output::outcome(name, &profile, &text, output)?;
    Ok(Exit::Success)
}
