//! What a user asks of an update run, when it is created and until it is started.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{
    ManagedClusterUpgrade, NodeImageSelection, NodeImageSelectionType, UpdateRunSpec,
    UpdateStrategy, UpgradeType,
};

use crate::arguments;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::policies::PolicyArgs;
use crate::stages::{self, Limits, Stages};

/// What members are brought to, in which order, and which ones.
#[derive(Args, Clone, Debug)]
pub(super) struct Wish {
    /// Brings control planes and nodes to this version: 1.33.2, or 1.33 for its newest patch
    #[arg(long, value_name = "VERSION", value_parser = arguments::kubernetes_version, conflicts_with = "node_image_only")]
    kubernetes_version: Option<String>,
    /// Brings nodes to other images and leaves Kubernetes versions alone
    #[arg(long)]
    node_image_only: bool,
    /// Leaves nodes as they are
    #[arg(long, requires = "kubernetes_version", conflicts_with_all = ["node_image_only", "node_image"])]
    control_plane_only: bool,
    /// How node images are chosen
    #[arg(long, value_enum, value_name = "RULE")]
    node_image: Option<NodeImage>,
    /// Follows the UpdateStrategy of this name, as it is now
    #[arg(long, value_name = "NAME", value_parser = arguments::name, conflicts_with = "stages")]
    strategy: Option<String>,
    /// Follows these stages: `stage:group,group@wait;stage…`; groups of a stage run side by side
    #[arg(long, value_name = "STAGES", value_parser = stages::parse)]
    stages: Option<Stages>,
    /// Most members of a stage that are updated at a time, in whatever groups: a number or a percentage
    /// [default: one per group]
    #[arg(long, value_name = "N", value_parser = arguments::concurrency, requires = "stages")]
    max_concurrency: Option<String>,
    /// Failed members of a stage that do not end the run: a number or a percentage [default: 0]
    #[arg(long, value_name = "N", value_parser = arguments::tolerance, requires = "stages")]
    max_allowed_failures: Option<String>,
    /// Members of a stage that must be at the goal for the next stage to begin: a number or a percentage [default: 0]
    #[arg(long, value_name = "N", value_parser = arguments::tolerance, requires = "stages")]
    min_successes: Option<String>,
    /// Only these members, several with commas between; groups and selectors choose among them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = arguments::name)]
    members: Vec<String>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// A rule by which node images are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NodeImage {
    /// Each cluster takes the newest image of its region when its turn comes
    Latest,
    /// All clusters take the newest image that is available to all of them
    Consistent,
}

impl Wish {
    /// Changes what is named and leaves the rest.
    pub(super) fn apply(&self, spec: &mut UpdateRunSpec) {
        self.apply_goal(spec);
        if let Some(stages) = &self.stages {
            spec.strategy = Some(stages.strategy(&Limits {
                max_concurrency: self.max_concurrency.as_deref(),
                max_allowed_failures: self.max_allowed_failures.as_deref(),
                min_successes: self.min_successes.as_deref(),
            }));
            spec.strategy_name = None;
        }
        if let Some(strategy) = &self.strategy {
            spec.strategy = None;
            spec.strategy_name = Some(strategy.clone());
        }
        if !self.members.is_empty() {
            spec.members.clone_from(&self.members);
            spec.members.sort_unstable();
            spec.members.dedup();
        }
        self.policy.apply(&mut spec.member_policy, &mut spec.preflight);
    }

    fn apply_goal(&self, spec: &mut UpdateRunSpec) {
        let goal = &mut spec.managed_cluster_update;
        let kubernetes_version = self.kubernetes_version.clone();
        if kubernetes_version.is_some() || self.node_image_only {
            let upgrade_type = match (self.node_image_only, self.control_plane_only) {
                (true, _) => UpgradeType::NodeImageOnly,
                (false, true) => UpgradeType::ControlPlaneOnly,
                (false, false) => UpgradeType::Full,
            };
            goal.upgrade = ManagedClusterUpgrade { upgrade_type, kubernetes_version };
            if self.control_plane_only {
                goal.node_image_selection = None;
            }
        }
        if let Some(rule) = self.node_image {
            goal.node_image_selection = Some(NodeImageSelection {
                selection_type: match rule {
                    NodeImage::Latest => NodeImageSelectionType::Latest,
                    NodeImage::Consistent => NodeImageSelectionType::Consistent,
                },
                custom_node_image_versions: Vec::new(),
            });
        }
    }

    /// Fails when the strategy is not there, and warns of groups and members that are not.
    pub(super) async fn check(&self, fleet: &Fleet) -> anyhow::Result<()> {
        if let Some(strategy) = &self.strategy {
            fleet.get::<UpdateStrategy>(strategy).await?;
        }
        if self.stages.is_none() && self.members.is_empty() {
            return Ok(());
        }
        let members: Vec<FleetMember> = fleet.list().await?;
        for group in self.stages.iter().flat_map(|stages| without_members(stages, &members)) {
            output::note(&format!(
                "warning: no member is in group `{group}`, so the run leaves it out"
            ));
        }
        let known: BTreeSet<&str> = members.iter().map(|member| fleet.short_name(member)).collect();
        for name in self.members.iter().filter(|name| !known.contains(name.as_str())) {
            output::note(&format!("warning: {fleet} has no member `{name}`"));
        }
        Ok(())
    }
}

/// Returns the groups that no member names. The run would take them as done.
fn without_members<'a>(stages: &'a Stages, members: &[FleetMember]) -> Vec<&'a str> {
    let named: BTreeSet<&str> =
        members.iter().filter_map(|member| member.spec.group.as_deref()).collect();
    stages.groups().filter(|group| !named.contains(group)).collect()
}
