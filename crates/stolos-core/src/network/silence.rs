//! Whether an exporting member is heard of, on the hub: what importing members are told, so that their data planes can do
//! what the lease policy of a service says (networking-dataplane, section 6.6).

use jiff::Timestamp;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::agent;

use super::balance::Lease;

/// Whether a member is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// Since when nothing has been heard of it; None: it is heard of, or it has never been.
    pub since: Option<Timestamp>,
    /// When the answer changes by itself.
    pub wake_at: Option<Timestamp>,
}

/// Decides whether a member is silent. `told` is what importing members have been told before.
///
/// Who did not listen cannot say who was silent: a hub that began a short time ago waits for as long as a member may take
/// before it says of one that it is silent, unless it has said so of the same silence before.
#[must_use]
pub fn silence(
    member: Option<&MemberCluster>,
    told: Option<Timestamp>,
    begun: Timestamp,
    now: Timestamp,
) -> Silence {
    // That a list lacks a member says nothing of it.
    let Some(member) = member else { return Silence { since: told, wake_at: None } };
    let Some(heard) = heard(member) else { return Silence::default() };
    let renewed = if told == Some(heard) { heard } else { heard.max(begun) };
    let stale_from = lease(member, renewed).stale_from();
    if now < stale_from {
        Silence { since: None, wake_at: Some(stale_from) }
    } else {
        // A member whose clock is behind is heard of and silent all the time: that is told once.
        Silence { since: told.or(Some(heard)), wake_at: None }
    }
}

/// Returns the lease of a member that was heard of then.
pub(super) fn lease(member: &MemberCluster, renewed: Timestamp) -> Lease {
    let period_seconds = u32::try_from(member.spec.heartbeat_period_seconds).unwrap_or(0);
    Lease { renewed, period_seconds }
}

/// Returns when a member was last heard of.
#[must_use]
pub fn heard(member: &MemberCluster) -> Option<Timestamp> {
    let agent = member.status.as_ref()?.agent(agent::MEMBER_AGENT)?;
    Some(agent.last_received_heartbeat.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn member(heard: Option<i64>) -> MemberCluster {
        let agents = heard.map(|seconds| {
            json!({"type": "MemberAgent", "lastReceivedHeartbeat": at(seconds).to_string()})
        });
        serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {
                "identity": {"kind": "User", "name": "a", "apiGroup": "rbac.authorization.k8s.io"},
                "heartbeatPeriodSeconds": 10,
            },
            "status": {"agentStatus": agents.into_iter().collect::<Vec<_>>()},
        }))
        .unwrap()
    }

    #[test]
    fn a_member_that_a_list_lacks_is_what_it_was() {
        assert_eq!(silence(None, Some(at(5)), at(0), at(1_000)).since, Some(at(5)));
        assert_eq!(silence(None, None, at(0), at(1_000)), Silence::default());
    }

    #[test]
    fn a_member_is_silent_after_three_periods() {
        let member = member(Some(100));
        let of = |now| {
            let silence = silence(Some(&member), None, at(0), at(now));
            (silence.since, silence.wake_at)
        };
        assert_eq!(of(100), (None, Some(at(130))));
        assert_eq!(of(129), (None, Some(at(130))));
        assert_eq!(of(130), (Some(at(100)), None));
    }

    #[test]
    fn who_did_not_listen_cannot_say_who_was_silent() {
        let member = member(Some(100));
        let of = |told: Option<i64>, now| {
            silence(Some(&member), told.map(at), at(500), at(now)).since.is_some()
        };
        assert!(!of(None, 529), "the hub has just begun");
        assert!(of(None, 530));
        assert!(of(Some(100), 501), "it is the silence that was told before");
        assert!(!of(Some(90), 501), "it was heard since");
    }

    #[test]
    fn a_clock_that_is_behind_is_told_once_and_a_longer_period_ends_a_silence() {
        let behind = |told: Option<i64>, heard| {
            silence(Some(&member(Some(heard))), told.map(at), at(0), at(200)).since
        };
        assert_eq!(behind(None, 100), Some(at(100)));
        assert_eq!(behind(Some(100), 110), Some(at(100)), "nothing is written anew");
        let mut patient = member(Some(100));
        patient.spec.heartbeat_period_seconds = 60;
        let told = silence(Some(&patient), Some(at(100)), at(0), at(200));
        assert_eq!((told.since, told.wake_at), (None, Some(at(280))));
    }

    #[test]
    fn a_member_that_was_never_heard_of_is_not_silent() {
        let member = member(None);
        assert_eq!(silence(Some(&member), Some(at(1)), at(0), at(999)), Silence::default());
    }
}
