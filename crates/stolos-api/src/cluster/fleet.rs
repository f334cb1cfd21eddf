//! Fleets and their members, kinds of `fleet.stolos.dev`.
//!
//! A resource group is a namespace; a fleet and everything of the fleet lives in it. Objects of a fleet are named
//! `<fleet>.<name>` and carry `spec.fleetName`.
#![expect(unreachable_pub, reason = "`KubeSchema` repeats each type inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::update::MaintenanceWindows;

/// API group of everything that Azure keeps in its resource manager.
pub const GROUP: &str = "fleet.stolos.dev";

/// Label on objects of a fleet: the fleet's name.
pub const FLEET_LABEL: &str = "fleet.stolos.dev/fleet";

/// Label on a namespace that stands for a resource group: the subscription.
pub const SUBSCRIPTION_LABEL: &str = "fleet.stolos.dev/subscription";

/// Longest name of a member, update run or strategy within its fleet.
pub const MAX_NAME_LENGTH: usize = 50;

/// Condition of a `Fleet` and a `FleetMember`: the hub knows the member and its agent reports.
pub const CONDITION_JOINED: &str = "Joined";

pub(crate) const NAME_RULE: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')";
pub(crate) const NAME_MESSAGE: &str = "must consist of lower-case letters, digits and dashes, \
    and begin and end with a letter or digit";
pub(crate) const OBJECT_NAME_RULE: &str = "self.metadata.name.startsWith(self.spec.fleetName + '.') \
    && self.metadata.name.matches('^[^.]+[.][a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$')";
pub(crate) const OBJECT_NAME_MESSAGE: &str = "metadata.name must be `<fleet>.<name>`: the value of \
    spec.fleetName, a dot, and 1 to 50 lower-case letters, digits and dashes that begin and end with a letter or digit";
pub(crate) const FLEET_NAME_IMMUTABLE: &str =
    "spec.fleetName is immutable; create the object in the other fleet instead";

/// A set of clusters that are managed together.
///
/// With `hub` the fleet has a hub cluster, which places workloads on its members; without, it is a grouping for updates.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "Fleet",
    namespaced,
    status = "FleetStatus",
    derive = "PartialEq",
    shortname = "fl",
    category = "stolos",
    doc = "Fleet is a set of clusters that are managed together.",
    printcolumn(name = "Hub", type_ = "string", json_path = ".status.kind"),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members"),
    printcolumn(name = "Joined", type_ = "integer", json_path = ".status.joinedMembers"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message("metadata.name must be 1 to 63 lower-case letters, digits and dashes that begin and end with a letter or digit")
)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.hub) || has(self.hub)").message("hub cannot be removed once the fleet has one").field_path(".hub").reason(Reason::FieldValueForbidden),
    validation = Rule::new("has(oldSelf.hub) || !has(self.hub) || (has(self.allowHubUpgrade) && self.allowHubUpgrade)").message("a hub cannot be added to a fleet without one, unless allowHubUpgrade is true").field_path(".hub").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct FleetSpec {
    /// The hub cluster of the fleet. Cannot be changed or removed; adding it later needs `allowHubUpgrade`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("hub is immutable").reason(Reason::FieldValueForbidden))]
    pub hub: Option<Hub>,
    /// Allows adding a hub to a fleet that was created without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_hub_upgrade: Option<bool>,
    /// How clusters of Azure are reached. Without it, members with an ARM id are not upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureAccess>,
}

/// How the clusters of a fleet that Azure's resource manager knows are reached.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureAccess {
    /// Secret in the fleet's namespace with `tenantId`, `clientId` and one of `clientSecret`, `clientCertificate` (PEM with
    /// certificate and RSA key) and `federatedTokenFile` (the file that the hub's AZURE_FEDERATED_TOKEN_FILE names), and
    /// optionally `resourceManagerUrl` and `authorityUrl`.
    pub credentials_secret: SecretReference,
    /// Seconds between two looks at a cluster that is not being upgraded, 60 unless set. Azure cannot be watched; what
    /// changes there by other hands is seen within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 3600))]
    pub poll_interval_seconds: Option<i32>,
}

/// The hub cluster of a fleet.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hub {
    /// First label of the hub's DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 54))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$')").message("must consist of letters, digits and dashes, and begin and end with a letter or digit"))]
    pub dns_prefix: Option<String>,
}

/// What was observed of a fleet.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the fleet has a hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FleetKind>,
    /// Number of members.
    #[serde(default)]
    pub members: i32,
    /// Number of members that have joined.
    #[serde(default)]
    pub joined_members: i32,
}

/// Whether a fleet has a hub.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FleetKind {
    /// Places workloads and updates clusters.
    Hubful,
    /// Updates clusters only.
    Hubless,
}

/// A cluster that belongs to a fleet.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "FleetMember",
    namespaced,
    status = "FleetMemberStatus",
    derive = "PartialEq",
    shortname = "fm",
    category = "stolos",
    doc = "FleetMember is a cluster that belongs to a fleet.",
    selectable = ".spec.fleetName",
    printcolumn(name = "Fleet", type_ = "string", json_path = ".spec.fleetName"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Joined", type_ = "string", json_path = ".status.conditions[?(@.type==\"Joined\")].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.kubernetesVersion"),
    printcolumn(name = "Updating", type_ = "string", json_path = ".status.updateLease.updateRun"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(OBJECT_NAME_RULE).message(OBJECT_NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct FleetMemberSpec {
    /// Name of the fleet, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE), validation = Rule::new("self == oldSelf").message(FLEET_NAME_IMMUTABLE))]
    pub fleet_name: String,
    /// The cluster. Exactly one kind of reference.
    #[x_kube(validation = Rule::new("self == oldSelf").message("a member's cluster is immutable; remove the member and join the other cluster").reason(Reason::FieldValueForbidden))]
    pub cluster: ClusterReference,
    /// The update group of the member: update strategies name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE))]
    pub group: Option<String>,
    /// Labels of the member, seen by update strategies and placements.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When update runs may upgrade the cluster. What is set here counts instead of what the cluster's own provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_windows: Option<MaintenanceWindows>,
}

/// Names the cluster that a member stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterReference {
    /// A cluster that Azure's resource manager knows, by its resource id.
    ArmId(String),
    /// A cluster that Cluster API manages.
    ClusterApi(ClusterApiReference),
    /// Any cluster, through a kubeconfig. It can be a target of placements; nobody upgrades it.
    KubeconfigSecret(SecretReference),
    /// A simulated cluster.
    Simulated(SimulatedCluster),
}

impl ClusterReference {
    /// Returns one string that identifies the cluster: the ARM id, or a URI with the provider as its scheme.
    /// `namespace` is the member's own.
    pub fn id(&self, namespace: &str) -> String {
        match self {
            Self::ArmId(id) => id.clone(),
            Self::ClusterApi(ClusterApiReference { namespace: other, name, kubeconfig_secret }) => {
                let id = format!("cluster-api://{}/{name}", other.as_deref().unwrap_or(namespace));
                match kubeconfig_secret {
                    None => id,
                    Some(SecretReference { name }) => format!("{id}?via={namespace}/{name}"),
                }
            }
            Self::KubeconfigSecret(SecretReference { name }) => {
                format!("kubeconfig://{namespace}/{name}")
            }
            Self::Simulated(SimulatedCluster { kubeconfig_secret }) => {
                format!("simulated://{namespace}/{}", kubeconfig_secret.name)
            }
        }
    }
}

/// The schema says in words that exactly one field is allowed; the schema of an enum would say `oneOf`, which people
/// find hard to read in an error.
impl JsonSchema for ClusterReference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClusterReference".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ClusterReferenceFields::json_schema(generator)
    }
}

#[derive(KubeSchema, Serialize)]
#[x_kube(
    validation = Rule::new("[has(self.armId), has(self.clusterApi), has(self.kubeconfigSecret), has(self.simulated)].filter(set, set).size() == 1").message("exactly one of armId, clusterApi, kubeconfigSecret and simulated must be set")
)]
#[serde(rename_all = "camelCase")]
struct ClusterReferenceFields {
    /// Resource id of a cluster that Azure's resource manager knows.
    #[schemars(length(min = 1, max = 2048))]
    arm_id: Option<String>,
    /// A cluster that Cluster API manages.
    cluster_api: Option<ClusterApiReference>,
    /// Any cluster, through the kubeconfig in a secret (key `kubeconfig`). Nobody upgrades it.
    kubeconfig_secret: Option<SecretReference>,
    /// A simulated cluster.
    simulated: Option<SimulatedCluster>,
}

/// Names a `Cluster` of Cluster API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterApiReference {
    /// Namespace of the `Cluster`; the member's own when absent. On the hub itself, a `Cluster` of another namespace has to
    /// name the member's in its annotation `fleet.stolos.dev/members-from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name of the `Cluster`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Secret in the member's namespace with the kubeconfig of the management cluster under the key `kubeconfig`; the hub
    /// itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret: Option<SecretReference>,
}

/// Names a secret in the member's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretReference {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A simulated cluster and how to reach it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedCluster {
    /// Secret with the kubeconfig of the simulated cluster under the key `kubeconfig`.
    pub kubeconfig_secret: SecretReference,
}

/// What was observed of a member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetMemberStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Joined`: the fleet knows the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Labels of the member together with the automatic ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes version of the cluster's control plane when it was last inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Where the cluster is, as its upgrade provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Who updates the cluster at the moment. An update run writes this before it starts an upgrade, so that two runs
    /// never touch one cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_lease: Option<UpdateLease>,
}

/// The right of one update run to upgrade a member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateLease {
    /// Name of the update run within the fleet.
    pub update_run: String,
    /// Uid of the update run.
    pub update_run_uid: String,
    /// The operation that the lease was taken for.
    pub operation_id: String,
    /// When the lease was taken.
    pub acquired_time: Time,
}

/// Returns the name of an object of a fleet: `<fleet>.<name>`.
pub fn object_name(fleet: &str, name: &str) -> String {
    format!("{fleet}.{name}")
}

/// Returns the name within the fleet of an object called `<fleet>.<name>`; `None` for an object of another fleet.
pub fn short_name<'a>(fleet: &str, object: &'a str) -> Option<&'a str> {
    object.strip_prefix(fleet)?.strip_prefix('.')
}

/// Returns the definitions of the fleet kinds.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Fleet::crd(), FleetMember::crd()]
}
