//! Options of the hub's controllers, under the names that KubeFleet's hub agent has for them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use jiff::SignedDuration;
use stolos_core::cluster::membership::Expected;
use stolos_core::network::claim::Importers;
use stolos_core::placement::eligibility::{Eligibility, KindPattern, Kinds};
use stolos_hub::traffic::SharedProvider;

use crate::cli::duration;
use crate::limit_options::LimitOptions;

/// Bounds of the wait for a leaving member.
const FORCE_DELETE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(30)..=Duration::from_secs(60 * 60);

/// How the hub's controllers behave.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Controllers")]
pub(crate) struct HubOptions {
    /// Least time between two resource snapshots of a placement; 0s lets a change go out at once
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    resource_snapshot_creation_minimum_interval: Duration,
    /// Time for which changes are collected before a resource snapshot is made
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    resource_changes_collection_duration: Duration,
    /// Kinds that are not placed, besides the built-in ones: `group`, `group/version` or `group/version/Kind,Kind`,
    /// separated by semicolons
    #[arg(long, value_name = "LIST", value_parser = KindPattern::parse_list)]
    skipped_propagating_apis: Option<std::vec::Vec<KindPattern>>,
    /// The only kinds that are placed, in the same form
    #[arg(
        long,
        value_name = "LIST",
        value_parser = KindPattern::parse_list,
        conflicts_with = "skipped_propagating_apis"
    )]
    allowed_propagating_apis: Option<std::vec::Vec<KindPattern>>,
    /// Namespaces that are not placed, besides default, fleet-* and kube-*; separated by commas or semicolons
    #[arg(long, value_name = "LIST", default_value = "")]
    skipped_propagating_namespaces: String,
    /// Whether workloads run on the hub; its volume claims are then not placed
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    enable_workload: bool,
    /// How long the agent of a leaving member is waited for, 30s to 1h
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = force_delete)]
    force_delete_wait_time: Duration,
    /// How long a member may be silent before its MemberCluster and its ClusterProfile say so
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    cluster_unhealthy_threshold: Duration,
    /// Whether members have ClusterProfiles
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    enable_cluster_inventory_apis: bool,
    /// Whether members export and import services, and have the agents for that: without them none counts as joined.
    /// In the making
    #[arg(long, alias = "networking-agents-enabled", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    enable_networking_features: bool,
    /// Whether members export and import services by the Multi-Cluster Services API; they are started with the same option
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    enable_mcs_api: bool,
    /// How many members may import a service at the same time: `one`, as fleet-networking, or `many`
    #[arg(long, value_enum, default_value_t = ServiceImporters::One)]
    service_importers: ServiceImporters,
    /// Whether there are TrafficManagerProfiles, which needs --enable-networking-features
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    enable_traffic_manager_feature: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

/// How many members may import a service at the same time.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceImporters {
    One,
    Many,
}

impl From<ServiceImporters> for Importers {
    fn from(importers: ServiceImporters) -> Self {
        match importers {
            ServiceImporters::One => Self::One,
            ServiceImporters::Many => Self::Many,
        }
    }
}

impl HubOptions {
    /// Tells whether there are TrafficManagerProfiles, and whether there are services across clusters.
    pub(crate) fn networking(&self) -> (bool, bool) {
        (self.enable_traffic_manager_feature, self.enable_networking_features)
    }

    /// Returns the configuration of the controllers, where this provider answers DNS names.
    pub(crate) fn config(
        self,
        metrics: &Arc<stolos_hub::Metrics>,
        provider: Option<SharedProvider>,
    ) -> stolos_hub::Config {
        let kinds = match (self.skipped_propagating_apis, self.allowed_propagating_apis) {
            (_, Some(allowed)) => Kinds::Only(allowed),
            (Some(skipped), None) => Kinds::Except(skipped),
            (None, None) => Kinds::Default,
        };
        stolos_hub::Config {
            cluster: stolos_hub::cluster::Config {
                force_delete_wait_time: self.force_delete_wait_time,
                cluster_unhealthy_threshold: self.cluster_unhealthy_threshold,
                expected_agents: expected_agents(self.enable_networking_features),
                member_limits: self.limits.of_members(),
                cluster_profiles: self.enable_cluster_inventory_apis,
                metrics: metrics.clone(),
            },
            placement: stolos_hub::placement::Config {
                eligibility: Eligibility {
                    kinds,
                    skipped_namespaces: names(&self.skipped_propagating_namespaces),
                    hub_runs_workloads: self.enable_workload,
                },
                snapshot_minimum_interval: self.resource_snapshot_creation_minimum_interval,
                snapshot_collection: self.resource_changes_collection_duration,
                metrics: metrics.clone(),
            },
            update: stolos_hub::update::Config {
                strategy_limits: self.limits.of_strategies(),
                metrics: metrics.clone(),
            },
            network: stolos_hub::network::Config {
                enabled: self.enable_networking_features,
                importers: self.service_importers.into(),
                force_delete_wait_time: SignedDuration::try_from(self.force_delete_wait_time)
                    .unwrap_or(SignedDuration::MAX),
                metrics: metrics.clone(),
            },
            clusterset: stolos_hub::network::clusterset::Config {
                enabled: self.enable_mcs_api,
                metrics: metrics.clone(),
            },
            traffic: stolos_hub::traffic::Config { provider, metrics: metrics.clone() },
        }
    }
}

/// Returns which agents each member has.
pub(crate) fn expected_agents(networking: bool) -> Expected {
    if networking { Expected::MemberAndNetworking } else { Expected::Member }
}

fn names(list: &str) -> BTreeSet<String> {
    let names = list.split([',', ';']).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn force_delete(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if FORCE_DELETE.contains(&wait) {
        return Ok(wait);
    }
    Err(format!("`{text}` is not between 30s and 1h"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use stolos_core::placement::object::Gvk;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: HubOptions,
    }

    fn config(args: &[&str]) -> Result<stolos_hub::Config, String> {
        let args = ["hub"].iter().chain(args);
        let command = Command::try_parse_from(args).map_err(|error| error.to_string())?;
        Ok(command.options.config(&Arc::default(), None))
    }

    #[test]
    fn without_options_changes_go_out_at_once() {
        let config = config(&[]).unwrap();
        assert_eq!(config.placement.snapshot_collection, Duration::ZERO);
        assert_eq!(config.placement.snapshot_minimum_interval, Duration::ZERO);
        assert_eq!(config.placement.eligibility, Eligibility::default());
        assert_eq!(config.cluster.force_delete_wait_time, Duration::from_secs(900));
        assert!(config.cluster.cluster_profiles);
    }

    #[test]
    fn options_have_the_names_and_forms_that_kubefleet_gives_them() {
        let config = config(&[
            "--resource-snapshot-creation-minimum-interval=30s",
            "--resource-changes-collection-duration=15s",
            "--skipped-propagating-apis=example.com;apps/v1/Deployment,DaemonSet",
            "--skipped-propagating-namespaces=one,two;three",
            "--enable-workload=true",
            "--force-delete-wait-time=15m0s",
            "--enable-cluster-inventory-apis=false",
        ])
        .unwrap();
        assert_eq!(config.placement.snapshot_collection, Duration::from_secs(15));
        assert_eq!(config.placement.snapshot_minimum_interval, Duration::from_secs(30));
        let eligibility = &config.placement.eligibility;
        assert!(!eligibility.kinds.permit(&Gvk::new("apps", "v1", "DaemonSet")));
        assert!(eligibility.kinds.permit(&Gvk::new("apps", "v1", "StatefulSet")));
        assert!(["one", "two", "three"].iter().all(|name| eligibility.is_reserved_namespace(name)));
        assert!(eligibility.hub_runs_workloads && !config.cluster.cluster_profiles);
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (args, want) in [
            (vec!["--force-delete-wait-time=1s"], "not between 30s and 1h"),
            (vec!["--skipped-propagating-apis=a//b"], "`a//b` is neither"),
            (
                vec!["--skipped-propagating-apis=a", "--allowed-propagating-apis=b"],
                "cannot be used with",
            ),
        ] {
            let error = config(&args).err().unwrap();
            assert!(error.contains(want), "{error}");
        }
    }
}
