//! What a member's ClusterProfile says, for tools that read the SIG-Multicluster inventory.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use stolos_api::cluster::names::{condition as type_, profile as name, property};
use stolos_api::cluster::profile::{
    AccessProvider, ClusterEndpoint, ClusterManager, ClusterProfileSpec, ClusterProfileStatus,
    ClusterVersion,
};
use stolos_api::cluster::{MemberCluster, MemberClusterStatus};

use super::health;
use crate::condition;

/// Status of a profile, and when it changes though nothing happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The status.
    pub status: ClusterProfileStatus,
    /// When the member counts as silent if it stays silent.
    pub wake_at: Option<Timestamp>,
}

/// Returns whether a member has a profile: it has joined, and is not on its way out.
#[must_use]
pub fn is_wanted(member: &MemberCluster) -> bool {
    let generation = member.metadata.generation.unwrap_or(0);
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    member.metadata.deletion_timestamp.is_none()
        && condition::is_true(conditions, type_::JOINED, generation)
}

/// Returns the spec of a member's profile.
#[must_use]
pub fn spec(member: &str) -> ClusterProfileSpec {
    ClusterProfileSpec {
        display_name: member.to_owned(),
        cluster_manager: ClusterManager { name: name::MANAGER.to_owned() },
    }
}

/// Returns the status of a member's profile. A member is silent after `patience`, as [`health::of`] says.
#[must_use]
pub fn status(
    member: &MemberCluster,
    previous: Option<&ClusterProfileStatus>,
    generation: i64,
    patience: SignedDuration,
    now: Timestamp,
) -> Profile {
    let mut status = previous.cloned().unwrap_or_default();
    let reported = member.status.as_ref();
    if let Some(reported) = reported.filter(|reported| is_collected(member, reported)) {
        describe(reported, &mut status);
    }
    let health = health::of(member, reported, patience, now);
    let healthy = health.condition(name::CONTROL_PLANE_HEALTHY, generation, now);
    condition::set(&mut status.conditions, healthy);
    Profile { status, wake_at: health.wake_at }
}

/// Returns whether the member says that its properties are complete.
fn is_collected(member: &MemberCluster, status: &MemberClusterStatus) -> bool {
    let generation = member.metadata.generation.unwrap_or(0);
    condition::is_true(&status.conditions, type_::PROPERTY_COLLECTION_SUCCEEDED, generation)
}

fn describe(reported: &MemberClusterStatus, status: &mut ClusterProfileStatus) {
    let property = |name: &str| reported.properties.get(name).map(|fact| fact.value.clone());
    if let Some(kubernetes) = property(property::K8S_VERSION) {
        status.version = Some(ClusterVersion { kubernetes });
    }
    let Some(server) = property(property::CLUSTER_ENTRYPOINT) else { return };
    let authority = property(property::CLUSTER_CERTIFICATE_AUTHORITY);
    status.access_providers = vec![AccessProvider {
        name: name::MANAGER.to_owned(),
        cluster: Some(ClusterEndpoint {
            server,
            certificate_authority_data: authority.map(|text| ByteString(text.into_bytes())),
            ..ClusterEndpoint::default()
        }),
    }];
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MINUTE: SignedDuration = SignedDuration::from_mins(1);

    fn member(agent: Value) -> MemberCluster {
        let holds = |type_: &str| {
            json!({
                "type": type_, "status": "True", "reason": "x", "message": "",
                "observedGeneration": 2, "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        };
        let fact = |value: &str| json!({"value": value, "observationTime": "1970-01-01T00:00:00Z"});
        serde_json::from_value(json!({
            "metadata": {"name": "m", "generation": 2},
            "spec": {"identity": {"kind": "User", "name": "m"}, "heartbeatPeriodSeconds": 15},
            "status": {
                "conditions": [holds("Joined"), holds("ClusterPropertyCollectionSucceeded")],
                "properties": {
                    "k8s.io/k8s-version": fact("v1.34.1"),
                    "k8s.io/cluster-entrypoint": fact("https://m.example.com"),
                },
                "agentStatus": agent,
            },
        }))
        .unwrap()
    }

    fn agent(healthy: Option<&str>) -> Value {
        let condition = |status: &str| {
            json!({
                "type": "Healthy", "status": status, "reason": "x", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        };
        let conditions: Vec<_> = healthy.into_iter().map(condition).collect();
        json!([{
            "type": "MemberAgent", "lastReceivedHeartbeat": "1970-01-01T00:00:00Z",
            "conditions": conditions,
        }])
    }

    fn health_at(member: &MemberCluster, seconds: i64) -> (String, String, Option<i64>) {
        let now = Timestamp::from_second(seconds).unwrap();
        let Profile { status, wake_at } = status(member, None, 1, MINUTE, now);
        let found = &status.conditions[0];
        assert_eq!(found.type_, "ControlPlaneHealthy");
        (found.status.clone(), found.reason.clone(), wake_at.map(Timestamp::as_second))
    }

    #[test]
    fn health_follows_the_agent_and_its_heartbeat() {
        let told = |status: &str, reason: &str, wake: Option<i64>| {
            (status.to_owned(), reason.to_owned(), wake)
        };
        let silent = member(json!([]));
        assert_eq!(health_at(&silent, 0), told("Unknown", "MemberAgentReportedNoStatus", None));
        let vague = member(agent(None));
        assert_eq!(health_at(&vague, 0), told("Unknown", "MemberAgentReportedNoHealthInfo", None));
        let ill = member(agent(Some("False")));
        assert_eq!(health_at(&ill, 0), told("False", "MemberClusterAPIServerUnhealthy", Some(60)));
        let well = member(agent(Some("True")));
        assert_eq!(health_at(&well, 59), told("True", "MemberClusterAPIServerHealthy", Some(60)));
        assert_eq!(health_at(&well, 60), told("False", "MemberAgentHeartbeatLost", None));
        let mut slow = well;
        slow.spec.heartbeat_period_seconds = 100;
        let at_rest = told("True", "MemberClusterAPIServerHealthy", Some(200));
        assert_eq!(health_at(&slow, 199), at_rest, "a heartbeat that is not due is not missing");
    }

    #[test]
    fn version_and_address_are_shown_once_they_are_collected() {
        let mut member = member(agent(Some("True")));
        let shown =
            |member: &MemberCluster| status(member, None, 1, MINUTE, Timestamp::UNIX_EPOCH).status;
        let complete = shown(&member);
        assert_eq!(complete.version.unwrap().kubernetes, "v1.34.1");
        assert_eq!(complete.access_providers[0].name, "KubeFleet");
        let cluster = complete.access_providers[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server, "https://m.example.com");
        member.metadata.generation = Some(3);
        assert_eq!(shown(&member).version, None, "what is said is of an older generation");
        assert!(!is_wanted(&member));
    }

    #[test]
    fn saying_it_again_changes_nothing() {
        let member = member(agent(Some("True")));
        let first = status(&member, None, 1, MINUTE, Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(30).unwrap();
        assert_eq!(status(&member, Some(&first.status), 1, MINUTE, later), first);
    }
}
