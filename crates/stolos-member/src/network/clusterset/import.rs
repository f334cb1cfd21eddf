//! Services of the clusterset in this member.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use stolos_api::network::clusterset::ImportedService;
use stolos_api::network::mcs::ServiceImport;
use stolos_controller::event::{self, Report};
use stolos_controller::{Key, Plan, Write};
use stolos_core::condition;
use stolos_core::event::Event;
use stolos_core::network::mcs::import::{self, Deed, Observed, Taken};
use stolos_core::network::names::derived;

use super::act::{Act, Sought};
use super::{Agent, MANAGER};

impl Agent {
    pub(super) fn plan_import(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let on_hub = self.on_hub(key);
        let import = self.imports.get(key).map(AsRef::as_ref);
        let told = self.imported.get(&on_hub).map(AsRef::as_ref);
        let service = Key::namespaced(&key.namespace, &derived(&key.namespace, &key.name));
        let slices = self.slices_of(&service.namespace, &service.name);
        let sought = Sought::Imported(on_hub);
        let is_current = |told: &ImportedService| {
            !import::is_outdated(told, &slices) || self.is_confirmed(&sought, &told.metadata)
        };
        let is_leaving = told.is_some_and(|told| told.metadata.deletion_timestamp.is_some());
        let told = match told.filter(|told| is_current(told)) {
            _ if self.leaves() || is_leaving => return self.unimport(import),
            Some(told) => told,
            None if import.is_none_or(|import| !import::is_ours(&import.metadata)) => {
                return Plan::default();
            }
            None => {
                let look = self.look_for(sought);
                return look.map_or_else(|| self.unimport(import), |look| vec![look].into());
            }
        };
        let observed = Observed {
            namespace: &key.namespace,
            name: &key.name,
            told,
            has_namespace: self.has_namespace(&key.namespace),
            import,
            service: self.services.get(&service).map(AsRef::as_ref),
            slices: &slices,
            guard: &self.guard,
        };
        let plan = import::plan(&observed, now);
        let surplus: Vec<_> = observed
            .slices
            .iter()
            .filter(|slice| {
                slice.metadata.name.as_ref().is_some_and(|name| plan.surplus.contains(name))
            })
            .map(|slice| self.on_member(Write::Delete(EndpointSlice::clone(slice).into())))
            .collect();
        let mut written: Vec<_> =
            plan.slices.into_iter().filter_map(|slice| self.write_slice(slice)).collect();
        written.extend(self.write_service(&service, &observed, plan.service));
        // The status waits for a round that leaves the rest of the object alone.
        written.extend(match (plan.import, plan.status, import) {
            (Some(wanted), _, None) => {
                let look = self.look_for(Sought::Import(key.clone()));
                Some(look.unwrap_or_else(|| self.on_member(Write::Create((*wanted).into()))))
            }
            (Some(wanted), _, Some(_)) => Some(self.on_member(Write::Replace((*wanted).into()))),
            (None, Some(status), Some(import)) => {
                let told = ServiceImport { status: Some(status), ..import.clone() };
                Some(self.on_member(Write::ReplaceStatus(told.into())))
            }
            (None, _, _) => None,
        });
        let taken = match (plan.taken, import, observed.service) {
            (Some(Taken::Import(event)), Some(import), _) => Some(self.event(import, event, now)),
            (Some(Taken::Service(event)), _, Some(taken)) => Some(self.event(taken, event, now)),
            _ => None,
        };
        let reported = plan.told.map(|told_now| {
            let mut told = ImportedService::clone(told);
            condition::set(&mut told.status.get_or_insert_default().conditions, told_now);
            Act::Hub(Write::ReplaceStatus(told.into()))
        });
        Plan::default()
            .then(written)
            .then(surplus)
            .then(reported.into_iter().collect())
            .then(taken.into_iter().collect())
    }

    fn has_namespace(&self, name: &str) -> bool {
        let namespace = self.namespaces.get(&Key::cluster(name));
        namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none())
    }

    /// Removes a ServiceImport of ours; what was made for it goes with it, because it is the owner.
    fn unimport(&self, import: Option<&ServiceImport>) -> Plan<Act> {
        let ours = import.filter(|import| {
            import::is_ours(&import.metadata) && import.metadata.deletion_timestamp.is_none()
        });
        let gone = ours.map(|import| self.on_member(Write::Delete(import.clone().into())));
        Plan::default().then(gone.into_iter().collect())
    }

    /// Writes a slice. One that no list shows is looked for first, and one of somebody else under its name is left alone.
    fn write_slice(&self, mut slice: EndpointSlice) -> Option<Act> {
        let key = Key::of(&slice.metadata);
        if let Some(stored) = self.slices.get(&key) {
            let owner = slice.metadata.owner_references.iter().flatten().next();
            let uid = owner.map(|owner| owner.uid.as_str()).unwrap_or_default();
            if !import::is_slice_ours(&stored.metadata, uid) {
                return None;
            }
            slice.metadata.resource_version.clone_from(&stored.metadata.resource_version);
            return Some(self.on_member(Write::Replace(slice.into())));
        }
        let look = self.look_for(Sought::Slice(key));
        Some(look.unwrap_or_else(|| self.on_member(Write::Create(slice.into()))))
    }

    fn write_service(&self, key: &Key, observed: &Observed<'_>, deed: Deed) -> Option<Act> {
        match (deed, observed.service) {
            (Deed::Keep, _) | (Deed::Delete, None) => None,
            (Deed::Delete, Some(stored)) => {
                Some(self.on_member(Write::Delete(stored.clone().into())))
            }
            (Deed::Write(service), Some(_)) => {
                Some(self.on_member(Write::Replace((*service).into())))
            }
            (Deed::Write(service), None) => {
                let look = self.look_for(Sought::Service(key.clone()));
                Some(look.unwrap_or_else(|| self.on_member(Write::Create((*service).into()))))
            }
        }
    }

    fn event<K: Resource<DynamicType = ()>>(&self, about: &K, told: Event, now: Timestamp) -> Act {
        let report = Report {
            component: MANAGER,
            type_: told.severity.as_str(),
            reason: told.reason.to_owned(),
            message: told.message,
        };
        self.on_member(Write::Create(event::event(about, report, 0, now).into()))
    }
}
