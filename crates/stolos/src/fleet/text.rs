//! Words for how fleets and members stand.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::fleet::{
    CONDITION_JOINED, ClusterReference, Fleet, FleetKind, FleetMember,
};

use crate::output;

/// Returns whether a fleet has a hub, as a word of the API.
pub(super) fn kind(fleet: &Fleet) -> &'static str {
    let observed = fleet.status.as_ref().and_then(|status| status.kind);
    match (observed, &fleet.spec.hub) {
        (Some(FleetKind::Hubful), _) | (None, Some(_)) => "Hubful",
        (Some(FleetKind::Hubless), _) | (None, None) => "Hubless",
    }
}

/// How a member stands in its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemberState {
    /// Asked to join; its agent has not yet.
    Joining,
    Joined,
    /// The fleet cannot have it.
    Refused,
    /// Its agent has left by itself.
    Left,
    /// On its way out.
    Leaving,
}

impl MemberState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Joining => "Joining",
            Self::Joined => "Joined",
            Self::Refused => "Refused",
            Self::Left => "Left",
            Self::Leaving => "Leaving",
        }
    }
}

fn joined(member: &FleetMember) -> Option<&Condition> {
    let conditions = member.status.as_ref().map(|status| status.conditions.as_slice());
    conditions.unwrap_or_default().iter().find(|found| found.type_ == CONDITION_JOINED)
}

/// Returns how a member stands. What was said of an earlier spec counts: a member does not rejoin when its group changes.
pub(crate) fn member_state(member: &FleetMember) -> MemberState {
    if member.metadata.deletion_timestamp.is_some() {
        return MemberState::Leaving;
    }
    match joined(member).map(|joined| (joined.status.as_str(), joined.reason.as_str())) {
        Some(("True", _)) => MemberState::Joined,
        Some(("False", "Left")) => MemberState::Left,
        Some(("False", _)) => MemberState::Refused,
        _ => MemberState::Joining,
    }
}

/// Returns why a member is not joined; nothing when it is.
pub(crate) fn why_not_joined(member: &FleetMember) -> Option<String> {
    match member_state(member) {
        MemberState::Joined => None,
        MemberState::Leaving => Some("its agent takes leave of the hub".to_owned()),
        MemberState::Joining | MemberState::Refused | MemberState::Left => Some(
            joined(member)
                .map_or("the hub has not looked at it yet", |joined| joined.message.as_str())
                .to_owned(),
        ),
    }
}

/// Returns the cluster of a member, as a command line names it.
pub(crate) fn cluster(member: &FleetMember) -> String {
    match &member.spec.cluster {
        ClusterReference::ArmId(id) => id.clone(),
        reference => reference.id(member.metadata.namespace.as_deref().unwrap_or_default()),
    }
}

/// Columns of tables of members.
pub(crate) const MEMBER_COLUMNS: [&str; 7] =
    ["NAME", "GROUP", "STATE", "VERSION", "LOCATION", "UPDATING", "AGE"];
/// What a wide table of members has beside them.
pub(crate) const MORE_MEMBER_COLUMNS: [&str; 3] = ["CLUSTER", "LABELS", "WHY NOT JOINED"];

/// Returns the cells of every column of a member, the wide ones last.
pub(crate) fn member_row(name: &str, member: &FleetMember, now: Timestamp) -> Vec<String> {
    let status = member.status.clone().unwrap_or_default();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let created = member.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let labels: Vec<String> =
        member.spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        name.to_owned(),
        or_dash(member.spec.group.clone()),
        member_state(member).name().to_owned(),
        or_dash(status.kubernetes_version),
        or_dash(status.location),
        or_dash(status.update_lease.map(|lease| lease.update_run)),
        output::since(created, now),
        cluster(member),
        labels.join(","),
        why_not_joined(member).unwrap_or_default(),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns a member with this condition `Joined`.
    pub(crate) fn member(name: &str, status: &str, reason: &str, message: &str) -> FleetMember {
        let conditions: Value = match status {
            "" => json!([]),
            status => json!([{
                "type": "Joined", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-06-01T10:00:00Z",
            }]),
        };
        serde_json::from_value(json!({
            "metadata": { "name": format!("edge.{name}"), "namespace": "default" },
            "spec": {
                "fleetName": "edge", "group": "shops", "labels": { "tier": "gold" },
                "cluster": { "clusterApi": { "name": name } },
            },
            "status": { "conditions": conditions, "kubernetesVersion": "1.34.1" },
        }))
        .unwrap()
    }

    #[test]
    fn the_state_of_a_member_is_told_in_one_word_with_its_reason() {
        let taken = "the cluster is member `local.a` already";
        let table = [
            (member("a", "", "", ""), "Joining", Some("the hub has not looked at it yet")),
            (member("a", "Unknown", "Joining", "no agent"), "Joining", Some("no agent")),
            (member("a", "True", "Joined", "x"), "Joined", None),
            (
                member("a", "False", "ClusterAlreadyJoinedAnotherFleet", taken),
                "Refused",
                Some(taken),
            ),
            (member("a", "False", "Left", "gone"), "Left", Some("gone")),
        ];
        for (member, state, why) in table {
            assert_eq!(member_state(&member).name(), state);
            assert_eq!(why_not_joined(&member).as_deref(), why);
        }
        let mut leaving = member("a", "True", "Joined", "x");
        leaving.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-06-01T10:00:00Z")).unwrap());
        assert_eq!(member_state(&leaving).name(), "Leaving");
    }

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let row = member_row("shop", &member("shop", "True", "Joined", ""), Timestamp::UNIX_EPOCH);
        assert_eq!(row.len(), MEMBER_COLUMNS.len() + MORE_MEMBER_COLUMNS.len());
        insta::assert_snapshot!(row.join(" | "), @"shop | shops | Joined | 1.34.1 | - | - | - | cluster-api://default/shop | tier=gold |");
    }
}
