//! Services of the fleet that have an address in this cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use stolos_api::network::names::{annotation, finalizer, label};
use stolos_api::network::{MultiClusterService, ServiceImport};
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::service::{self, Observed};

use super::act::{Act, Sought};
use super::metadata::Change;
use super::{Agent, label_of, text};

impl Agent {
    pub(super) fn plan_service(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let Some(service) = self.services.get(key) else { return Plan::default() };
        let system_namespace = self.config.network.system_namespace.as_str();
        let (imports, derived) = (self.imports_for(service), self.derived_for(key, service));
        let looks = self.looks_for_parts(service, &imports, &derived);
        if !looks.is_empty() {
            return Plan::default().then(looks);
        }
        let mode = self.config.network.mode;
        let observed =
            Observed { service, imports: &imports, derived: &derived, system_namespace, mode };
        let plan = service::plan(&observed, now);

        let gone = plan.delete_import.iter().filter_map(|name| imports.get(name));
        let gone = gone.map(|import| self.on_member(Write::Delete(import.clone().into())));
        let taken = plan.delete_derived.iter().filter_map(|name| derived.get(name));
        let taken = taken.filter(|service| service.metadata.deletion_timestamp.is_none());
        let taken = taken.map(|service| self.on_member(Write::Delete(service.clone().into())));
        let before = gone.chain(taken).collect();
        let created =
            plan.create_import.map(|import| self.on_member(Write::Create((*import).into())));
        let written = plan.derived.map(|wanted| self.on_member(derive(&derived, *wanted)));
        let after = created.into_iter().chain(written).collect();

        let change = Change {
            labels: plan.labels,
            ..Change::finalizer(finalizer::MULTI_CLUSTER_SERVICE, plan.finalizer)
        };
        if let Some(marked) = change.of(service.as_ref()) {
            let marked = self.on_member(Write::Replace(marked.into()));
            return Plan::default().then(before).then(vec![marked]).then(after);
        }
        let mut told = Vec::new();
        if let Some(status) = plan.status {
            let changed =
                MultiClusterService { status: Some(status), ..MultiClusterService::clone(service) };
            told.push(self.on_member(Write::ReplaceStatus(changed.into())));
            told.extend(self.events(service.as_ref(), &plan.events, now));
        }
        Plan::default().then(told).then(before).then(after)
    }

    /// Looks for what a MultiClusterService was given and no list shows: without its ServiceImport it would lose its
    /// address, and what is left behind would never be found again.
    fn looks_for_parts(
        &self,
        service: &MultiClusterService,
        imports: &BTreeMap<String, ServiceImport>,
        derived: &BTreeMap<String, Service>,
    ) -> Vec<Act> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let used = label_of(&service.metadata, label::SERVICE_IMPORT);
        let used = used.filter(|name| !imports.contains_key(*name));
        let import = used.map(|name| Sought::Import(Key::namespaced(namespace, name)));
        let given = label_of(&service.metadata, label::DERIVED_SERVICE);
        let given = given.filter(|name| !derived.contains_key(*name));
        let system_namespace = &self.config.network.system_namespace;
        let given = given.map(|name| Sought::Service(Key::namespaced(system_namespace, name)));
        import.into_iter().chain(given).filter_map(|sought| self.look_for(sought)).collect()
    }

    /// Returns the ServiceImports that a MultiClusterService uses or used.
    fn imports_for(&self, service: &MultiClusterService) -> BTreeMap<String, ServiceImport> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let wanted = service.spec.service_import.as_ref().map(|import| import.name.as_str());
        let used = label_of(&service.metadata, label::SERVICE_IMPORT);
        let names = wanted.into_iter().chain(used);
        let imports = names.filter_map(|name| {
            let import = self.imports.get(&Key::namespaced(namespace, name))?;
            Some((name.to_owned(), import.as_ref().clone()))
        });
        imports.collect()
    }

    /// Returns the Services of the system namespace that are derived from a MultiClusterService, or have a name that it
    /// could take.
    fn derived_for(&self, key: &Key, service: &MultiClusterService) -> BTreeMap<String, Service> {
        let system_namespace = &self.config.network.system_namespace;
        let own = self.clusters_services.indexed(&text(key));
        let own = own.filter(|own| own.metadata.namespace.as_ref() == Some(system_namespace));
        let plain = format!("{}-{}", key.namespace, key.name);
        let known = label_of(&service.metadata, label::DERIVED_SERVICE).map(str::to_owned);
        let named = [Some(plain), known].into_iter().flatten().filter_map(|name| {
            self.clusters_services.get(&Key::namespaced(system_namespace, &name))
        });
        let all = own.chain(named).map(|service| {
            (service.metadata.name.clone().unwrap_or_default(), Service::clone(service))
        });
        all.collect()
    }
}

/// Writes a derived Service; what the API server and load balancers added to one that exists stays.
fn derive(existing: &BTreeMap<String, Service>, wanted: Service) -> Write<super::member::Object> {
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    let Some(stored) = existing.get(name) else { return Write::Create(wanted.into()) };
    let mut service = stored.clone();
    let labels = service.metadata.labels.get_or_insert_default();
    labels.extend(wanted.metadata.labels.unwrap_or_default());
    let annotations = service.metadata.annotations.get_or_insert_default();
    annotations.remove(annotation::azure::INTERNAL_LOAD_BALANCER);
    annotations.extend(wanted.metadata.annotations.unwrap_or_default());
    let (spec, wanted) = (service.spec.get_or_insert_default(), wanted.spec.unwrap_or_default());
    let mut ports = wanted.ports.unwrap_or_default();
    for port in &mut ports {
        let known = spec.ports.iter().flatten();
        let same =
            known.into_iter().find(|one| one.port == port.port && one.protocol == port.protocol);
        port.node_port = same.and_then(|same| same.node_port);
    }
    spec.ports = Some(ports);
    spec.type_ = wanted.type_;
    spec.selector = None;
    Write::Replace(service.into())
}
