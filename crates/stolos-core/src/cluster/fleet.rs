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
    told(member).is_some_and(|reason| !REFUSALS.contains(&reason))
}

/// Whether a member was told that it is not taken in. Nothing is done to its cluster on behalf of the fleet.
#[must_use]
pub fn was_refused(member: &FleetMember) -> bool {
    told(member).is_some_and(|reason| REFUSALS.contains(&reason))
}

/// Returns the reason of what a member was told.
fn told(member: &FleetMember) -> Option<&str> {
    let conditions = &member.status.as_ref()?.conditions;
    condition::find(conditions, type_::JOINED).map(|joined| joined.reason.as_str())
}

/// Why a member is refused: another member has the cluster, or the name on the hub, or the fleet is full.
const CLUSTER_TAKEN: &str = "ClusterAlreadyJoinedAnotherFleet";
const NAME_TAKEN: &str = "MemberNameTaken";
const FLEET_IS_FULL: &str = "FleetMemberLimitExceeded";
const REFUSALS: [&str; 3] = [CLUSTER_TAKEN, NAME_TAKEN, FLEET_IS_FULL];

/// How many members fleets may have; as many as they like unless it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberLimits {
    /// Most members of a fleet with a hub.
    pub hubful: Option<usize>,
    /// Most members of a fleet without a hub.
    pub hubless: Option<usize>,
}

impl MemberLimits {
    /// Returns the limit that counts for a fleet.
    #[must_use]
    pub fn of(self, has_hub: bool) -> Option<usize> {
        if has_hub { self.hubful } else { self.hubless }
    }
}

/// Whether a member finds its fleet full. Members that were taken in stay, also when the limit is lowered; of the others
/// those go first that came first. A member that another fleet has takes no place.
pub fn is_beyond<'a>(
    limit: usize,
    member: &FleetMember,
    members: impl Iterator<Item = &'a FleetMember>,
) -> bool {
    let came = |member: &'a FleetMember| {
        let created = member.metadata.creation_timestamp.as_ref().map(|at| at.0);
        (created, member.metadata.uid.as_deref())
    };
    let before = |other: &'a FleetMember| match told(other) {
        Some(CLUSTER_TAKEN | NAME_TAKEN) => false,
        Some(reason) if reason != FLEET_IS_FULL => true,
        _ => {
            let created = member.metadata.creation_timestamp.as_ref().map(|at| at.0);
            came(other) < (created, member.metadata.uid.as_deref())
        }
    };
    !was_accepted(member) && members.filter(|other| before(other)).count() >= limit
}

/// Why a fleet does not take a member in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// This member has the cluster.
    ClusterTaken(&'a str),
    /// The fleet has as many members as it may have.
    FleetIsFull(usize),
}

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

/// Decides the condition `Joined` of a fleet member. `hub` is the MemberCluster in a fleet with a hub.
#[must_use]
pub fn joined(
    member: &FleetMember,
    refusal: Option<Refusal<'_>>,
    has_hub: bool,
    hub: Option<&MemberCluster>,
    now: Timestamp,
) -> Condition {
    let generation = member.metadata.generation.unwrap_or(0);
    let new = |status, reason, message: &str| {
        condition::new(type_::JOINED, status, reason, message, generation, now)
    };
    match refusal {
        None => {}
        Some(Refusal::ClusterTaken(other)) => {
            let message = format!(
                "the cluster is member `{other}` already; a cluster is in at most one fleet"
            );
            return new("False", CLUSTER_TAKEN, &message);
        }
        Some(Refusal::FleetIsFull(limit)) => {
            let (kind, option) = if has_hub {
                ("with", "--max-hubful-members")
            } else {
                ("without", "--max-hubless-members")
            };
            let message = format!(
                "fleet `{}` is full: a fleet {kind} a hub has at most {limit} members here; \
                 remove a member, or let the hub run with a higher {option}",
                member.spec.fleet_name
            );
            return new("False", FLEET_IS_FULL, &message);
        }
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
        let refusal =
            joined(&refused, Some(Refusal::ClusterTaken("f.z")), true, None, Timestamp::UNIX_EPOCH);
        refused.status.get_or_insert_default().conditions.push(refusal);
        let has = owner([&refused, &first].into_iter()).expect("somebody has it");
        assert_eq!(has.metadata.name.as_deref(), Some("f.z"));
    }

    fn told(mut member: FleetMember, refusal: Option<Refusal<'_>>) -> FleetMember {
        let joined = joined(&member, refusal, false, None, Timestamp::UNIX_EPOCH);
        member.status.get_or_insert_default().conditions.push(joined);
        member
    }

    #[test]
    fn a_full_fleet_takes_those_that_came_first() {
        let (first, second, third) = (member("f.c", 1), member("f.b", 2), member("f.a", 3));
        let all = [&third, &second, &first];
        let beyond = |member| is_beyond(2, member, all.into_iter());
        assert!(!beyond(&first) && !beyond(&second) && beyond(&third));
        assert!(!is_beyond(3, &third, all.into_iter()));
    }

    #[test]
    fn members_that_were_taken_in_stay_when_the_limit_is_lowered() {
        let all = [told(member("f.a", 1), None), told(member("f.b", 2), None), member("f.c", 0)];
        let beyond = |index: usize| is_beyond(1, &all[index], all.iter());
        assert!(!beyond(0) && !beyond(1));
        assert!(beyond(2), "although it is older");
    }

    #[test]
    fn a_member_that_was_refused_takes_no_place_and_comes_in_when_one_is_free() {
        let taken = Refusal::ClusterTaken("g.x");
        let full = |name, created| told(member(name, created), Some(Refusal::FleetIsFull(1)));
        let all = [told(member("f.a", 0), Some(taken)), full("f.b", 1), full("f.c", 2)];
        let beyond = |index: usize| is_beyond(1, &all[index], all.iter());
        assert!(!beyond(1), "its place is free");
        assert!(beyond(2), "the other came first");
        assert!(all.iter().all(was_refused));
    }

    #[test]
    fn a_full_fleet_says_how_many_members_it_may_have() {
        let member = member("f.a", 0);
        let full = Some(Refusal::FleetIsFull(2));
        let joined = |has_hub| joined(&member, full, has_hub, None, Timestamp::UNIX_EPOCH);
        assert_eq!(joined(true).reason, "FleetMemberLimitExceeded");
        assert_eq!(
            joined(true).message,
            "fleet `f` is full: a fleet with a hub has at most 2 members here; \
             remove a member, or let the hub run with a higher --max-hubful-members"
        );
        assert!(joined(false).message.ends_with("--max-hubless-members"));
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
