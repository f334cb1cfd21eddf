//! `stolos autoupgrade update`.

use clap::Args;
use stolos_api::update::{AutoUpgradeProfile, UpdateStrategy};

use super::wish::{ChannelName, Wish};
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;

#[derive(Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "channel", "kubernetes_version", "node_image", "strategy", "reconcile", "max_retries", "no_strategy", "enable",
    "disable", "on_stopped", "on_busy", "on_unreachable", "preflight", "no_preflight",
]))]
pub(crate) struct UpdateArgs {
    /// Name of the profile within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    /// Which versions members are brought to
    #[arg(long, value_enum)]
    channel: Option<ChannelName>,
    #[command(flatten)]
    wish: Wish,
    /// Has runs update all members one after another
    #[arg(long, conflicts_with = "strategy")]
    no_strategy: bool,
    /// Lets the profile start runs
    #[arg(long)]
    enable: bool,
    /// Makes the profile start nothing new
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: UpdateArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    if let Some(strategy) = &args.wish.strategy {
        fleet.get::<UpdateStrategy>(strategy).await?;
    }
    let name = &args.name;
    let change = |profile: &mut AutoUpgradeProfile| {
        args.apply(profile);
        Ok(())
    };
    let (profile, changed) = fleet.change(name, change).await?;
    let text = if changed { "updated; runs that it made go on" } else { "is that way already" };
    output::outcome(name, &profile, &format!("auto-upgrade profile `{name}` {text}"), output)?;
    Ok(Exit::Success)
}

impl UpdateArgs {
    fn apply(&self, profile: &mut AutoUpgradeProfile) {
        let spec = &mut profile.spec;
        if let Some(channel) = self.channel {
            spec.channel = channel.of_api();
        }
        self.wish.apply(spec);
        if self.no_strategy {
            spec.strategy_name = None;
        }
        if self.enable || self.disable {
            spec.disabled = self.disable;
        }
    }
}
