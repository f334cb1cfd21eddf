//! Endpoints that this member exports, and what stands for them on the hub.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use stolos_api::network::names::gateway;
use stolos_api::network::{EndpointSliceExport, EndpointSliceExportSpec};
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::slice::{self, Observed};
use stolos_core::network::stamp;

use super::act::{Act, Sought};
use super::metadata::Change;
use super::{Agent, annotated, parse, service_of};

impl Agent {
    pub(super) fn plan_slice(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let Some(slice) = self.slices.get(key) else { return Plan::default() };
        let service = service_of(slice).as_deref().and_then(parse);
        let export = service.as_ref().and_then(|service| self.exports.get(service));
        let name = annotated(slice);
        // Most slices have nothing to do with the fleet.
        if export.is_none() && name.is_none() {
            return Plan::default();
        }
        if export.is_none()
            && let Some(look) = service.and_then(|service| self.look_for(Sought::Export(service)))
        {
            return vec![look].into();
        }
        let stored = name.and_then(|name| self.exported(name));
        let sought = Sought::Slice(key.clone());
        if slice::is_outdated(slice, stored) && !self.is_confirmed(&sought, &slice.metadata) {
            return Vec::from_iter(self.look_for(sought)).into();
        }
        let cluster = &self.config.name;
        let by_gateway = self.config.network.gateway.is_some();
        let export = export.map(AsRef::as_ref);
        let observed = Observed { cluster, slice, export, stored, by_gateway };
        match slice::plan(&observed, now) {
            slice::Plan::Skip(_) => Plan::default(),
            slice::Plan::Withdraw { reason: _, delete, annotations } => {
                let stored = delete.and_then(|name| self.exported(&name));
                let stored = stored.filter(|stored| stored.metadata.deletion_timestamp.is_none());
                let deleted = stored.map(|stored| Act::Hub(Write::Delete(stored.clone().into())));
                let unmarked = unmarked(slice, &annotations);
                let unmarked = unmarked.map(|slice| self.on_member(Write::Replace(slice.into())));
                Plan::default()
                    .then(deleted.into_iter().collect())
                    .then(unmarked.into_iter().collect())
            }
            slice::Plan::Export { name, annotations, spec, gateway_tls } => {
                let change = Change::annotations(annotations.unwrap_or_default());
                let marked = change.of(slice.as_ref());
                let marked = marked.map(|slice| self.on_member(Write::Replace(slice.into())));
                // One that is being deleted must be gone before there can be another.
                let is_leaving = self
                    .exported(&name)
                    .is_some_and(|stored| stored.metadata.deletion_timestamp.is_some());
                let spec = spec.filter(|_| !is_leaving);
                let written =
                    spec.map(|spec| Act::Hub(self.slice_on_hub(&name, *spec, gateway_tls, now)));
                Plan::default()
                    .then(marked.into_iter().collect())
                    .then(written.into_iter().collect())
            }
        }
    }

    /// Deletes what stands for a slice that is gone, or that is exported under another name.
    pub(super) fn plan_exported_slice(&self, name: &str) -> Plan<Act> {
        let Some(stored) = self.exported(name) else { return Plan::default() };
        if stored.metadata.deletion_timestamp.is_some() {
            return Plan::default();
        }
        let key = parse(&stored.spec.endpoint_slice_reference.namespaced_name).unwrap_or_default();
        let slice = self.slices.get(&key).map(AsRef::as_ref);
        if !slice::is_orphan(stored, slice) {
            return Plan::default();
        }
        let look = slice.is_none().then(|| self.look_for(Sought::Slice(key))).flatten();
        let delete = || Act::Hub(Write::Delete(stored.clone().into()));
        vec![look.unwrap_or_else(delete)].into()
    }

    fn exported(&self, name: &str) -> Option<&EndpointSliceExport> {
        self.exported_slices.get(&Key::namespaced(&self.namespace, name)).map(AsRef::as_ref)
    }

    fn slice_on_hub(
        &self,
        name: &str,
        spec: EndpointSliceExportSpec,
        gateway_tls: Option<&str>,
        now: Timestamp,
    ) -> Write<super::hub::Object> {
        let stored = self.exported(name);
        let mut export = match stored {
            Some(stored) => EndpointSliceExport { spec, ..stored.clone() },
            None => EndpointSliceExport::new(name, spec),
        };
        export.metadata.namespace = Some(self.namespace.clone());
        let before = stored.map(|stored| &stored.spec.endpoint_slice_reference);
        let version = &export.spec.endpoint_slice_reference;
        stamp::note(&mut export.metadata, before, version, now);
        let annotations = export.metadata.annotations.get_or_insert_default();
        annotations.remove(gateway::TLS);
        annotations.extend(gateway_tls.map(|tls| (gateway::TLS.to_owned(), tls.to_owned())));
        if stored.is_some() { Write::Replace(export.into()) } else { Write::Create(export.into()) }
    }
}

/// Returns a slice without these annotations, or nothing if it has none of them.
fn unmarked(slice: &EndpointSlice, annotations: &[&str]) -> Option<EndpointSlice> {
    let mut slice = slice.clone();
    let known = slice.metadata.annotations.as_mut()?;
    let before = known.len();
    known.retain(|name, _| !annotations.contains(&name.as_str()));
    (known.len() < before).then_some(slice)
}
