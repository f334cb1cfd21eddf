//! The address of a service of the fleet in this cluster, on the member (networking 7.1).
//!
//! Unlike upstream, an annotation that goes away goes away on the derived Service too, and a derived Service that is as
//! it should be is not written again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference};
use stolos_api::network::names::{
    SERVICE_PROXY, annotation, balancing, class, condition as type_, event, finalizer, label,
    reason,
};
use stolos_api::network::{
    GROUP, MultiClusterService, MultiClusterServiceStatus, ServiceImport, ServiceImportStatus,
};

use super::keys;
use super::knobs::{self, Mode};
use super::names::derived_service;
use crate::condition;
use crate::event::Event;

/// What a decision about a MultiClusterService reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The MultiClusterService.
    pub service: &'a MultiClusterService,
    /// The ServiceImports of its namespace by name.
    pub imports: &'a BTreeMap<String, ServiceImport>,
    /// The derived Services of the system namespace by name.
    pub derived: &'a BTreeMap<String, Service>,
    /// The system namespace.
    pub system_namespace: &'a str,
    /// How connections get to endpoints where nothing else is asked for.
    pub mode: Mode,
}

/// What to do with a MultiClusterService, in this order: finalizer to add, old import, labels, new import, status,
/// derived Services to delete, derived Service to write, finalizer to drop.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Why.
    pub reason: Reason,
    /// Whether the cleanup finalizer is to be there.
    pub finalizer: bool,
    /// ServiceImport to delete.
    pub delete_import: Option<String>,
    /// Labels that are to be other ones than they are; None: to be removed.
    pub labels: BTreeMap<&'static str, Option<String>>,
    /// ServiceImport to create.
    pub create_import: Option<Box<ServiceImport>>,
    /// Derived Service to delete.
    pub delete_derived: Option<String>,
    /// Derived Service to create or change.
    pub derived: Option<Box<Service>>,
    /// The status, if it is another one than before.
    pub status: Option<MultiClusterServiceStatus>,
    /// What people should be told.
    pub events: Vec<Event>,
}

/// Why a MultiClusterService has an address or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The service is imported.
    Imported,
    /// It names no service.
    NoImportNamed,
    /// Another MultiClusterService of the namespace uses the service.
    UsedByOther(String),
    /// The hub has not told yet that clusters export the service, or that this cluster may import it.
    NotImported,
    /// It is being deleted.
    Leaving,
}

/// Decides what to do with a MultiClusterService.
#[must_use]
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let service = observed.service;
    if keys::is_deleting(&service.metadata) {
        return leave(observed);
    }
    let wanted = service.spec.service_import.as_ref().map(|import| import.name.as_str());
    let wanted = wanted.filter(|name| !name.is_empty());
    let used = keys::label(&service.metadata, label::SERVICE_IMPORT);
    let delete_import =
        used.filter(|used| wanted != Some(used)).and_then(|used| owned(observed, used));
    let import = wanted.and_then(|name| observed.imports.get(name));
    let (reason, status) = standing(observed, wanted, import);
    let mut plan = Plan {
        finalizer: true,
        delete_import,
        labels: BTreeMap::new(),
        create_import: None,
        delete_derived: None,
        derived: None,
        status: None,
        events: Vec::new(),
        reason,
    };
    relabel(&mut plan, service, label::SERVICE_IMPORT, wanted.map(str::to_owned));
    if let (Some(name), None) = (wanted, import) {
        plan.create_import = Some(Box::new(new_import(service, name)));
    }
    match status {
        Some(status) => serve(&mut plan, observed, status, now),
        None => stop(&mut plan, observed, now),
    }
    plan
}

/// Decides whether the service is imported, and if so, returns what is known of it.
fn standing<'a>(
    observed: &Observed<'_>,
    wanted: Option<&str>,
    import: Option<&'a ServiceImport>,
) -> (Reason, Option<&'a ServiceImportStatus>) {
    if wanted.is_none() {
        return (Reason::NoImportNamed, None);
    }
    let Some(import) = import else { return (Reason::NotImported, None) };
    if let Some(other) = owner(import).filter(|owner| !is_same(owner, observed.service)) {
        return (Reason::UsedByOther(other.name.clone()), None);
    }
    let status = import.status.as_ref().filter(|status| !status.clusters.is_empty());
    match status.filter(|_| !keys::is_deleting(&import.metadata)) {
        None => (Reason::NotImported, None),
        Some(status) => (Reason::Imported, Some(status)),
    }
}

/// Returns the MultiClusterService that owns a ServiceImport.
fn owner(import: &ServiceImport) -> Option<&OwnerReference> {
    let owners = import.metadata.owner_references.iter().flatten();
    owners.into_iter().find(|owner| {
        let group = owner.api_version.split_once('/').map(|(group, _)| group);
        owner.controller == Some(true)
            && owner.kind == "MultiClusterService"
            && group == Some(GROUP)
    })
}

fn is_same(owner: &OwnerReference, service: &MultiClusterService) -> bool {
    service.metadata.name.as_ref() == Some(&owner.name)
}

/// Returns the name of a ServiceImport if it exists and belongs to this MultiClusterService: one that somebody else uses
/// is not ours to delete.
fn owned(observed: &Observed<'_>, name: &str) -> Option<String> {
    let import = observed.imports.get(name)?;
    let is_ours = owner(import).is_some_and(|owner| is_same(owner, observed.service));
    (is_ours && !keys::is_deleting(&import.metadata)).then(|| name.to_owned())
}

fn new_import(service: &MultiClusterService, name: &str) -> ServiceImport {
    let metadata = &service.metadata;
    let owner = OwnerReference {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "MultiClusterService".to_owned(),
        name: keys::name(metadata).to_owned(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    ServiceImport {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: metadata.namespace.clone(),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        status: None,
    }
}

fn relabel(
    plan: &mut Plan,
    service: &MultiClusterService,
    name: &'static str,
    value: Option<String>,
) {
    if keys::label(&service.metadata, name) != value.as_deref() {
        plan.labels.insert(name, value);
    }
}

fn leave(observed: &Observed<'_>) -> Plan {
    let metadata = &observed.service.metadata;
    let has_finalizer = keys::has_finalizer(metadata, finalizer::MULTI_CLUSTER_SERVICE);
    let import = keys::label(metadata, label::SERVICE_IMPORT);
    let delete_import = import.and_then(|name| owned(observed, name));
    let delete_derived = derived_name(observed);
    // What is being deleted must be gone before the finalizer is.
    let is_left = import.is_some_and(|name| {
        let import = observed.imports.get(name);
        import.and_then(owner).is_some_and(|owner| is_same(owner, observed.service))
    }) || delete_derived.is_some();
    let mut events = Vec::new();
    if has_finalizer && !is_left {
        let message = format!("removed everything of service {}", keys::key(metadata));
        events.push(Event::normal(event::UNIMPORTED_SERVICE, message));
    }
    Plan {
        reason: Reason::Leaving,
        finalizer: has_finalizer && is_left,
        delete_import: delete_import.filter(|_| has_finalizer),
        labels: BTreeMap::new(),
        create_import: None,
        delete_derived: delete_derived.filter(|_| has_finalizer),
        derived: None,
        status: None,
        events,
    }
}

/// Returns the name of the derived Service that exists.
fn derived_name(observed: &Observed<'_>) -> Option<String> {
    let name = keys::label(&observed.service.metadata, label::DERIVED_SERVICE)?;
    let derived = observed.derived.get(name)?;
    is_derived_from(derived, observed.service).then(|| name.to_owned())
}

fn is_derived_from(derived: &Service, service: &MultiClusterService) -> bool {
    origin(derived) == Some(keys::key(&service.metadata))
}

/// Returns `<namespace>/<name>` of the MultiClusterService that a Service is derived from.
#[must_use]
pub fn origin(derived: &Service) -> Option<String> {
    let name = keys::label(&derived.metadata, label::MULTI_CLUSTER_SERVICE_NAME)?;
    let namespace = keys::label(&derived.metadata, label::MULTI_CLUSTER_SERVICE_NAMESPACE)?;
    Some(format!("{namespace}/{name}"))
}

/// Takes the address away.
fn stop(plan: &mut Plan, observed: &Observed<'_>, now: Timestamp) {
    let message = match &plan.reason {
        Reason::NoImportNamed => "importing service; spec.serviceImport.name must name one".to_owned(),
        Reason::UsedByOther(other) => format!(
            "importing service; if the condition remains for a while, delete MultiClusterService {other}, which uses it"
        ),
        Reason::Imported | Reason::NotImported | Reason::Leaving => {
            "importing service; if the condition remains for a while, check that the service is exported and that no \
             other cluster imports it"
                .to_owned()
        }
    };
    plan.delete_derived = derived_name(observed);
    relabel(plan, observed.service, label::DERIVED_SERVICE, None);
    report(plan, observed.service, "Unknown", reason::UNKNOWN_SERVICE_IMPORT, &message, None, now);
}

/// Gives the service an address.
fn serve(plan: &mut Plan, observed: &Observed<'_>, status: &ServiceImportStatus, now: Timestamp) {
    let metadata = &observed.service.metadata;
    let taken = observed.derived.iter();
    let taken = taken.map(|(name, derived)| (name.clone(), origin(derived).unwrap_or_default()));
    let name = keys::label(metadata, label::DERIVED_SERVICE).map_or_else(
        || derived_service(keys::namespace(metadata), keys::name(metadata), &taken.collect()),
        str::to_owned,
    );
    let stored = observed.derived.get(&name);
    let class = wanted_class(observed, stored);
    let wanted = derived(observed, &name, status, class);
    // The class of a Service cannot be changed: it goes, and then comes again with the other one.
    let (stored, former) = match stored {
        Some(stored) if class_of(stored) != class => (None, Some(stored)),
        stored => (stored, None),
    };
    if former.is_some() {
        plan.delete_derived = Some(name.clone());
    } else if stored.is_none_or(|stored| !says_the_same(stored, &wanted)) {
        plan.derived = Some(Box::new(wanted));
    }
    relabel(plan, observed.service, label::DERIVED_SERVICE, Some(name));
    let balancer = stored.and_then(|stored| stored.status.as_ref()?.load_balancer.as_ref());
    let balancer = balancer.map(with_failed_ports);
    let (reason, message) = (reason::FOUND_SERVICE_IMPORT, "found valid service import");
    report(plan, observed.service, "True", reason, message, balancer, now);
}

/// Returns what a MultiClusterService shows of a load balancer: of its ports those that failed, because the published
/// definition knows no others.
fn with_failed_ports(balancer: &LoadBalancerStatus) -> LoadBalancerStatus {
    let mut balancer = balancer.clone();
    for ingress in balancer.ingress.iter_mut().flatten() {
        let ports = ingress.ports.take().unwrap_or_default();
        let failed: Vec<_> = ports.into_iter().filter(|port| port.error.is_some()).collect();
        ingress.ports = (!failed.is_empty()).then_some(failed);
    }
    balancer
}

/// Returns the Service that a load balancer serves: no selector, because its endpoints come from other members.
fn derived(
    observed: &Observed<'_>,
    name: &str,
    status: &ServiceImportStatus,
    class: Option<&str>,
) -> Service {
    let metadata = &observed.service.metadata;
    let port = |port: &stolos_api::network::ServicePort| ServicePort {
        name: (!port.name.is_empty()).then(|| port.name.clone()),
        protocol: Some(port.protocol.as_str().to_owned()),
        app_protocol: port.app_protocol.clone(),
        port: port.port,
        target_port: port.target_port.clone(),
        node_port: None,
    };
    let mut labels: BTreeMap<String, String> = [
        (label::MULTI_CLUSTER_SERVICE_NAME.to_owned(), keys::name(metadata).to_owned()),
        (label::MULTI_CLUSTER_SERVICE_NAMESPACE.to_owned(), keys::namespace(metadata).to_owned()),
    ]
    .into();
    if class.is_some() {
        labels.insert(label::SERVICE_PROXY_NAME.to_owned(), SERVICE_PROXY.to_owned());
    }
    let internal = (annotation::azure::INTERNAL_LOAD_BALANCER.to_owned(), "true".to_owned());
    Service {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(observed.system_namespace.to_owned()),
            labels: Some(labels),
            annotations: wants_internal(metadata).then(|| [internal].into()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            load_balancer_class: class.map(str::to_owned),
            ports: Some(status.ports.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Returns the class of load balancer that is to serve; none for that of the cluster. The proxy stands in for rules in
/// the kernel. A mode that cannot be read takes no address away that is there.
fn wanted_class<'a>(observed: &Observed<'_>, stored: Option<&'a Service>) -> Option<&'a str> {
    let annotations = observed.service.metadata.annotations.as_ref();
    let asked = annotations.and_then(knobs::mode);
    let is_unreadable = asked.is_none()
        && annotations.is_some_and(|annotations| annotations.contains_key(balancing::MODE));
    match (asked.unwrap_or(observed.mode), stored) {
        (_, Some(stored)) if is_unreadable => class_of(stored),
        (Mode::Service, _) => None,
        (Mode::Kernel | Mode::Proxy, _) => Some(class::PROXY),
    }
}

pub(super) fn class_of(service: &Service) -> Option<&str> {
    service.spec.as_ref()?.load_balancer_class.as_deref()
}

/// Tells whether an address inside the network is asked for, in any of the spellings that Go takes for true.
fn wants_internal(metadata: &ObjectMeta) -> bool {
    keys::annotation(metadata, annotation::INTERNAL_LOAD_BALANCER)
        .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Tells whether a derived Service need not be written. What the API server and load balancers add does not count.
fn says_the_same(stored: &Service, wanted: &Service) -> bool {
    let spec = |service: &Service| service.spec.clone().unwrap_or_default();
    let (stored_spec, wanted_spec) = (spec(stored), spec(wanted));
    let labels = wanted.metadata.labels.iter().flatten();
    let has_labels =
        labels.into_iter().all(|(name, value)| keys::label(&stored.metadata, name) == Some(value));
    let internal = |service: &Service| {
        keys::annotation(&service.metadata, annotation::azure::INTERNAL_LOAD_BALANCER)
            == Some("true")
    };
    let ports = |spec: ServiceSpec| -> Vec<ServicePort> {
        let ports = spec.ports.unwrap_or_default().into_iter();
        ports.map(|port| ServicePort { node_port: None, target_port: None, ..port }).collect()
    };
    has_labels
        && internal(stored) == internal(wanted)
        && stored_spec.type_ == wanted_spec.type_
        && stored_spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
        && ports(stored_spec) == ports(wanted_spec)
}

fn report(
    plan: &mut Plan,
    service: &MultiClusterService,
    status: &str,
    reason: &'static str,
    message: &str,
    load_balancer: Option<LoadBalancerStatus>,
    now: Timestamp,
) {
    let generation = service.metadata.generation.unwrap_or(0);
    let valid: Condition = condition::new(type_::VALID, status, reason, message, generation, now);
    let old = service.status.clone().unwrap_or_default();
    let is_news = keys::is_news(&old.conditions, &valid);
    let load_balancer = Some(load_balancer.unwrap_or_default());
    if !is_news
        && old.load_balancer.clone().or_else(|| Some(LoadBalancerStatus::default()))
            == load_balancer
    {
        return;
    }
    let mut conditions = old.conditions;
    condition::set(&mut conditions, valid);
    if is_news {
        let event = if status == "True" {
            event::FOUND_VALID_SERVICE
        } else {
            event::SUCCESSFUL_UPDATE_STATUS
        };
        plan.events.push(Event::normal(event, message));
    }
    plan.status = Some(MultiClusterServiceStatus { load_balancer, conditions });
}
