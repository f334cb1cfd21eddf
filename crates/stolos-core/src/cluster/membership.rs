//! Joining and leaving: what the hub keeps for a member, and what it reports about it (placement-clusters 2.1, 2.2).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::names::{agent, condition as type_, reason};
use stolos_api::cluster::{
    AgentStatus, ClusterState, InternalMemberCluster, MemberCluster, MemberClusterStatus,
};

use crate::condition;

/// What the hub does for a member that is leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Nothing is left: the MemberCluster may go.
    Release,
    /// The namespace is on its way out.
    Wait,
    /// The agent is asked to leave; give up waiting for it at this moment.
    Ask(Timestamp),
    /// The agent has left, or has been given up: remove the member's namespace and what is in it. Objects on the member
    /// stay.
    CleanUp,
}

/// Observed state of the member's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// There is none.
    Absent,
    /// It is being deleted.
    Terminating,
    /// It is in use.
    Active,
}

/// Decides the next step for a MemberCluster that is being deleted since `deleted`.
#[must_use]
pub fn leave(
    namespace: Namespace,
    internal: Option<&InternalMemberCluster>,
    deleted: Timestamp,
    patience: Duration,
    now: Timestamp,
) -> Leaving {
    match namespace {
        Namespace::Absent => return Leaving::Release,
        Namespace::Terminating => return Leaving::Wait,
        Namespace::Active => {}
    }
    let Some(internal) = internal else { return Leaving::CleanUp };
    let generation = internal.metadata.generation.unwrap_or(0);
    let asked = internal.spec.state == ClusterState::Leave;
    if asked && agent_has_left(internal, generation) {
        return Leaving::CleanUp;
    }
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    let deadline = deleted.checked_add(patience).unwrap_or(Timestamp::MAX);
    if asked && now >= deadline { Leaving::CleanUp } else { Leaving::Ask(deadline) }
}

/// Tells whether the member agent has said, after it was asked to, that it has left.
fn agent_has_left(internal: &InternalMemberCluster, generation: i64) -> bool {
    let agent = internal.status.as_ref().and_then(|status| status.agent(agent::MEMBER_AGENT));
    let joined =
        agent.and_then(|agent| condition::current(&agent.conditions, type_::JOINED, generation));
    joined.is_some_and(|joined| joined.status == "False")
}

/// Returns what the hub reports about a member: ready to join, and what its agents said.
#[must_use]
pub fn status(
    member: &MemberCluster,
    internal: Option<&InternalMemberCluster>,
    prepared: bool,
    now: Timestamp,
) -> MemberClusterStatus {
    let generation = member.metadata.generation.unwrap_or(0);
    let mut status = member.status.clone().unwrap_or_default();
    if prepared {
        let ready = condition::new(
            type_::READY_TO_JOIN,
            "True",
            reason::MEMBER_CLUSTER_READY_TO_JOIN,
            "",
            generation,
            now,
        );
        condition::set(&mut status.conditions, ready);
    }
    if let Some(reported) = internal.and_then(|internal| internal.status.as_ref()) {
        let restamp = |conditions: &[Condition]| -> Vec<Condition> {
            let at =
                |c: &Condition| Condition { observed_generation: Some(generation), ..c.clone() };
            conditions.iter().map(at).collect()
        };
        status.agent_status = reported
            .agent_status
            .iter()
            .map(|agent| AgentStatus { conditions: restamp(&agent.conditions), ..agent.clone() })
            .collect();
        status.resource_usage.clone_from(&reported.resource_usage);
        status.namespaces.clone_from(&reported.namespaces);
        status.properties.clone_from(&reported.properties);
        for condition in restamp(&reported.conditions) {
            condition::set(&mut status.conditions, condition);
        }
    }
    let (joined, why) = aggregate(&status.agent_status);
    if joined == "False" {
        let not_ready = condition::new(
            type_::READY_TO_JOIN,
            "False",
            reason::MEMBER_CLUSTER_NOT_READY_TO_JOIN,
            "",
            generation,
            now,
        );
        condition::set(&mut status.conditions, not_ready);
    }
    condition::set(
        &mut status.conditions,
        condition::new(type_::JOINED, joined, why, "", generation, now),
    );
    status
}

/// A member has joined when every expected agent says so, and has left when all say that.
fn aggregate(agents: &[AgentStatus]) -> (&'static str, &'static str) {
    let unknown = ("Unknown", reason::MEMBER_CLUSTER_JOIN_STATE_UNKNOWN);
    let [only] = agents else { return unknown };
    if only.type_ != agent::MEMBER_AGENT {
        return unknown;
    }
    match condition::find(&only.conditions, type_::JOINED).map(|joined| joined.status.as_str()) {
        Some("True") => ("True", reason::MEMBER_CLUSTER_JOINED),
        Some("False") => ("False", reason::MEMBER_CLUSTER_LEFT),
        _ => unknown,
    }
}

/// Returns what a member's agents may do, inside their own namespace only.
#[must_use]
pub fn rules() -> Vec<PolicyRule> {
    let all_of = |group: &str| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec!["*".to_owned()]),
        verbs: vec!["*".to_owned()],
        ..PolicyRule::default()
    };
    let events = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["events".to_owned()]),
        verbs: ["get", "list", "update", "patch", "watch", "create"].map(str::to_owned).to_vec(),
        ..PolicyRule::default()
    };
    let groups = [
        "cluster.kubernetes-fleet.io",
        "placement.kubernetes-fleet.io",
        "networking.fleet.azure.com",
    ];
    groups.map(all_of).into_iter().chain([events]).collect()
}

#[cfg(test)]
mod tests {
    use stolos_api::cluster::InternalMemberClusterStatus;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(900);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a timestamp")
    }

    fn internal(state: ClusterState, joined: Option<&str>, observed: i64) -> InternalMemberCluster {
        let mut internal = InternalMemberCluster::default();
        internal.metadata.generation = Some(2);
        internal.spec.state = state;
        let conditions =
            joined.map(|status| condition::new(type_::JOINED, status, "Any", "", observed, at(0)));
        internal.status = Some(InternalMemberClusterStatus {
            agent_status: vec![AgentStatus {
                type_: agent::MEMBER_AGENT.to_owned(),
                conditions: conditions.into_iter().collect(),
                last_received_heartbeat: None,
            }],
            ..InternalMemberClusterStatus::default()
        });
        internal
    }

    fn leave_with(internal: &InternalMemberCluster, now: i64) -> Leaving {
        leave(Namespace::Active, Some(internal), at(0), PATIENCE, at(now))
    }

    #[test]
    fn a_leaving_member_is_asked_before_anything_is_cleaned_up() {
        let joined = internal(ClusterState::Join, Some("True"), 2);
        assert_eq!(leave_with(&joined, 10), Leaving::Ask(at(900)));
    }

    #[test]
    fn only_the_agents_word_about_the_present_wish_counts() {
        let stale = internal(ClusterState::Leave, Some("False"), 1);
        assert_eq!(leave_with(&stale, 10), Leaving::Ask(at(900)));
        let never_asked = internal(ClusterState::Join, Some("False"), 2);
        assert_eq!(leave_with(&never_asked, 10), Leaving::Ask(at(900)));
        let left = internal(ClusterState::Leave, Some("False"), 2);
        assert_eq!(leave_with(&left, 10), Leaving::CleanUp);
    }

    #[test]
    fn a_silent_agent_is_given_up_after_the_wait() {
        let silent = internal(ClusterState::Leave, Some("True"), 2);
        assert_eq!(leave_with(&silent, 899), Leaving::Ask(at(900)));
        assert_eq!(leave_with(&silent, 900), Leaving::CleanUp);
    }

    #[test]
    fn the_member_cluster_goes_after_its_namespace() {
        assert_eq!(leave(Namespace::Terminating, None, at(0), PATIENCE, at(1)), Leaving::Wait);
        assert_eq!(leave(Namespace::Absent, None, at(0), PATIENCE, at(1)), Leaving::Release);
    }

    #[test]
    fn reported_conditions_take_the_generation_of_the_member_cluster() {
        let mut member = MemberCluster::default();
        member.metadata.generation = Some(7);
        let status =
            status(&member, Some(&internal(ClusterState::Join, Some("True"), 2)), true, at(5));
        let joined = condition::current(&status.conditions, type_::JOINED, 7).expect("a condition");
        assert_eq!(
            (joined.status.as_str(), joined.reason.as_str()),
            ("True", "MemberClusterJoined")
        );
        assert_eq!(status.agent_status[0].conditions[0].observed_generation, Some(7));
    }

    #[test]
    fn without_a_word_from_the_agent_the_join_state_is_unknown() {
        let status = status(&MemberCluster::default(), None, true, at(5));
        let joined = condition::find(&status.conditions, type_::JOINED).expect("a condition");
        assert_eq!(joined.status, "Unknown");
    }
}
