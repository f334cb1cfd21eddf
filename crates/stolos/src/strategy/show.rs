//! `stolos strategy show`: a strategy as a tree.

use stolos_api::update::{
    GateConfiguration, GateType, MemberSelector, UpdateGroup, UpdateStage, UpdateStrategy,
};

use super::StrategyArgs;
use crate::cli::Output;
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::tree::{self, Node, SCREEN};

const HEADINGS: [&str; 4] = ["NAME", "AT A TIME", "MAY FAIL", "MEMBERS"];

pub(super) async fn run(args: StrategyArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let strategy: UpdateStrategy = fleet.get(&args.name).await?;
    let width = if output == Output::Wide { usize::MAX } else { SCREEN };
    output::outcome(&args.name, &strategy, &page(&args.name, &strategy, width), output)?;
    Ok(Exit::Success)
}

fn page(name: &str, strategy: &UpdateStrategy, width: usize) -> String {
    let stages = &strategy.spec.strategy.stages;
    let head = format!(
        "update strategy {name}\n{}, one after another; groups of a stage side by side",
        output::count(stages.len(), "stage")
    );
    let headings = HEADINGS.iter().map(|&heading| heading.to_owned()).collect();
    format!("{head}\n\n{}", tree::draw(headings, stages.iter().map(stage).collect(), width))
}

fn stage(stage: &UpdateStage) -> Node {
    let mut children: Vec<Node> =
        stage.before_gates.iter().map(|found| gate("before", found)).collect();
    let of_stage = stage.member_selector.as_ref();
    children.extend(stage.groups.iter().map(|found| group(found, of_stage)));
    children.extend(stage.after_gates.iter().map(|found| gate("after", found)));
    children.extend(
        stage
            .after_stage_wait_in_seconds
            .filter(|&wait| wait > 0)
            .map(|wait| leaf(format!("wait {}", output::span(i64::from(wait))))),
    );
    let members = match of_stage {
        Some(selector) if stage.groups.is_empty() => selected(selector),
        _ => String::new(),
    };
    let limits = (stage.max_concurrency.as_deref(), stage.max_allowed_failures.as_deref());
    Node { cells: cells(stage.name.clone(), limits, "50", members), children }
}

fn group(group: &UpdateGroup, of_stage: Option<&MemberSelector>) -> Node {
    let own = match &group.member_selector {
        Some(selector) => selected(selector),
        None => format!("of group {}", group.name),
    };
    let members = match of_stage {
        Some(selector) => format!("{own}, {}", selected(selector)),
        None => own,
    };
    let before = group.before_gates.iter().map(|found| gate("before", found));
    let after = group.after_gates.iter().map(|found| gate("after", found));
    let limits = (group.max_concurrency.as_deref(), group.max_allowed_failures.as_deref());
    Node {
        cells: cells(group.name.clone(), limits, "1", members),
        children: before.chain(after).collect(),
    }
}

fn selected(selector: &MemberSelector) -> String {
    format!("with {}", selector.by_label)
}

fn gate(timing: &str, gate: &GateConfiguration) -> Node {
    let what = match (gate.gate_type, &gate.scheduled_start_configuration) {
        (GateType::Approval, _) => "approval".to_owned(),
        (GateType::HealthCheck, _) => "health check".to_owned(),
        (GateType::ScheduledStart, None) => "scheduled start".to_owned(),
        (GateType::ScheduledStart, Some(start)) => {
            format!("{:?} {} {}", start.start_day, start.start_time, start.utc_offset)
        }
    };
    let name = gate.display_name.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
    leaf(format!("gate {timing}{name} ({what})"))
}

fn leaf(name: String) -> Node {
    let mut cells = vec![String::new(); HEADINGS.len()];
    cells[0] = name;
    Node::leaf(cells)
}

/// `at_a_time` is the limit where none is given.
fn cells(
    name: String,
    (concurrency, failures): (Option<&str>, Option<&str>),
    at_a_time: &str,
    members: String,
) -> Vec<String> {
    let or = |given: Option<&str>, default: &str| given.unwrap_or(default).to_owned();
    vec![name, or(concurrency, at_a_time), or(failures, "0"), members]
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a strategy with one of everything.
    pub(in crate::strategy) fn rings() -> UpdateStrategy {
        serde_json::from_value(json!({
            "metadata": { "name": "local.rings", "namespace": "default" },
            "spec": { "fleetName": "local", "strategy": { "stages": [
                { "name": "canary", "groups": [{ "name": "canary" }], "afterStageWaitInSeconds": 3600 },
                {
                    "name": "prod", "maxConcurrency": "25%",
                    "beforeGates": [{ "displayName": "go ahead", "type": "Approval" }],
                    "groups": [
                        { "name": "europe", "maxConcurrency": "2", "maxAllowedFailures": "10%" },
                        { "name": "world", "memberSelector": { "byLabel": "region!=europe" }, "beforeGates": [{
                            "type": "ScheduledStart",
                            "scheduledStartConfiguration": { "startDay": "Friday", "startTime": "08:00", "utcOffset": "+02:00" },
                        }] },
                    ],
                },
                { "name": "rest", "memberSelector": { "byLabel": "tier=bronze" } },
            ]}},
        }))
        .unwrap()
    }

    #[test]
    fn a_strategy_is_shown_as_a_tree() {
        let page = page("rings", &rings(), SCREEN);
        insta::assert_snapshot!(page, @"
        update strategy rings
        3 stages, one after another; groups of a stage side by side

        NAME                                      AT A TIME   MAY FAIL   MEMBERS
        canary                                    50          0
        ├─ canary                                 1           0          of group canary
        └─ wait 60m
        prod                                      25%         0
        ├─ gate before: go ahead (approval)
        ├─ europe                                 2           10%        of group europe
        └─ world                                  1           0          with region!=europe
           └─ gate before (Friday 08:00 +02:00)
        rest                                      50          0          with tier=bronze
        ");
        assert!(page.lines().all(|line| line.chars().count() <= SCREEN));
    }
}
