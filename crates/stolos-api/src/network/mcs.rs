//! ServiceExport and ServiceImport of the SIG-Multicluster Multi-Cluster Services API (KEP-1645).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::SessionAffinityConfig;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ClusterStatus, ServiceImportType, schema};
use crate::crd::{Column, Definition, STORAGE_VERSION, Scope, Subresources};
use crate::kind::custom_resource;
use crate::schema::conditions;

pub use crate::cluster::profile::GROUP;

/// API version of the kinds in this module, as owners of other objects.
pub const API_VERSION: &str = "multicluster.x-k8s.io/v1beta1";

/// Returns the definitions of the kinds in this module, which live on members that use them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![ServiceExport::crd(), ServiceImport::crd()]
}

custom_resource! {
    /// Exports the Service of the same name to the clusterset.
    ServiceExport, NamespaceResourceScope,
    spec: ServiceExportSpec, status: ServiceExportStatus, defined by SERVICE_EXPORT
}

custom_resource! {
    /// A service that clusters of the clusterset export.
    ServiceImport, NamespaceResourceScope,
    spec: ServiceImportSpec, status: ServiceImportStatus, defined by SERVICE_IMPORT
}

/// What an export adds to the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExportSpec {
    /// Annotations of the imported service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exported_annotations: BTreeMap<String, String>,
    /// Labels of the imported service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exported_labels: BTreeMap<String, String>,
}

/// Whether a service is exported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExportStatus {
    /// Whether the export is valid, ready, and in conflict with those of other clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A service of the clusterset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImportSpec {
    /// Ports of the service.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<ServicePort>,
    /// Addresses of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub ips: Vec<String>,
    /// Address families of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub ip_families: Vec<String>,
    /// Whether the service has an address of its own.
    #[serde(rename = "type")]
    pub type_: ServiceImportType,
    /// ClientIP if a client stays with its endpoint, None otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session_affinity: String,
    /// For how long a client stays with its endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::session_affinity_config")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Whether clients in the cluster get endpoints of their own node only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<String>,
    /// Which endpoints clients should get first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<String>,
}

impl Default for ServiceImportSpec {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            ips: Vec::new(),
            ip_families: Vec::new(),
            type_: ServiceImportType::ClusterSetIp,
            session_affinity: String::new(),
            session_affinity_config: None,
            internal_traffic_policy: None,
            traffic_distribution: None,
        }
    }
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name of the port; may be empty if it is the only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// TCP, UDP or SCTP; TCP if absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Protocol of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// Port that clients connect to.
    pub port: i32,
}

/// Where a service comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImportStatus {
    /// Clusters that export the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = json!(["cluster"])
    ))]
    pub clusters: Vec<ClusterStatus>,
    /// Whether the service can be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Condition types of a ServiceExport; a ServiceImport has `Ready` alone.
pub mod condition {
    /// The Service can be exported.
    pub const VALID: &str = "Valid";
    /// The Service is exported. The service of a ServiceImport can be used.
    pub const READY: &str = "Ready";
    /// Clusters export it in different ways.
    pub const CONFLICT: &str = "Conflict";
}

/// Reasons of the conditions of a ServiceExport.
pub mod reason {
    /// `Valid` is True.
    pub const VALID: &str = "Valid";
    /// There is no Service.
    pub const NO_SERVICE: &str = "NoService";
    /// The Service is of a type that cannot be exported.
    pub const INVALID_SERVICE_TYPE: &str = "InvalidServiceType";
    /// `Valid` is False: the spec of the ServiceExport holds what no label or annotation can be.
    pub const INVALID_EXPORTED_METADATA: &str = "InvalidExportedMetadata";
    /// `Ready` of a ServiceExport is True.
    pub const EXPORTED: &str = "Exported";
    /// `Ready` of a ServiceImport is True.
    pub const READY: &str = "Ready";
    /// `Ready` of a ServiceImport is False: its endpoints have no address of a version that the cluster has.
    pub const IP_FAMILY_NOT_SUPPORTED: &str = "IPFamilyNotSupported";
    /// `Ready` is False: it is on its way.
    pub const PENDING: &str = "Pending";
    /// `Conflict` is False.
    pub const NO_CONFLICTS: &str = "NoConflicts";
    /// Ports are different.
    pub const PORT_CONFLICT: &str = "PortConflict";
    /// Some are headless and some are not.
    pub const TYPE_CONFLICT: &str = "TypeConflict";
    /// Session affinity is different.
    pub const SESSION_AFFINITY_CONFLICT: &str = "SessionAffinityConflict";
    /// The time-out of the session affinity is different.
    pub const SESSION_AFFINITY_CONFIG_CONFLICT: &str = "SessionAffinityConfigConflict";
    /// The internal traffic policy is different.
    pub const INTERNAL_TRAFFIC_POLICY_CONFLICT: &str = "InternalTrafficPolicyConflict";
    /// The traffic distribution is different.
    pub const TRAFFIC_DISTRIBUTION_CONFLICT: &str = "TrafficDistributionConflict";
    /// Address families are different.
    pub const IP_FAMILY_CONFLICT: &str = "IPFamilyConflict";
    /// Exported labels are different.
    pub const LABELS_CONFLICT: &str = "LabelsConflict";
    /// Exported annotations are different.
    pub const ANNOTATIONS_CONFLICT: &str = "AnnotationsConflict";
}

const BOTH_VERSIONS: &[&str] = &["v1alpha1", "v1beta1"];

const SERVICE_EXPORT: Definition = Definition {
    group: GROUP,
    kind: "ServiceExport",
    singular: "serviceexport",
    plural: "serviceexports",
    name: "serviceexports.multicluster.x-k8s.io",
    scope: Scope::Namespaced,
    short_names: &["svcex", "svcexport"],
    categories: &[],
    versions: BOTH_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[Column::AGE],
    required: &[],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};

const SERVICE_IMPORT: Definition = Definition {
    group: GROUP,
    kind: "ServiceImport",
    singular: "serviceimport",
    plural: "serviceimports",
    name: "serviceimports.multicluster.x-k8s.io",
    scope: Scope::Namespaced,
    short_names: &["svcim", "svcimport"],
    categories: &[],
    versions: BOTH_VERSIONS,
    storage: STORAGE_VERSION,
    subresources: Subresources::Status,
    columns: &[Column::text("Type", ".spec.type"), Column::text("IP", ".spec.ips"), Column::AGE],
    required: &[],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};
