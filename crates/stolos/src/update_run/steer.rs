//! `start`, `stop` and `skip`: read the run, decide, write, tell.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use stolos_api::update::{SkipTarget, SkipTargetType, UpdateRun};

use super::request::{self, Change, Refusal};
use super::{RunArgs, SteerArgs, text, watch};
use crate::arguments;
use crate::cli::Output;
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::{self, Fleet};
use crate::output;

/// Attempts to write before giving up. The hub writes the status of a running run often, and each of its writes may
/// come between our read and our write; so many in a row mean something else.
const ATTEMPTS: u32 = 10;

/// How long the hub may take to decide what a new run consists of.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct SkipArgs {
    #[command(flatten)]
    run: RunArgs,
    /// A member that is not updated; one in flight comes to its end
    #[arg(long, value_name = "NAME", value_parser = arguments::name)]
    member: Vec<String>,
    /// A group whose unfinished members are not updated
    #[arg(long, value_name = "NAME", value_parser = arguments::name)]
    group: Vec<String>,
    /// A stage of which nothing is left, with its wait
    #[arg(long, value_name = "NAME", value_parser = arguments::name)]
    stage: Vec<String>,
    /// A stage after which the run does not wait
    #[arg(
        long,
        value_name = "STAGE",
        value_parser = arguments::name,
        required_unless_present_any = ["member", "group", "stage"]
    )]
    after_stage_wait: Vec<String>,
}

impl SkipArgs {
    fn targets(&self) -> Vec<SkipTarget> {
        let of = |target_type, names: &[String]| -> Vec<SkipTarget> {
            names.iter().map(|name| SkipTarget { target_type, name: name.clone() }).collect()
        };
        [
            of(SkipTargetType::Member, &self.member),
            of(SkipTargetType::Group, &self.group),
            of(SkipTargetType::Stage, &self.stage),
            of(SkipTargetType::AfterStageWait, &self.after_stage_wait),
        ]
        .concat()
    }
}

pub(super) async fn start(args: SteerArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.run.name;
    let fleet = Fleet::connect(&args.run.fleet).await?;
    let doing = format!("failed to start update run `{name}`");
    let (run, change) = carry_out(&fleet, name, &doing, |run| request::start(run, name)).await?;
    if args.wait {
        output::note(&format!("update run `{name}` {}", change.outcome));
        return Ok(watch::follow(&fleet, run, output).await?.exit());
    }
    tell(name, &run, &change, output)
}

pub(super) async fn stop(args: SteerArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.run.name;
    let fleet = Fleet::connect(&args.run.fleet).await?;
    let doing = format!("failed to stop update run `{name}`");
    let (run, change) = carry_out(&fleet, name, &doing, |run| request::stop(run, name)).await?;
    if !args.wait {
        return tell(name, &run, &change, output);
    }
    output::note(&format!("update run `{name}` {}", change.outcome));
    let end = watch::follow(&fleet, run, output).await?;
    // Who stops a run wants it stopped.
    Ok(if end == watch::End::Stopped { Exit::Success } else { end.exit() })
}

pub(super) async fn skip(args: SkipArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.run.name;
    let targets = args.targets();
    let fleet = Fleet::connect(&args.run.fleet).await?;
    let doing = format!("failed to skip parts of update run `{name}`");
    fleet.get::<UpdateRun>(name).await?;
    wait_for_stages(&fleet, name).await.with_context(|| doing.clone())?;
    let (run, change) =
        carry_out(&fleet, name, &doing, |run| request::skip(run, name, &targets)).await?;
    tell(name, &run, &change, output)
}

/// Waits until the hub has decided what a new run consists of. When it takes too long, the decision about the skip
/// says so.
async fn wait_for_stages(fleet: &Fleet, name: &str) -> anyhow::Result<()> {
    let is_decided = |run: Option<&UpdateRun>| run.is_none_or(request::is_decided);
    let object = fleet.object_name(name);
    let decided = await_condition(fleet.api::<UpdateRun>(), &object, is_decided);
    match tokio::time::timeout(DECIDED_WITHIN, decided).await {
        Ok(decided) => decided.map(|_| ()).map_err(anyhow::Error::from),
        Err(_) => Ok(()),
    }
}

/// Writes what `decide` says, deciding afresh when somebody else was faster.
async fn carry_out(
    fleet: &Fleet,
    name: &str,
    doing: &str,
    decide: impl Fn(&UpdateRun) -> Result<Change, Refusal>,
) -> anyhow::Result<(UpdateRun, Change)> {
    let api = fleet.api::<UpdateRun>();
    let mut attempt = 1;
    loop {
        let run: UpdateRun = fleet.get(name).await?;
        let change =
            decide(&run).map_err(|refusal| Hinted::error(refusal.message, refusal.hint))?;
        if change.is_empty() {
            return Ok((run, change));
        }
        let patch = Patch::Merge(change.patch(&run));
        match api
            .patch(
                &fleet.object_name(name),
                &PatchParams {
                    field_manager: Some(hub::MANAGER.to_owned()),
                    ..PatchParams::default()
                },
                &patch,
            )
            .await
        {
            Ok(run) => return Ok((run, change)),
            Err(kube::Error::Api(status)) if status.is_conflict() && attempt < ATTEMPTS => {
                attempt += 1
            }
            Err(error) => return Err(hub::explain(doing, error)),
        }
    }
}

fn tell(name: &str, run: &UpdateRun, change: &Change, output: Output) -> anyhow::Result<Exit> {
    for note in &change.notes {
        output::note(note);
    }
    if output == Output::Name {
        output::line(name)?;
    } else if !output::structured(&text::readable(run), output)? {
        output::line(&format!("update run `{name}` {}", change.outcome))?;
    }
    Ok(Exit::Success)
}
