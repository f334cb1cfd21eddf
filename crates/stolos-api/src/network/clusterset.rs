//! What hub and members tell each other about services of the clusterset, which are those of the standard
//! ([`super::mcs`]). The objects are in the namespace of the member on the hub.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointPort;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mcs::{ServiceExportSpec, ServiceImportSpec};
use super::schema;
use crate::cluster::fleet::GROUP;
use crate::crd::{Column, Definition, Scope, Subresources};
use crate::kind::custom_resource;
use crate::schema::conditions;

/// Returns the definitions of the kinds in this module, which live on the hub.
pub fn hub_crds() -> Vec<CustomResourceDefinition> {
    vec![ExportedService::crd(), ImportedService::crd()]
}

custom_resource! {
    /// A Service that a member exports to the clusterset, with its endpoints. Its name says which: `namespace.name`.
    ExportedService, NamespaceResourceScope,
    spec: ExportedServiceSpec, status: ExportedServiceStatus, defined by EXPORTED_SERVICE
}

custom_resource! {
    /// A service of the clusterset, told to a member, with the endpoints of all clusters. Its name says which:
    /// `namespace.name`.
    ImportedService, NamespaceResourceScope,
    spec: ImportedServiceSpec, status: ImportedServiceStatus, defined by IMPORTED_SERVICE
}

/// A Service that a member exports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedServiceSpec {
    /// UID of the ServiceExport.
    pub export_uid: String,
    /// When the ServiceExport was made: where clusters disagree, the oldest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_since: Option<Time>,
    /// What the ServiceExport adds.
    #[serde(default)]
    pub export: ServiceExportSpec,
    /// What the service is if no other cluster exports it.
    pub service: ServiceImportSpec,
    /// Its endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub slices: Vec<ExportedSlice>,
}

/// A state of an object. Lists may show earlier ones, of which nothing must be made once this one is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// UID of the object.
    pub uid: String,
    /// Its `metadata.generation`.
    #[serde(default)]
    pub generation: i64,
}

/// Endpoints that have their ports in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedSlice {
    /// Name of the EndpointSlice of the exporting cluster.
    pub name: String,
    /// State of the EndpointSlice. Importers are not told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// IPv4 or IPv6.
    pub address_type: String,
    /// Ports of every endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::endpoint_ports")]
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<ExportedEndpoint>,
}

/// An endpoint. What is absent is as in an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedEndpoint {
    /// The address of the endpoint, as a list of one.
    pub addresses: Vec<String>,
    /// Whether it takes connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Whether it answers, even if it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Whether it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
    /// Name of the endpoint within a headless service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Zone of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// What the hub makes of an exported Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedServiceStatus {
    /// Whether it is in conflict with those of other clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A service of the clusterset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportedServiceSpec {
    /// The spec of its ServiceImports, without addresses.
    pub service: ServiceImportSpec,
    /// Labels of its ServiceImports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of its ServiceImports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The clusters that export it, the oldest export first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = serde_json::json!(["cluster"])
    ))]
    pub clusters: Vec<SourceCluster>,
}

/// A cluster that exports a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceCluster {
    /// Name of the member.
    pub cluster: String,
    /// State of its ExportedService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Its endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub slices: Vec<ExportedSlice>,
}

/// What a member makes of a service of the clusterset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportedServiceStatus {
    /// Whether it is imported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Condition types of an ImportedService.
pub mod condition {
    /// The member has a ServiceImport for it.
    pub const IMPORTED: &str = "Imported";
}

/// Reasons of the conditions of an ImportedService.
pub mod reason {
    /// `Imported` is True.
    pub const IMPORTED: &str = "Imported";
    /// `Imported` is False: its parts are being made.
    pub const PENDING: &str = "Pending";
    /// `Imported` is False: the member has no such namespace.
    pub const NAMESPACE_NOT_FOUND: &str = "NamespaceNotFound";
    /// `Imported` is False: somebody else's object has a name that is needed.
    pub const NAME_TAKEN: &str = "NameTaken";
}

/// Returns the name of the objects that stand for a service. Neither part can have a dot: a namespace is a DNS label, and
/// so is the name of a Service.
#[must_use]
pub fn object_name(namespace: &str, name: &str) -> String {
    format!("{namespace}.{name}")
}

/// Returns namespace and name of the service that an object of this name stands for; nothing if it stands for none.
#[must_use]
pub fn service_of(object: &str) -> Option<(&str, &str)> {
    let (namespace, name) = object.split_once('.')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains('.')).then_some((namespace, name))
}

const EXPORTED_SERVICE: Definition = Definition {
    group: GROUP,
    kind: "ExportedService",
    singular: "exportedservice",
    plural: "exportedservices",
    name: "exportedservices.fleet.stolos.dev",
    scope: Scope::Namespaced,
    short_names: &[],
    categories: &["stolos"],
    versions: &["v1alpha1"],
    storage: "v1alpha1",
    subresources: Subresources::Status,
    columns: &[
        Column::text("Type", ".spec.service.type"),
        Column::text("Conflict", ".status.conditions[?(@.type=='Conflict')].status"),
        Column::AGE,
    ],
    required: &["spec"],
    rules: &[],
    spec_rules: &[],
    other_versions: &[],
};

const IMPORTED_SERVICE: Definition = Definition {
    kind: "ImportedService",
    singular: "importedservice",
    plural: "importedservices",
    name: "importedservices.fleet.stolos.dev",
    columns: &[
        Column::text("Type", ".spec.service.type"),
        Column::text("Imported", ".status.conditions[?(@.type=='Imported')].status"),
        Column::AGE,
    ],
    ..EXPORTED_SERVICE
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_object_says_which_service_it_stands_for() {
        assert_eq!(object_name("a-b", "c"), "a-b.c");
        assert_eq!(service_of("a-b.c"), Some(("a-b", "c")));
        for other in ["", "a", ".a", "a.", "a.b.c"] {
            assert_eq!(service_of(other), None, "{other}");
        }
    }
}
