//! Kinds of `placement.kubernetes-fleet.io`: what goes where, and how far it got.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResourceExt;

use crate::kind::custom_resource;

mod binding;
mod defaults;
mod definitions;
mod envelope;
mod eviction;
pub mod names;
mod override_validation;
mod overrides;
mod policy;
mod snapshot;
mod spec;
mod staged;
mod status;
mod strategy;
mod validation;
mod work;

pub use binding::*;
pub use defaults::*;
pub use envelope::*;
pub use eviction::*;
pub use override_validation::*;
pub use overrides::*;
pub use policy::*;
pub use snapshot::*;
pub use spec::*;
pub use staged::*;
pub use status::*;
pub use strategy::*;
pub use validation::*;
pub use work::*;

/// API group of the kinds in this module.
pub const GROUP: &str = "placement.kubernetes-fleet.io";

/// Returns the definitions of the kinds in this module that live on members.
pub fn member_crds() -> Vec<CustomResourceDefinition> {
    vec![AppliedWork::crd()]
}

/// Returns the definitions of the kinds in this module that live on the hub.
pub fn hub_crds() -> Vec<CustomResourceDefinition> {
    vec![
        ApprovalRequest::crd(),
        ClusterApprovalRequest::crd(),
        ClusterResourceBinding::crd(),
        ClusterResourceEnvelope::crd(),
        ClusterResourceOverride::crd(),
        ClusterResourceOverrideSnapshot::crd(),
        ClusterResourcePlacement::crd(),
        ClusterResourcePlacementDisruptionBudget::crd(),
        ClusterResourcePlacementEviction::crd(),
        ClusterResourcePlacementStatus::crd(),
        ClusterResourceSnapshot::crd(),
        ClusterSchedulingPolicySnapshot::crd(),
        ClusterStagedUpdateRun::crd(),
        ClusterStagedUpdateStrategy::crd(),
        ResourceBinding::crd(),
        ResourceEnvelope::crd(),
        ResourceOverride::crd(),
        ResourceOverrideSnapshot::crd(),
        ResourcePlacement::crd(),
        ResourceSnapshot::crd(),
        SchedulingPolicySnapshot::crd(),
        StagedUpdateRun::crd(),
        StagedUpdateStrategy::crd(),
        Work::crd(),
    ]
}

custom_resource! {
    /// Places cluster-scoped objects, and namespaces with their content, on members.
    ClusterResourcePlacement, ClusterResourceScope,
    spec: PlacementSpec, status: PlacementStatus,
    defined by definitions::CLUSTER_RESOURCE_PLACEMENT
}

custom_resource! {
    /// Places objects of its own namespace on members.
    ResourcePlacement, NamespaceResourceScope,
    spec: PlacementSpec, status: PlacementStatus, defined by definitions::RESOURCE_PLACEMENT
}

custom_resource! {
    /// The scheduling policy of a ClusterResourcePlacement at one moment, and the clusters that the
    /// scheduler picked by it.
    ClusterSchedulingPolicySnapshot, ClusterResourceScope,
    spec: SchedulingPolicySnapshotSpec, status: SchedulingPolicySnapshotStatus,
    defined by definitions::CLUSTER_SCHEDULING_POLICY_SNAPSHOT
}

custom_resource! {
    /// The scheduling policy of a ResourcePlacement at one moment, and the clusters that the
    /// scheduler picked by it.
    SchedulingPolicySnapshot, NamespaceResourceScope,
    spec: SchedulingPolicySnapshotSpec, status: SchedulingPolicySnapshotStatus,
    defined by definitions::SCHEDULING_POLICY_SNAPSHOT
}

custom_resource! {
    /// The objects that a ClusterResourcePlacement selected at one moment.
    ClusterResourceSnapshot, ClusterResourceScope,
    spec: ResourceSnapshotSpec, status: ResourceSnapshotStatus,
    defined by definitions::CLUSTER_RESOURCE_SNAPSHOT
}

custom_resource! {
    /// The objects that a ResourcePlacement selected at one moment.
    ResourceSnapshot, NamespaceResourceScope,
    spec: ResourceSnapshotSpec, status: ResourceSnapshotStatus,
    defined by definitions::RESOURCE_SNAPSHOT
}

custom_resource! {
    /// The decision that a ClusterResourcePlacement goes to one member.
    ClusterResourceBinding, ClusterResourceScope,
    spec: ResourceBindingSpec, status: ResourceBindingStatus,
    defined by definitions::CLUSTER_RESOURCE_BINDING
}

custom_resource! {
    /// The decision that a ResourcePlacement goes to one member.
    ResourceBinding, NamespaceResourceScope,
    spec: ResourceBindingSpec, status: ResourceBindingStatus,
    defined by definitions::RESOURCE_BINDING
}

custom_resource! {
    /// Manifests for one member, and how far the member got with them.
    Work, NamespaceResourceScope,
    spec: WorkSpec, status: WorkStatus, defined by definitions::WORK
}

custom_resource! {
    /// Owner, on a member, of everything that one Work placed there.
    AppliedWork, ClusterResourceScope,
    spec: AppliedWorkSpec, status: AppliedWorkStatus, defined by definitions::APPLIED_WORK
}

custom_resource! {
    /// The status of a ClusterResourcePlacement, for people who may only look into the namespace that
    /// it places. It has the name of the placement.
    ClusterResourcePlacementStatus, NamespaceResourceScope,
    fields: {
        /// Status of the placement.
        source_status as "sourceStatus": PlacementStatus,
        /// When it was copied.
        last_updated_time as "lastUpdatedTime": Time,
    },
    defined by definitions::CLUSTER_RESOURCE_PLACEMENT_STATUS
}

custom_resource! {
    /// Changes cluster-scoped objects, and what is in a namespace, depending on the member.
    ClusterResourceOverride, ClusterResourceScope,
    spec: ClusterResourceOverrideSpec, defined by definitions::CLUSTER_RESOURCE_OVERRIDE
}

custom_resource! {
    /// Changes objects of its own namespace depending on the member.
    ResourceOverride, NamespaceResourceScope,
    spec: ResourceOverrideSpec, defined by definitions::RESOURCE_OVERRIDE
}

custom_resource! {
    /// A ClusterResourceOverride at one moment.
    ClusterResourceOverrideSnapshot, ClusterResourceScope,
    spec: ClusterResourceOverrideSnapshotSpec,
    defined by definitions::CLUSTER_RESOURCE_OVERRIDE_SNAPSHOT
}

custom_resource! {
    /// A ResourceOverride at one moment.
    ResourceOverrideSnapshot, NamespaceResourceScope,
    spec: ResourceOverrideSnapshotSpec, defined by definitions::RESOURCE_OVERRIDE_SNAPSHOT
}

custom_resource! {
    /// Wraps cluster-scoped objects that shall exist on members but not on the hub.
    ClusterResourceEnvelope, ClusterResourceScope,
    fields: {
        /// The objects, each under a name that has no further meaning.
        data as "data": EnvelopeData,
    },
    defined by definitions::CLUSTER_RESOURCE_ENVELOPE
}

custom_resource! {
    /// Wraps objects of its own namespace that shall exist on members but not on the hub.
    ResourceEnvelope, NamespaceResourceScope,
    fields: {
        /// The objects, each under a name that has no further meaning.
        data as "data": EnvelopeData,
    },
    defined by definitions::RESOURCE_ENVELOPE
}

custom_resource! {
    /// The order in which update runs release snapshots of ClusterResourcePlacements.
    ClusterStagedUpdateStrategy, ClusterResourceScope,
    spec: StagedUpdateStrategySpec, defined by definitions::CLUSTER_STAGED_UPDATE_STRATEGY
}

custom_resource! {
    /// The order in which update runs release snapshots of ResourcePlacements.
    StagedUpdateStrategy, NamespaceResourceScope,
    spec: StagedUpdateStrategySpec, defined by definitions::STAGED_UPDATE_STRATEGY
}

custom_resource! {
    /// Releases a snapshot of a ClusterResourcePlacement stage by stage.
    ClusterStagedUpdateRun, ClusterResourceScope,
    spec: StagedUpdateRunSpec, status: StagedUpdateRunStatus,
    defined by definitions::CLUSTER_STAGED_UPDATE_RUN
}

custom_resource! {
    /// Releases a snapshot of a ResourcePlacement stage by stage.
    StagedUpdateRun, NamespaceResourceScope,
    spec: StagedUpdateRunSpec, status: StagedUpdateRunStatus,
    defined by definitions::STAGED_UPDATE_RUN
}

custom_resource! {
    /// Asks a person to let a ClusterStagedUpdateRun go on.
    ClusterApprovalRequest, ClusterResourceScope,
    spec: ApprovalRequestSpec, status: ApprovalRequestStatus,
    defined by definitions::CLUSTER_APPROVAL_REQUEST
}

custom_resource! {
    /// Asks a person to let a StagedUpdateRun go on.
    ApprovalRequest, NamespaceResourceScope,
    spec: ApprovalRequestSpec, status: ApprovalRequestStatus,
    defined by definitions::APPROVAL_REQUEST
}

custom_resource! {
    /// Takes a ClusterResourcePlacement off one member.
    ClusterResourcePlacementEviction, ClusterResourceScope,
    spec: PlacementEvictionSpec, status: PlacementEvictionStatus,
    defined by definitions::CLUSTER_RESOURCE_PLACEMENT_EVICTION
}

custom_resource! {
    /// Limits how many members of a ClusterResourcePlacement evictions may disturb at once.
    ClusterResourcePlacementDisruptionBudget, ClusterResourceScope,
    spec: PlacementDisruptionBudgetSpec,
    defined by definitions::CLUSTER_RESOURCE_PLACEMENT_DISRUPTION_BUDGET
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads an object, writes it and returns what is different.
    fn round_trip<K: serde::Serialize + serde::de::DeserializeOwned>(manifest: &Value) -> Value {
        let object: K = serde_json::from_value(manifest.clone()).unwrap();
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn objects_without_a_spec_or_a_status_keep_their_form() {
        let envelope = json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourceEnvelope",
            "metadata": {"name": "e", "namespace": "app"},
            "data": {"quota.yaml": {"apiVersion": "v1", "kind": "ResourceQuota"}},
        });
        assert_eq!(round_trip::<ResourceEnvelope>(&envelope), envelope);
        let copied = json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1",
            "kind": "ClusterResourcePlacementStatus",
            "metadata": {"name": "crp", "namespace": "app"},
            "sourceStatus": {"observedResourceIndex": "0"},
            "lastUpdatedTime": "2026-01-01T00:00:00Z",
        });
        assert_eq!(round_trip::<ClusterResourcePlacementStatus>(&copied), copied);
        let changes = json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourceOverride",
            "metadata": {"name": "o", "namespace": "app"},
            "spec": {
                "placement": {"name": "crp", "scope": "Cluster"},
                "resourceSelectors": [
                    {"group": "apps", "version": "v1", "kind": "Deployment", "name": "web"},
                ],
                "policy": {"overrideRules": [{
                    "clusterSelector": {"clusterSelectorTerms": []},
                    "overrideType": "JSONPatch",
                    "jsonPatchOverrides": [{"op": "remove", "path": "/spec/replicas"}],
                }]},
            },
        });
        assert_eq!(round_trip::<ResourceOverride>(&changes), changes);
    }

    #[test]
    fn a_run_waits_for_its_start_and_updates_one_member_at_a_time() {
        let run: StagedUpdateRunSpec = serde_json::from_value(json!({
            "placementName": "crp", "stagedRolloutStrategyName": "s",
        }))
        .unwrap();
        assert_eq!(run.state, StagedUpdateRunState::Initialize);
        let stage: StageConfig = serde_json::from_value(json!({"name": "canary"})).unwrap();
        assert_eq!(stage, StageConfig { name: "canary".into(), ..StageConfig::default() });
    }
}
