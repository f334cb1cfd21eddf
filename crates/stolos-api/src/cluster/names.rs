//! Names that the `cluster` wing reads and writes: labels, finalizers, conditions, reasons.

/// Prefix of the member namespaces on the hub; the name of the member follows.
pub const MEMBER_NAMESPACE_PREFIX: &str = "fleet-member-";
/// Prefix of the Role that lets a member's agents work in their namespace.
pub const MEMBER_ROLE_PREFIX: &str = "fleet-role-";
/// Prefix of the RoleBinding that belongs to the Role.
pub const MEMBER_ROLE_BINDING_PREFIX: &str = "fleet-rolebinding-";
/// Namespace of the fleet's own objects on hub and members.
pub const SYSTEM_NAMESPACE: &str = "fleet-system";

/// Returns the hub namespace of a member.
pub fn member_namespace(member: &str) -> String {
    format!("{MEMBER_NAMESPACE_PREFIX}{member}")
}

/// Returns the name of the Role of a member.
pub fn member_role(member: &str) -> String {
    format!("{MEMBER_ROLE_PREFIX}{member}")
}

/// Returns the name of the RoleBinding of a member.
pub fn member_role_binding(member: &str) -> String {
    format!("{MEMBER_ROLE_BINDING_PREFIX}{member}")
}

/// Returns the user that a member's agent is on the hub, unless its MemberCluster names another identity.
pub fn member_user(member: &str) -> String {
    format!("stolos:member:{member}")
}

/// Labels.
pub mod label {
    /// On a MemberCluster: its own name, so that selectors can pick it by name.
    pub const MEMBER_NAME: &str = "kubernetes-fleet.io/member-name";
    /// On a namespace: it belongs to the fleet (`true`).
    pub const IS_FLEET_RESOURCE: &str = "kubernetes-fleet.io/is-fleet-resource";
}

/// Labels that every member of a fleet gets by itself; users cannot set others under their prefix.
pub mod automatic_label {
    /// Prefix of all of them.
    pub const PREFIX: &str = "fleet.azure.com/";
    /// Region of the cluster.
    pub const LOCATION: &str = "fleet.azure.com/location";
    /// Resource group, which is the namespace of the FleetMember.
    pub const RESOURCE_GROUP: &str = "fleet.azure.com/resource-group";
    /// Subscription, from the label of that namespace.
    pub const SUBSCRIPTION_ID: &str = "fleet.azure.com/subscription-id";
    /// Name of the member in its fleet.
    pub const MEMBER_NAME: &str = "fleet.azure.com/member-name";
    /// Name of the cluster itself.
    pub const CLUSTER_NAME: &str = "fleet.azure.com/cluster-name";
}

/// Finalizers.
pub mod finalizer {
    /// On a Fleet: what belongs to it goes first.
    pub const FLEET: &str = "fleet.stolos.dev/fleet";
    /// On a FleetMember, until its MemberCluster is gone.
    pub const FLEET_MEMBER: &str = "fleet.stolos.dev/member";
    /// On a MemberCluster, until its ClusterProfile is gone.
    pub const CLUSTER_PROFILE: &str = "kubernetes-fleet.io/cluster-profile-cleanup";
    /// On a MemberCluster, until its namespace is gone.
    pub const MEMBER_CLUSTER: &str = "kubernetes-fleet.io/membercluster-finalizer";
}

/// Kinds of agents that report in `status.agentStatus`.
pub mod agent {
    /// Applies works and reports heartbeats, health and properties.
    pub const MEMBER_AGENT: &str = "MemberAgent";
    /// Serves MultiClusterServices.
    pub const MULTI_CLUSTER_SERVICE_AGENT: &str = "MultiClusterServiceAgent";
    /// Exports and imports services.
    pub const SERVICE_EXPORT_IMPORT_AGENT: &str = "ServiceExportImportAgent";
}

/// Condition types.
pub mod condition {
    /// On a MemberCluster: the hub is prepared for the member.
    pub const READY_TO_JOIN: &str = "ReadyToJoin";
    /// On a MemberCluster and on an agent: joined (`True`) or left (`False`).
    pub const JOINED: &str = "Joined";
    /// On an agent: the member's API server answers. On a MemberCluster: that, and the agent is heard of.
    pub const HEALTHY: &str = "Healthy";
    /// The property provider started.
    pub const PROPERTY_PROVIDER_STARTED: &str = "ClusterPropertyProviderStarted";
    /// The properties were collected.
    pub const PROPERTY_COLLECTION_SUCCEEDED: &str = "ClusterPropertyCollectionSucceeded";
    /// Costs were calculated (KubeFleet's provider for Azure).
    pub const COST_COLLECTION_SUCCEEDED: &str = "AKSClusterCostPropertiesCollectionSucceeded";
    /// The namespaces of the member were collected.
    pub const NAMESPACE_COLLECTION_SUCCEEDED: &str = "NamespaceCollectionSucceeded";
}

/// Condition reasons; events carry the same words.
pub mod reason {
    /// `ReadyToJoin` is True.
    pub const MEMBER_CLUSTER_READY_TO_JOIN: &str = "MemberClusterReadyToJoin";
    /// `ReadyToJoin` is False: the member left.
    pub const MEMBER_CLUSTER_NOT_READY_TO_JOIN: &str = "MemberClusterNotReadyToJoin";
    /// Every expected agent joined.
    pub const MEMBER_CLUSTER_JOINED: &str = "MemberClusterJoined";
    /// Every expected agent left.
    pub const MEMBER_CLUSTER_LEFT: &str = "MemberClusterLeft";
    /// Agents disagree or did not report.
    pub const MEMBER_CLUSTER_JOIN_STATE_UNKNOWN: &str = "MemberClusterJoinStateUnknown";
    /// The agent joined.
    pub const INTERNAL_MEMBER_CLUSTER_JOINED: &str = "InternalMemberClusterJoined";
    /// The agent could not start its work.
    pub const INTERNAL_MEMBER_CLUSTER_FAILED_TO_JOIN: &str = "InternalMemberClusterFailedToJoin";
    /// The agent could not stop its work.
    pub const INTERNAL_MEMBER_CLUSTER_FAILED_TO_LEAVE: &str = "InternalMemberClusterFailedToLeave";
    /// The agent left.
    pub const INTERNAL_MEMBER_CLUSTER_LEFT: &str = "InternalMemberClusterLeft";
    /// The member's API server is ready.
    pub const INTERNAL_MEMBER_CLUSTER_HEALTHY: &str = "InternalMemberClusterHealthy";
    /// The member's API server is not ready.
    pub const INTERNAL_MEMBER_CLUSTER_UNHEALTHY: &str = "InternalMemberClusterUnhealthy";
    /// The property provider started.
    pub const STARTED: &str = "Started";
    /// The property provider did not start.
    pub const FAILED_TO_START: &str = "FailedToStart";
    /// The costs of a core and of memory were calculated.
    pub const COSTS_CALCULATED: &str = "CostsCalculated";
    /// They were calculated without some of the nodes.
    pub const COSTS_CALCULATION_DEGRADED: &str = "CostsCalculationDegraded";
    /// No costs could be calculated.
    pub const COSTS_CALCULATION_FAILED: &str = "CostsCalculationFailed";
    /// The properties were collected.
    pub const PROPERTIES_COLLECTED: &str = "PropertiesCollected";
    /// The properties could not be collected in time.
    pub const TIMED_OUT: &str = "TimedOut";
    /// The properties could not be collected.
    pub const COLLECTION_FAILED: &str = "CollectionFailed";
    /// Every namespace of the member is listed.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Only a part of the namespaces of the member is listed, because there are too many.
    pub const DEGRADED: &str = "Degraded";
}

/// Names in ClusterProfiles.
pub mod profile {
    /// Name of the program that keeps them, which tools look for.
    pub const MANAGER: &str = "KubeFleet";
    /// Label with that name.
    pub const MANAGER_LABEL: &str = "x-k8s.io/cluster-manager";
    /// Condition type: the member is healthy.
    pub const CONTROL_PLANE_HEALTHY: &str = "ControlPlaneHealthy";
    /// The member's agent has reported nothing yet.
    pub const NO_STATUS: &str = "MemberAgentReportedNoStatus";
    /// The member's agent has not reported on health.
    pub const NO_HEALTH_INFO: &str = "MemberAgentReportedNoHealthInfo";
    /// The member's agent has fallen silent.
    pub const HEARTBEAT_LOST: &str = "MemberAgentHeartbeatLost";
    /// The member's API server is not ready.
    pub const UNHEALTHY: &str = "MemberClusterAPIServerUnhealthy";
    /// The member's API server is ready.
    pub const HEALTHY: &str = "MemberClusterAPIServerHealthy";
}

/// Events on a MemberCluster that are not reasons of a condition.
pub mod event {
    /// The member namespace was created.
    pub const NAMESPACE_CREATED: &str = "NamespaceCreated";
    /// The member namespace got its label.
    pub const NAMESPACE_PATCHED: &str = "NamespacePatched";
    /// The Role was created.
    pub const ROLE_CREATED: &str = "RoleCreated";
    /// The Role was put right.
    pub const ROLE_UPDATED: &str = "RoleUpdated";
    /// The RoleBinding was created.
    pub const ROLE_BINDING_CREATED: &str = "RoleBindingCreated";
    /// The RoleBinding was put right.
    pub const ROLE_BINDING_UPDATED: &str = "RoleBindingUpdated";
    /// The InternalMemberCluster was created.
    pub const INTERNAL_MEMBER_CLUSTER_CREATED: &str = "InternalMemberClusterCreated";
    /// The InternalMemberCluster was put right.
    pub const INTERNAL_MEMBER_CLUSTER_SPEC_UPDATED: &str = "InternalMemberClusterSpecUpdated";
}

/// Properties that a member reports in `status.properties`.
pub mod property {
    /// Number of nodes.
    pub const NODE_COUNT: &str = "kubernetes-fleet.io/node-count";
    /// Version of the member's API server.
    pub const K8S_VERSION: &str = "k8s.io/k8s-version";
    /// Address of the member's API server.
    pub const CLUSTER_ENTRYPOINT: &str = "k8s.io/cluster-entrypoint";
    /// Certificate authority of the member's API server.
    pub const CLUSTER_CERTIFICATE_AUTHORITY: &str = "k8s.io/cluster-certificate-authority-data";
    /// Prefix of the names that selectors and sorters read from `status.resourceUsage`;
    /// `total-`, `allocatable-` or `available-` and the resource follow.
    pub const RESOURCE_PREFIX: &str = "resources.kubernetes-fleet.io/";

    /// Price of one core an hour (KubeFleet's Azure provider).
    pub const PER_CPU_CORE_COST: &str = "kubernetes.azure.com/per-cpu-core-cost";
    /// Price of 1 GiB of memory an hour (KubeFleet's Azure provider).
    pub const PER_GB_MEMORY_COST: &str = "kubernetes.azure.com/per-gb-memory-cost";

    /// Returns the name of the number of nodes of a SKU (KubeFleet's Azure provider).
    #[must_use]
    pub fn node_sku(sku: &str) -> String {
        format!("kubernetes.azure.com/vm-sizes/{sku}/count")
    }
}
