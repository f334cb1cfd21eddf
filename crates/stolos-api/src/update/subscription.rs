//! Event subscriptions: signed webhooks about gates and update runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::fleet::{
    FLEET_NAME_IMMUTABLE, NAME_MESSAGE, NAME_RULE, OBJECT_NAME_MESSAGE, OBJECT_NAME_RULE,
    SecretReference,
};

/// Deliveries of an event before it is given up, unless the subscription says otherwise.
pub const DEFAULT_MAX_ATTEMPTS: i32 = 10;

/// Key of the signing secret in its `Secret`.
pub const SIGNING_SECRET_KEY: &str = "secret";

/// Key of an older signing secret that receivers may still know: events are signed with both.
pub const PREVIOUS_SIGNING_SECRET_KEY: &str = "previousSecret";

/// Tells a webhook when gates and update runs of a fleet change.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "EventSubscription",
    namespaced,
    status = "EventSubscriptionStatus",
    derive = "PartialEq",
    shortname = "evsub",
    category = "stolos",
    doc = "EventSubscription tells a webhook when gates and update runs of a fleet change.",
    selectable = ".spec.fleetName",
    printcolumn(name = "Fleet", type_ = "string", json_path = ".spec.fleetName"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Delivered", type_ = "integer", json_path = ".status.delivered"),
    printcolumn(name = "Given Up", type_ = "integer", json_path = ".status.deadLettered"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(OBJECT_NAME_RULE).message(OBJECT_NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct EventSubscriptionSpec {
    /// Name of the fleet, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE), validation = Rule::new("self == oldSelf").message(FLEET_NAME_IMMUTABLE))]
    pub fleet_name: String,
    /// Where events are posted to.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && (url(self).getScheme() == 'https' || url(self).getScheme() == 'http') && url(self).getHost() != ''").message("must be a URL such as https://hooks.example.com/fleet"))]
    pub url: String,
    /// Secret in the same namespace whose key `secret` signs events; those of `previousSecret` too, if it has that key.
    pub signing_secret: SecretReference,
    /// Certificates in PEM form that the receiver's is checked against, instead of those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// Which events are told; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    pub events: Vec<EventType>,
    /// How often an event is sent before it is given up. Default 10, which takes about a quarter of an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 30))]
    pub max_attempts: Option<i32>,
}

/// Something that is told.
#[derive(
    JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum EventType {
    /// A run has come to a gate.
    GateCreated,
    /// A gate was completed or skipped.
    GateUpdated,
    /// A gate is gone.
    GateDeleted,
    /// There is a new run.
    UpdateRunCreated,
    /// A run has another state.
    UpdateRunUpdated,
    /// A run is gone.
    UpdateRunDeleted,
}

/// What was told, and what comes next.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSubscriptionStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the receiver takes events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What the receiver knows of each object. This is what makes deliveries survive a crash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    /// The event that could not be delivered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<DeliveryRetry>,
    /// Events that the receiver took.
    #[serde(default)]
    pub delivered: i64,
    /// Events that were given up.
    #[serde(default)]
    pub dead_lettered: i64,
}

/// What the receiver knows of an object.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// `Gate` or `UpdateRun`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// The state that was told last.
    pub state: String,
    /// How many events were told about the object.
    #[serde(default)]
    pub events: i32,
}

/// An event that could not be delivered yet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRetry {
    /// Id of the event.
    pub event_id: String,
    /// How often it was sent.
    pub attempts: i32,
    /// When it is sent again.
    pub next_attempt_time: MicroTime,
    /// Why it was not taken.
    pub message: String,
}
