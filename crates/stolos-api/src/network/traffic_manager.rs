//! Balancing by DNS.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schema::conditions;

/// A DNS name and how the endpoints behind it are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerProfileSpec {
    /// Azure resource group of the profile.
    #[schemars(
        length(min = 1, max = 90),
        extend("x-kubernetes-validations" = json!([{
            "message": "resourceGroup is immutable",
            "rule": "self == oldSelf",
        }]))
    )]
    pub resource_group: String,
    /// How endpoints are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_config: Option<MonitorConfig>,
}

/// How endpoints are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = json!([
    {
        "message": "timeoutInSeconds must be between 5 and 10 when intervalInSeconds is 30",
        "rule": "has(self.intervalInSeconds) && self.intervalInSeconds == 30 ? (!has(self.timeoutInSeconds) || (self.timeoutInSeconds >= 5 && self.timeoutInSeconds <= 10)) : true",
    },
    {
        "message": "timeoutInSeconds must be between 5 and 9 when intervalInSeconds is 10",
        "rule": "has(self.intervalInSeconds) && self.intervalInSeconds == 10 ? (!has(self.timeoutInSeconds) || (self.timeoutInSeconds >= 5 && self.timeoutInSeconds <= 9)) : true",
    },
])))]
pub struct MonitorConfig {
    /// Seconds between two checks of an endpoint: 10 or 30.
    #[serde(default = "default_interval")]
    #[schemars(extend("enum" = json!([10, 30])))]
    pub interval_in_seconds: i64,
    /// Path that is asked for over HTTP and HTTPS.
    #[serde(default = "default_path")]
    pub path: String,
    /// Port that is asked.
    #[serde(default = "default_port")]
    pub port: i64,
    /// Protocol of the check.
    #[serde(default)]
    pub protocol: MonitorProtocol,
    /// Seconds to wait for an answer: 5 to 10, or 5 to 9 with an interval of 10. The longest of these if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 10))]
    pub timeout_in_seconds: Option<i64>,
    /// Failures in a row after which an endpoint still counts as healthy.
    #[serde(default = "default_tolerated_failures")]
    #[schemars(range(min = 0, max = 9))]
    pub tolerated_number_of_failures: i64,
    /// Headers of the check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = json!(["name"])
        )
    )]
    pub custom_headers: Vec<MonitorHeader>,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            interval_in_seconds: default_interval(),
            path: default_path(),
            port: default_port(),
            protocol: MonitorProtocol::default(),
            timeout_in_seconds: None,
            tolerated_number_of_failures: default_tolerated_failures(),
            custom_headers: Vec::new(),
        }
    }
}

impl MonitorConfig {
    /// Returns the seconds to wait for an answer.
    #[must_use]
    pub fn timeout_seconds(&self) -> i64 {
        let longest = if self.interval_in_seconds == 10 { 9 } else { 10 };
        self.timeout_in_seconds.unwrap_or(longest)
    }
}

fn default_interval() -> i64 {
    30
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_port() -> i64 {
    80
}

fn default_tolerated_failures() -> i64 {
    3
}

/// Protocol of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum MonitorProtocol {
    /// A request over HTTP.
    #[default]
    Http,
    /// A request over HTTPS.
    Https,
    /// A connection alone.
    Tcp,
}

/// A header of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitorHeader {
    /// Name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Value.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// What became of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerProfileStatus {
    /// The DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Id of the profile at its provider.
    #[serde(default, rename = "resourceID", skip_serializing_if = "String::is_empty")]
    pub resource_id: String,
    /// Whether the name is answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Which service is put behind which profile, and with which share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerBackendSpec {
    /// The profile.
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "spec.profile is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub profile: TrafficManagerProfileRef,
    /// The service.
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "spec.backend is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub backend: TrafficManagerBackendRef,
    /// Share of the traffic of the profile, relative to its other backends; 0 takes the service out.
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i64,
}

impl Default for TrafficManagerBackendSpec {
    fn default() -> Self {
        Self {
            profile: TrafficManagerProfileRef::default(),
            backend: TrafficManagerBackendRef::default(),
            weight: default_weight(),
        }
    }
}

fn default_weight() -> i64 {
    1
}

/// Names a TrafficManagerProfile of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerProfileRef {
    /// Name.
    pub name: String,
}

/// Names a ServiceImport of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerBackendRef {
    /// Name.
    pub name: String,
}

/// What became of a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerBackendStatus {
    /// The clusters behind the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<TrafficManagerEndpointStatus>,
    /// Whether the backend is behind the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A cluster behind a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficManagerEndpointStatus {
    /// Name of the endpoint at the provider.
    pub name: String,
    /// Id of the endpoint at the provider.
    #[serde(default, rename = "resourceID", skip_serializing_if = "String::is_empty")]
    pub resource_id: String,
    /// Share of the traffic of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Address that the DNS name is answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The exported Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromCluster>,
}

/// Where an endpoint comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FromCluster {
    /// Name of the member.
    pub cluster: String,
    /// Weight of its ServiceExport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}
