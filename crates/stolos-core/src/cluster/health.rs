//! Whether a member is well, from what its agent said and when it said it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::names::{agent, condition as type_, profile as name};
use stolos_api::cluster::{MemberCluster, MemberClusterStatus};

use crate::condition;

/// What is known of a member's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    holds: &'static str,
    reason: &'static str,
    message: &'static str,
    /// When that ends though nothing happens: the member counts as silent from then on.
    pub(super) wake_at: Option<Timestamp>,
}

impl Health {
    /// Returns it as a condition of this type.
    pub(super) fn condition(&self, type_: &str, generation: i64, now: Timestamp) -> Condition {
        condition::new(type_, self.holds, self.reason, self.message, generation, now)
    }
}

/// Returns what is known of a member's health from what its agent `reported`. A member is silent after `patience`, but
/// never before it has missed a heartbeat.
pub(super) fn of(
    member: &MemberCluster,
    reported: Option<&MemberClusterStatus>,
    patience: SignedDuration,
    now: Timestamp,
) -> Health {
    let health = |holds, reason, message| Health { holds, reason, message, wake_at: None };
    let Some(agent) = reported.and_then(|reported| reported.agent(agent::MEMBER_AGENT)) else {
        let why = "the member agent has reported nothing yet";
        return health("Unknown", name::NO_STATUS, why);
    };
    let Some(healthy) = condition::find(&agent.conditions, type_::HEALTHY) else {
        let why = "the member agent has not told whether the member is healthy";
        return health("Unknown", name::NO_HEALTH_INFO, why);
    };
    let period = SignedDuration::from_secs(i64::from(member.spec.heartbeat_period_seconds));
    let patience = patience.max(period * 2);
    let beat = agent.last_received_heartbeat.as_ref().map_or(Timestamp::MIN, |at| at.0);
    let silent_at = beat.saturating_add(patience).unwrap_or(Timestamp::MAX);
    if now >= silent_at {
        return health("False", name::HEARTBEAT_LOST, "the member agent has fallen silent");
    }
    let known = if healthy.status == "True" {
        health("True", name::HEALTHY, "the API server of the member is healthy")
    } else {
        health("False", name::UNHEALTHY, "the API server of the member is not healthy")
    };
    Health { wake_at: Some(silent_at), ..known }
}
