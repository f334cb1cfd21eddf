//! Health checks: what a gate looks at to complete by itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::run::is_zero;

/// What a gate looks at. It completes when all checks have passed without a break for a while; somebody can also complete
/// it by hand.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// The checks; all of them have to pass.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub checks: Vec<Check>,
    /// How long all checks must have passed without a break, in seconds. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    pub stable_for_seconds: Option<i32>,
    /// How long the gate waits for that before it gives up, in seconds. Default 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub deadline_seconds: Option<i32>,
    /// What happens when it gives up. Default `Pause`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnHealthFailure>,
}

/// What happens when health is not reached by the deadline.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnHealthFailure {
    /// The run waits until somebody completes the gate or skips its stage or group.
    #[default]
    Pause,
    /// The run fails. When it is started again, the gate looks anew.
    Fail,
    /// The run fails, and the members that it has updated behind the gate are put back to what they were. Where none of them
    /// can be, the run waits as with `Pause`. Only for a gate that stands after a stage or group.
    Rollback,
}

/// One check.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Name of the check, unique in the gate.
    #[schemars(length(min = 1, max = 50))]
    pub name: String,
    /// What is looked at.
    #[serde(flatten)]
    pub probe: Probe,
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// Objects on every member of the gate's stage or group.
    Cel(CelProbe),
    /// The answer to a query.
    Prometheus(PrometheusProbe),
}

/// As for cluster references, the schema says in words that exactly one field is allowed.
impl JsonSchema for Probe {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Probe".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ProbeFields::json_schema(generator)
    }
}

#[derive(KubeSchema, Serialize)]
#[x_kube(
    validation = Rule::new("has(self.cel) != has(self.prometheus)").message("exactly one of cel and prometheus must be set")
)]
#[serde(rename_all = "camelCase")]
struct ProbeFields {
    /// Looks at objects on every member of the gate's stage or group.
    cel: Option<CelProbe>,
    /// Asks a Prometheus server.
    prometheus: Option<PrometheusProbe>,
}

/// Objects for each of which an expression must be true.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CelProbe {
    /// `apiVersion` of the objects, for instance `apps/v1`.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Kind of the objects.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace of the objects; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Labels of the objects, as `kubectl` takes them; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub label_selector: Option<String>,
    /// A CEL expression over `object` that is true when the object is healthy.
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
}

/// A query that must return something, and nothing that is 0.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusProbe {
    /// Base address of the server, `http://…` or `https://…`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("must begin with http:// or https://"))]
    pub url: String,
    /// The query, in PromQL.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// How often the server is asked, in seconds. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: Option<i32>,
}

/// What a check found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    pub name: String,
    /// Whether the check passes: on all members, where it looks at members.
    pub state: CheckState,
    /// Since when it does or does not.
    pub last_transition_time: MicroTime,
    /// Text for people, of a check that looks at no member in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Number of members on which the check passes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passing_members: i32,
    /// Number of members on which it fails.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failing_members: i32,
    /// Number of members that could not be looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown_members: i32,
    /// Members on which the check does not pass: the first 20 by name. The numbers tell how many more there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub members: Vec<MemberCheckStatus>,
}

/// What a check found on a member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberCheckStatus {
    /// Name of the member within the fleet.
    pub name: String,
    /// Whether the check fails or could not be made.
    pub state: CheckState,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Most members that [`CheckStatus::members`] lists: with 16 checks and their messages a gate stays far below what an object
/// may have.
pub const MAX_CHECKED_MEMBERS: usize = 20;

/// Whether a check passes.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckState {
    /// It could not be looked at.
    Unknown,
    /// What is looked at is healthy.
    Passing,
    /// It is not.
    Failing,
}
