//! `stolos updaterun create`.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use stolos_api::cluster::fleet::{FleetMember, object_name};
use stolos_api::update::{
    ManagedClusterUpdate, ManagedClusterUpgrade, NodeImageSelection, NodeImageSelectionType,
    RunState, UpdateRun, UpdateRunSpec, UpdateStrategy, UpgradeType,
};

use super::{text, watch};
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::stages::{self, Stages};

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos updaterun create june --kubernetes-version 1.35.0
      all members, one after another
  stolos updaterun create june --kubernetes-version 1.35 --strategy rings --start --wait
      in the stages of the UpdateStrategy `rings`, at once, following it to its end
  stolos updaterun create images --node-image-only --node-image consistent \\
      --stages 'canary:canary@30s;prod:europe,world' --max-concurrency 25%
      first the group canary, then 30 seconds nothing, then europe and world side by side

Without --strategy and --stages, members are updated one after another.

Exit codes with --wait: 0 completed, 3 failed, 4 stopped";

#[derive(Args)]
#[command(group = clap::ArgGroup::new("goal").required(true).args(["kubernetes_version", "node_image_only"]))]
pub(crate) struct CreateArgs {
    /// Name of the update run within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    /// Brings control planes and nodes to this version: 1.33.2, or 1.33 for its newest patch
    #[arg(long, value_name = "VERSION", value_parser = arguments::kubernetes_version)]
    kubernetes_version: Option<String>,
    /// Brings nodes to other images and leaves Kubernetes versions alone
    #[arg(long)]
    node_image_only: bool,
    /// Leaves nodes as they are
    #[arg(long, requires = "kubernetes_version", conflicts_with_all = ["node_image_only", "node_image"])]
    control_plane_only: bool,
    /// How node images are chosen
    #[arg(long, value_enum, value_name = "RULE")]
    node_image: Option<NodeImage>,
    /// Follows the UpdateStrategy of this name, as it is now
    #[arg(long, value_name = "NAME", value_parser = arguments::name, conflicts_with = "stages")]
    strategy: Option<String>,
    /// Follows these stages: `stage:group,group@wait;stage…`; groups of a stage run side by side
    #[arg(long, value_name = "STAGES", value_parser = stages::parse)]
    stages: Option<Stages>,
    /// Most members of a stage that are updated at a time, in whatever groups: a number or a percentage
    /// [default: one per group]
    #[arg(long, value_name = "N", value_parser = arguments::concurrency, requires = "stages")]
    max_concurrency: Option<String>,
    /// Starts the run at once
    #[arg(long)]
    start: bool,
    /// Follows the run until it has ended
    #[arg(long, requires = "start")]
    wait: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// A rule by which node images are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NodeImage {
    /// Each cluster takes the newest image of its region when its turn comes
    Latest,
    /// All clusters take the newest image that is available to all of them
    Consistent,
}

pub(super) async fn run(args: CreateArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.name;
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    if let Some(strategy) = &args.strategy {
        fleet.get::<UpdateStrategy>(strategy).await?;
    }
    if let Some(stages) = &args.stages {
        for group in without_members(stages, &fleet.list().await?) {
            output::note(&format!(
                "warning: no member is in group `{group}`, so the run leaves it out"
            ));
        }
    }
    let run = fleet.create(name, &draft(&args)).await?;
    if args.wait {
        output::note(&format!("update run `{name}` created and started"));
        return Ok(watch::follow(&fleet, run, output).await?.exit());
    }
    tell(&args, &run, output)
}

/// Returns the object that the arguments describe.
fn draft(args: &CreateArgs) -> UpdateRun {
    let upgrade_type = match (args.node_image_only, args.control_plane_only) {
        (true, _) => UpgradeType::NodeImageOnly,
        (false, true) => UpgradeType::ControlPlaneOnly,
        (false, false) => UpgradeType::Full,
    };
    let selection = |rule: NodeImage| NodeImageSelection {
        selection_type: match rule {
            NodeImage::Latest => NodeImageSelectionType::Latest,
            NodeImage::Consistent => NodeImageSelectionType::Consistent,
        },
        custom_node_image_versions: Vec::new(),
    };
    let spec = UpdateRunSpec {
        members: Vec::new(),
        member_policy: None,
        preflight: Vec::new(),
        fleet_name: args.fleet.fleet.clone(),
        managed_cluster_update: ManagedClusterUpdate {
            upgrade: ManagedClusterUpgrade {
                upgrade_type,
                kubernetes_version: args.kubernetes_version.clone(),
            },
            node_image_selection: args.node_image.map(selection),
        },
        strategy: (args.stages.as_ref())
            .map(|stages| stages.strategy(args.max_concurrency.as_deref())),
        strategy_name: args.strategy.clone(),
        state: if args.start { RunState::Run } else { RunState::Initialize },
        restarts: 0,
        skip: Vec::new(),
    };
    let mut run = UpdateRun::new(&object_name(&args.fleet.fleet, &args.name), spec);
    run.metadata.namespace = Some(args.fleet.namespace.clone());
    run
}

/// Returns the groups that no member names. The run would take them as done.
fn without_members<'a>(stages: &'a Stages, members: &[FleetMember]) -> Vec<&'a str> {
    let named: BTreeSet<&str> =
        members.iter().filter_map(|member| member.spec.group.as_deref()).collect();
    stages.groups().filter(|group| !named.contains(group)).collect()
}

fn tell(args: &CreateArgs, run: &UpdateRun, output: Output) -> anyhow::Result<Exit> {
    let name = &args.name;
    if output == Output::Name {
        output::line(name)?;
    } else if !output::structured(&text::readable(run), output)? {
        let started = if args.start { "created and started" } else { "created" };
        output::line(&format!("update run `{name}` {started}"))?;
        let next = if args.start { "watch" } else { "start" };
        let what = if args.start { "follows it" } else { "starts it" };
        output::note(&format!("`stolos updaterun {next} {name}` {what}"));
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    #[command(name = "create")]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn parse(line: &str) -> Result<CreateArgs, String> {
        let parsed = Line::try_parse_from(std::iter::once("create").chain(line.split_whitespace()));
        parsed
            .map(|line| line.args)
            .map_err(|error| error.to_string().split("\n\n").next().unwrap().to_owned())
    }

    fn spec(line: &str) -> serde_json::Value {
        serde_json::to_value(draft(&parse(line).unwrap()).spec).unwrap()
    }

    #[test]
    fn a_version_alone_means_everything_one_by_one() {
        let run =
            draft(&parse("june --kubernetes-version v1.35.0 --fleet prod -n fleets").unwrap());
        assert_eq!(run.metadata.name.as_deref(), Some("prod.june"));
        assert_eq!(run.metadata.namespace.as_deref(), Some("fleets"));
        assert_eq!(
            serde_json::to_value(run.spec).unwrap(),
            json!({
                "fleetName": "prod",
                "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": "1.35.0" } },
                "state": "Initialize",
            })
        );
    }

    #[test]
    fn stages_concurrency_and_images_reach_the_run() {
        let line = "june --node-image-only --node-image consistent --stages a:x,y@5s --max-concurrency 25% --start";
        assert_eq!(
            spec(line),
            json!({
                "fleetName": "local",
                "managedClusterUpdate": {
                    "upgrade": { "type": "NodeImageOnly" }, "nodeImageSelection": { "type": "Consistent" },
                },
                "strategy": { "stages": [{
                    "name": "a", "maxConcurrency": "25%", "afterStageWaitInSeconds": 5,
                    "groups": [
                        { "name": "x", "maxConcurrency": "100%" }, { "name": "y", "maxConcurrency": "100%" },
                    ],
                }]},
                "state": "Run",
            })
        );
    }

    #[test]
    fn contradictions_are_refused_before_anything_is_sent() {
        let errors = [
            "june",
            "June --kubernetes-version 1.35.0",
            "june --kubernetes-version newest",
            "june --kubernetes-version 1.35.0 --node-image-only",
            "june --node-image-only --control-plane-only",
            "june --kubernetes-version 1.35.0 --control-plane-only --node-image latest",
            "june --kubernetes-version 1.35.0 --strategy rings --stages a",
            "june --kubernetes-version 1.35.0 --max-concurrency 3",
            "june --kubernetes-version 1.35.0 --stages a:x;b:x",
            "june --kubernetes-version 1.35.0 --wait",
        ]
        .map(|line| parse(line).err().unwrap_or_else(|| format!("accepted: {line}")));
        insta::assert_snapshot!(errors.join("\n"), @"
        error: the following required arguments were not provided:
          <--kubernetes-version <VERSION>|--node-image-only>
        error: invalid value 'June' for '<NAME>': `June` is not a name: 1 to 50 lower-case letters, digits and dashes, with a letter or digit at both ends
        error: invalid value 'newest' for '--kubernetes-version <VERSION>': `newest` is not a version such as 1.33.2, or 1.33 for its newest patch
        error: the argument '--kubernetes-version <VERSION>' cannot be used with '--node-image-only'
        error: the argument '--node-image-only' cannot be used with '--control-plane-only'
        error: the argument '--control-plane-only' cannot be used with '--node-image <RULE>'
        error: the argument '--strategy <NAME>' cannot be used with '--stages <STAGES>'
        error: the following required arguments were not provided:
          --stages <STAGES>
        error: invalid value 'a:x;b:x' for '--stages <STAGES>': group `x` is named twice
        error: the following required arguments were not provided:
          --start
        ");
    }
}
