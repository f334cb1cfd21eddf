//! Services that this member imports: what it asks of the hub, what it is told, and the endpoints of other members.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use stolos_api::network::names::{REFUSED_ANNOTATION, annotation, finalizer, gateway, label};
use stolos_api::network::{
    EndpointSliceImport, InternalServiceImport, InternalServiceImportSpec, MultiClusterService,
    ServiceImport,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::import_slice::{self, Observed};
use stolos_core::network::names;
use stolos_core::network::report::{self, Ask, Report};
use stolos_core::network::stamp;

use super::act::{Act, Sought};
use super::metadata::Change;
use super::{Agent, first, label_of, text};

impl Agent {
    pub(super) fn plan_import(&self, key: &Key) -> Plan<Act> {
        let internal = first(&self.internal_imports, &text(key));
        let Some(import) = self.imports.get(key) else {
            let left = internal.filter(|internal| internal.metadata.deletion_timestamp.is_none());
            let Some(internal) = left else { return Plan::default() };
            let look = self.look_for(Sought::Import(key.clone()));
            let delete = || Act::Hub(Write::Delete(internal.clone().into()));
            return vec![look.unwrap_or_else(delete)].into();
        };
        match report::ask(&self.config.name, import, internal) {
            Ask::Present(spec) => {
                let marked = Change::finalizer(finalizer::SERVICE_IMPORT, true).of(import.as_ref());
                let marked = marked.map(|import| self.on_member(Write::Replace(import.into())));
                let asked = Act::Hub(self.ask(key, internal, *spec));
                Plan::default().then(marked.into_iter().collect()).then(vec![asked])
            }
            Ask::Withdraw { finalizer: true } => {
                let left = internal.filter(|one| one.metadata.deletion_timestamp.is_none());
                let withdrawn = left.map(|one| Act::Hub(Write::Delete(one.clone().into())));
                Plan::from(withdrawn.into_iter().collect::<Vec<_>>())
            }
            Ask::Withdraw { finalizer: false } => {
                let freed = Change::finalizer(finalizer::SERVICE_IMPORT, false).of(import.as_ref());
                let freed = freed.map(|import| self.on_member(Write::Replace(import.into())));
                Plan::from(freed.into_iter().collect::<Vec<_>>())
            }
            Ask::Unchanged => {
                let told = internal.map(|internal| report::import(internal, Some(import)));
                let Some(Report::Set(status)) = told else { return Plan::default() };
                let told = ServiceImport { status: Some(status), ..ServiceImport::clone(import) };
                Plan::from(vec![self.on_member(Write::ReplaceStatus(told.into()))])
            }
        }
    }

    /// Notes that this version of endpoints is here, and measures how long they took.
    fn measure_import(&self, import: &EndpointSliceImport, now: Timestamp) -> Vec<Act> {
        let reference = &import.spec.endpoint_slice_reference;
        let (name, version) =
            (annotation::LAST_OBSERVED_GENERATION, reference.generation.to_string());
        let since = reference.exported_since.as_ref().map(|since| since.0);
        let took = stamp::duration(&import.metadata, name, &version, since, now);
        let noted = Change::annotations([(name.to_owned(), version)].into()).of(import);
        let (Some(took), Some(noted)) = (took, noted) else { return Vec::new() };
        let (from, to) = (reference.cluster_id.clone(), self.config.name.clone());
        let metrics = self.config.metrics.clone();
        vec![
            Act::Hub(Write::Replace(noted.into())),
            Act::Here(Box::new(move || metrics.imported(&from, &to, took))),
        ]
    }

    fn ask(
        &self,
        key: &Key,
        stored: Option<&InternalServiceImport>,
        spec: InternalServiceImportSpec,
    ) -> Write<super::hub::Object> {
        if let Some(stored) = stored {
            return Write::Replace(InternalServiceImport { spec, ..stored.clone() }.into());
        }
        let all = self.internal_imports.iter();
        let taken = all.filter_map(|one| {
            let stands_for = one.spec.service_import_reference.namespaced_name.clone();
            Some((one.metadata.name.clone()?, stands_for))
        });
        let name = names::transport(&key.namespace, &key.name, &taken.collect());
        let mut import = InternalServiceImport::new(&name, spec);
        import.metadata.namespace = Some(self.namespace.clone());
        Write::Create(import.into())
    }

    /// Brings endpoints of another member in, or takes them out.
    pub(super) fn plan_imported_slice(&self, name: &str, now: Timestamp) -> Plan<Act> {
        let key = Key::namespaced(&self.namespace, name);
        let Some(import) = self.imported_slices.get(&key) else { return Plan::default() };
        let system_namespace = self.config.network.system_namespace.as_str();
        let service = &import.spec.owner_service_reference.namespaced_name;
        let services: Vec<_> =
            self.services.indexed(service).map(|one| MultiClusterService::clone(one)).collect();
        let derived = services.iter().filter_map(|service| {
            let name = label_of(&service.metadata, label::DERIVED_SERVICE)?;
            let derived = self.clusters_services.get(&Key::namespaced(system_namespace, name))?;
            Some((name.to_owned(), derived.as_ref().clone()))
        });
        let derived = derived.collect();
        let slice = self.slices.get(&Key::namespaced(system_namespace, name)).map(AsRef::as_ref);
        let services = services.as_slice();
        let guard = &self.guard;
        let observed =
            Observed { import, services, derived: &derived, slice, system_namespace, guard };
        let bind = |wanted| {
            let change = Change::finalizer(finalizer::ENDPOINT_SLICE_IMPORT, wanted);
            let bound = change.of(import.as_ref());
            bound.map(|import| Act::Hub(Write::Replace(import.into()))).into_iter().collect()
        };
        match import_slice::plan(&observed) {
            import_slice::Plan::Wait(_) => Plan::default(),
            import_slice::Plan::Withdraw { finalizer: true } => {
                let deleted =
                    slice.map(|slice| self.on_member(Write::Delete(slice.clone().into())));
                Plan::from(deleted.into_iter().collect::<Vec<_>>())
            }
            import_slice::Plan::Withdraw { finalizer: false } => {
                let key = Key::namespaced(system_namespace, name);
                let look = self.look_for(Sought::Slice(key));
                Plan::default().then(look.map_or_else(|| bind(false), |look| vec![look]))
            }
            import_slice::Plan::Import(None) => {
                let bound: Vec<Act> = bind(true);
                let measured =
                    if bound.is_empty() { self.measure_import(import, now) } else { Vec::new() };
                let plan = Plan::default().then(bound);
                measured.into_iter().fold(plan, |plan, act| plan.then(vec![act]))
            }
            import_slice::Plan::Import(Some(wanted)) => {
                let bound: Vec<Act> = bind(true);
                let sought = Sought::Imported(key);
                // A list may show what the hub has no more, and what was made of that would never be withdrawn; or an earlier
                // state, without what has come since.
                let is_later = |slice| !import_slice::is_outdated(import, slice);
                let is_proven = slice.is_some_and(is_later)
                    || !bound.is_empty()
                    || self.is_confirmed(&sought, &import.metadata);
                if !is_proven {
                    return Vec::from_iter(self.look_for(sought)).into();
                }
                let import_slice::Written { slice: wanted, events } = *wanted;
                let derived = label_of(&wanted.metadata, label::SERVICE_NAME).map(str::to_owned);
                let written = match slice {
                    Some(stored) => Write::Replace(renewed(stored, wanted).into()),
                    None => Write::Create(wanted.into()),
                };
                let holder = services.iter().filter(|service| {
                    label_of(&service.metadata, label::DERIVED_SERVICE) == derived.as_deref()
                });
                let told = holder.flat_map(|service| self.events(service, &events, now));
                let told = told.collect();
                Plan::default().then(bound).then(vec![self.on_member(written)]).then(told)
            }
        }
    }
}

/// Returns a slice that exists with what it is to say.
fn renewed(stored: &EndpointSlice, wanted: EndpointSlice) -> EndpointSlice {
    let mut metadata = stored.metadata.clone();
    metadata.labels = wanted.metadata.labels;
    let annotations = wanted.metadata.annotations.unwrap_or_default();
    let stored = metadata.annotations.get_or_insert_default();
    for name in [gateway::TLS, REFUSED_ANNOTATION] {
        stored.remove(name);
    }
    stored.extend(annotations);
    EndpointSlice { metadata, ..wanted }
}
