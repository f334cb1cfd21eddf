//! `stolos autoupgrade generate`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::runtime::wait::await_condition;
use stolos_api::update::{AutoUpgradeProfile, Generated};

use super::ProfileArgs;
use crate::cli::{Output, duration};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// How long to wait for the hub's answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(args: GenerateArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.profile.fleet).await?;
    let name = &args.profile.name;
    let ask = |profile: &mut AutoUpgradeProfile| {
        profile.spec.generate = profile.spec.generate.saturating_add(1);
        Ok(())
    };
    let (profile, _) = fleet.change(name, ask).await?;
    let request = profile.spec.generate;
    let is_answered = |profile: Option<&AutoUpgradeProfile>| {
        profile.is_none_or(|profile| answer(profile, request).is_some())
    };
    let api = fleet.api::<AutoUpgradeProfile>();
    let object = fleet.object_name(name);
    let answered = tokio::time::timeout(args.timeout, await_condition(api, &object, is_answered));
    let Ok(profile) = answered.await else {
        return Err(Hinted::error(
            format!("the hub has not answered within {} s", args.timeout.as_secs()),
            "is `stolos hub` or `stolos up` running? it answers as soon as it is",
        ));
    };
    let profile = profile.context("failed to wait for the hub's answer")?;
    let profile = profile.with_context(|| format!("auto-upgrade profile `{name}` was deleted"))?;
    let generated = answer(&profile, request).context("the answer was there a moment ago")?;
    match (&generated.update_run, &generated.error) {
        (Some(run), _) => {
            let text =
                format!("update run `{run}` created; `stolos updaterun start {run}` starts it");
            output::outcome(run, &profile, &text, output)?;
            Ok(Exit::Success)
        }
        (None, error) => {
            let why = error.as_ref().map_or("it did not say why", |error| error.message.as_str());
            Err(Hinted::error(
                format!("auto-upgrade profile `{name}` has no run to create: {why}"),
                format!("`stolos autoupgrade show {name}` tells its target and how members stand"),
            ))
        }
    }
}

/// Returns the answer to a request, or to a later one.
fn answer(profile: &AutoUpgradeProfile, request: i32) -> Option<&Generated> {
    let generated = profile.status.as_ref()?.generated.as_ref()?;
    (generated.request >= request).then_some(generated)
}
