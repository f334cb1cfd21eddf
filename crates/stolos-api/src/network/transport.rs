//! What hub and members tell each other about services and endpoints.

use k8s_openapi::api::discovery::v1::EndpointPort;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ServicePort, schema};
use crate::schema::conditions;

/// Names an object of a member as it was when it was last exported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ExportedObjectReference {
    /// Name of the member.
    pub cluster_id: String,
    /// API version of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Resource version of the object.
    pub resource_version: String,
    /// Generation of the object.
    pub generation: i64,
    /// UID of the object.
    pub uid: String,
    /// `<namespace>/<name>` of the object.
    pub namespaced_name: String,
    /// Since when this version of the object is being exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_since: Option<Time>,
}

/// A Service that a member exports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalServiceExportSpec {
    /// Ports of the Service.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<ServicePort>,
    /// The Service.
    pub service_reference: ExportedObjectReference,
    /// Type of the Service.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Whether the public address of the Service has a DNS label.
    #[serde(default, rename = "isDNSLabelConfigured", skip_serializing_if = "std::ops::Not::not")]
    pub is_dns_label_configured: bool,
    /// Whether the load balancer of the Service has an internal address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_internal_load_balancer: bool,
    /// Azure resource of the public address of the Service.
    #[serde(default, rename = "publicIPResourceID", skip_serializing_if = "Option::is_none")]
    pub public_ip_resource_id: Option<String>,
    /// Share of the traffic that this cluster gets, relative to the others, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// What the hub makes of an exported Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalServiceExportStatus {
    /// Whether it conflicts with those of other clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// The service that a member wants to import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalServiceImportSpec {
    /// The ServiceImport of the member.
    pub service_import_reference: ExportedObjectReference,
}

/// Endpoints of a Service of a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = address_type_is_required)]
pub struct EndpointSliceExportSpec {
    /// Type of all addresses.
    #[serde(default)]
    pub address_type: AddressType,
    /// The endpoints.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<Endpoint>,
    /// Ports of every endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::endpoint_ports")]
    pub ports: Vec<EndpointPort>,
    /// The EndpointSlice.
    pub endpoint_slice_reference: ExportedObjectReference,
    /// The Service that the EndpointSlice belongs to.
    pub owner_service_reference: OwnerServiceReference,
}

/// Type of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressType {
    /// Internet protocol version 4.
    #[default]
    #[serde(rename = "IPv4")]
    Ipv4,
}

/// An endpoint that takes connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Addresses of the endpoint, of which the first is used.
    pub addresses: Vec<String>,
}

/// Names the Service that endpoints belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerServiceReference {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// `<namespace>/<name>` of the Service.
    pub namespaced_name: String,
}

/// A field with a default is not required for us, but the published schema has both.
fn address_type_is_required(schema: &mut schemars::Schema) {
    let required = schema.get_mut("required").and_then(serde_json::Value::as_array_mut);
    required.expect("other fields are required").push("addressType".into());
}
