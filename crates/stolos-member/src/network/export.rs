//! Services that this member exports.

use jiff::Timestamp;
use stolos_api::network::names::{annotation, condition as type_, finalizer};
use stolos_api::network::{InternalServiceExport, ServiceExport};
use stolos_controller::{Key, Plan, Write};
use stolos_core::condition;
use stolos_core::network::export::{self, Internal, Observed};
use stolos_core::network::gateway;
use stolos_core::network::names;
use stolos_core::network::report::{self, Report};
use stolos_core::network::stamp;
use stolos_core::network::traffic::PublicAddress;

use super::act::{Act, Sought};
use super::metadata::Change;
use super::{Agent, entry, first, text};

impl Agent {
    /// Plans an export in rounds: its metadata, then the hub and its conditions, and last what lets it go.
    pub(super) fn plan_export(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let internal = first(&self.internal_exports, &text(key));
        let Some(export) = self.exports.get(key) else {
            return internal.map(|internal| self.unexport(key, internal)).unwrap_or_default();
        };
        let service = self.clusters_services.get(key).map(AsRef::as_ref);
        if service.is_none()
            && internal.is_some()
            && let Some(look) = self.look_for(Sought::Service(key.clone()))
        {
            return vec![look].into();
        }
        let cluster = &self.config.name;
        let told = service.filter(|_| self.config.network.tells_addresses);
        let address = told.map(|service| PublicAddress::of(cluster, service));
        let observed = Observed { cluster, export, service, internal, address: address.as_ref() };
        let plan = export::plan(&observed, now);
        let hub = self.export_on_hub(key, internal, &plan.internal, now).into_iter().collect();
        let allocation = self.allocate(export, service);
        let mut annotations = plan.annotations.clone().unwrap_or_default();
        annotations.extend(allocation.as_ref().map(entry::annotation));
        let change = Change {
            finalizer: plan.finalizer.then_some((finalizer::SERVICE_EXPORT, true)),
            ..Change::annotations(annotations)
        };
        if let Some(marked) = change.of(export.as_ref()) {
            let marked = self.on_member(Write::Replace(marked.into()));
            return Plan::default().then(vec![marked]).then(hub);
        }
        let conditions = match self.config.network.gateway {
            Some(_) => gateway::tell(export, plan.conditions, allocation.as_ref(), now),
            None => gateway::untell(export, plan.conditions),
        };
        if let Some(conditions) = conditions {
            let mut told = ServiceExport::clone(export);
            told.status.get_or_insert_default().conditions = conditions;
            let mut told = vec![self.on_member(Write::ReplaceStatus(told.into()))];
            told.extend(self.events(export.as_ref(), &plan.events, now));
            return Plan::default().then(told).then(hub);
        }
        if !plan.finalizer
            && let Some(freed) =
                Change::finalizer(finalizer::SERVICE_EXPORT, false).of(export.as_ref())
        {
            return Plan::default()
                .then(hub)
                .then(vec![self.on_member(Write::Replace(freed.into()))]);
        }
        let uid = service.and_then(|service| service.metadata.uid.as_deref());
        let told = internal.map(|internal| report::conflict(internal, Some(export), uid, now));
        let told = match told {
            Some(Report::Set(told)) => self.tell_conflict(export, told, now),
            Some(Report::Unchanged | Report::DeleteInternal) | None => Vec::new(),
        };
        let is_told = told.is_empty() && plan.internal == Internal::Unchanged;
        let measured = internal.filter(|_| is_told).map(|one| self.measure_export(one, now));
        let plan = Plan::default().then(hub).then(told);
        measured.into_iter().flatten().fold(plan, |plan, act| plan.then(vec![act]))
    }

    /// Notes that this version of a Service has been resolved, and measures how long that took.
    fn measure_export(&self, internal: &InternalServiceExport, now: Timestamp) -> Vec<Act> {
        let conditions = internal.status.as_ref().map(|status| status.conditions.as_slice());
        let verdict = condition::find(conditions.unwrap_or_default(), type_::CONFLICT);
        if verdict.is_none_or(|verdict| verdict.status == "Unknown") {
            return Vec::new();
        }
        let reference = &internal.spec.service_reference;
        let (name, version) =
            (annotation::LAST_OBSERVED_RESOURCE_VERSION, reference.resource_version.as_str());
        let since = reference.exported_since.as_ref().map(|since| since.0);
        let took = stamp::duration(&internal.metadata, name, version, since, now);
        let noted = Change::annotations([(name.to_owned(), version.to_owned())].into());
        let (Some(took), Some(noted)) = (took, noted.of(internal)) else { return Vec::new() };
        let (metrics, cluster) = (self.config.metrics.clone(), self.config.name.clone());
        vec![
            Act::Hub(Write::Replace(noted.into())),
            Act::Here(Box::new(move || metrics.exported(&cluster, took))),
        ]
    }

    fn tell_conflict(
        &self,
        export: &ServiceExport,
        told: report::Told,
        now: Timestamp,
    ) -> Vec<Act> {
        let mut changed = export.clone();
        let conditions = &mut changed.status.get_or_insert_default().conditions;
        condition::set(conditions, told.conflict);
        let written = self.on_member(Write::ReplaceStatus(changed.into()));
        let events = self.events(export, std::slice::from_ref(&told.event), now);
        [written].into_iter().chain(events).collect()
    }

    /// Deletes what stands on the hub for an export that is gone.
    fn unexport(&self, key: &Key, internal: &InternalServiceExport) -> Plan<Act> {
        if internal.metadata.deletion_timestamp.is_some() {
            return Plan::default();
        }
        if let Some(look) = self.look_for(Sought::Export(key.clone())) {
            return vec![look].into();
        }
        vec![Act::Hub(Write::Delete(internal.clone().into()))].into()
    }

    fn export_on_hub(
        &self,
        key: &Key,
        stored: Option<&InternalServiceExport>,
        wanted: &Internal,
        now: Timestamp,
    ) -> Option<Act> {
        let write = match (wanted, stored) {
            (Internal::Unchanged, _) | (Internal::Absent, None) => return None,
            (Internal::Absent, Some(stored)) => stored
                .metadata
                .deletion_timestamp
                .is_none()
                .then(|| Write::Delete(stored.clone().into()))?,
            (Internal::Present(spec), Some(stored)) => {
                let mut renewed =
                    InternalServiceExport { spec: spec.as_ref().clone(), ..stored.clone() };
                let before = Some(&stored.spec.service_reference);
                stamp::note(&mut renewed.metadata, before, &spec.service_reference, now);
                Write::Replace(renewed.into())
            }
            (Internal::Present(spec), None) => {
                let all = self.internal_exports.iter();
                let taken = all.filter_map(|one| {
                    let stands_for = one.spec.service_reference.namespaced_name.clone();
                    Some((one.metadata.name.clone()?, stands_for))
                });
                let name = names::transport(&key.namespace, &key.name, &taken.collect());
                let mut export = InternalServiceExport::new(&name, spec.as_ref().clone());
                export.metadata.namespace = Some(self.namespace.clone());
                stamp::note(&mut export.metadata, None, &spec.service_reference, now);
                Write::Create(export.into())
            }
        };
        Some(Act::Hub(write))
    }
}
