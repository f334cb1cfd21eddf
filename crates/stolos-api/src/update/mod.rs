//! Kinds of the update wing: update runs, strategies and gates of `fleet.stolos.dev`.
//!
//! They mirror the resources of Azure Kubernetes Fleet Manager, so that its REST API is a view of them. Objects of a
//! fleet live in the fleet's namespace, are named `<fleet>.<name>` and carry `spec.fleetName`. What a user asks for is
//! in `spec`; everything that happens is in `status`.
#![expect(unreachable_pub, reason = "`KubeSchema` repeats each type inside a function")]

mod catalogue;
mod gate;
mod health;
mod profile;
mod run;
mod status;
mod strategy;
mod subscription;
mod window;

pub use catalogue::{CatalogueImage, CatalogueVersion, VersionCatalogue, VersionCatalogueSpec};
pub use gate::{
    Gate, GateSpec, GateState, GateStatus, GateTarget, GateTiming, RequestedGateState,
    ScheduledStart,
};
pub use health::{
    CelProbe, Check, CheckState, CheckStatus, HealthCheck, MAX_CHECKED_MEMBERS, MemberCheckStatus,
    OnHealthFailure, Probe, PrometheusProbe,
};
pub use profile::{
    AUTO_UPGRADE_PROFILE_LABEL, AutoUpgradeProfile, AutoUpgradeProfileSpec,
    AutoUpgradeProfileStatus, CONDITION_READY, CONDITION_UP_TO_DATE, Channel,
    DEFAULT_HISTORY_LIMIT, DEFAULT_MAX_RETRIES, Generated, LEFT_OUT_ANNOTATION,
    NAMED_BY_PROFILE_FINALIZER, ProfileNodeImageSelection, Published, Reconcile, Split,
    TriggerStatus,
};
pub use run::{
    CustomNodeImageVersion, ManagedClusterUpdate, ManagedClusterUpgrade, MemberAction,
    MemberPolicy, NodeImageSelection, NodeImageSelectionType, PreflightCheck, RunState, SkipTarget,
    SkipTargetType, UpdateRun, UpdateRunSpec, UpgradeType,
};
pub use status::{
    ErrorCause, ErrorDetail, GroupStatus, MemberPrevious, MemberRollback, MemberStatus,
    MemberTarget, NodeImageSelectionStatus, NodeImageVersion, StageGateStatus, StageStatus, State,
    UpdateRunStatus, UpdateStatus, WaitStatus,
};
pub use strategy::{
    Day, GateConfiguration, GateType, MemberSelector, ScheduledStartConfiguration, UpdateGroup,
    UpdateRunStrategy, UpdateStage, UpdateStrategy, UpdateStrategySpec,
};

pub use window::{
    AbsoluteMonthlySchedule, DailySchedule, DateSpan, MaintenanceSchedule, MaintenanceWindow,
    MaintenanceWindows, RelativeMonthlySchedule, WeekIndex, WeeklySchedule,
};

pub use subscription::{
    DEFAULT_MAX_ATTEMPTS, DeliveryRetry, EventSubscription, EventSubscriptionSpec,
    EventSubscriptionStatus, EventType, PREVIOUS_SIGNING_SECRET_KEY, SIGNING_SECRET_KEY, Told,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Label on gates: short name of the update run that made them.
pub const UPDATE_RUN_LABEL: &str = "fleet.stolos.dev/update-run";

/// Finalizer on update runs: members in flight end and their leases are given back before the run goes away.
pub const UPDATE_RUN_FINALIZER: &str = "fleet.stolos.dev/update-run";

/// Most stages of one strategy. Azure documents no limit; this one keeps validation rules affordable.
pub const MAX_STAGES: usize = 100;

/// Most groups of one stage (update-run docs).
pub const MAX_GROUPS_PER_STAGE: usize = 50;

/// Returns the definitions of the update wing's kinds.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        UpdateRun::crd(),
        UpdateStrategy::crd(),
        Gate::crd(),
        AutoUpgradeProfile::crd(),
        VersionCatalogue::crd(),
        EventSubscription::crd(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fleet::{self, ClusterReference, FleetMemberSpec};

    fn visit(
        value: &Value,
        path: &str,
        seen: &mut impl FnMut(&str, &serde_json::Map<String, Value>),
    ) {
        match value {
            Value::Object(map) => {
                seen(path, map);
                map.iter().for_each(|(key, value)| visit(value, &format!("{path}.{key}"), seen));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, path, seen)),
            _ => {}
        }
    }

    #[test]
    fn schemas_say_every_rule_in_words() {
        for crd in crds().into_iter().chain(fleet::crds()) {
            let crd = serde_json::to_value(crd).unwrap();
            visit(&crd, "", &mut |path, map| {
                for combinator in ["anyOf", "oneOf", "allOf", "not", "$ref", "pattern"] {
                    let is_keyword = map.get(combinator).is_some_and(|v| !v.is_object());
                    assert!(!is_keyword, "{combinator} at {path}");
                }
                if map.contains_key("rule") {
                    assert!(map.contains_key("message"), "a rule without a message at {path}");
                }
            });
        }
    }

    #[test]
    fn a_cluster_reference_reads_and_writes_as_one_field() {
        let json = json!({
            "fleetName": "local",
            "cluster": {"simulated": {"kubeconfigSecret": {"name": "member-1"}}},
        });
        let spec: FleetMemberSpec = serde_json::from_value(json.clone()).unwrap();
        assert!(matches!(spec.cluster, ClusterReference::Simulated(_)));
        assert_eq!(spec.cluster.id("fleet-local"), "simulated://fleet-local/member-1");
        assert_eq!(serde_json::to_value(&spec).unwrap(), json);
    }

    #[test]
    fn a_run_needs_only_a_fleet_and_a_goal() {
        let spec: UpdateRunSpec = serde_json::from_value(json!({
            "fleetName": "local",
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34"}},
        }))
        .unwrap();
        assert_eq!(spec.state, RunState::Initialize);
        assert!(spec.skip.is_empty() && spec.strategy.is_none());
    }
}
