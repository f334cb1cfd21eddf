//! What happens to a member on the hub, as Events.

use jiff::Timestamp;
use stolos_api::cluster::names::{condition, event, reason};
use stolos_api::cluster::{MemberCluster, MemberClusterStatus};
use stolos_controller::Write;
use stolos_core::condition::find;

use super::Object;
use crate::event::Report;

/// Name that events are reported under.
const COMPONENT: &str = "member-cluster-controller";

/// Returns events about a member, to be written.
pub(super) fn about(
    member: &MemberCluster,
    news: Vec<Report>,
    now: Timestamp,
) -> Vec<Write<Object>> {
    let event = |(index, report)| crate::event::event(member, report, index, now);
    news.into_iter().enumerate().map(event).map(|event| Write::Create(event.into())).collect()
}

/// Returns what writes to the objects of a member are worth telling.
pub(super) fn of_writes(writes: &[Write<Object>]) -> Vec<Report> {
    writes.iter().filter_map(told).collect()
}

fn told(write: &Write<Object>) -> Option<Report> {
    let (reason, message) = match write {
        Write::Create(Object::Namespace(_)) => {
            (event::NAMESPACE_CREATED, "the namespace of the member was created")
        }
        Write::Replace(Object::Namespace(_)) => {
            (event::NAMESPACE_PATCHED, "the namespace of the member got its label")
        }
        Write::Create(Object::Role(_)) => (event::ROLE_CREATED, "the role was created"),
        Write::Replace(Object::Role(_)) => (event::ROLE_UPDATED, "the role was put right"),
        Write::Create(Object::RoleBinding(_)) => {
            (event::ROLE_BINDING_CREATED, "the role binding was created")
        }
        Write::Replace(Object::RoleBinding(_)) => {
            (event::ROLE_BINDING_UPDATED, "the role binding was put right")
        }
        Write::Create(Object::InternalMemberCluster(_)) => {
            (event::INTERNAL_MEMBER_CLUSTER_CREATED, "the internal member cluster was created")
        }
        Write::Replace(Object::InternalMemberCluster(_)) => (
            event::INTERNAL_MEMBER_CLUSTER_SPEC_UPDATED,
            "the internal member cluster was put right",
        ),
        _ => return None,
    };
    Some(normal(reason, message))
}

/// Returns what the change of a member's status is worth telling.
pub(super) fn of_status(
    before: Option<&MemberClusterStatus>,
    after: &MemberClusterStatus,
) -> Vec<Report> {
    let status_of = |status: &MemberClusterStatus, type_: &str| {
        find(&status.conditions, type_).map(|found| found.status.clone())
    };
    let became = |type_: &str, status: &str| {
        status_of(after, type_).as_deref() == Some(status)
            && before.and_then(|before| status_of(before, type_)).as_deref() != Some(status)
    };
    let mut reports = Vec::new();
    if became(condition::READY_TO_JOIN, "True") {
        let message = "the hub is prepared for the member";
        reports.push(normal(reason::MEMBER_CLUSTER_READY_TO_JOIN, message));
    }
    if became(condition::JOINED, "True") {
        reports.push(normal(reason::MEMBER_CLUSTER_JOINED, "the member has joined"));
    }
    if became(condition::JOINED, "False") {
        // The same reason as for joining, as users of KubeFleet know it.
        reports.push(normal(reason::MEMBER_CLUSTER_JOINED, "the member has left"));
    }
    if became(condition::JOINED, "Unknown") {
        let message = "the agents of the member disagree, or have not reported yet";
        let unknown = normal(reason::MEMBER_CLUSTER_JOIN_STATE_UNKNOWN, message);
        reports.push(Report { type_: "Warning", ..unknown });
    }
    reports
}

fn normal(reason: &str, message: &str) -> Report {
    Report {
        component: COMPONENT,
        type_: "Normal",
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}
