//! Services that this member exports to the clusterset.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use stolos_api::network::clusterset::ExportedService;
use stolos_api::network::mcs::ServiceExport;
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::mcs::export::{self, Hub, Observed};

use super::Agent;
use super::act::{Act, Sought};

impl Agent {
    pub(super) fn plan_export(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let on_hub = self.on_hub(key);
        let stored = self.exported.get(&on_hub).map(AsRef::as_ref);
        let Some(export) = self.exports.get(key) else {
            let look = || self.look_for(Sought::Export(key.clone()));
            let unexport = || stored.and_then(|stored| self.unexport(stored));
            return stored
                .and_then(|_| look().or_else(unexport))
                .map(|act| vec![act].into())
                .unwrap_or_default();
        };
        if export.metadata.deletion_timestamp.is_some() {
            let unexported = stored.and_then(|stored| self.unexport(stored));
            return Plan::default().then(unexported.into_iter().collect());
        }
        let looks = self.looks_for_parts(key, stored);
        if !looks.is_empty() {
            return Plan::default().then(looks);
        }
        let plan = export::plan(
            &Observed {
                export,
                service: self.services.get(key).map(AsRef::as_ref),
                slices: &self.own_slices(key),
                stored,
                leaves: self.leaves(),
            },
            now,
        );
        let hub = match (plan.hub, stored) {
            (Hub::Unchanged, _) | (Hub::Absent, None) => None,
            (Hub::Absent, Some(stored)) => self.unexport(stored),
            (Hub::Present(spec), Some(stored)) => {
                let renewed = ExportedService { spec: *spec, ..stored.clone() };
                Some(Act::Hub(Write::Replace(renewed.into())))
            }
            (Hub::Present(spec), None) => {
                Some(self.look_for(Sought::Exported(on_hub.clone())).unwrap_or_else(|| {
                    let mut export = ExportedService::new(&on_hub.name, *spec);
                    export.metadata.namespace = Some(on_hub.namespace);
                    Act::Hub(Write::Create(export.into()))
                }))
            }
        };
        let told = plan.conditions.map(|conditions| {
            let mut told = ServiceExport::clone(export);
            told.status.get_or_insert_default().conditions = conditions;
            self.on_member(Write::ReplaceStatus(told.into()))
        });
        // The user is told even if the hub is away.
        Plan::default().then(told.into_iter().collect()).then(hub.into_iter().collect())
    }

    /// Takes an export from the hub. While the member leaves, the hub does so by itself.
    fn unexport(&self, stored: &ExportedService) -> Option<Act> {
        let is_there = stored.metadata.deletion_timestamp.is_none() && !self.leaves();
        is_there.then(|| Act::Hub(Write::Delete(stored.clone().into())))
    }

    /// Returns the slices of a Service but for those that a list shows and that are gone.
    fn own_slices(&self, service: &Key) -> Vec<&EndpointSlice> {
        let mut slices = self.slices_of(&service.namespace, &service.name);
        slices.retain(|slice| !self.absent.contains(&Sought::Slice(Key::of(&slice.metadata))));
        slices
    }

    /// Looks for what is exported and no list of the member shows, or of which it shows an earlier state: its Service, and its
    /// endpoints.
    fn looks_for_parts(&self, key: &Key, stored: Option<&ExportedService>) -> Vec<Act> {
        let Some(stored) = stored else { return Vec::new() };
        let service = self.services.get(key).is_none().then(|| Sought::Service(key.clone()));
        let missing = stored.spec.slices.iter().filter_map(|told| {
            let key = Key::namespaced(&key.namespace, &told.name);
            let shown = self.slices.get(&key).filter(|slice| !export::is_outdated(slice, told));
            let sought = Sought::Slice(key.clone());
            let is_confirmed = || {
                let slice = self.slices.get(&key);
                slice.is_some_and(|slice| self.is_confirmed(&sought, &slice.metadata))
            };
            (shown.is_none() && !is_confirmed()).then_some(sought)
        });
        service.into_iter().chain(missing).filter_map(|sought| self.look_for(sought)).collect()
    }
}
