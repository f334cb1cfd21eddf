//! ClusterProfile, the SIG-Multicluster Cluster Inventory API: what other tools can know of a member.

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::crd::{Definition, Scope, Subresources};
use crate::kind::custom_resource;
use crate::schema;

/// API group of the kinds in this module.
pub const GROUP: &str = "multicluster.x-k8s.io";

/// Returns the definitions of the kinds in this module.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![ClusterProfile::crd()]
}

custom_resource! {
    /// A cluster of an inventory.
    ClusterProfile, NamespaceResourceScope,
    spec: ClusterProfileSpec, status: ClusterProfileStatus, defined by CLUSTER_PROFILE
}

/// Who keeps a profile, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProfileSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Who keeps the profile.
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "ClusterManager is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub cluster_manager: ClusterManager,
}

/// A program that keeps profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterManager {
    /// Name.
    pub name: String,
}

/// What is known of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProfileStatus {
    /// Whether the cluster is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::condition_list")]
    pub conditions: Vec<Condition>,
    /// Versions of the cluster's software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ClusterVersion>,
    /// Facts about the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// Ways to reach the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_providers: Vec<AccessProvider>,
    /// Older name of `accessProviders`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_providers: Vec<AccessProvider>,
}

/// Versions of a cluster's software.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterVersion {
    /// Version of Kubernetes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kubernetes: String,
}

/// A fact about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Property {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Value.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
    /// When it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_observed_time: Option<Time>,
}

/// A way to reach a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessProvider {
    /// Who provides it.
    pub name: String,
    /// Where the cluster is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterEndpoint>,
}

/// Where a cluster is, as in a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterEndpoint {
    /// Address of the API server.
    pub server: String,
    /// Name that its certificate is checked against, if not the host of the address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tls_server_name: String,
    /// Whether its certificate is not checked at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verify: bool,
    /// File with the certificate authority.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate_authority: String,
    /// The certificate authority itself, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    pub certificate_authority_data: Option<ByteString>,
    /// Proxy to use.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proxy_url: String,
    /// Whether answers are not to be compressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_compression: bool,
    /// Further information for some clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<NamedExtension>,
}

/// Further information for some clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedExtension {
    /// Name.
    pub name: String,
    /// The information.
    #[schemars(schema_with = "schema::any_object")]
    pub extension: Value,
}

const CLUSTER_PROFILE: Definition = Definition {
    group: GROUP,
    kind: "ClusterProfile",
    singular: "clusterprofile",
    plural: "clusterprofiles",
    name: "clusterprofiles.multicluster.x-k8s.io",
    scope: Scope::Namespaced,
    short_names: &[],
    categories: &[],
    versions: &["v1alpha1"],
    storage: "v1alpha1",
    subresources: Subresources::Status,
    columns: &[],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};
