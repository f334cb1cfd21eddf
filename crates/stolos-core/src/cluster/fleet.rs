//! Fleets and their members: what a member is on the hub, and which of two members has a cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::fleet::{ClusterReference, FleetMember};
use stolos_api::cluster::names::{automatic_label, condition as type_};

use crate::condition;

/// Returns the labels of a member: its own, then the automatic ones, which nobody can override.
#[must_use]
pub fn labels(
    name: &str,
    member: &FleetMember,
    location: Option<&str>,
) -> BTreeMap<String, String> {
    let own =
        member.spec.labels.iter().filter(|(key, _)| !key.starts_with(automatic_label::PREFIX));
    let mut labels: BTreeMap<String, String> =
        own.map(|(key, value)| (key.clone(), value.clone())).collect();
    let automatic = [
        (automatic_label::MEMBER_NAME, Some(name.to_owned())),
        (automatic_label::CLUSTER_NAME, Some(cluster_name(name, &member.spec.cluster))),
        (automatic_label::RESOURCE_GROUP, member.metadata.namespace.clone()),
        (automatic_label::LOCATION, location.map(str::to_owned)),
    ];
    labels.extend(automatic.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    labels
}

/// Returns the name of the cluster itself, where the reference tells one.
fn cluster_name(member: &str, cluster: &ClusterReference) -> String {
    let name = match cluster {
        ClusterReference::ArmId(id) => id.rsplit('/').next().unwrap_or_default(),
        ClusterReference::ClusterApi(reference) => &reference.name,
        ClusterReference::KubeconfigSecret(_) | ClusterReference::Simulated(_) => member,
    };
    name.to_owned()
}

/// Returns the member that has the cluster: of all that name it, the one that was told so, else the one that came first.
/// Creation is known to the second only; a tie must not move a cluster from one fleet to another.
#[must_use]
pub fn owner<'a>(claimants: impl Iterator<Item = &'a FleetMember>) -> Option<&'a FleetMember> {
    claimants.min_by_key(|member| {
        let created = member.metadata.creation_timestamp.as_ref().map(|at| at.0);
        (!was_accepted(member), created, member.metadata.uid.clone())
    })
}

/// Whether a member was told earlier that the cluster is its own, joined already or not.
fn was_accepted(member: &FleetMember) -> bool {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, type_::JOINED)
        .is_some_and(|joined| joined.reason != CLUSTER_TAKEN && joined.reason != NAME_TAKEN)
}

/// Why a member is refused: another member has the cluster, or the name on the hub.
const CLUSTER_TAKEN: &str = "ClusterAlreadyJoinedAnotherFleet";
const NAME_TAKEN: &str = "MemberNameTaken";

/// Annotation on a MemberCluster: the uid of the FleetMember that it was made for. Without it the object is the user's own.
pub const MADE_FOR: &str = "fleet.stolos.dev/fleet-member-uid";

/// Returns the uid of the FleetMember that a MemberCluster was made for.
#[must_use]
pub fn made_for(cluster: &MemberCluster) -> Option<&str> {
    cluster.metadata.annotations.as_ref()?.get(MADE_FOR).map(String::as_str)
}

/// Whether a MemberCluster was made for another member than this one, so that this one must leave it alone.
#[must_use]
pub fn is_of_another(cluster: &MemberCluster, member: &FleetMember) -> bool {
    made_for(cluster).is_some_and(|uid| Some(uid) != member.metadata.uid.as_deref())
}

/// Decides the condition `Joined` of a fleet member. `taken_by` names another member that has the cluster; `hub` is the
/// MemberCluster in a fleet with a hub.
#[must_use]
pub fn joined(
    member: &FleetMember,
    taken_by: Option<&str>,
    has_hub: bool,
    hub: Option<&MemberCluster>,
    now: Timestamp,
) -> Condition {
    let generation = member.metadata.generation.unwrap_or(0);
    let new = |status, reason, message: &str| {
        condition::new(type_::JOINED, status, reason, message, generation, now)
    };
    if let Some(other) = taken_by {
        let message =
            format!("the cluster is member `{other}` already; a cluster is in at most one fleet");
        return new("False", CLUSTER_TAKEN, &message);
    }
    if !has_hub {
        return new("True", "Joined", "the fleet has no hub; the cluster is known to it");
    }
    if let Some(cluster) = hub.filter(|cluster| is_of_another(cluster, member)) {
        let name = cluster.metadata.name.as_deref().unwrap_or_default();
        let message = format!(
            "member cluster `{name}` of the hub belongs to a member of another fleet; \
             names of members are unique on a hub"
        );
        return new("False", NAME_TAKEN, &message);
    }
    let conditions =
        hub.and_then(|hub| hub.status.as_ref()).map_or(&[][..], |status| &status.conditions);
    match condition::find(conditions, type_::JOINED).map(|joined| joined.status.as_str()) {
        Some("True") => new("True", "Joined", "the member's agent has joined the hub"),
        Some("False") => new("False", "Left", "the member's agent has left the hub"),
        _ => new("Unknown", "Joining", "the member's agent has not joined the hub yet"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use stolos_api::cluster::fleet::{FleetMemberSpec, SecretReference};

    use super::*;

    fn member(name: &str, created: i64) -> FleetMember {
        let spec = FleetMemberSpec {
            fleet_name: "f".to_owned(),
            cluster: ClusterReference::KubeconfigSecret(SecretReference { name: "s".to_owned() }),
            group: None,
            labels: BTreeMap::from([
                ("tier".to_owned(), "gold".to_owned()),
                (automatic_label::MEMBER_NAME.to_owned(), "faked".to_owned()),
            ]),
            maintenance_windows: None,
        };
        let mut member = FleetMember::new(name, spec);
        member.metadata.uid = Some(format!("uid-of-{name}"));
        member.metadata.creation_timestamp = Timestamp::from_second(created).ok().map(Time);
        member
    }

    #[test]
    fn automatic_labels_cannot_be_faked() {
        let labels = labels("east", &member("f.east", 0), Some("westeurope"));
        assert_eq!(labels[automatic_label::MEMBER_NAME], "east");
        assert_eq!(labels[automatic_label::LOCATION], "westeurope");
        assert_eq!(labels["tier"], "gold");
    }

    #[test]
    fn of_two_members_with_one_cluster_the_first_has_it() {
        let (early, late) = (member("f.z", 1), member("f.a", 2));
        let has = owner([&late, &early].into_iter()).expect("somebody has it");
        assert_eq!(has.metadata.name.as_deref(), Some("f.z"));
    }

    #[test]
    fn a_cluster_stays_where_it_is_when_another_member_of_the_same_second_claims_it() {
        let (mut holder, claimant) = (member("f.z", 1), member("f.a", 1));
        let joining = joined(&holder, None, true, None, Timestamp::UNIX_EPOCH);
        holder.status.get_or_insert_default().conditions.push(joining);
        let has = owner([&claimant, &holder].into_iter()).expect("somebody has it");
        assert_eq!(has.metadata.name.as_deref(), Some("f.z"));
    }

    #[test]
    fn a_member_that_was_refused_has_no_claim_from_that() {
        let (mut refused, first) = (member("f.a", 2), member("f.z", 1));
        let refusal = joined(&refused, Some("f.z"), true, None, Timestamp::UNIX_EPOCH);
        refused.status.get_or_insert_default().conditions.push(refusal);
        let has = owner([&refused, &first].into_iter()).expect("somebody has it");
        assert_eq!(has.metadata.name.as_deref(), Some("f.z"));
    }

    #[test]
    fn a_member_does_not_join_as_the_member_cluster_of_another_fleet() {
        let mut taken = MemberCluster::default();
        taken.metadata.name = Some("a".to_owned());
        taken.metadata.annotations =
            Some([(MADE_FOR.to_owned(), "uid-of-another".to_owned())].into());
        let joined = joined(&member("f.a", 0), None, true, Some(&taken), Timestamp::UNIX_EPOCH);
        assert_eq!((joined.status.as_str(), joined.reason.as_str()), ("False", "MemberNameTaken"));
    }

    #[test]
    fn without_a_hub_a_member_is_joined_at_once() {
        let joined = joined(&member("f.a", 0), None, false, None, Timestamp::UNIX_EPOCH);
        assert_eq!(joined.status, "True");
    }
}
