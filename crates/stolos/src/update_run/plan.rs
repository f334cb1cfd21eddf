//! `stolos plan updaterun`: what a run would do, without doing it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stolos_api::update::{GateTiming, State, UpdateRun, UpdateRunStrategy, UpdateStrategy};
use stolos_core::update::{
    Durations, Forecast, MemberForecast, Observed, Run, StrategyLimits, forecast,
};

use super::{observe, text};
use crate::cli::{FleetArgs, Output, duration};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::tree::{self, Node, SCREEN};
use crate::{arguments, input, output};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stolos plan updaterun june
  stolos plan updaterun -f june.yaml
  stolos plan updaterun june --member-time 25m -o json

Nothing is written. The engine that carries runs out is played on a clock of its own, with the clusters as they are now.";

/// Members shown of a stage without `-o wide`.
const MOST_MEMBERS: usize = 20;

#[derive(Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["name", "filename"]))]
pub(crate) struct PlanArgs {
    /// Name of an update run within its fleet; one that is under way is played to its end
    #[arg(value_parser = arguments::name)]
    name: Option<String>,
    /// File with an UpdateRun; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// How long the upgrade of a member takes that no run has upgraded yet
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    member_time: std::time::Duration,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(crate) async fn run(args: PlanArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    let (name, run) = match (&args.name, &args.filename) {
        (Some(name), _) => (name.clone(), fleet.get(name).await?),
        (None, Some(path)) => from_file(&fleet, path)?,
        (None, None) => unreachable!("the parser asks for one of them"),
    };
    let runs: Vec<UpdateRun> = fleet.list().await?;
    let default = SignedDuration::try_from(args.member_time).context("--member-time")?;
    let durations = observe::durations(&runs, default);
    let observed = observe::observe(&fleet).await?;
    let strategy = strategy_of(&fleet, &run).await?;
    let now = Timestamp::now();
    let forecast = foresee(&name, &run, strategy.as_ref(), &observed, &durations, now);
    print(&name, &forecast, output, now)?;
    Ok(Exit::Success)
}

fn from_file(fleet: &Fleet, path: &std::path::Path) -> anyhow::Result<(String, UpdateRun)> {
    let doing = || format!("failed to read an UpdateRun from `{}`", path.display());
    let value: Value = serde_saphyr::from_str(&input::text_of(path)?)
        .context("it is neither YAML nor JSON")
        .with_context(doing)?;
    if value["kind"] != "UpdateRun" {
        return Err(Hinted::error(
            format!("{}: its kind is {}", doing(), value["kind"]),
            "it needs `kind: UpdateRun`, as `kubectl create` takes it",
        ));
    }
    let run: UpdateRun = serde_json::from_value(value).with_context(doing)?;
    if run.spec.fleet_name != fleet.name {
        return Err(Hinted::error(
            format!(
                "`{}` is about fleet `{}`, not `{}`",
                path.display(),
                run.spec.fleet_name,
                fleet.name
            ),
            format!("--fleet {} plans it there", run.spec.fleet_name),
        ));
    }
    Ok((fleet.short_name(&run).to_owned(), run))
}

/// Returns the strategy that a run names. One that is not there is a problem that the forecast tells.
pub(super) async fn strategy_of(
    fleet: &Fleet,
    run: &UpdateRun,
) -> anyhow::Result<Option<UpdateRunStrategy>> {
    let Some(name) = &run.spec.strategy_name else { return Ok(None) };
    let strategies: Vec<UpdateStrategy> = fleet.list().await?;
    let found = strategies.into_iter().find(|found| fleet.short_name(found) == name);
    Ok(found.map(|found| found.spec.strategy))
}

/// Plays a run as it stands.
pub(super) fn foresee(
    name: &str,
    run: &UpdateRun,
    strategy: Option<&UpdateRunStrategy>,
    observed: &Observed,
    durations: &Durations,
    now: Timestamp,
) -> Forecast {
    let run = Run {
        name,
        uid: run.metadata.uid.as_deref().unwrap_or("forecast"),
        generation: run.metadata.generation,
        spec: &run.spec,
        status: run.status.as_ref(),
        strategy,
        limits: StrategyLimits::default(),
        deleting: false,
    };
    forecast(&run, observed, durations, now)
}

fn print(name: &str, forecast: &Forecast, output: Output, now: Timestamp) -> anyhow::Result<()> {
    if output::structured(&data(forecast), output)? {
        return Ok(());
    }
    match output {
        Output::Name => {
            let begins = forecast.members.iter().filter(|member| member.starts.is_some());
            begins.map(|member| member.name.as_str()).try_for_each(output::line)
        }
        _ => output::line(&page(name, forecast, output == Output::Wide, now)),
    }
}

/// Returns a forecast as programs read it.
fn data(forecast: &Forecast) -> Value {
    let members = forecast.members.iter().map(|member| {
        json!({
            "name": member.name, "stage": member.stage, "group": member.group, "state": member.state,
            "startTime": member.starts, "completedTime": member.ends, "target": member.target,
            "message": member.message,
        })
    });
    let stages = forecast.stages.iter().map(|stage| {
        json!({
            "name": stage.name, "startTime": stage.starts, "completedTime": stage.ends,
            "upgraded": stage.upgraded, "mostAtOnce": stage.most_at_once,
        })
    });
    let gates = forecast.gates.iter().map(|gate| {
        json!({
            "stage": gate.stage, "group": gate.group, "timing": gate.timing, "displayName": gate.name,
            "passedTime": gate.passed,
        })
    });
    json!({
        "state": forecast.state, "completedTime": forecast.ends, "mostAtOnce": forecast.most_at_once,
        "error": forecast.status.status.error, "warnings": forecast.status.warnings,
        "assumptions": forecast.assumptions,
        "stages": stages.collect::<Vec<_>>(),
        "members": members.collect::<Vec<_>>(),
        "gates": gates.collect::<Vec<_>>(),
    })
}

fn page(name: &str, forecast: &Forecast, wide: bool, now: Timestamp) -> String {
    let width = if wide { usize::MAX } else { SCREEN };
    let head: Vec<String> =
        head(name, forecast, now).iter().map(|line| output::cut(line, width)).collect();
    let head = head.join("\n");
    if forecast.stages.is_empty() {
        return head;
    }
    let most = if wide { usize::MAX } else { MOST_MEMBERS };
    let stages = forecast.stages.iter().map(|stage| stage_node(forecast, &stage.name, most, now));
    let headings = ["NAME", "BEGINS", "TAKES", "TARGET", "MESSAGE"].map(str::to_owned).into();
    format!("{head}\n\n{}", tree::draw(headings, stages.collect(), width))
}

fn head(name: &str, forecast: &Forecast, now: Timestamp) -> Vec<String> {
    let upgraded = forecast.members.iter().filter(|member| member.starts.is_some()).count();
    let end = match forecast.ends {
        Some(end) => format!(" in {}, at {}", span_until(end, now), minute(end)),
        None => "; it would wait for something that no clock brings".to_owned(),
    };
    let mut lines = vec![
        ("update run", name.to_owned()),
        ("would end", format!("as {}{end}", forecast.state.as_str())),
        (
            "reach",
            format!(
                "{upgraded} of {}, at most {} at a time",
                output::count(forecast.members.len(), "member"),
                forecast.most_at_once
            ),
        ),
    ];
    let status = &forecast.status;
    lines.extend(status.status.error.iter().map(|error| ("error", error.message.clone())));
    lines.extend(status.warnings.iter().map(|warning| ("warning", warning.clone())));
    lines.extend(forecast.assumptions.iter().map(|assumed| ("assumed", assumed.clone())));
    lines.iter().map(|(key, value)| format!("{key:<10} {value}")).collect()
}

fn stage_node(forecast: &Forecast, name: &str, most: usize, now: Timestamp) -> Node {
    let stage = forecast.stages.iter().find(|stage| stage.name == name);
    let times = stage.and_then(|stage| Some((stage.starts?, stage.ends)));
    let message =
        stage.map(|stage| format!("{} upgraded, {} at a time", stage.upgraded, stage.most_at_once));
    let members: Vec<&MemberForecast> =
        forecast.members.iter().filter(|member| member.stage == name).collect();
    let mut children: Vec<Node> = gates(forecast, name, GateTiming::Before, now);
    children.extend(members.iter().take(most).map(|member| member_node(member, now)));
    if let Some(more) = members.len().checked_sub(most).filter(|&more| more > 0) {
        children.push(row(format!("… {more} more"), None, String::new(), String::new(), now));
    }
    children.extend(gates(forecast, name, GateTiming::After, now));
    Node {
        children,
        ..row(name.to_owned(), times, String::new(), message.unwrap_or_default(), now)
    }
}

fn gates(forecast: &Forecast, stage: &str, timing: GateTiming, now: Timestamp) -> Vec<Node> {
    let here = forecast.gates.iter().filter(|gate| gate.stage == stage && gate.timing == timing);
    let node = |gate: &stolos_core::update::GateForecast| {
        let of = gate.group.as_ref().map(|group| format!(" of {group}")).unwrap_or_default();
        let name = gate.name.as_deref().unwrap_or("without a name");
        let when = match timing {
            GateTiming::Before => "before",
            GateTiming::After => "after",
        };
        let passed = gate.passed.map(|passed| (passed, Some(passed)));
        row(format!("gate {when}{of}: {name}"), passed, String::new(), String::new(), now)
    };
    here.map(node).collect()
}

fn member_node(member: &MemberForecast, now: Timestamp) -> Node {
    let target = member.target.as_ref().map(text::target).unwrap_or_default();
    let message = match (member.state, &member.message) {
        (State::Completed, None) => String::new(),
        (State::Completed, Some(message)) => message.clone(),
        (state, Some(message)) => format!("{}: {message}", state.as_str()),
        (state, None) => state.as_str().to_owned(),
    };
    let times = member.starts.map(|starts| (starts, member.ends));
    row(member.name.clone(), times, target, message, now)
}

fn row(
    name: String,
    times: Option<(Timestamp, Option<Timestamp>)>,
    target: String,
    message: String,
    now: Timestamp,
) -> Node {
    let begins = times.map(|(starts, _)| {
        if starts > now { format!("in {}", span_until(starts, now)) } else { "at once".to_owned() }
    });
    let takes = times.and_then(|(starts, ends)| {
        let seconds = ends?.duration_since(starts).as_secs();
        (seconds > 0).then(|| output::span(seconds))
    });
    Node::leaf(vec![name, begins.unwrap_or_default(), takes.unwrap_or_default(), target, message])
}

fn span_until(end: Timestamp, now: Timestamp) -> String {
    output::span(end.duration_since(now).as_secs().max(0))
}

/// Returns a moment to the minute.
pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use stolos_core::update::cluster::{Cluster, Inspection, Member};

    use super::*;
    use crate::update_run::sample;

    fn fleet_of_two() -> Observed {
        let mut observed = Observed::default();
        for name in ["member-1", "member-2"] {
            let cluster = Cluster::running("1.34.1".parse().unwrap());
            let member = Member::new(name, Inspection::Known(cluster));
            observed.members.insert(name.to_owned(), member);
        }
        observed
    }

    fn durations() -> Durations {
        Durations {
            default: SignedDuration::from_mins(10),
            members: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_plan_tells_who_is_updated_when() {
        let mut run = sample::not_started();
        run.status = None;
        let now = sample::now();
        let forecast = foresee("june", &run, None, &fleet_of_two(), &durations(), now);
        let page = page("june", &forecast, false, now);
        insta::assert_snapshot!(page, @"
        update run june
        would end  as Completed in 20m, at 2026-06-01 10:25 UTC
        reach      2 of 2 members, at most 1 at a time
        assumed    no upgrade fails
        assumed    the upgrade of a member takes 10m, where nothing else is known (2 members)

        NAME          BEGINS    TAKES   TARGET   MESSAGE
        one-by-one    at once   20m              2 upgraded, 1 at a time
        ├─ member-1   at once   10m     1.35.0
        └─ member-2   in 10m    10m     1.35.0
        ");
        assert!(page.lines().all(|line| line.chars().count() <= SCREEN));
        assert_eq!(data(&forecast)["members"][1]["startTime"], "2026-06-01T10:15:00Z");
    }

    #[test]
    fn a_plan_of_a_run_that_cannot_start_says_why() {
        let mut run = sample::not_started();
        run.status = None;
        run.spec.strategy_name = Some("rings".to_owned());
        let now = sample::now();
        let forecast = foresee("june", &run, None, &fleet_of_two(), &durations(), now);
        let page = page("june", &forecast, false, now);
        assert!(page.contains("error      ") && page.contains("rings"), "{page}");
    }
}
