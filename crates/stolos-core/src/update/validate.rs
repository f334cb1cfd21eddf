//! The rules for fields of a strategy, each told with the field, what it is and what would be right (section 1.2).
//!
//! The definitions of the kinds say most of them too; these hold wherever a strategy comes from.

use std::collections::BTreeSet;

use stolos_api::update::{
    GateConfiguration, GateType, HealthCheck, OnHealthFailure, ScheduledStartConfiguration,
    UpdateGroup, UpdateRunStrategy, UpdateStage,
};

use super::amount;
use super::calendar::{parse_hour_minute, parse_offset};
use super::limits::StrategyLimits;
use super::problem::Problem;
use super::selector::Selector;
use super::sequence::Sequence;

/// Longest name of a stage or group.
const MAX_NAME: usize = 50;

/// Longest label selector (API model).
const MAX_SELECTOR: usize = 512;

/// Longest name of a gate for people (API model).
const MAX_DISPLAY_NAME: usize = 100;

/// Returns what is wrong with a strategy whatever the members of the fleet are. Fields are within `strategy`.
pub fn strategy(strategy: &UpdateRunStrategy, limits: StrategyLimits) -> Vec<Problem> {
    let mut problems = Vec::new();
    Sequence::parse(Some(strategy), "strategy", limits, &mut problems);
    problems
}

/// Collects problems of one object.
pub(super) struct Check<'a> {
    pub(super) field: &'a str,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    /// Says that a field is not as it must be.
    fn refuse(&mut self, name: &str, is: &str, must: &str) {
        let field = format!("{}.{name}", self.field);
        self.problems.push(Problem::new(field, format!("is `{is}`, but must be {must}")));
    }

    pub(super) fn stage(&mut self, stage: &UpdateStage, limits: StrategyLimits) {
        self.name(&stage.name);
        if stage.groups.len() > limits.groups_per_stage {
            let is = format!("{} entries", stage.groups.len());
            self.refuse("groups", &is, &limits.of_groups());
        }
        if stage.groups.is_empty() && stage.member_selector.is_none() {
            let text = "needs groups, a memberSelector, or both";
            self.problems.push(Problem::new(self.field, text));
        }
        if let Some(seconds) = stage.after_stage_wait_in_seconds.filter(|seconds| *seconds < 0) {
            self.refuse("afterStageWaitInSeconds", &seconds.to_string(), "0 or more seconds");
        }
        let text = stage.max_concurrency.as_deref();
        if let Some(text) = text.filter(|text| {
            !amount::is_concurrency(text)
                || amount::fixed(text).is_some_and(|number| number > limits.stage_concurrency)
        }) {
            self.refuse("maxConcurrency", text, &limits.of_concurrency());
        }
        self.tolerance("maxAllowedFailures", stage.max_allowed_failures.as_deref());
        self.tolerance("minSuccesses", stage.min_successes.as_deref());
        self.gates("beforeGates", &stage.before_gates, true);
        self.gates("afterGates", &stage.after_gates, false);
    }

    pub(super) fn group(&mut self, group: &UpdateGroup) {
        self.name(&group.name);
        let text = group.max_concurrency.as_deref();
        if let Some(text) = text.filter(|text| !amount::is_concurrency(text)) {
            let must = "a number of members, at least 1, or a percentage from 1% to 100%";
            self.refuse("maxConcurrency", text, must);
        }
        self.tolerance("maxAllowedFailures", group.max_allowed_failures.as_deref());
        self.tolerance("minSuccesses", group.min_successes.as_deref());
        self.gates("beforeGates", &group.before_gates, true);
        self.gates("afterGates", &group.after_gates, false);
    }

    pub(super) fn selector(&mut self, text: &str) -> Option<Selector> {
        if text.len() > MAX_SELECTOR {
            let must = format!("at most {MAX_SELECTOR}");
            self.refuse("memberSelector.byLabel", &format!("{} characters", text.len()), &must);
            return None;
        }
        match text.parse() {
            Ok(selector) => Some(selector),
            Err(error) => {
                let error: super::selector::ParseError = error;
                let field = format!("{}.memberSelector.byLabel", self.field);
                self.problems.push(Problem::new(field, error.to_string()));
                None
            }
        }
    }

    fn name(&mut self, name: &str) {
        let is_end =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let good = name.len() <= MAX_NAME
            && is_end(name.chars().next())
            && is_end(name.chars().next_back())
            && name.chars().all(|c| is_end(Some(c)) || c == '-');
        if !good {
            let must = format!(
                "1 to {MAX_NAME} lower-case letters, digits and dashes that begin and end with a letter or digit"
            );
            self.refuse("name", name, &must);
        }
    }

    fn tolerance(&mut self, field: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !amount::is_tolerance(text)) {
            self.refuse(field, text, "a number of members, or a percentage from 0% to 100%");
        }
    }

    fn gates(&mut self, list: &str, gates: &[GateConfiguration], before: bool) {
        for (index, gate) in gates.iter().enumerate() {
            let field = format!("{}.{list}[{index}]", self.field);
            Check { field: &field, problems: &mut *self.problems }.gate(gate, before);
        }
    }

    fn gate(&mut self, gate: &GateConfiguration, before: bool) {
        if let Some(name) = &gate.display_name
            && !(1..=MAX_DISPLAY_NAME).contains(&name.chars().count())
        {
            self.refuse("displayName", name, &format!("1 to {MAX_DISPLAY_NAME} characters"));
        }
        if gate.gate_type == GateType::ScheduledStart && !before {
            self.refuse("type", "ScheduledStart", "Approval or HealthCheck in afterGates");
        }
        let scheduled = gate.scheduled_start_configuration.as_ref();
        self.belongs(
            "scheduledStartConfiguration",
            scheduled.is_some(),
            gate.gate_type == GateType::ScheduledStart,
            "ScheduledStart",
        );
        let health = gate.health_check.as_ref();
        self.belongs(
            "healthCheck",
            health.is_some(),
            gate.gate_type == GateType::HealthCheck,
            "HealthCheck",
        );
        if let Some(configuration) = scheduled {
            self.scheduled_start(configuration);
        }
        if let Some(health) = health {
            if before && health.on_failure == Some(OnHealthFailure::Rollback) {
                let must = "Pause or Fail in beforeGates, where nothing has been updated yet";
                self.refuse("healthCheck.onFailure", "Rollback", must);
            }
            self.health_check(health);
        }
    }

    fn belongs(&mut self, name: &str, given: bool, wanted: bool, gate_type: &str) {
        let field = format!("{}.{name}", self.field);
        if wanted && !given {
            let text = format!("is required for a gate of type {gate_type}");
            self.problems.push(Problem::new(field, text));
        } else if given && !wanted {
            let text = format!("is forbidden unless the gate is of type {gate_type}");
            self.problems.push(Problem::new(field, text));
        }
    }

    fn scheduled_start(&mut self, configuration: &ScheduledStartConfiguration) {
        let ScheduledStartConfiguration { start_day: _, start_time, utc_offset } = configuration;
        if !parse_hour_minute(start_time)
            .is_some_and(|(hour, minute)| (0..24).contains(&hour) && (0..60).contains(&minute))
        {
            let name = "scheduledStartConfiguration.startTime";
            self.refuse(name, start_time, "a time of day such as 08:30");
        }
        if parse_offset(utc_offset).is_none() {
            let name = "scheduledStartConfiguration.utcOffset";
            self.refuse(name, utc_offset, "an offset from UTC such as +02:00");
        }
    }

    fn health_check(&mut self, health: &HealthCheck) {
        let HealthCheck { checks, stable_for_seconds, deadline_seconds, on_failure: _ } = health;
        if checks.is_empty() {
            self.refuse("healthCheck.checks", "empty", "at least one check");
        }
        let mut names = BTreeSet::new();
        for (index, check) in checks.iter().enumerate() {
            if !names.insert(&check.name) {
                let name = format!("healthCheck.checks[{index}].name");
                self.refuse(&name, &check.name, "unique in the gate");
            }
        }
        if let Some(seconds) = stable_for_seconds.filter(|seconds| *seconds < 0) {
            self.refuse("healthCheck.stableForSeconds", &seconds.to_string(), "0 or more");
        }
        if let Some(seconds) = deadline_seconds.filter(|seconds| *seconds < 1) {
            self.refuse("healthCheck.deadlineSeconds", &seconds.to_string(), "1 or more");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::StrategyLimits;

    fn told(stages: &Value) -> Vec<String> {
        let strategy = serde_json::from_value(json!({ "stages": stages })).unwrap();
        let problems = super::strategy(&strategy, StrategyLimits::default());
        problems.iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()
    }

    fn stage(more: Value) -> Value {
        let mut stage = json!({"name": "x", "groups": [{"name": "g"}]});
        stage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([stage])
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let percent = "a number of members, or a percentage from 0% to 100%";
        let concurrency = "a number of members from 1 to 50, or a percentage from 1% to 100%";
        let long = "x".repeat(101);
        let scheduled = |time: &str, offset: &str| {
            json!({"type": "ScheduledStart", "scheduledStartConfiguration":
                {"startDay": "Monday", "startTime": time, "utcOffset": offset}})
        };
        let health = |more: Value| {
            let mut check = json!({"checks": [{"name": "a", "prometheus": {"url": "http://p", "query": "up"}}]});
            check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"beforeGates": [{"type": "HealthCheck", "healthCheck": check}]})
        };
        for (change, want) in [
            (json!({"name": "A"}), "name is `A`, but must be 1 to 50 lower-case letters, digits and dashes that begin and end with a letter or digit".into()),
            (json!({"maxConcurrency": "0"}), format!("maxConcurrency is `0`, but must be {concurrency}")),
            (json!({"maxConcurrency": "51"}), format!("maxConcurrency is `51`, but must be {concurrency}")),
            (json!({"maxConcurrency": "0%"}), format!("maxConcurrency is `0%`, but must be {concurrency}")),
            (json!({"maxConcurrency": "+3"}), format!("maxConcurrency is `+3`, but must be {concurrency}")),
            (json!({"maxAllowedFailures": "101%"}), format!("maxAllowedFailures is `101%`, but must be {percent}")),
            (json!({"minSuccesses": "-1"}), format!("minSuccesses is `-1`, but must be {percent}")),
            (json!({"afterStageWaitInSeconds": -1}), "afterStageWaitInSeconds is `-1`, but must be 0 or more seconds".into()),
            (json!({"memberSelector": {"byLabel": "x".repeat(513)}}), "memberSelector.byLabel is `513 characters`, but must be at most 512".into()),
            (json!({"groups": [{"name": "g", "maxConcurrency": "0"}]}), "groups[0].maxConcurrency is `0`, but must be a number of members, at least 1, or a percentage from 1% to 100%".into()),
            (json!({"beforeGates": [{"type": "Approval", "displayName": long}]}), format!("beforeGates[0].displayName is `{long}`, but must be 1 to 100 characters")),
            (json!({"beforeGates": [{"type": "ScheduledStart"}]}), "beforeGates[0].scheduledStartConfiguration is required for a gate of type ScheduledStart".into()),
            (json!({"beforeGates": [{"type": "HealthCheck"}]}), "beforeGates[0].healthCheck is required for a gate of type HealthCheck".into()),
            (json!({"beforeGates": [scheduled("24:00", "+00:00")]}), "beforeGates[0].scheduledStartConfiguration.startTime is `24:00`, but must be a time of day such as 08:30".into()),
            (json!({"beforeGates": [scheduled("08:00", "2")]}), "beforeGates[0].scheduledStartConfiguration.utcOffset is `2`, but must be an offset from UTC such as +02:00".into()),
            (json!({"afterGates": [scheduled("08:00", "+00:00")]}), "afterGates[0].type is `ScheduledStart`, but must be Approval or HealthCheck in afterGates".into()),
            (health(json!({"checks": []})), "beforeGates[0].healthCheck.checks is `empty`, but must be at least one check".into()),
            (health(json!({"onFailure": "Rollback"})), "beforeGates[0].healthCheck.onFailure is `Rollback`, but must be Pause or Fail in beforeGates, where nothing has been updated yet".into()),
            (health(json!({"deadlineSeconds": 0})), "beforeGates[0].healthCheck.deadlineSeconds is `0`, but must be 1 or more".into()),
        ] {
            assert_eq!(told(&stage(change)), [format!("strategy.stages[0].{want}")]);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let problems = told(&json!([
            {"name": "x", "maxConcurrency": "x", "minSuccesses": "y"},
            {"name": "x", "groups": [{"name": "G", "maxAllowedFailures": "z"}]},
        ]));
        let fields: Vec<&str> =
            problems.iter().map(|text| text.split(' ').next().unwrap()).collect();
        assert_eq!(
            fields,
            [
                "strategy.stages[0]",
                "strategy.stages[0].maxConcurrency",
                "strategy.stages[0].minSuccesses",
                "strategy.stages[1].name",
                "strategy.stages[1].groups[0].name",
                "strategy.stages[1].groups[0].maxAllowedFailures",
            ]
        );
    }

    #[test]
    fn a_hub_that_allows_less_says_so() {
        let strategy = serde_json::from_value(json!({"stages": [
            {"name": "x", "groups": [{"name": "a"}, {"name": "b"}], "maxConcurrency": "9"},
            {"name": "y", "memberSelector": {"byLabel": "a"}},
        ]}))
        .unwrap();
        let limits = StrategyLimits { stages: 1, groups_per_stage: 1, stage_concurrency: 8 };
        let problems = super::strategy(&strategy, limits);
        let told: Vec<String> =
            problems.iter().map(|told| format!("{} {}", told.field, told.message)).collect();
        assert_eq!(
            told,
            [
                "strategy.stages has 2 entries, but must have 1 to 1 entries (the hub runs with --max-stages)",
                "strategy.stages[0].groups is `2 entries`, but must be at most 1 entries (the hub runs with --max-groups-per-stage)",
                "strategy.stages[0].maxConcurrency is `9`, but must be a number of members from 1 to 8 (the hub runs with --max-stage-concurrency), or a percentage from 1% to 100%",
            ]
        );
    }

    #[test]
    fn a_stage_has_at_most_fifty_groups() {
        let groups = |count: usize| -> Vec<Value> {
            (0..count).map(|index| json!({"name": format!("g{index}")})).collect()
        };
        assert_eq!(told(&stage(json!({"groups": groups(50)}))), Vec::<String>::new());
        assert_eq!(
            told(&stage(json!({"groups": groups(51)}))),
            ["strategy.stages[0].groups is `51 entries`, but must be at most 50 entries"]
        );
    }
}
