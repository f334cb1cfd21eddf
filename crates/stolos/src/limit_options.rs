//! How big fleets and strategies may be: options of whoever runs a hub.

use clap::Args;
use stolos_api::update::{MAX_GROUPS_PER_STAGE, MAX_STAGES};
use stolos_core::cluster::fleet::MemberLimits;
use stolos_core::update::{MAX_STAGE_CONCURRENCY, StrategyLimits};

/// How big fleets and strategies may be.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// Most members of a fleet with a hub; Azure's number is 1000 [default: no limit]
    #[arg(long, value_name = "N", value_parser = number(None))]
    max_hubful_members: Option<usize>,
    /// Most members of a fleet without a hub; Azure's number is 1000 [default: no limit]
    #[arg(long, value_name = "N", value_parser = number(None))]
    max_hubless_members: Option<usize>,
    /// Most stages of an update strategy, at most 100
    #[arg(long, value_name = "N", default_value_t = MAX_STAGES, value_parser = number(Some(MAX_STAGES)))]
    max_stages: usize,
    /// Most groups of a stage, at most 50
    #[arg(long, value_name = "N", default_value_t = MAX_GROUPS_PER_STAGE, value_parser = number(Some(MAX_GROUPS_PER_STAGE)))]
    max_groups_per_stage: usize,
    /// Most members of a stage that are updated at a time, at most 50
    #[arg(
        long,
        value_name = "N",
        default_value_t = MAX_STAGE_CONCURRENCY,
        value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_STAGE_CONCURRENCY))
    )]
    max_stage_concurrency: i32,
}

/// Returns a parser of numbers from 1 to `most`.
fn number(most: Option<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number: &usize| *number > 0);
        let fits = |number: &usize| most.is_none_or(|most| *number <= most);
        number.filter(fits).ok_or_else(|| match most {
            Some(most) => format!("must be a number from 1 to {most}"),
            None => "must be a number, at least 1".to_owned(),
        })
    }
}

/// The limits of a hub whose user says nothing.
impl Default for LimitOptions {
    fn default() -> Self {
        let MemberLimits { hubful, hubless } = MemberLimits::default();
        let StrategyLimits { stages, groups_per_stage, stage_concurrency } =
            StrategyLimits::default();
        Self {
            max_hubful_members: hubful,
            max_hubless_members: hubless,
            max_stages: stages,
            max_groups_per_stage: groups_per_stage,
            max_stage_concurrency: stage_concurrency,
        }
    }
}

impl LimitOptions {
    /// Returns how many members fleets may have.
    pub(crate) fn of_members(&self) -> MemberLimits {
        MemberLimits { hubful: self.max_hubful_members, hubless: self.max_hubless_members }
    }

    /// Returns how big strategies may be.
    pub(crate) fn of_strategies(&self) -> StrategyLimits {
        StrategyLimits {
            stages: self.max_stages,
            groups_per_stage: self.max_groups_per_stage,
            stage_concurrency: self.max_stage_concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        limits: LimitOptions,
    }

    fn limits(args: &[&str]) -> Result<LimitOptions, String> {
        let args = ["hub"].iter().chain(args);
        let command = Command::try_parse_from(args).map_err(|error| error.to_string())?;
        Ok(command.limits)
    }

    #[test]
    fn without_options_fleets_have_no_limit_and_strategies_have_those_of_the_definitions() {
        let limits = limits(&[]).unwrap();
        assert_eq!(limits.of_members(), MemberLimits::default());
        assert_eq!(limits.of_strategies(), StrategyLimits::default());
    }

    #[test]
    fn every_limit_can_be_set() {
        let limits = limits(&[
            "--max-hubful-members=3",
            "--max-hubless-members=1000",
            "--max-stages=5",
            "--max-groups-per-stage=7",
            "--max-stage-concurrency=9",
        ])
        .unwrap();
        assert_eq!(limits.of_members(), MemberLimits { hubful: Some(3), hubless: Some(1000) });
        let want = StrategyLimits { stages: 5, groups_per_stage: 7, stage_concurrency: 9 };
        assert_eq!(limits.of_strategies(), want);
    }

    #[test]
    fn a_limit_that_cannot_be_is_named_with_what_can() {
        for (arg, want) in [
            ("--max-hubful-members=0", "must be a number, at least 1"),
            ("--max-stages=101", "must be a number from 1 to 100"),
            ("--max-groups-per-stage=x", "must be a number from 1 to 50"),
            ("--max-stage-concurrency=51", "51 is not in 1..=50"),
        ] {
            let error = limits(&[arg]).err().unwrap();
            assert!(error.contains(want), "{error}");
        }
    }
}
