//! The network agents of a member: joining, heartbeats, leaving (networking 6.8).

use jiff::{SignedDuration, Timestamp};
use stolos_api::cluster::names::condition as type_;
use stolos_api::cluster::{AgentStatus, ClusterState, InternalMemberCluster};
use stolos_api::network::names::reason;

use crate::condition;

/// What an agent does for its membership.
#[derive(Clone, Debug, PartialEq)]
pub enum Membership {
    /// Take part in the fleet.
    Join {
        /// What it reports, if it is time.
        report: Option<AgentStatus>,
        /// When to report again.
        wake_at: Timestamp,
    },
    /// Delete every object that users made for this agent, and wait until all are gone. It reports nothing meanwhile.
    CleanUp,
    /// Nothing is left of it.
    Left {
        /// What it reports, if it has not already.
        report: Option<AgentStatus>,
    },
}

/// Decides what an agent does for its membership.
///
/// `agent` is its kind, `n_objects` how many of the objects are left that users made for it, and `jitter` a random
/// number: so many thousandths of the period the heartbeat may come early or late, up to 50 each way.
#[must_use]
pub fn membership(
    internal: &InternalMemberCluster,
    agent: &str,
    n_objects: usize,
    jitter: i8,
    now: Timestamp,
) -> Membership {
    let generation = internal.metadata.generation.unwrap_or(0);
    let known = internal.status.as_ref().and_then(|status| status.agent(agent));
    let joined = known
        .and_then(|known| condition::current(&known.conditions, type_::JOINED, generation))
        .map(|joined| joined.status.as_str());
    match internal.spec.state {
        ClusterState::Leave if joined == Some("False") => Membership::Left { report: None },
        ClusterState::Leave if n_objects > 0 => Membership::CleanUp,
        ClusterState::Leave => {
            let report = told(agent, known, ("False", reason::AGENT_LEFT), generation, now);
            Membership::Left { report: Some(report) }
        }
        ClusterState::Join => {
            let period = period(internal.spec.heartbeat_period_seconds, jitter);
            let last = known.and_then(|known| known.last_received_heartbeat.as_ref());
            let due = last.map_or(now, |last| last.0.saturating_add(period).unwrap_or(now));
            if joined == Some("True") && now < due {
                return Membership::Join { report: None, wake_at: due };
            }
            let mut report = told(agent, known, ("True", reason::AGENT_JOINED), generation, now);
            report.last_received_heartbeat = Some(condition::time(now));
            Membership::Join { report: Some(report), wake_at: now + period }
        }
    }
}

/// Returns the time between two heartbeats.
fn period(seconds: i32, jitter: i8) -> SignedDuration {
    let millis = i64::from(seconds.clamp(1, 600)) * 1_000;
    SignedDuration::from_millis(millis + millis * i64::from(jitter.clamp(-50, 50)) / 1_000)
}

fn told(
    agent: &str,
    known: Option<&AgentStatus>,
    (status, reason): (&str, &str),
    generation: i64,
    now: Timestamp,
) -> AgentStatus {
    let mut report = known.cloned().unwrap_or_default();
    agent.clone_into(&mut report.type_);
    let joined = condition::new(type_::JOINED, status, reason, "", generation, now);
    condition::set(&mut report.conditions, joined);
    report
}

#[cfg(test)]
mod tests {
    use stolos_api::cluster::InternalMemberClusterStatus;
    use stolos_api::cluster::names::agent::MULTI_CLUSTER_SERVICE_AGENT as AGENT;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn internal(
        state: ClusterState,
        generation: i64,
        report: Option<&AgentStatus>,
    ) -> InternalMemberCluster {
        let mut internal = InternalMemberCluster::default();
        internal.metadata.generation = Some(generation);
        internal.spec.state = state;
        internal.status = Some(InternalMemberClusterStatus {
            agent_status: report.cloned().into_iter().collect(),
            ..InternalMemberClusterStatus::default()
        });
        internal
    }

    #[test]
    fn an_agent_joins_beats_and_leaves_when_its_objects_are_gone() {
        let first = membership(&internal(ClusterState::Join, 1, None), AGENT, 3, 0, at(0));
        let Membership::Join { report: Some(joined), wake_at } = first else {
            panic!("it reports that it joined: {first:?}")
        };
        assert_eq!(wake_at, at(60));
        assert_eq!(joined.type_, AGENT);
        assert_eq!(joined.conditions[0].reason, "AgentJoined");

        let early =
            membership(&internal(ClusterState::Join, 1, Some(&joined)), AGENT, 3, 0, at(59));
        assert_eq!(early, Membership::Join { report: None, wake_at: at(60) });
        let beat =
            membership(&internal(ClusterState::Join, 1, Some(&joined)), AGENT, 3, 50, at(63));
        let Membership::Join { report: Some(beat), wake_at } = beat else { panic!("{beat:?}") };
        assert_eq!(beat.last_received_heartbeat, Some(condition::time(at(63))));
        assert_eq!(
            beat.conditions[0].last_transition_time,
            joined.conditions[0].last_transition_time
        );
        assert_eq!(wake_at, at(126));
        let asked = membership(&internal(ClusterState::Join, 2, Some(&beat)), AGENT, 3, 0, at(64));
        assert!(
            matches!(asked, Membership::Join { report: Some(_), .. }),
            "a new generation is answered"
        );

        let leaving = internal(ClusterState::Leave, 2, Some(&beat));
        assert_eq!(membership(&leaving, AGENT, 1, 0, at(70)), Membership::CleanUp);
        let left = membership(&leaving, AGENT, 0, 0, at(80));
        let Membership::Left { report: Some(left) } = left else { panic!("{left:?}") };
        assert_eq!(
            (&*left.conditions[0].status, &*left.conditions[0].reason),
            ("False", "AgentLeft")
        );
        assert_eq!(left.last_received_heartbeat, beat.last_received_heartbeat, "it beats no more");
        let again = internal(ClusterState::Leave, 2, Some(&left));
        assert_eq!(membership(&again, AGENT, 1, 0, at(90)), Membership::Left { report: None });
    }
}
