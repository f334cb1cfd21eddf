//! Stages on the command line: `canary:canary@30s;prod:europe,world`.
//!
//! Stages are separated by semicolons and follow one another. A stage is a name, a colon and the names of its groups,
//! which run side by side; a name alone stands for the group of that name. `@` and a duration end a stage with a wait.

use std::collections::BTreeSet;

use stolos_api::update::{
    MAX_GROUPS_PER_STAGE, MAX_STAGES, UpdateGroup, UpdateRunStrategy, UpdateStage,
};

use crate::arguments;

/// What limits each stage; a number of members or a percentage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits<'a> {
    /// Most members that are updated at a time.
    pub(crate) max_concurrency: Option<&'a str>,
    /// Failed members that do not end the run.
    pub(crate) max_allowed_failures: Option<&'a str>,
    /// Members that must be at the goal in the end.
    pub(crate) min_successes: Option<&'a str>,
}

/// Stages as they stand on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stages(Vec<UpdateStage>);

impl Stages {
    /// Returns the strategy. What limits a stage counts for its members in whatever groups they are; where nothing limits
    /// how many are updated at a time, each group updates one after another.
    pub(crate) fn strategy(&self, limits: &Limits<'_>) -> UpdateRunStrategy {
        let Limits { max_concurrency, max_allowed_failures, min_successes } = *limits;
        let mut stages = self.0.clone();
        for stage in &mut stages {
            stage.max_concurrency = max_concurrency.map(str::to_owned);
            stage.max_allowed_failures = max_allowed_failures.map(str::to_owned);
            stage.min_successes = min_successes.map(str::to_owned);
            for group in &mut stage.groups {
                group.max_concurrency = max_concurrency.map(|_| "100%".to_owned());
                group.max_allowed_failures = max_allowed_failures.map(|_| "100%".to_owned());
            }
        }
        UpdateRunStrategy { stages }
    }

    /// Returns the names of all groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|stage| &stage.groups).map(|group| group.name.as_str())
    }
}

/// Reads stages, or says what is wrong with them.
pub(crate) fn parse(text: &str) -> Result<Stages, String> {
    let stages = text
        .split(';')
        .zip(1..)
        .map(|(text, position)| stage(text, position))
        .collect::<Result<Vec<_>, _>>()?;
    if stages.len() > MAX_STAGES {
        return Err(format!(
            "{} stages are more than the {MAX_STAGES} that a run may have",
            stages.len()
        ));
    }
    unique("stage", stages.iter().map(|stage| stage.name.as_str()))?;
    let stages = Stages(stages);
    unique("group", stages.groups())?;
    Ok(stages)
}

fn stage(text: &str, position: usize) -> Result<UpdateStage, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!(
            "stage {position} is empty; write them as in `canary:canary@30s;prod:europe,world`"
        ));
    }
    let (text, wait) = match text.split_once('@') {
        Some((text, wait)) => (text, Some(arguments::wait_seconds(wait.trim())?)),
        None => (text, None),
    };
    let (stage, groups) = text.split_once(':').unwrap_or((text, text));
    let name =
        arguments::name(stage.trim()).map_err(|error| format!("stage {position}: {error}"))?;
    let group = |group: &str| {
        let group = arguments::name(group.trim())
            .map_err(|error| format!("groups of stage `{name}`: {error}"))?;
        Ok(UpdateGroup { name: group, ..UpdateGroup::default() })
    };
    let groups = groups.split(',').map(group).collect::<Result<Vec<_>, String>>()?;
    if groups.len() > MAX_GROUPS_PER_STAGE {
        return Err(format!(
            "stage `{name}` has {} groups, more than the {MAX_GROUPS_PER_STAGE} that a stage may have",
            groups.len()
        ));
    }
    Ok(UpdateStage { name, groups, after_stage_wait_in_seconds: wait, ..UpdateStage::default() })
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("{what} `{name}` is named twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let stages = parse(text).unwrap();
        let stage = |stage: &UpdateStage| {
            let groups: Vec<&str> = stage.groups.iter().map(|group| group.name.as_str()).collect();
            format!("{} [{}] {:?}", stage.name, groups.join(" "), stage.after_stage_wait_in_seconds)
        };
        stages.0.iter().map(stage).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn stages_have_groups_and_waits() {
        insta::assert_snapshot!(shown("canary:canary@30s; prod: europe, world @ 1h30m ;rest"), @r"
        canary [canary] Some(30)
        prod [europe world] Some(5400)
        rest [rest] None
        ");
    }

    #[test]
    fn a_limit_is_the_stages_and_not_the_groups() {
        let limits = Limits { max_concurrency: Some("3"), ..Limits::default() };
        let strategy = parse("prod:europe,world").unwrap().strategy(&limits);
        assert_eq!(strategy.stages[0].max_concurrency.as_deref(), Some("3"));
        let groups = &strategy.stages[0].groups;
        assert!(groups.iter().all(|group| group.max_concurrency.as_deref() == Some("100%")));
        let strategy = parse("prod:europe,world").unwrap().strategy(&Limits::default());
        assert_eq!(strategy.stages[0].max_concurrency, None);
        assert_eq!(strategy.stages[0].groups[0].max_concurrency, None);
    }

    #[test]
    fn mistakes_are_named() {
        let errors = [
            "", "a;;b", "a;", "A:b", "a:", "a:b,,c", "a:b@", "a:b@soon", "a:b;a:c", "a:x;b:x",
            "a:b:c",
        ]
        .map(|text| format!("{text:8} {}", parse(text).unwrap_err()));
        insta::assert_snapshot!(errors.join("\n"), @"
                 stage 1 is empty; write them as in `canary:canary@30s;prod:europe,world`
        a;;b     stage 2 is empty; write them as in `canary:canary@30s;prod:europe,world`
        a;       stage 2 is empty; write them as in `canary:canary@30s;prod:europe,world`
        A:b      stage 1: `A` is not a name: 1 to 50 lower-case letters, digits and dashes, with a letter or digit at both ends
        a:       groups of stage `a`: `` is not a name: 1 to 50 lower-case letters, digits and dashes, with a letter or digit at both ends
        a:b,,c   groups of stage `a`: `` is not a name: 1 to 50 lower-case letters, digits and dashes, with a letter or digit at both ends
        a:b@     `` is not a duration of whole seconds such as 30s, 10m or 1h30m
        a:b@soon `soon` is not a duration of whole seconds such as 30s, 10m or 1h30m
        a:b;a:c  stage `a` is named twice
        a:x;b:x  group `x` is named twice
        a:b:c    groups of stage `a`: `b:c` is not a name: 1 to 50 lower-case letters, digits and dashes, with a letter or digit at both ends
        ");
    }
}
