//! What a user asks of a profile, and what becomes of its spec.

use clap::{Args, ValueEnum};
use stolos_api::update::{
    AutoUpgradeProfileSpec, Channel, NodeImageSelectionType, ProfileNodeImageSelection, Reconcile,
};

use crate::arguments;
use crate::policies::PolicyArgs;

/// Settings that are given when a profile is created, and that may be changed.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Wish {
    /// Minor version of the channel target-kubernetes-version, such as 1.33
    #[arg(long, value_name = "MINOR", value_parser = minor_version)]
    kubernetes_version: Option<String>,
    /// How runs choose node images
    #[arg(long, value_enum, value_name = "RULE")]
    node_image: Option<NodeImageRule>,
    /// Strategy that runs follow; without one, members are updated one after another
    #[arg(long, value_name = "NAME", value_parser = arguments::name)]
    pub(super) strategy: Option<String>,
    /// When a run is due: whenever a member is behind the target, or once for each publication
    #[arg(long, value_enum)]
    reconcile: Option<When>,
    /// How often what failed is tried again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=10))]
    max_retries: Option<i32>,
    #[command(flatten)]
    policy: PolicyArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ChannelName {
    /// The newest patch of the newest minor version
    Rapid,
    /// The newest patch of the minor version before that
    Stable,
    /// The newest patch of --kubernetes-version
    TargetKubernetesVersion,
    /// The newest node images
    NodeImage,
    /// The newest security patches of Linux node images
    SecurityPatch,
}

impl ChannelName {
    pub(super) fn of_api(self) -> Channel {
        match self {
            Self::Rapid => Channel::Rapid,
            Self::Stable => Channel::Stable,
            Self::TargetKubernetesVersion => Channel::TargetKubernetesVersion,
            Self::NodeImage => Channel::NodeImage,
            Self::SecurityPatch => Channel::SecurityPatch,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NodeImageRule {
    /// Each cluster takes the newest image of its region when its turn comes
    Latest,
    /// All clusters take the newest image that is available to all of them
    Consistent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// Whenever a member is behind the channel's target
    Drift,
    /// Once for each publication, as Azure does
    Published,
}

fn minor_version(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a minor version such as 1.33, without a patch")),
    }
}

impl Wish {
    /// Changes what is wished for and leaves the rest.
    pub(super) fn apply(&self, spec: &mut AutoUpgradeProfileSpec) {
        if let Some(version) = &self.kubernetes_version {
            spec.target_kubernetes_version = Some(version.clone());
        }
        if let Some(rule) = self.node_image {
            let selection_type = match rule {
                NodeImageRule::Latest => NodeImageSelectionType::Latest,
                NodeImageRule::Consistent => NodeImageSelectionType::Consistent,
            };
            spec.node_image_selection = Some(ProfileNodeImageSelection { selection_type });
        }
        if let Some(strategy) = &self.strategy {
            spec.strategy_name = Some(strategy.clone());
        }
        if let Some(when) = self.reconcile {
            spec.reconcile = match when {
                When::Drift => Reconcile::Drift,
                When::Published => Reconcile::Published,
            };
        }
        if self.max_retries.is_some() {
            spec.max_retries = self.max_retries;
        }
        self.policy.apply(&mut spec.member_policy, &mut spec.preflight);
    }
}

/// Returns the spec of a profile of a channel with nothing else set.
pub(super) fn plain(fleet: &str, channel: Channel) -> AutoUpgradeProfileSpec {
    AutoUpgradeProfileSpec {
        fleet_name: fleet.to_owned(),
        channel,
        target_kubernetes_version: None,
        long_term_support: false,
        node_image_selection: None,
        strategy_name: None,
        member_policy: None,
        preflight: Vec::new(),
        disabled: false,
        reconcile: Reconcile::Drift,
        split: None,
        max_retries: None,
        history_limit: None,
        generate: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_changes_what_it_names_and_nothing_else() {
        let mut spec = plain("edge", Channel::Stable);
        spec.max_retries = Some(7);
        let wish = Wish { strategy: Some("rings".to_owned()), ..Wish::default() };
        wish.apply(&mut spec);
        assert_eq!(spec.strategy_name.as_deref(), Some("rings"));
        assert_eq!((spec.max_retries, spec.channel), (Some(7), Channel::Stable));
    }

    #[test]
    fn a_target_is_a_minor_version() {
        assert_eq!(minor_version("v1.33").as_deref(), Ok("1.33"));
        for wrong in ["1", "1.33.2", "", "1.", "latest"] {
            assert!(minor_version(wrong).is_err(), "{wrong}");
        }
    }
}
