//! `stolos strategy create` and `stolos strategy update`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use kube::Resource;
use serde_json::{Value, json};
use stolos_api::update::UpdateStrategy;

use super::check::{self, Draft, Verb};
use super::source;
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::{self, Fleet};
use crate::output;

pub(super) const CREATE_EXAMPLES: &str = "\
Examples:
  stolos strategy create rings --stages 'canary:canary@1h;prod:europe,world'
      first the group canary, then one hour nothing, then europe and world side by side
  stolos strategy create rings --stages stages.json
      stages as `az fleet updatestrategy create --stages` takes them
  stolos strategy show rings -o yaml | stolos strategy create rings -f - --fleet other
      with everything that stages can have: gates, selectors, limits";

#[derive(Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["stages", "filename"]))]
pub(crate) struct WriteArgs {
    /// Name of the strategy within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    /// The stages in short, `stage:group,group@wait;stage…`, or a file with them, .json or .yaml
    #[arg(long)]
    stages: Option<String>,
    /// File with stages or with an UpdateStrategy; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    #[command(flatten)]
    fleet: FleetArgs,
}

impl WriteArgs {
    fn strategy(&self) -> anyhow::Result<Value> {
        match (&self.stages, &self.filename) {
            (Some(stages), _) => source::from_stages(stages),
            (None, Some(path)) => source::from_file(path),
            (None, None) => unreachable!("the parser asks for one of them"),
        }
    }
}

pub(super) async fn create(args: WriteArgs, output: Output) -> anyhow::Result<Exit> {
    let strategy = args.strategy()?;
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    let name = &args.name;
    let mut object = json!({
        "apiVersion": UpdateStrategy::api_version(&()),
        "kind": UpdateStrategy::kind(&()),
        "metadata": { "name": fleet.object_name(name), "namespace": fleet.namespace },
        "spec": { "fleetName": fleet.name },
    });
    object["spec"]["strategy"] = strategy;
    let written = write(&fleet, name, Verb::Create, &object).await?;
    output::outcome(name, &written, &format!("update strategy `{name}` created"), output)?;
    if output == Output::Table {
        output::note(&format!(
            "`stolos updaterun create RUN --strategy {name}` makes a run with it"
        ));
    }
    Ok(Exit::Success)
}

pub(super) async fn update(args: WriteArgs, output: Output) -> anyhow::Result<Exit> {
    let strategy = args.strategy()?;
    let fleet = Fleet::connect(&args.fleet).await?;
    let name = &args.name;
    let before: UpdateStrategy = fleet.get(name).await?;
    let mut object = json!(before);
    object["spec"]["strategy"] = strategy;
    let verb = Verb::Replace(before.metadata.name.as_deref().unwrap_or_default());
    let written = write(&fleet, name, verb, &object).await?;
    let text = if written.metadata.generation == before.metadata.generation {
        format!("update strategy `{name}` has these stages already")
    } else {
        format!("update strategy `{name}` updated; runs that exist keep their stages")
    };
    output::outcome(name, &written, &text, output)?;
    Ok(Exit::Success)
}

/// Writes a strategy unless something is wrong with it; then everything that is wrong is named.
async fn write(
    fleet: &Fleet,
    name: &str,
    verb: Verb<'_>,
    object: &Value,
) -> anyhow::Result<UpdateStrategy> {
    let url = UpdateStrategy::url_path(&(), Some(&fleet.namespace));
    let draft = Draft { url: &url, verb, object };
    let failed = |error: kube::Error| match verb {
        Verb::Create => fleet.not_created::<UpdateStrategy>(name, error),
        Verb::Replace(_) => {
            hub::explain(&format!("failed to change update strategy `{name}`"), error)
        }
    };
    let mut wrong = check::by_the_engine(&object["spec"]["strategy"]);
    let more = draft.by_the_hub(&fleet.client).await.map_err(failed)?;
    let more = check::of_other_fields(&wrong, more);
    wrong.extend(more);
    if !wrong.is_empty() {
        let lines: String = wrong.iter().map(|line| format!("\n  {line}")).collect();
        return Err(anyhow!(
            "update strategy `{name}` is not right, and nothing was written:{lines}"
        ));
    }
    draft.write(&fleet.client).await.map_err(failed)
}
