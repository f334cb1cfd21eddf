//! `stolos updaterun update`.

use clap::Args;
use stolos_api::update::{State, UpdateRun};

use super::text;
use super::wish::Wish;
use crate::arguments;
use crate::cli::{FleetArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos updaterun update june --kubernetes-version 1.35.1
  stolos updaterun update june --strategy rings --members shop-1,shop-2
  stolos updaterun update june --one-by-one --all-members
  stolos updaterun update june --on-unreachable skip --no-preflight
      these can be changed while the run is under way, too

What a run brings members to, its stages and its members are fixed when it is started. `stolos updaterun skip` leaves things out
of a run that is under way.";

#[derive(Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "kubernetes_version", "node_image_only", "node_image", "strategy", "stages", "members", "one_by_one", "all_members",
    "on_stopped", "on_busy", "on_unreachable", "preflight", "no_preflight",
]))]
pub(crate) struct UpdateArgs {
    /// Name of the update run within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    wish: Wish,
    /// Follows no stages: members are updated one after another
    #[arg(long, conflicts_with_all = ["strategy", "stages"])]
    one_by_one: bool,
    /// Is about all members of the fleet again
    #[arg(long, conflicts_with = "members")]
    all_members: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(args: UpdateArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.name;
    let fleet = Fleet::connect(&args.fleet).await?;
    args.wish.check(&fleet).await?;
    let (run, changed) = fleet.change(name, |run: &mut UpdateRun| args.apply(run)).await?;
    let text = if changed { "updated" } else { "is that way already" };
    output::outcome(name, &run, &format!("update run `{name}` {text}"), output)?;
    Ok(Exit::Success)
}

impl UpdateArgs {
    fn apply(&self, run: &mut UpdateRun) -> anyhow::Result<()> {
        let before = run.spec.clone();
        self.wish.apply(&mut run.spec);
        if self.one_by_one {
            run.spec.strategy = None;
            run.spec.strategy_name = None;
        }
        if self.all_members {
            run.spec.members.clear();
        }
        if run.spec == before {
            return Ok(());
        }
        let name = &self.name;
        let state = text::state(run);
        if matches!(state, State::Completed | State::Skipped) {
            return Err(Hinted::error(
                format!("update run `{name}` has ended as {}", state.as_str()),
                "create another run",
            ));
        }
        let after = &run.spec;
        let fixed = [
            ("goal", before.managed_cluster_update != after.managed_cluster_update),
            (
                "stages",
                before.strategy != after.strategy || before.strategy_name != after.strategy_name,
            ),
            ("members", before.members != after.members),
        ];
        let fixed: Vec<&str> =
            fixed.iter().filter(|(_, changed)| *changed).map(|(what, _)| *what).collect();
        if fixed.is_empty() || !has_started(run) {
            return Ok(());
        }
        Err(Hinted::error(
            format!(
                "update run `{name}` has started, and with that its {} cannot be changed any more; nothing was written",
                fixed.join(" and ")
            ),
            format!(
                "stop it and create another run, or leave parts of it out with `stolos updaterun skip {name}`"
            ),
        ))
    }
}

/// Whether the hub has begun the run. One that cannot begin as it is written may be put right.
fn has_started(run: &UpdateRun) -> bool {
    run.status.as_ref().is_some_and(|status| status.status.start_time.is_some())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use stolos_api::update::RunState;

    use super::*;
    use crate::update_run::sample;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn apply(run: &UpdateRun, line: &str) -> Result<UpdateRun, String> {
        let line = ["update", "june"].into_iter().chain(line.split_whitespace());
        let Line { args } = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        let mut run = run.clone();
        args.apply(&mut run).map_err(|error| error.to_string())?;
        Ok(run)
    }

    #[test]
    fn a_run_that_has_not_started_takes_another_goal_other_stages_and_members() {
        let mut run = sample::half_way();
        run.status = None;
        run.spec.state = RunState::Initialize;
        let run = apply(&run, "--node-image-only --stages a:x,y --members m").unwrap();
        let spec = serde_json::to_value(&run.spec).unwrap();
        assert_eq!(spec["managedClusterUpdate"]["upgrade"]["type"], "NodeImageOnly");
        assert_eq!(spec["strategy"]["stages"][0]["groups"][1]["name"], "y");
        assert_eq!(spec["members"], serde_json::json!(["m"]));
        let run = apply(&run, "--one-by-one --all-members --kubernetes-version 1.35").unwrap();
        assert!(run.spec.strategy.is_none() && run.spec.members.is_empty());
    }

    #[test]
    fn a_run_that_has_started_keeps_its_goal_stages_and_members() {
        let run = sample::half_way();
        let refused =
            ["--kubernetes-version 1.36.0", "--strategy other", "--members a --one-by-one"]
                .map(|line| apply(&run, line).unwrap_err());
        insta::assert_snapshot!(refused.join("\n"), @r"
        update run `june` has started, and with that its goal cannot be changed any more; nothing was written
        update run `june` has started, and with that its stages cannot be changed any more; nothing was written
        update run `june` has started, and with that its stages and members cannot be changed any more; nothing was written
        ");
    }

    #[test]
    fn policies_change_while_a_run_is_under_way_and_not_after_its_end() {
        let mut run = sample::half_way();
        let changed = apply(&run, "--on-busy fail --preflight nodes-ready").unwrap();
        assert_eq!(changed.spec.preflight.len(), 1);
        run.status.as_mut().unwrap().status.state = State::Completed;
        let refused = apply(&run, "--on-busy fail").unwrap_err();
        assert_eq!(refused, "update run `june` has ended as Completed");
    }

    #[test]
    fn an_update_changes_something_and_contradicts_itself_nowhere() {
        for line in [
            "",
            "--one-by-one --strategy rings",
            "--all-members --members a",
            "--max-concurrency 3",
        ] {
            assert!(apply(&sample::half_way(), line).is_err(), "{line}");
        }
    }
}
