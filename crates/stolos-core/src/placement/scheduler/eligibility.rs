//! Whether a member can take new placements at all.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::{agent, condition};

/// After this long without a heartbeat, or in bad health, a member takes nothing new (placement-scheduler 4.3).
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Checks that a member is connected, joined and not unhealthy for long.
///
/// # Errors
/// The reason, worded as users of KubeFleet know it.
pub fn check(cluster: &MemberCluster, now: Timestamp) -> Result<(), String> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Err("cluster has left the fleet".to_owned());
    }
    let Some(agent) = cluster.status.as_ref().and_then(|status| status.agent(agent::MEMBER_AGENT))
    else {
        return Err(disconnected("member agent not online yet"));
    };
    let heartbeat = agent.last_received_heartbeat.as_ref().map_or(Timestamp::MIN, |at| at.0);
    let age = now.duration_since(heartbeat);
    if age > PATIENCE {
        let minutes = minutes(age);
        return Err(disconnected(&format!(
            "no recent heartbeat signals (last received {minutes} minutes ago)"
        )));
    }
    let find = |type_: &str| agent.conditions.iter().find(|condition| condition.type_ == type_);
    if find(condition::JOINED).is_none_or(|joined| joined.status != "True") {
        return Err(disconnected("member agent not joined yet"));
    }
    let Some(healthy) = find(condition::HEALTHY) else {
        return Err(disconnected("health condition from member agent is not available"));
    };
    check_health(healthy, now)
}

fn check_health(healthy: &Condition, now: Timestamp) -> Result<(), String> {
    let age = now.duration_since(healthy.last_transition_time.0);
    if healthy.status != "True" && age > PATIENCE {
        let minutes = minutes(age);
        return Err(disconnected(&format!(
            "unhealthy for a prolonged period of time (last transitioned {minutes} minutes ago)"
        )));
    }
    Ok(())
}

fn disconnected(why: &str) -> String {
    format!("cluster is not connected to the fleet: {why}")
}

fn minutes(age: SignedDuration) -> String {
    format!("{:.2}", age.as_secs_f64() / 60.0)
}
