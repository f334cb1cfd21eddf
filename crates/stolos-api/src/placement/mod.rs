//! Kinds of `placement.kubernetes-fleet.io`: what goes where, and how far it got.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::kind::custom_resource;

mod binding;
mod defaults;
mod definitions;
pub mod names;
mod policy;
mod snapshot;
mod spec;
mod status;
mod strategy;
mod validation;
mod work;

pub use binding::*;
pub use defaults::*;
pub use policy::*;
pub use snapshot::*;
pub use spec::*;
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
        ClusterResourceBinding::crd(),
        ClusterResourcePlacement::crd(),
        ClusterResourceSnapshot::crd(),
        ClusterSchedulingPolicySnapshot::crd(),
        ResourceBinding::crd(),
        ResourcePlacement::crd(),
        ResourceSnapshot::crd(),
        SchedulingPolicySnapshot::crd(),
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
