//! The order in which a run goes through its members: a strategy, checked and made explicit.

use std::collections::{BTreeMap, BTreeSet};

use stolos_api::update::{
    GateConfiguration, GroupStatus, MemberStatus, StageGateStatus, StageStatus, UpdateGroup,
    UpdateRunStrategy, UpdateStage, WaitStatus,
};

use super::amount::{self, to_i32};
use super::cluster::Member;
use super::limits::StrategyLimits;
use super::problem::Problem;
use super::selector::Selector;
use super::validate::Check;

/// Name of the one stage and of its one group when a run has no strategy.
pub(super) const ONE_BY_ONE: &str = "one-by-one";

/// A strategy without anything left to guess: every stage has groups, and every selector is parsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sequence {
    pub(super) stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    name: String,
    selector: Option<Selector>,
    pub(super) groups: Vec<Group>,
    max_concurrency: Option<String>,
    default_concurrency: i32,
    max_allowed_failures: Option<String>,
    min_successes: Option<String>,
    wait_seconds: i32,
    pub(super) before_gates: Vec<GateConfiguration>,
    pub(super) after_gates: Vec<GateConfiguration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    name: String,
    taking: Taking,
    max_concurrency: Option<String>,
    max_allowed_failures: Option<String>,
    min_successes: Option<String>,
    pub(super) before_gates: Vec<GateConfiguration>,
    pub(super) after_gates: Vec<GateConfiguration>,
}

/// Which members of a stage a group takes.
#[derive(Clone, Debug, PartialEq)]
enum Taking {
    /// Those whose `group` is the group's name.
    Named,
    /// Those with matching labels.
    Selected(Selector),
    /// All of them: the implicit group of a stage without groups. It takes the stage's concurrency.
    All,
}

impl Sequence {
    /// Checks a strategy; `None` means one by one. `field` is where the strategy stands in its object.
    pub(super) fn parse(
        strategy: Option<&UpdateRunStrategy>,
        field: &str,
        limits: StrategyLimits,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let Some(strategy) = strategy else { return Self::one_by_one() };
        let before = problems.len();
        let stages = &strategy.stages;
        if stages.is_empty() || stages.len() > limits.stages {
            let text =
                format!("has {} entries, but must have {}", stages.len(), limits.of_stages());
            problems.push(Problem::new(format!("{field}.stages"), text));
        }
        let mut names = Names::default();
        let stages = stages
            .iter()
            .enumerate()
            .map(|(i, stage)| {
                let field = format!("{field}.stages[{i}]");
                Stage::parse(stage, &field, limits, &mut names, problems)
            })
            .collect();
        if problems.len() > before { Self::default() } else { Self { stages } }
    }

    fn one_by_one() -> Self {
        let group = Group {
            name: ONE_BY_ONE.into(),
            taking: Taking::All,
            max_concurrency: Some("1".into()),
            max_allowed_failures: None,
            min_successes: None,
            before_gates: Vec::new(),
            after_gates: Vec::new(),
        };
        let stage = Stage {
            name: ONE_BY_ONE.into(),
            selector: None,
            groups: vec![group],
            max_concurrency: Some("1".into()),
            default_concurrency: 1,
            max_allowed_failures: None,
            min_successes: None,
            wait_seconds: 0,
            before_gates: Vec::new(),
            after_gates: Vec::new(),
        };
        Self { stages: vec![stage] }
    }

    /// Fixes who is in which group. A member that several groups would take belongs to the first one.
    pub(super) fn fix_members(
        &self,
        members: &BTreeMap<&str, &Member>,
        field: &str,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Vec<StageStatus> {
        let mut taken = BTreeMap::new();
        (self.stages.iter().enumerate())
            .map(|(index, stage)| {
                let field = format!("{field}.stages[{index}]");
                stage.fix_members(members, &field, &mut taken, problems, warnings)
            })
            .collect()
    }
}

#[derive(Default)]
struct Names<'a> {
    stages: BTreeSet<&'a str>,
    groups: BTreeSet<&'a str>,
}

impl Stage {
    fn parse<'a>(
        stage: &'a UpdateStage,
        field: &str,
        limits: StrategyLimits,
        names: &mut Names<'a>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        if !names.stages.insert(&stage.name) {
            let text = format!("`{}` names a second stage", stage.name);
            problems.push(Problem::new(format!("{field}.name"), text));
        }
        let mut check = Check { field, problems };
        check.stage(stage, limits);
        let selector = stage.member_selector.as_ref();
        let selector = selector.and_then(|selector| check.selector(&selector.by_label));
        let mut groups: Vec<Group> = (stage.groups.iter().enumerate())
            .map(|(i, group)| Group::parse(group, &format!("{field}.groups[{i}]"), names, problems))
            .collect();
        if groups.is_empty() {
            groups.push(Group::implicit(stage));
        }
        Self {
            name: stage.name.clone(),
            selector,
            groups,
            max_concurrency: stage.max_concurrency.clone(),
            default_concurrency: limits.stage_concurrency,
            max_allowed_failures: stage.max_allowed_failures.clone(),
            min_successes: stage.min_successes.clone(),
            wait_seconds: stage.after_stage_wait_in_seconds.unwrap_or(0),
            before_gates: stage.before_gates.clone(),
            after_gates: stage.after_gates.clone(),
        }
    }

    fn fix_members<'a>(
        &self,
        members: &BTreeMap<&'a str, &'a Member>,
        field: &str,
        taken: &mut BTreeMap<&'a str, String>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> StageStatus {
        let mine: BTreeMap<&str, &Member> = (members.iter())
            .filter(|(_, member)| self.selector.as_ref().is_none_or(|s| s.matches(&member.labels)))
            .map(|(name, member)| (*name, *member))
            .collect();
        let groups: Vec<GroupStatus> =
            (self.groups.iter()).map(|group| group.fix_members(&mine, taken, warnings)).collect();
        let count = groups.iter().map(|group| group.members.len()).sum();
        let limits = Limits {
            concurrency: self.max_concurrency.as_deref(),
            default_concurrency: self.default_concurrency,
            failures: self.max_allowed_failures.as_deref(),
            successes: self.min_successes.as_deref(),
        };
        let Resolved { max_concurrency, max_allowed_failures, min_successes } =
            limits.resolve(count, field, problems);
        let mut stage = StageStatus {
            name: self.name.clone(),
            max_concurrency,
            max_allowed_failures,
            min_successes,
            groups,
            before_gates: gate_statuses(&self.before_gates),
            after_gates: gate_statuses(&self.after_gates),
            after_stage_wait_status: (self.wait_seconds > 0).then(|| WaitStatus {
                wait_duration_in_seconds: self.wait_seconds,
                ..WaitStatus::default()
            }),
            ..StageStatus::default()
        };
        for (index, (group, status)) in self.groups.iter().zip(&mut stage.groups).enumerate() {
            group.resolve_limits(status, max_concurrency, field, index, problems);
        }
        stage
    }
}

impl Group {
    fn parse<'a>(
        group: &'a UpdateGroup,
        field: &str,
        names: &mut Names<'a>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        if !names.groups.insert(&group.name) {
            let text = format!("`{}` names a second group", group.name);
            problems.push(Problem::new(format!("{field}.name"), text));
        }
        let mut check = Check { field, problems };
        check.group(group);
        let selector = group.member_selector.as_ref();
        let selector = selector.and_then(|selector| check.selector(&selector.by_label));
        Self {
            name: group.name.clone(),
            taking: selector.map_or(Taking::Named, Taking::Selected),
            max_concurrency: group.max_concurrency.clone(),
            max_allowed_failures: group.max_allowed_failures.clone(),
            min_successes: group.min_successes.clone(),
            before_gates: group.before_gates.clone(),
            after_gates: group.after_gates.clone(),
        }
    }

    /// Only the stage's limits count for the group of a stage without groups.
    fn implicit(stage: &UpdateStage) -> Self {
        Self {
            name: stage.name.clone(),
            taking: Taking::All,
            max_concurrency: stage.max_concurrency.clone(),
            max_allowed_failures: stage.max_allowed_failures.clone(),
            min_successes: stage.min_successes.clone(),
            before_gates: Vec::new(),
            after_gates: Vec::new(),
        }
    }

    fn takes(&self, member: &Member) -> bool {
        match &self.taking {
            Taking::Named => member.group.as_deref() == Some(&self.name),
            Taking::Selected(selector) => selector.matches(&member.labels),
            Taking::All => true,
        }
    }

    fn fix_members<'a>(
        &self,
        candidates: &BTreeMap<&'a str, &'a Member>,
        taken: &mut BTreeMap<&'a str, String>,
        warnings: &mut Vec<String>,
    ) -> GroupStatus {
        let mut members = Vec::new();
        for (&name, member) in candidates.iter().filter(|(_, member)| self.takes(member)) {
            if let Some(first) = taken.get(name) {
                warnings.push(format!(
                    "member `{name}` matches the groups `{first}` and `{}`; it is updated in `{first}`",
                    self.name
                ));
                continue;
            }
            taken.insert(name, self.name.clone());
            members.push(MemberStatus {
                name: name.to_owned(),
                cluster_resource_id: Some(member.cluster_resource_id.clone()),
                ..MemberStatus::default()
            });
        }
        if members.is_empty() {
            warnings.push(format!("group `{}` has no members", self.name));
        }
        GroupStatus {
            name: self.name.clone(),
            members,
            before_gates: gate_statuses(&self.before_gates),
            after_gates: gate_statuses(&self.after_gates),
            ..GroupStatus::default()
        }
    }

    fn resolve_limits(
        &self,
        status: &mut GroupStatus,
        stage_concurrency: i32,
        stage_field: &str,
        index: usize,
        problems: &mut Vec<Problem>,
    ) {
        let implicit = self.taking == Taking::All;
        let field = format!("{stage_field}.groups[{index}]");
        let limits = Limits {
            concurrency: self.max_concurrency.as_deref(),
            default_concurrency: if implicit { stage_concurrency } else { 1 },
            failures: self.max_allowed_failures.as_deref(),
            successes: self.min_successes.as_deref(),
        };
        let count = status.members.len();
        let mut unused = Vec::new();
        // The stage has reported the problems of an implicit group already.
        let problems = if implicit { &mut unused } else { problems };
        let resolved = limits.resolve(count, &field, problems);
        status.max_concurrency = resolved.max_concurrency;
        status.max_allowed_failures = resolved.max_allowed_failures;
        // The stage's own counts for an implicit group.
        status.min_successes = if implicit { 0 } else { resolved.min_successes };
        let Some(fixed) = self.max_concurrency.as_deref().and_then(amount::fixed) else { return };
        let field = format!("{field}.maxConcurrency");
        if fixed > stage_concurrency {
            let text = format!(
                "is `{fixed}`, but must be at most the stage's, which is {stage_concurrency}"
            );
            problems.push(Problem::new(field, text));
        } else if count > 0 && fixed > to_i32(count) {
            let text = format!(
                "is `{fixed}`, but must be at most the number of members in the group, {count}"
            );
            problems.push(Problem::new(field, text));
        }
    }
}

struct Limits<'a> {
    concurrency: Option<&'a str>,
    default_concurrency: i32,
    failures: Option<&'a str>,
    successes: Option<&'a str>,
}

struct Resolved {
    max_concurrency: i32,
    max_allowed_failures: i32,
    min_successes: i32,
}

impl Limits<'_> {
    /// Percentages become numbers of members. What is not of its form was reported when it was read.
    fn resolve(&self, members: usize, field: &str, problems: &mut Vec<Problem>) -> Resolved {
        let concurrency = self.concurrency.map(|text| amount::concurrency(text, members));
        let tolerance = |text: Option<&str>| {
            text.and_then(|text| amount::tolerance(text, members)).unwrap_or(0)
        };
        let min_successes = tolerance(self.successes);
        if members > 0 && min_successes > to_i32(members) {
            let text = format!(
                "is `{min_successes}`, but must be at most the number of members, {members}"
            );
            problems.push(Problem::new(format!("{field}.minSuccesses"), text));
        }
        Resolved {
            max_concurrency: concurrency.map_or(self.default_concurrency, |n| n.unwrap_or(1)),
            max_allowed_failures: tolerance(self.failures),
            min_successes,
        }
    }
}

fn gate_statuses(gates: &[GateConfiguration]) -> Vec<StageGateStatus> {
    (gates.iter())
        .map(|gate| StageGateStatus {
            display_name: gate.display_name.clone(),
            ..StageGateStatus::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::update::cluster::{Cluster, Inspection};

    fn members() -> BTreeMap<String, Member> {
        [("a", "canary", "eu"), ("b", "prod", "eu"), ("c", "prod", "us"), ("d", "", "us")]
            .map(|(name, group, region)| {
                let member = Member {
                    group: (!group.is_empty()).then(|| group.to_owned()),
                    labels: [("region".to_owned(), region.to_owned())].into(),
                    ..Member::new(
                        name,
                        Inspection::Known(Cluster::running("1.33.0".parse().unwrap())),
                    )
                };
                (name.to_owned(), member)
            })
            .into()
    }

    struct Fixed {
        groups: Vec<String>,
        problems: Vec<String>,
        warnings: Vec<String>,
    }

    fn fix(stages: &Value) -> Fixed {
        let strategy: UpdateRunStrategy =
            serde_json::from_value(json!({ "stages": stages })).unwrap();
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let limits = StrategyLimits::default();
        let sequence = Sequence::parse(Some(&strategy), "s", limits, &mut problems);
        let members = members();
        let members = members.iter().map(|(name, member)| (name.as_str(), member)).collect();
        let stages = sequence.fix_members(&members, "s", &mut problems, &mut warnings);
        let groups = stages.iter().flat_map(|stage| {
            stage.groups.iter().map(|group| {
                let members: Vec<_> = group.members.iter().map(|m| m.name.as_str()).collect();
                format!("{}/{}: {}", stage.name, group.name, members.join(" "))
            })
        });
        Fixed {
            groups: groups.collect(),
            problems: problems.iter().map(|p| format!("{} {}", p.field, p.message)).collect(),
            warnings,
        }
    }

    #[test]
    fn groups_take_members_by_name_or_label_within_the_stage() {
        let eu = json!({"byLabel": "region=eu"});
        let us = json!({"byLabel": "region=us"});
        let fixed = fix(&json!([
            {"name": "named", "groups": [{"name": "canary"}]},
            {"name": "both", "memberSelector": eu, "groups": [{"name": "prod"}]},
            {"name": "implicit", "memberSelector": us},
        ]));
        assert_eq!(fixed.groups, ["named/canary: a", "both/prod: b", "implicit/implicit: c d"]);
        assert_eq!((fixed.problems.len(), fixed.warnings.len()), (0, 0));
    }

    #[test]
    fn the_name_of_a_group_with_a_selector_chooses_nobody() {
        let eu = json!({"byLabel": "region=eu"});
        let us = json!({"byLabel": "region in (us)"});
        let fixed = fix(&json!([
            {"name": "group", "groups": [{"name": "prod", "memberSelector": eu}]},
            {"name": "both", "memberSelector": us, "groups": [
                {"name": "canary", "memberSelector": {"byLabel": "region,region!=eu"}},
            ]},
        ]));
        assert_eq!(fixed.groups, ["group/prod: a b", "both/canary: c d"]);
        assert_eq!(fixed.problems, Vec::<String>::new());
    }

    #[test]
    fn the_first_group_wins_a_member_and_the_author_is_warned() {
        let fixed = fix(&json!([
            {"name": "one", "groups": [{"name": "prod"}]},
            {"name": "two", "memberSelector": {"byLabel": "region"}},
        ]));
        assert_eq!(fixed.groups, ["one/prod: b c", "two/two: a d"]);
        assert_eq!(
            fixed.warnings[0],
            "member `b` matches the groups `prod` and `two`; it is updated in `prod`"
        );
    }

    #[test]
    fn a_strategy_is_refused_with_the_field_that_is_wrong() {
        for (stages, want) in [
            (json!([]), "s.stages has 0 entries, but must have 1 to 100 entries"),
            (
                json!([{"name": "x", "groups": [{"name": "g"}]}, {"name": "x", "groups": [{"name": "h"}]}]),
                "s.stages[1].name `x` names a second stage",
            ),
            (
                json!([{"name": "x", "groups": [{"name": "g"}]}, {"name": "y", "groups": [{"name": "g"}]}]),
                "s.stages[1].groups[0].name `g` names a second group",
            ),
            (json!([{"name": "x"}]), "s.stages[0] needs groups, a memberSelector, or both"),
            (
                json!([{"name": "x", "groups": [{"name": "prod", "maxConcurrency": "3"}]}]),
                "s.stages[0].groups[0].maxConcurrency is `3`, but must be at most the number of members in the group, 2",
            ),
            (
                json!([{"name": "x", "maxConcurrency": "1", "groups": [{"name": "prod", "maxConcurrency": "2"}]}]),
                "s.stages[0].groups[0].maxConcurrency is `2`, but must be at most the stage's, which is 1",
            ),
            (
                json!([{"name": "x", "maxConcurrency": "51", "groups": [{"name": "prod"}]}]),
                "s.stages[0].maxConcurrency is `51`, but must be a number of members from 1 to 50, or a percentage from 1% to 100%",
            ),
            (
                json!([{"name": "x", "maxAllowedFailures": "x", "groups": [{"name": "prod"}]}]),
                "s.stages[0].maxAllowedFailures is `x`, but must be a number of members, or a percentage from 0% to 100%",
            ),
            (
                json!([{"name": "x", "memberSelector": {"byLabel": "a b"}}]),
                "s.stages[0].memberSelector.byLabel `a b` is not a label selector requirement such as `env=prod`, `env in (prod,test)` or `!env`",
            ),
        ] {
            assert_eq!(fix(&stages).problems, [want]);
        }
    }

    #[test]
    fn a_group_nobody_is_in_is_legal_and_warned_about() {
        let fixed = fix(&json!([{"name": "x", "groups": [{"name": "empty"}]}]));
        assert_eq!(fixed.problems, Vec::<String>::new());
        assert_eq!(fixed.warnings, ["group `empty` has no members"]);
    }
}
