//! The endpoints of a member: a copy for each member that imports their service.

use std::sync::Arc;

use jiff::Timestamp;
use stolos_api::cluster::names::{MEMBER_NAMESPACE_PREFIX, member_namespace};
use stolos_api::network::names::finalizer as names;
use stolos_api::network::names::{DEFAULT_WEIGHT, SILENT_SINCE_ANNOTATION, annotation};
use stolos_api::network::{EndpointSliceExport, EndpointSliceImport};
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::distribute::{self, Reason, Told};
use stolos_core::network::silence::{self, Silence};

use super::look::{Act, Sought};
use super::{Services, finalizer};

impl Services {
    pub(super) fn plan_slice(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let Some(slice) = self.slices.get(key) else { return self.withdraw_copies(key).into() };
        let service = &slice.spec.owner_service_reference.namespaced_name;
        let copies: Vec<_> =
            self.copies.indexed(&key.name).map(|copy| EndpointSliceImport::clone(copy)).collect();
        let renewed = copies.iter().filter(|copy| copy.metadata.deletion_timestamp.is_none());
        let sought = Sought::Slice(key.clone());
        if distribute::is_outdated(slice, &copies) && !self.is_confirmed(&sought, &slice.metadata) {
            if self.absent.contains(&sought) {
                return self.withdraw_copies(key).into();
            }
            return vec![Act::Look(sought)].into();
        }
        let silence = self.silence(slice, renewed.clone().find_map(told_silence), now);
        let told = Told {
            weight: self.weight(slice, renewed.clone().find_map(told_weight)),
            silent_since: silence.since,
        };
        let import = self.import(service).map(AsRef::as_ref);
        let plan = distribute::plan(slice, import, &told, &copies);
        // A list may show what the service was before a member came to import it, or to export it.
        if plan.is_by_import() && !plan.delete_from.is_empty() {
            let sought = Sought::Import(service.clone());
            if import.is_some_and(|import| !self.is_confirmed(&sought, &import.metadata)) {
                return vec![Act::Look(sought)].into();
            }
        }
        let bind = |wanted| finalizer::write(slice.as_ref(), names::ENDPOINT_SLICE_EXPORT, wanted);
        let adopt = plan.finalizer.then(|| bind(true)).flatten().into_iter().collect();
        let written = plan.copy_to.iter().map(|namespace| {
            let wanted = distribute::copy(slice, &told, namespace);
            let stored = self.copies.get(&Key::namespaced(namespace, &key.name));
            stored.map_or_else(
                || Write::Create(wanted.clone().into()),
                |stored| Write::Replace(distribute::renewed(stored, &wanted).into()),
            )
        });
        let deleted = copies.iter().filter(|copy| {
            plan.delete_from.contains(copy.metadata.namespace.as_deref().unwrap_or_default())
        });
        let deleted = deleted.map(|copy| Write::Delete(copy.clone().into()));
        let drop = (!plan.finalizer).then(|| bind(false)).flatten().into_iter().collect();
        let written = written.chain(deleted).map(Act::Write).collect();
        // Only who gets a copy can be told.
        let wake_at = silence.wake_at.filter(|_| plan.reason == Reason::Imported);
        Plan::default().then(adopt).then(written).then(drop).waking_at(wake_at)
    }

    /// Withdraws the copies of endpoints that are gone.
    fn withdraw_copies(&self, key: &Key) -> Vec<Act> {
        let is_left = |copy: &&Arc<EndpointSliceImport>| {
            let cluster = &copy.spec.endpoint_slice_reference.cluster_id;
            member_namespace(cluster) == key.namespace && copy.metadata.deletion_timestamp.is_none()
        };
        let left: Vec<_> = self.copies.indexed(&key.name).filter(is_left).collect();
        let sought = Sought::Slice(key.clone());
        if !left.is_empty() && !self.absent.contains(&sought) {
            return vec![Act::Look(sought)];
        }
        let left = left.into_iter().map(|copy| EndpointSliceImport::clone(copy));
        left.map(|copy| Act::Write(Write::Delete(copy.into()))).collect()
    }

    /// Returns whether the member of a slice is silent.
    fn silence(
        &self,
        slice: &EndpointSliceExport,
        told: Option<Timestamp>,
        now: Timestamp,
    ) -> Silence {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let name = namespace.strip_prefix(MEMBER_NAMESPACE_PREFIX).unwrap_or_default();
        let member = self.members.get(&Key::cluster(name)).map(AsRef::as_ref);
        silence::silence(member, told, self.begun, now)
    }

    /// Returns the weight of the export that a slice belongs to. One that a list lacks has the weight that it had.
    fn weight(&self, slice: &EndpointSliceExport, told: Option<i64>) -> i64 {
        let service = &slice.spec.owner_service_reference.namespaced_name;
        let mut exports = self.exports.indexed(service);
        let own = exports.find(|export| export.metadata.namespace == slice.metadata.namespace);
        let weight = match own {
            Some(export) => export.spec.weight,
            None => told,
        };
        weight.unwrap_or(DEFAULT_WEIGHT)
    }
}

/// Returns the text under which copies are found that say a member to be silent. No name has a space.
pub(super) fn silent(member: &str) -> String {
    format!("silent {member}")
}

/// Returns that text for a copy that says so.
pub(super) fn marked(copy: &EndpointSliceImport) -> Option<String> {
    told_silence(copy)?;
    Some(silent(&copy.spec.endpoint_slice_reference.cluster_id))
}

/// Returns the weight that a copy says.
fn told_weight(copy: &EndpointSliceImport) -> Option<i64> {
    copy.metadata.annotations.as_ref()?.get(annotation::WEIGHT)?.parse().ok()
}

/// Returns since when the member of a copy is silent by what the copy says.
fn told_silence(copy: &EndpointSliceImport) -> Option<Timestamp> {
    copy.metadata.annotations.as_ref()?.get(SILENT_SINCE_ANNOTATION)?.parse().ok()
}
