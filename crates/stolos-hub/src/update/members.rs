//! What is reported about a member's cluster, and leases that nobody needs any more.

use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{State, UpdateRun};
use stolos_controller::{Key, Write};
use stolos_core::update::cluster::{Inspection, Operation};

use super::controller::{Updates, fleet_of};
use super::effect::Effect;

impl Updates {
    pub(super) fn plan_member(&self, key: &Key) -> Vec<Effect> {
        let Some(member) = self.members.get(key) else { return Vec::new() };
        let mut status = member.status.clone().unwrap_or_default();
        if let Some(known) = self.clusters.get(key)
            && let Inspection::Known(cluster) = &known.observation.cluster
        {
            status.kubernetes_version = Some(cluster.control_plane.to_string());
            status.location.clone_from(&cluster.region);
        }
        if self.lease_is_stale(key, member) {
            status.update_lease = None;
        }
        if member.status.clone().unwrap_or_default() == status {
            return Vec::new();
        }
        let reported = FleetMember { status: Some(status), ..FleetMember::clone(member) };
        vec![Effect::Write(Write::ReplaceStatus(reported.into()))]
    }

    /// A run gives its leases back itself, unless it is gone. Even then an upgrade that it began keeps the cluster.
    fn lease_is_stale(&self, key: &Key, member: &FleetMember) -> bool {
        let Some(lease) = member.status.as_ref().and_then(|status| status.update_lease.as_ref())
        else {
            return false;
        };
        let fleet = fleet_of(&key.namespace, &member.spec.fleet_name);
        // A run that has ended upgrades nobody.
        let has_ended = |run: &UpdateRun| {
            let state = run.status.as_ref().map(|status| status.status.state);
            matches!(state, Some(State::Completed | State::Skipped))
        };
        let held = (self.runs.indexed(&fleet))
            .any(|run| run.metadata.uid.as_ref() == Some(&lease.update_run_uid) && !has_ended(run));
        let Some(known) = self.clusters.get(key) else { return false };
        let goes_on = matches!(known.operation(&lease.operation_id), Some(Operation::Running(_)));
        !held && !goes_on
    }
}
