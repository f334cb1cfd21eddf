//! The members of each fleet as runs read them: one is read anew when something about it changes, all others stay as they
//! are.

use std::collections::{BTreeMap, BTreeSet};

use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::UpdateRun;
use stolos_controller::Key;
use stolos_core::cluster::fleet::was_refused;
use stolos_core::update::Members;
use stolos_core::update::cluster::{Inspection, Member};

use super::controller::{KnownCluster, Updates, fleet_of};

/// The members of a fleet.
#[derive(Default)]
pub(super) struct View {
    members: Members,
    /// Members whose cluster has not been looked at for the first time.
    unseen: BTreeSet<String>,
    /// Members that are being removed from the fleet, or were never taken in.
    leaving: BTreeSet<String>,
}

impl View {
    /// Whether the clusters of all members have been looked at.
    pub(super) fn is_complete(&self) -> bool {
        self.unseen.is_empty()
    }

    /// Returns the members as a run reads them: one that is being removed, or was
    /// never taken in, counts while the run upgrades it.
    pub(super) fn of_run(&self, run: &UpdateRun) -> Members {
        let mut members = self.members.clone();
        for name in &self.leaving {
            let holder = members.get(name).and_then(|member| member.holder.as_ref());
            let is_updated =
                holder.is_some_and(|holder| Some(&holder.uid) == run.metadata.uid.as_ref());
            if !is_updated {
                members.remove(name);
            }
        }
        members
    }

    fn take(&mut self, name: &str, member: Member, is_seen: bool, is_leaving: bool) {
        set(&mut self.unseen, name, !is_seen);
        set(&mut self.leaving, name, is_leaving);
        // Taking in what is known already would make the engine look at all members again.
        if self.members.get(name) != Some(&member) {
            self.members.insert(name.to_owned(), member);
        }
    }

    fn forget(&mut self, name: &str) {
        self.unseen.remove(name);
        self.leaving.remove(name);
        if self.members.contains_key(name) {
            self.members.remove(name);
        }
    }
}

fn set(names: &mut BTreeSet<String>, name: &str, is_in: bool) {
    if !is_in {
        names.remove(name);
    } else if !names.contains(name) {
        names.insert(name.to_owned());
    }
}

impl Updates {
    /// Reads a member anew, with its cluster and with what pre-flight checks find on it.
    pub(super) fn look_at(&mut self, key: &Key) {
        let Some((fleet, name)) = key.name.split_once('.') else { return };
        let view = self.views.entry(fleet_of(&key.namespace, fleet)).or_default();
        let Some(member) = self.members.get(key) else {
            view.forget(name);
            return;
        };
        let known = self.clusters.get(key);
        // Another fleet may have the cluster of one that was refused.
        let is_refused = was_refused(member);
        let is_leaving = is_refused || member.metadata.deletion_timestamp.is_some();
        let findings = self.preflight.get(key).cloned().unwrap_or_default();
        let observed =
            Member { preflight: findings, ..observe_member(&key.namespace, member, known) };
        view.take(name, observed, is_refused || known.is_some(), is_leaving);
    }

    /// Reads all members anew.
    pub(super) fn look_at_all(&mut self) {
        self.views = BTreeMap::new();
        let keys: Vec<Key> = self.members.iter().map(|member| Key::of(&member.metadata)).collect();
        for key in &keys {
            self.look_at(key);
        }
    }

    /// Returns the members of a fleet.
    pub(super) fn view(&self, namespace: &str, fleet: &str) -> Option<&View> {
        self.views.get(&fleet_of(namespace, fleet))
    }
}

fn observe_member(namespace: &str, member: &FleetMember, known: Option<&KnownCluster>) -> Member {
    let cluster = known.map_or_else(
        || Inspection::Unknown("the cluster has not been looked at yet".into()),
        |known| known.observation.cluster.clone(),
    );
    super::runs::observe_cluster(namespace, member, cluster)
}
