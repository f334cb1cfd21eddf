//! Kinds of `cluster.kubernetes-fleet.io`: the members of a fleet.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::Subject;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{Column, Definition, OtherVersion, Rule, STORAGE_VERSION, Scope, Subresources};
use crate::kind::custom_resource;
use crate::schema;

pub mod fleet;
pub mod names;
pub mod profile;

/// API group of the kinds in this module.
pub const GROUP: &str = "cluster.kubernetes-fleet.io";

/// Returns the definitions of the kinds in this module.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![InternalMemberCluster::crd(), MemberCluster::crd()]
}

custom_resource! {
    /// A cluster that takes part in the fleet.
    MemberCluster, ClusterResourceScope,
    spec: MemberClusterSpec, status: MemberClusterStatus, defined by MEMBER_CLUSTER
}

custom_resource! {
    /// The hub's side of the conversation with one member: the hub writes the spec, the member's
    /// agents write the status.
    InternalMemberCluster, NamespaceResourceScope,
    spec: InternalMemberClusterSpec, status: InternalMemberClusterStatus,
    defined by INTERNAL_MEMBER_CLUSTER
}

/// How a cluster takes part in the fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberClusterSpec {
    /// Subject that the member's agents use on the hub; it gets access to the member namespace.
    #[schemars(schema_with = "schema::subject")]
    pub identity: Subject,
    /// Seconds between two heartbeats of the member's agents.
    #[serde(default = "default_heartbeat_period")]
    #[schemars(range(min = 1, max = 600))]
    pub heartbeat_period_seconds: i32,
    /// Taints that keep placements away unless they tolerate them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub taints: Vec<Taint>,
    /// What is checked when the member is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_options: Option<DeleteOptions>,
}

/// Keeps placements away from a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Name of the taint.
    pub key: String,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What the taint does to placements that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new placement is scheduled to the member.
    #[default]
    NoSchedule,
}

/// What is checked when a member is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// Whether the deletion is refused while the member still exports services.
    #[serde(default)]
    pub validation_mode: DeleteValidationMode,
}

/// Whether the deletion of a member is validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeleteValidationMode {
    /// Never refuse.
    Skip,
    /// Refuse while services are exported.
    #[default]
    Strict,
}

/// What the hub knows about a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberClusterStatus {
    /// State of the membership, and what the member's agents report about themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Facts about the member that scheduling can use, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, PropertyValue>,
    /// Resources of the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_usage: Option<ResourceUsage>,
    /// Namespaces of the member and the AppliedWork that owns each (empty if none does); absent
    /// when the member does not collect them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<BTreeMap<String, String>>,
    /// Reports of the member's agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_status: Vec<AgentStatus>,
}

impl MemberClusterStatus {
    /// Returns the report of one kind of agent.
    pub fn agent(&self, type_: &str) -> Option<&AgentStatus> {
        self.agent_status.iter().find(|agent| agent.type_ == type_)
    }
}

/// A fact about a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PropertyValue {
    /// The value, a quantity wherever it is compared.
    pub value: String,
    /// When it was observed.
    pub observation_time: Time,
}

/// Resources of a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceUsage {
    /// Everything the nodes have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub capacity: BTreeMap<String, Quantity>,
    /// What workloads may use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub allocatable: BTreeMap<String, Quantity>,
    /// What workloads have not requested yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub available: BTreeMap<String, Quantity>,
    /// When this was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation_time: Option<Time>,
}

/// Report of one agent of a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Kind of agent, see [`names::agent`].
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether the agent joined, and whether it finds the member healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// When the agent last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_received_heartbeat: Option<Time>,
}

/// What the hub wants of a member's agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalMemberClusterSpec {
    /// Whether the agents should take part in the fleet: Join or Leave.
    #[schemars(schema_with = "schema::plain_string")]
    pub state: ClusterState,
    /// Seconds between two heartbeats of the agents.
    #[serde(default = "default_heartbeat_period")]
    #[schemars(range(min = 1, max = 600))]
    pub heartbeat_period_seconds: i32,
}

impl Default for InternalMemberClusterSpec {
    fn default() -> Self {
        Self { state: ClusterState::Join, heartbeat_period_seconds: default_heartbeat_period() }
    }
}

/// What the hub wants of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterState {
    /// Take part in the fleet.
    #[default]
    Join,
    /// Stop, and leave everything that was placed where it is.
    Leave,
}

/// What the agents of a member report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalMemberClusterStatus {
    /// What the agents report about themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::condition_list")]
    pub conditions: Vec<Condition>,
    /// Facts about the member that scheduling can use, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, PropertyValue>,
    /// Resources of the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_usage: Option<ResourceUsage>,
    /// Namespaces of the member and the AppliedWork that owns each (empty if none does); absent
    /// when the member does not collect them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<BTreeMap<String, String>>,
    /// Reports of the single agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_status: Vec<AgentStatus>,
}

impl InternalMemberClusterStatus {
    /// Returns the report of one kind of agent.
    pub fn agent(&self, type_: &str) -> Option<&AgentStatus> {
        self.agent_status.iter().find(|agent| agent.type_ == type_)
    }
}

fn default_heartbeat_period() -> i32 {
    60
}

const CATEGORIES: &[&str] = &["fleet", "fleet-cluster"];
const VERSIONS: &[&str] = &["v1", "v1beta1"];

const MEMBER_CLUSTER: Definition = Definition {
    group: GROUP,
    kind: "MemberCluster",
    singular: "membercluster",
    plural: "memberclusters",
    name: "memberclusters.cluster.kubernetes-fleet.io",
    scope: Scope::Cluster,
    short_names: &["cluster"],
    categories: CATEGORIES,
    versions: VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[
        Column::text("Joined", r#".status.conditions[?(@.type=="Joined")].status"#),
        Column::AGE,
        Column::date(
            "Member-Agent-Last-Seen",
            r#".status.agentStatus[?(@.type=="MemberAgent")].lastReceivedHeartbeat"#,
        ),
        Column::text("Node-Count", r".status.properties.kubernetes-fleet\.io/node-count.value"),
        Column::text("Available-CPU", ".status.resourceUsage.available.cpu"),
        Column::text("Available-Memory", ".status.resourceUsage.available.memory"),
        Column::text("Allocatable-CPU", ".status.resourceUsage.allocatable.cpu").wide(),
        Column::text("Allocatable-Memory", ".status.resourceUsage.allocatable.memory").wide(),
    ],
    required: &["spec"],
    rules: &[Rule {
        rule: "size(self.metadata.name) < 64",
        message: "metadata.name max length is 63",
    }],
    spec_rules: &[],
    other_versions: &[OtherVersion::lacking(
        "v1",
        &[&["spec", "deleteOptions"], &["status", "namespaces"]],
    )],
};

const INTERNAL_MEMBER_CLUSTER: Definition = Definition {
    group: GROUP,
    kind: "InternalMemberCluster",
    singular: "internalmembercluster",
    plural: "internalmemberclusters",
    name: "internalmemberclusters.cluster.kubernetes-fleet.io",
    scope: Scope::Namespaced,
    short_names: &["imc"],
    categories: CATEGORIES,
    versions: VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[Column::AGE],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[OtherVersion::lacking("v1", &[&["status", "namespaces"]])],
};
