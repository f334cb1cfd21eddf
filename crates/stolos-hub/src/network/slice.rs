//! The endpoints of a member: a copy for each member that imports their service.

use stolos_api::network::names::finalizer as names;
use stolos_api::network::names::{DEFAULT_WEIGHT, gateway};
use stolos_api::network::{EndpointSliceExport, EndpointSliceImport};
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::distribute;

use super::look::Act;
use super::{Services, finalizer};

impl Services {
    pub(super) fn plan_slice(&self, key: &Key) -> Plan<Act> {
        let Some(slice) = self.slices.get(key) else { return Plan::default() };
        let service = &slice.spec.owner_service_reference.namespaced_name;
        let copies: Vec<_> =
            self.copies.indexed(&key.name).map(|copy| EndpointSliceImport::clone(copy)).collect();
        let weight = self.weight(slice);
        let plan =
            distribute::plan(slice, self.import(service).map(AsRef::as_ref), weight, &copies);
        let bind = |wanted| finalizer::write(slice.as_ref(), names::ENDPOINT_SLICE_EXPORT, wanted);
        let adopt = plan.finalizer.then(|| bind(true)).flatten().into_iter().collect();
        let written = plan.copy_to.iter().map(|namespace| {
            let wanted = distribute::copy(slice, weight, namespace);
            let stored = self.copies.get(&Key::namespaced(namespace, &key.name));
            stored.map_or_else(
                || Write::Create(wanted.clone().into()),
                |stored| Write::Replace(renewed(stored, &wanted).into()),
            )
        });
        let deleted = copies.iter().filter(|copy| {
            plan.delete_from.contains(copy.metadata.namespace.as_deref().unwrap_or_default())
        });
        let deleted = deleted.map(|copy| Write::Delete(copy.clone().into()));
        let drop = (!plan.finalizer).then(|| bind(false)).flatten().into_iter().collect();
        let written = written.chain(deleted).map(Act::Write).collect();
        Plan::default().then(adopt).then(written).then(drop)
    }

    /// Returns the weight of the export that a slice belongs to.
    fn weight(&self, slice: &EndpointSliceExport) -> i64 {
        let service = &slice.spec.owner_service_reference.namespaced_name;
        let mut exports = self.exports.indexed(service);
        let own = exports.find(|export| export.metadata.namespace == slice.metadata.namespace);
        own.and_then(|export| export.spec.weight).unwrap_or(DEFAULT_WEIGHT)
    }
}

/// Returns a copy that exists with what it is to say.
fn renewed(stored: &EndpointSliceImport, wanted: &EndpointSliceImport) -> EndpointSliceImport {
    let mut copy = stored.clone();
    copy.spec = wanted.spec.clone();
    let annotations = copy.metadata.annotations.get_or_insert_default();
    annotations.remove(gateway::TLS);
    annotations.extend(wanted.metadata.annotations.clone().unwrap_or_default());
    copy
}
