//! `stolos updaterun create`.

use clap::Args;
use stolos_api::cluster::fleet::object_name;
use stolos_api::update::{
    ManagedClusterUpdate, ManagedClusterUpgrade, RunState, UpdateRun, UpdateRunSpec, UpgradeType,
};

use super::wish::Wish;
use super::{text, watch};
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos updaterun create june --kubernetes-version 1.35.0
      all members, one after another
  stolos updaterun create june --kubernetes-version 1.35 --strategy rings --start --wait
      in the stages of the UpdateStrategy `rings`, at once, following it to its end
  stolos updaterun create images --node-image-only --node-image consistent \\
      --stages 'canary:canary@30s;prod:europe,world' --max-concurrency 25%
      first the group canary, then 30 seconds nothing, then europe and world side by side
  stolos updaterun create june --kubernetes-version 1.35.0 --strategy rings --preflight nodes-ready,pod-disruption-budgets \\
      --on-unreachable skip --members shop-1,shop-2
      two members of the strategy's; each begins when its nodes are ready, and is left out when it does not answer

Without --strategy and --stages, members are updated one after another.

Exit codes with --wait: 0 completed, 3 failed, 4 stopped";

#[derive(Args)]
#[command(group = clap::ArgGroup::new("goal").required(true).args(["kubernetes_version", "node_image_only"]))]
pub(crate) struct CreateArgs {
    /// Name of the update run within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    wish: Wish,
    /// Starts the run at once
    #[arg(long)]
    start: bool,
    /// Follows the run until it has ended
    #[arg(long, requires = "start")]
    wait: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: CreateArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.name;
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    args.wish.check(&fleet).await?;
    let run = fleet.create(name, &draft(&args)).await?;
    if args.wait {
        output::note(&format!("update run `{name}` created and started"));
        return Ok(watch::follow(&fleet, run, output).await?.exit());
    }
    tell(&args, &run, output)
}

/// Returns the object that the arguments describe.
fn draft(args: &CreateArgs) -> UpdateRun {
    let mut spec = UpdateRunSpec {
        fleet_name: args.fleet.fleet.clone(),
        managed_cluster_update: ManagedClusterUpdate {
            upgrade: ManagedClusterUpgrade {
                upgrade_type: UpgradeType::Full,
                kubernetes_version: None,
            },
            node_image_selection: None,
        },
        strategy: None,
        strategy_name: None,
        members: Vec::new(),
        member_policy: None,
        preflight: Vec::new(),
        state: if args.start { RunState::Run } else { RunState::Initialize },
        restarts: 0,
        skip: Vec::new(),
    };
    args.wish.apply(&mut spec);
    let mut run = UpdateRun::new(&object_name(&args.fleet.fleet, &args.name), spec);
    run.metadata.namespace = Some(args.fleet.namespace.clone());
    run
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
    fn members_policies_and_checks_reach_the_run() {
        let line = "june --kubernetes-version 1.35.0 --members b,a,b --on-busy fail --preflight nodes-ready \
            --stages a --max-allowed-failures 10% --min-successes 1";
        assert_eq!(
            spec(line),
            json!({
                "fleetName": "local",
                "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": "1.35.0" } },
                "strategy": { "stages": [{
                    "name": "a", "groups": [{ "name": "a", "maxAllowedFailures": "100%" }],
                    "maxAllowedFailures": "10%", "minSuccesses": "1",
                }]},
                "members": ["a", "b"],
                "memberPolicy": { "onBusy": "Fail" },
                "preflight": ["NodesReady"],
                "state": "Initialize",
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
            "june --kubernetes-version 1.35.0 --min-successes 1",
            "june --kubernetes-version 1.35.0 --stages a --min-successes 101%",
            "june --kubernetes-version 1.35.0 --preflight nodes-ready --no-preflight",
            "june --kubernetes-version 1.35.0 --preflight certificates",
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
        error: the following required arguments were not provided:
          --stages <STAGES>
        error: invalid value '101%' for '--min-successes <N>': `101%` is neither a number of members nor a percentage from 0% to 100%
        error: the argument '--preflight <CHECK>' cannot be used with '--no-preflight'
        error: invalid value 'certificates' for '--preflight <CHECK>'
          [possible values: nodes-ready, pod-disruption-budgets, deprecated-apis]
        ");
    }
}
