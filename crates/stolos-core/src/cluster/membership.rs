//! Joining and leaving: what the hub keeps for a member, and what it reports about it (placement-clusters 2.1, 2.2).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::names::{agent, condition as type_, reason};
use stolos_api::cluster::{
    AgentStatus, ClusterState, InternalMemberCluster, InternalMemberClusterStatus, MemberCluster,
    MemberClusterStatus,
};

use super::health;
use crate::condition;

/// Agents without whose word a member has neither joined nor left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// The one that places objects.
    #[default]
    Member,
    /// Also those of services across clusters (KubeFleet's `networking-agents-enabled`).
    MemberAndNetworking,
}

impl Expected {
    /// Returns the types of the agents.
    #[must_use]
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::Member => &[agent::MEMBER_AGENT],
            Self::MemberAndNetworking => &[
                agent::MEMBER_AGENT,
                agent::MULTI_CLUSTER_SERVICE_AGENT,
                agent::SERVICE_EXPORT_IMPORT_AGENT,
            ],
        }
    }
}

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
    expected: Expected,
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
    if asked && agents_have_left(internal, expected, generation) {
        return Leaving::CleanUp;
    }
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    let deadline = deleted.checked_add(patience).unwrap_or(Timestamp::MAX);
    if asked && now >= deadline { Leaving::CleanUp } else { Leaving::Ask(deadline) }
}

/// Tells whether every expected agent has said, after it was asked to, that it has left.
fn agents_have_left(internal: &InternalMemberCluster, expected: Expected, generation: i64) -> bool {
    let status = internal.status.as_ref();
    let has_left = |type_: &&str| {
        let agent = status.and_then(|status| status.agent(type_));
        let joined = agent
            .and_then(|agent| condition::current(&agent.conditions, type_::JOINED, generation));
        joined.is_some_and(|joined| joined.status == "False")
    };
    expected.types().iter().all(has_left)
}

/// What the hub reports about a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// The status.
    pub status: MemberClusterStatus,
    /// When the member counts as silent if it stays silent.
    pub wake_at: Option<Timestamp>,
}

/// Returns what the hub reports about a member: ready to join, healthy, and what its agents said. Without news from them
/// (`internal`), what the status says of them stands, whoever wrote it. A member is silent after `patience`, but never
/// before it has missed a heartbeat.
#[must_use]
pub fn status(
    member: &MemberCluster,
    internal: Option<&InternalMemberCluster>,
    expected: Expected,
    prepared: bool,
    patience: SignedDuration,
    now: Timestamp,
) -> Reported {
    let generation = member.metadata.generation.unwrap_or(0);
    let mut status = member.status.clone().unwrap_or_default();
    match internal.and_then(|internal| internal.status.as_ref()) {
        Some(reported) => mirror(&mut status, reported, generation),
        None => status.agent_status.iter_mut().for_each(|agent| {
            agent.conditions = restamped(&agent.conditions, generation);
        }),
    }
    let (joined, why) = aggregate(&status.agent_status, expected);
    let ready = match joined {
        "False" => Some(("False", reason::MEMBER_CLUSTER_NOT_READY_TO_JOIN)),
        _ if prepared => Some(("True", reason::MEMBER_CLUSTER_READY_TO_JOIN)),
        _ => None,
    };
    let mut set = |condition| condition::set(&mut status.conditions, condition);
    if let Some((ready, why)) = ready {
        set(condition::new(type_::READY_TO_JOIN, ready, why, "", generation, now));
    }
    set(condition::new(type_::JOINED, joined, why, "", generation, now));
    let health = health::of(member, Some(&status), patience, now);
    condition::set(&mut status.conditions, health.condition(type_::HEALTHY, generation, now));
    Reported { status, wake_at: health.wake_at }
}

/// Conditions that only agents say something of. Without a word of them nothing holds: a member that no longer tells its
/// namespaces must not seem to have none.
const SAID_BY_AGENTS: [&str; 4] = [
    type_::PROPERTY_PROVIDER_STARTED,
    type_::PROPERTY_COLLECTION_SUCCEEDED,
    type_::COST_COLLECTION_SUCCEEDED,
    type_::NAMESPACE_COLLECTION_SUCCEEDED,
];

/// Takes over what the agents of a member reported.
fn mirror(
    status: &mut MemberClusterStatus,
    reported: &InternalMemberClusterStatus,
    generation: i64,
) {
    let restamp = |agent: &AgentStatus| AgentStatus {
        conditions: restamped(&agent.conditions, generation),
        ..agent.clone()
    };
    status.agent_status = reported.agent_status.iter().map(restamp).collect();
    status.resource_usage.clone_from(&reported.resource_usage);
    status.namespaces.clone_from(&reported.namespaces);
    status.properties.clone_from(&reported.properties);
    let is_said = |type_: &str| condition::find(&reported.conditions, type_).is_some();
    status
        .conditions
        .retain(|told| !SAID_BY_AGENTS.contains(&told.type_.as_str()) || is_said(&told.type_));
    for condition in restamped(&reported.conditions, generation) {
        condition::set(&mut status.conditions, condition);
    }
}

fn restamped(conditions: &[Condition], generation: i64) -> Vec<Condition> {
    let at = |c: &Condition| Condition { observed_generation: Some(generation), ..c.clone() };
    conditions.iter().map(at).collect()
}

/// Tells whether the status of a member shows what its agents reported last.
#[must_use]
pub fn shows(member: &MemberCluster, internal: &InternalMemberCluster) -> bool {
    let generation = member.metadata.generation.unwrap_or(0);
    let (Some(shown), Some(reported)) = (&member.status, &internal.status) else { return false };
    let mut mirrored = shown.clone();
    mirror(&mut mirrored, reported, generation);
    mirrored == *shown
}

/// A member has joined when every expected agent says so, and has left when all say that. Of an agent that is not
/// expected nothing is known.
fn aggregate(agents: &[AgentStatus], expected: Expected) -> (&'static str, &'static str) {
    let unknown = ("Unknown", reason::MEMBER_CLUSTER_JOIN_STATE_UNKNOWN);
    let expected = expected.types();
    let is_expected = |agent: &AgentStatus| expected.contains(&agent.type_.as_str());
    if agents.len() != expected.len() || !agents.iter().all(is_expected) {
        return unknown;
    }
    let all_say = |status: &str| {
        agents.iter().all(|agent| {
            let joined = condition::find(&agent.conditions, type_::JOINED);
            joined.is_some_and(|joined| joined.status == status)
        })
    };
    if all_say("True") {
        ("True", reason::MEMBER_CLUSTER_JOINED)
    } else if all_say("False") {
        ("False", reason::MEMBER_CLUSTER_LEFT)
    } else {
        unknown
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
    // What the group has besides is not for members.
    let clusterset = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![stolos_api::cluster::fleet::GROUP.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    let clusterset = [
        clusterset("exportedservices", &["get", "list", "watch", "create", "update", "delete"]),
        clusterset("importedservices", &["get", "list", "watch"]),
        clusterset("importedservices/status", &["update"]),
    ];
    groups.map(all_of).into_iter().chain([events]).chain(clusterset).collect()
}

#[cfg(test)]
mod tests {
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
        leave(Namespace::Active, Some(internal), Expected::Member, at(0), PATIENCE, at(now))
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

    /// An InternalMemberCluster whose agents say this of their membership.
    fn agents(state: ClusterState, said: &[(&str, &str)]) -> InternalMemberCluster {
        let mut internal = internal(state, None, 2);
        let status = internal.status.get_or_insert_default();
        status.agent_status = said
            .iter()
            .map(|(type_, joined)| AgentStatus {
                type_: (*type_).to_owned(),
                conditions: vec![condition::new(type_::JOINED, joined, "Any", "", 2, at(0))],
                last_received_heartbeat: None,
            })
            .collect();
        internal
    }

    #[test]
    fn a_member_has_joined_or_left_when_every_expected_agent_says_so() {
        use agent::{MEMBER_AGENT, MULTI_CLUSTER_SERVICE_AGENT, SERVICE_EXPORT_IMPORT_AGENT};
        let joined = |expected, said: &[(&str, &str)]| {
            let internal = agents(ClusterState::Join, said);
            let wait = SignedDuration::from_secs(60);
            let member = MemberCluster::default();
            let status = status(&member, Some(&internal), expected, true, wait, at(5)).status;
            told(&status, type_::JOINED).0
        };
        let only = [(MEMBER_AGENT, "True")];
        let all = |core, export, address| {
            [
                (MEMBER_AGENT, core),
                (SERVICE_EXPORT_IMPORT_AGENT, export),
                (MULTI_CLUSTER_SERVICE_AGENT, address),
            ]
        };
        assert_eq!(joined(Expected::Member, &only), "True");
        assert_eq!(joined(Expected::Member, &all("True", "True", "True")), "Unknown");
        let three = Expected::MemberAndNetworking;
        assert_eq!(joined(three, &only), "Unknown");
        assert_eq!(joined(three, &all("True", "True", "True")), "True");
        assert_eq!(joined(three, &all("True", "True", "False")), "Unknown");
        assert_eq!(joined(three, &all("False", "False", "False")), "False");
    }

    #[test]
    fn nothing_is_cleaned_up_before_every_expected_agent_has_left() {
        use agent::{MEMBER_AGENT, MULTI_CLUSTER_SERVICE_AGENT, SERVICE_EXPORT_IMPORT_AGENT};
        let three = Expected::MemberAndNetworking;
        let leaving = |said: &[(&str, &str)]| {
            let internal = agents(ClusterState::Leave, said);
            leave(Namespace::Active, Some(&internal), three, at(0), PATIENCE, at(10))
        };
        let one = (MEMBER_AGENT, "False");
        let two = (SERVICE_EXPORT_IMPORT_AGENT, "False");
        assert_eq!(leaving(&[one]), Leaving::Ask(at(900)));
        assert_eq!(
            leaving(&[one, two, (MULTI_CLUSTER_SERVICE_AGENT, "True")]),
            Leaving::Ask(at(900))
        );
        assert_eq!(leaving(&[one, two, (MULTI_CLUSTER_SERVICE_AGENT, "False")]), Leaving::CleanUp);
    }

    #[test]
    fn the_member_cluster_goes_after_its_namespace() {
        assert_eq!(
            leave(Namespace::Terminating, None, Expected::Member, at(0), PATIENCE, at(1)),
            Leaving::Wait
        );
        assert_eq!(
            leave(Namespace::Absent, None, Expected::Member, at(0), PATIENCE, at(1)),
            Leaving::Release
        );
    }

    /// What the hub reports at this moment, of a member whose agents have this to say.
    fn reported(
        member: &MemberCluster,
        internal: Option<&InternalMemberCluster>,
        now: i64,
    ) -> Reported {
        status(member, internal, Expected::Member, true, SignedDuration::from_secs(60), at(now))
    }

    /// Status, reason and time of a condition.
    fn told(status: &MemberClusterStatus, type_: &str) -> (String, String, i64) {
        let found = condition::find(&status.conditions, type_).expect("a condition");
        (found.status.clone(), found.reason.clone(), found.last_transition_time.0.as_second())
    }

    fn is(status: &str, reason: &str, since: i64) -> (String, String, i64) {
        (status.to_owned(), reason.to_owned(), since)
    }

    #[test]
    fn reported_conditions_take_the_generation_of_the_member_cluster() {
        let mut member = MemberCluster::default();
        member.metadata.generation = Some(7);
        let internal = internal(ClusterState::Join, Some("True"), 2);
        member.status = Some(reported(&member, Some(&internal), 5).status);
        let status = member.status.clone().unwrap();
        assert_eq!(told(&status, type_::JOINED), is("True", "MemberClusterJoined", 5));
        assert_eq!(status.agent_status[0].conditions[0].observed_generation, Some(7));

        member.metadata.generation = Some(8);
        let status = reported(&member, None, 6).status;
        assert_eq!(status.agent_status[0].conditions[0].observed_generation, Some(8));
        assert!(condition::is_true(&status.conditions, type_::JOINED, 8));
    }

    #[test]
    fn what_the_agent_says_nothing_of_any_more_is_not_said_on() {
        let mut member = MemberCluster::default();
        let mut internal = internal(ClusterState::Join, Some("True"), 2);
        let said = internal.status.get_or_insert_default();
        for type_ in [type_::NAMESPACE_COLLECTION_SUCCEEDED, type_::PROPERTY_COLLECTION_SUCCEEDED] {
            said.conditions.push(condition::new(type_, "True", "Any", "", 2, at(0)));
        }
        let others = condition::new("SaidByOthers", "True", "Any", "", 1, at(0));
        member.status.get_or_insert_default().conditions.push(others);
        member.status = Some(reported(&member, Some(&internal), 5).status);
        let types = |member: &MemberCluster| -> Vec<String> {
            let conditions = member.status.iter().flat_map(|status| &status.conditions);
            conditions.map(|told| told.type_.clone()).collect()
        };
        assert!(types(&member).contains(&type_::NAMESPACE_COLLECTION_SUCCEEDED.to_owned()));

        let said = internal.status.get_or_insert_default();
        said.conditions.retain(|told| told.type_ != type_::NAMESPACE_COLLECTION_SUCCEEDED);
        member.status = Some(reported(&member, Some(&internal), 6).status);
        assert!(!types(&member).contains(&type_::NAMESPACE_COLLECTION_SUCCEEDED.to_owned()));
        assert!(types(&member).contains(&type_::PROPERTY_COLLECTION_SUCCEEDED.to_owned()));
        assert!(types(&member).contains(&"SaidByOthers".to_owned()));
    }

    #[test]
    fn without_a_word_from_the_agent_the_join_state_is_unknown() {
        let status = reported(&MemberCluster::default(), None, 5).status;
        assert_eq!(told(&status, type_::JOINED), is("Unknown", "MemberClusterJoinStateUnknown", 5));
        assert_eq!(told(&status, type_::HEALTHY), is("Unknown", "MemberAgentReportedNoStatus", 5));
    }

    #[test]
    fn a_member_whose_agent_left_by_itself_is_not_ready_and_stays_so() {
        let left = internal(ClusterState::Join, Some("False"), 2);
        let mut member = MemberCluster::default();
        for now in 5..8 {
            let status = reported(&member, Some(&left), now).status;
            let not_ready = is("False", "MemberClusterNotReadyToJoin", 5);
            assert_eq!(told(&status, type_::READY_TO_JOIN), not_ready);
            assert_eq!(told(&status, type_::JOINED), is("False", "MemberClusterLeft", 5));
            member.status = Some(status);
        }
        let back = internal(ClusterState::Join, Some("True"), 2);
        let status = reported(&member, Some(&back), 9).status;
        assert_eq!(told(&status, type_::READY_TO_JOIN), is("True", "MemberClusterReadyToJoin", 9));
    }

    #[test]
    fn a_member_is_healthy_as_long_as_its_agent_says_so() {
        let mut internal = internal(ClusterState::Join, Some("True"), 2);
        let agent = &mut internal.status.as_mut().unwrap().agent_status[0];
        agent.conditions.push(condition::new(type_::HEALTHY, "True", "Any", "", 2, at(0)));
        agent.last_received_heartbeat = Some(condition::time(at(10)));
        let mut member = MemberCluster::default();
        member.spec.heartbeat_period_seconds = 5;
        let first = reported(&member, Some(&internal), 11);
        assert_eq!(
            told(&first.status, type_::HEALTHY),
            is("True", "MemberClusterAPIServerHealthy", 11)
        );
        assert_eq!(first.wake_at, Some(at(70)));
        member.status = Some(first.status);
        let silent = reported(&member, None, 70);
        assert_eq!(
            told(&silent.status, type_::HEALTHY),
            is("False", "MemberAgentHeartbeatLost", 70)
        );
        assert_eq!(silent.wake_at, None);
    }

    #[test]
    fn what_somebody_wrote_over_the_report_of_an_agent_is_told_from_it() {
        let internal = internal(ClusterState::Join, Some("True"), 2);
        let mut member = MemberCluster::default();
        assert!(!shows(&member, &internal));
        member.status = Some(reported(&member, Some(&internal), 5).status);
        assert!(shows(&member, &internal));
        member.status.as_mut().unwrap().agent_status[0].last_received_heartbeat =
            Some(condition::time(at(1)));
        assert!(!shows(&member, &internal));
    }
}
