//! What update runs do about members that cannot be updated, and what they look at before they begin one.

use clap::{Args, ValueEnum};
use stolos_api::update::{MemberAction, MemberPolicy, PreflightCheck};

/// What becomes of members that cannot be updated when their turn comes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Members that cannot be updated")]
pub(crate) struct PolicyArgs {
    /// What becomes of a member whose cluster is stopped [default: skip]
    #[arg(long, value_enum, value_name = "ACTION")]
    on_stopped: Option<Action>,
    /// What becomes of a member to which something else is done [default: wait]
    #[arg(long, value_enum, value_name = "ACTION")]
    on_busy: Option<Action>,
    /// What becomes of a member whose cluster does not answer [default: wait]
    #[arg(long, value_enum, value_name = "ACTION")]
    on_unreachable: Option<Action>,
    /// Checks that a member must pass before it begins, several with commas between
    #[arg(long, value_enum, value_name = "CHECK", value_delimiter = ',')]
    preflight: Vec<Check>,
    /// Makes no checks before a member begins
    #[arg(long, conflicts_with = "preflight")]
    no_preflight: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// It is left out
    Skip,
    /// It is pending until it can be updated; others go on
    Wait,
    /// It counts as failed
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Every node is ready
    NodesReady,
    /// Every PodDisruptionBudget that covers pods allows a disruption
    PodDisruptionBudgets,
    /// Nobody has asked for an API that the wanted version does not have
    DeprecatedApis,
}

impl Action {
    fn of_api(self) -> MemberAction {
        match self {
            Self::Skip => MemberAction::Skip,
            Self::Wait => MemberAction::Wait,
            Self::Fail => MemberAction::Fail,
        }
    }
}

impl Check {
    fn of_api(self) -> PreflightCheck {
        match self {
            Self::NodesReady => PreflightCheck::NodesReady,
            Self::PodDisruptionBudgets => PreflightCheck::PodDisruptionBudgets,
            Self::DeprecatedApis => PreflightCheck::DeprecatedApis,
        }
    }
}

impl PolicyArgs {
    /// Changes what is named and leaves the rest.
    pub(crate) fn apply(
        &self,
        policy: &mut Option<MemberPolicy>,
        preflight: &mut Vec<PreflightCheck>,
    ) {
        let Self { on_stopped, on_busy, on_unreachable, preflight: checks, no_preflight } = self;
        let mut after = policy.unwrap_or_default();
        let actions = [
            (on_stopped, &mut after.on_stopped),
            (on_busy, &mut after.on_busy),
            (on_unreachable, &mut after.on_unreachable),
        ];
        for (wanted, action) in actions {
            *action = wanted.map(Action::of_api).or(*action);
        }
        if after != MemberPolicy::default() {
            *policy = Some(after);
        }
        if *no_preflight {
            preflight.clear();
        }
        if !checks.is_empty() {
            *preflight = checks.iter().map(|check| check.of_api()).collect();
            preflight.sort_unstable();
            preflight.dedup();
        }
    }
}

/// Says what is set, for a page about a run or a profile: headings with their text.
pub(crate) fn told(
    policy: Option<&MemberPolicy>,
    preflight: &[PreflightCheck],
) -> Vec<(&'static str, String)> {
    let MemberPolicy { on_stopped, on_busy, on_unreachable } = policy.copied().unwrap_or_default();
    let actions = [("stopped", on_stopped), ("busy", on_busy), ("unreachable", on_unreachable)];
    let actions: Vec<String> = (actions.iter())
        .filter_map(|(when, action)| Some(format!("{when}: {:?}", (*action)?)))
        .collect();
    let checks: Vec<String> = preflight.iter().map(|check| format!("{check:?}")).collect();
    let lines = [("members", actions.join(", ")), ("checks", checks.join(", "))];
    lines.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PolicyArgs,
    }

    #[test]
    fn only_what_is_set_is_told() {
        assert_eq!(told(None, &[]), []);
        let policy = MemberPolicy { on_busy: Some(MemberAction::Fail), ..MemberPolicy::default() };
        let policy = MemberPolicy { on_stopped: Some(MemberAction::Wait), ..policy };
        assert_eq!(
            told(Some(&policy), &[PreflightCheck::NodesReady]),
            [("members", "stopped: Wait, busy: Fail".into()), ("checks", "NodesReady".to_owned())]
        );
    }

    #[test]
    fn what_is_not_named_stays() {
        let (mut policy, mut preflight) = (None, Vec::new());
        let mut apply = |line: &str| {
            let args = std::iter::once("run").chain(line.split_whitespace());
            Line::try_parse_from(args).unwrap().args.apply(&mut policy, &mut preflight);
            let policy = policy.map(|policy| serde_json::to_string(&policy).unwrap());
            format!("{} {preflight:?}", policy.as_deref().unwrap_or("none"))
        };
        let told = [
            "",
            "--on-busy fail --preflight pod-disruption-budgets,nodes-ready,nodes-ready",
            "--on-stopped wait",
            "--on-unreachable skip --preflight nodes-ready",
            "--no-preflight",
        ]
        .map(&mut apply);
        assert_eq!(
            told,
            [
                "none []",
                "{\"onBusy\":\"Fail\"} [NodesReady, PodDisruptionBudgets]",
                "{\"onStopped\":\"Wait\",\"onBusy\":\"Fail\"} [NodesReady, PodDisruptionBudgets]",
                "{\"onStopped\":\"Wait\",\"onBusy\":\"Fail\",\"onUnreachable\":\"Skip\"} [NodesReady]",
                "{\"onStopped\":\"Wait\",\"onBusy\":\"Fail\",\"onUnreachable\":\"Skip\"} []",
            ]
        );
    }
}
