//! Services of the clusterset as a member sees them: a ServiceImport, a Service derived from it that has the address, and
//! EndpointSlices of every cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference};
use stolos_api::network::clusterset::{ImportedService, ImportedServiceSpec, condition, reason};
use stolos_api::network::mcs::{
    API_VERSION, ServiceImport, ServiceImportSpec, ServiceImportStatus, condition as of_import,
    reason as why,
};
use stolos_api::network::names::clusterset as names;
use stolos_api::network::{ClusterStatus, ServiceImportType};
use stolos_api::validation::{is_label_value, is_qualified_name};

use super::MAX_NAMED;
use crate::condition::{new, set};
use crate::event::Event;
use crate::network::keys;
use crate::network::names::derived;
use crate::network::vip::Guard;

mod service;
mod slices;

pub use slices::{MAX_ENDPOINTS_PER_SLICE, is_outdated, is_slice_ours};

/// What a decision about a service of the clusterset reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Namespace of the service.
    pub namespace: &'a str,
    /// Name of the service.
    pub name: &'a str,
    /// What the hub tells of it.
    pub told: &'a ImportedService,
    /// Whether the member has the namespace.
    pub has_namespace: bool,
    /// The ServiceImport of this name.
    pub import: Option<&'a ServiceImport>,
    /// The Service that has the name of the derived one.
    pub service: Option<&'a Service>,
    /// The EndpointSlices that are labelled as those of the derived Service.
    pub slices: &'a [&'a EndpointSlice],
    /// Which endpoints are refused.
    pub guard: &'a Guard,
}

/// What to do about a service of the clusterset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The ServiceImport to write, if it is another one than there is.
    pub import: Option<Box<ServiceImport>>,
    /// The status of the ServiceImport, if it is another one.
    pub status: Option<ServiceImportStatus>,
    /// What to do about the derived Service.
    pub service: Deed,
    /// EndpointSlices to write, because they are others than there are.
    pub slices: Vec<EndpointSlice>,
    /// Names of EndpointSlices to delete: of clusters and endpoints that are no longer among them.
    pub surplus: BTreeSet<String>,
    /// What to tell the hub, if it is news.
    pub told: Option<Condition>,
    /// What to tell the owner of an object that is in the way.
    pub taken: Option<Taken>,
}

/// What to do about the derived Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Deed {
    /// Nothing.
    #[default]
    Keep,
    /// Write it.
    Write(Box<Service>),
    /// Delete it: a Service cannot become headless, or cease to be.
    Delete,
}

/// An object of somebody else has a name that is needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// The ServiceImport.
    Import(Event),
    /// The Service.
    Service(Event),
}

/// Decides what to do about a service of the clusterset. The caller has made sure that what it does not see is not there.
#[must_use]
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let Observed { namespace, name, told, .. } = *observed;
    let before = told
        .status
        .as_ref()
        .and_then(|status| crate::condition::find(&status.conditions, condition::IMPORTED));
    let tell = |status, reason, message: &str| {
        let generation = told.metadata.generation.unwrap_or(0);
        let told_now = new(condition::IMPORTED, status, reason, message, generation, now);
        // Endpoints come and go all the time; that they were taken over need not be told each time.
        let is_news = |old: &Condition| old.reason != reason || old.message != message;
        before.is_none_or(is_news).then_some(told_now)
    };
    if !observed.has_namespace {
        let message =
            format!("the cluster has no namespace `{namespace}`; it is not made for this");
        let told = tell("False", reason::NAMESPACE_NOT_FOUND, &message);
        return Plan { told, ..Plan::default() };
    }
    let Some(import) = observed.import else {
        let import = Some(Box::new(import(observed, ServiceImport::default())));
        let told = tell("False", reason::PENDING, "the ServiceImport is being made");
        return Plan { import, told, ..Plan::default() };
    };
    let in_the_way = |kind: &str, name: &str| {
        format!(
            "{kind} {namespace}/{name} is not kept by the fleet; delete it, and the service that \
             other clusters export under this name is imported"
        )
    };
    if !is_ours(&import.metadata) {
        let message = in_the_way("ServiceImport", name);
        let told = tell("False", reason::NAME_TAKEN, &message);
        let event = Event::warning(names::NAME_TAKEN, message);
        let taken = told.as_ref().map(|_| Taken::Import(event));
        return Plan { told, taken, ..Plan::default() };
    }
    if keys::is_deleting(&import.metadata) {
        let told = tell("False", reason::PENDING, "an older ServiceImport is being deleted");
        return Plan { told, ..Plan::default() };
    }
    if let Some(service) = observed.service.filter(|service| !is_ours(&service.metadata)) {
        let message = in_the_way("Service", keys::name(&service.metadata));
        let told = tell("False", reason::NAME_TAKEN, &message);
        let event = Event::warning(names::NAME_TAKEN, message);
        let taken = told.as_ref().map(|_| Taken::Service(event));
        return Plan { told, taken, ..Plan::default() };
    }
    let wanted = self::import(observed, import.clone());
    let slices = slices::plan(observed, &owner(import));
    let (ready, waits_for) = readiness(observed, &slices.refused, now);
    let told = match waits_for {
        None => tell("True", reason::IMPORTED, "the service is imported"),
        Some(what) => tell("False", reason::PENDING, what),
    };
    Plan {
        import: (wanted != *import).then(|| Box::new(wanted)),
        status: status(import, &told_clusters(&observed.told.spec), ready),
        service: service::plan(observed, import),
        slices: slices.write,
        surplus: slices.surplus,
        told,
        taken: None,
    }
}

/// Tells whether an object is one that we keep.
#[must_use]
pub fn is_ours(metadata: &ObjectMeta) -> bool {
    keys::label(metadata, names::MANAGED_BY) == Some(names::MANAGER)
}

fn owner(import: &ServiceImport) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "ServiceImport".to_owned(),
        name: keys::name(&import.metadata).to_owned(),
        uid: import.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

/// Returns a ServiceImport with what it is to say. What the hub tells and no object can have is left out.
fn import(observed: &Observed<'_>, stored: ServiceImport) -> ServiceImport {
    let ImportedServiceSpec { service, labels, annotations, clusters: _ } = &observed.told.spec;
    let mut import = stored;
    let metadata = &mut import.metadata;
    metadata.namespace = Some(observed.namespace.to_owned());
    metadata.name = Some(observed.name.to_owned());
    let fit = |(key, value): &(&String, &String)| is_qualified_name(key) && is_label_value(value);
    let labels: BTreeMap<_, _> = labels.iter().filter(fit).collect();
    let fit = |(key, _): &(&String, &String)| is_qualified_name(key);
    let annotations: BTreeMap<_, _> = annotations.iter().filter(fit).collect();
    let before = |name| keys::annotation(metadata, name).unwrap_or_default().to_owned();
    let (of_labels, of_annotations) =
        (before(names::EXPORTED_LABELS), before(names::EXPORTED_ANNOTATIONS));
    let own_labels = [(names::MANAGED_BY, names::MANAGER.to_owned())];
    let own_annotations = [
        (names::DERIVED_SERVICE, derived(observed.namespace, observed.name)),
        (names::EXPORTED_LABELS, joined(&labels)),
        (names::EXPORTED_ANNOTATIONS, joined(&annotations)),
    ];
    renew(metadata.labels.get_or_insert_default(), &of_labels, labels, own_labels);
    let all = metadata.annotations.get_or_insert_default();
    renew(all, &of_annotations, annotations, own_annotations);
    // Of a headless Service without a selector they say nothing.
    let headless = service.type_ == ServiceImportType::Headless;
    let given = observed.service.filter(|_| !headless).and_then(|one| one.spec.as_ref());
    let families = given.and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    import.spec = ServiceImportSpec {
        ips: addresses(observed),
        ip_families: if families.is_empty() { service.ip_families.clone() } else { families },
        ..service.clone()
    };
    import
}

fn joined(map: &BTreeMap<&String, &String>) -> String {
    map.keys().map(|key| key.as_str()).collect::<Vec<_>>().join(",")
}

/// Brings labels or annotations to what exporters say: those that they gave before and withdraw go, and those that
/// somebody else gave stay. An empty value of our own is left out.
fn renew<const N: usize>(
    map: &mut BTreeMap<String, String>,
    before: &str,
    exported: BTreeMap<&String, &String>,
    own: [(&str, String); N],
) {
    map.retain(|key, _| !before.split(',').any(|given| given == key));
    map.extend(exported.into_iter().map(|(key, value)| (key.clone(), value.clone())));
    for (key, value) in own {
        map.remove(key);
        if !value.is_empty() {
            map.insert(key.to_owned(), value);
        }
    }
}

/// Returns the addresses that the derived Service has.
fn addresses(observed: &Observed<'_>) -> Vec<String> {
    let service = observed.service.filter(|service| !keys::is_deleting(&service.metadata));
    let Some(spec) = service.and_then(|service| service.spec.as_ref()) else { return Vec::new() };
    if observed.told.spec.service.type_ == ServiceImportType::Headless {
        return Vec::new();
    }
    let all = spec.cluster_ips.as_deref().filter(|all| !all.is_empty());
    let addresses = all.unwrap_or(spec.cluster_ip.as_slice()).iter();
    let addresses = addresses.filter(|ip| !ip.is_empty() && *ip != "None");
    addresses.take(MAX_ADDRESSES).cloned().collect()
}

/// Most addresses of a ServiceImport, one of each version of the internet protocol.
const MAX_ADDRESSES: usize = 2;

fn told_clusters(told: &ImportedServiceSpec) -> Vec<ClusterStatus> {
    told.clusters.iter().map(|one| ClusterStatus { cluster: one.cluster.clone() }).collect()
}

/// Message of a ServiceImport that lacks nothing.
const USABLE: &str = "the service can be used";

/// Returns what a ServiceImport says to be in the way of connections, or to be left out.
#[must_use]
pub fn problem(import: &ServiceImport) -> Option<&str> {
    let ready = crate::condition::find(&import.status.as_ref()?.conditions, of_import::READY)?;
    (ready.message != USABLE).then_some(ready.message.as_str())
}

/// Decides whether the service can be used, and what it waits for if not.
fn readiness(
    observed: &Observed<'_>,
    refused: &BTreeMap<String, String>,
    now: Timestamp,
) -> (Condition, Option<&'static str>) {
    let generation = observed.import.and_then(|import| import.metadata.generation).unwrap_or(0);
    let ready = |status, reason, message: &str| {
        new(of_import::READY, status, reason, message, generation, now)
    };
    let headless = observed.told.spec.service.type_ == ServiceImportType::Headless;
    let service = observed.service.filter(|service| !keys::is_deleting(&service.metadata));
    let told = &observed.told.spec.service.ip_families;
    let given = service.and_then(|one| one.spec.as_ref()?.ip_families.as_ref());
    let none_fits = |given: &Vec<String>| {
        !told.is_empty() && !given.is_empty() && given.iter().all(|family| !told.contains(family))
    };
    let waits_for = match service {
        None => Some((why::PENDING, "the derived Service is being made")),
        Some(_) if !headless && addresses(observed).is_empty() => {
            Some((why::PENDING, "the derived Service has no address yet"))
        }
        Some(_) if !headless && given.is_some_and(none_fits) => {
            let message = "the cluster has no address of the version of the internet protocol that \
                           the endpoints are of";
            Some((why::IP_FAMILY_NOT_SUPPORTED, message))
        }
        Some(_) => None,
    };
    if let Some((reason, message)) = waits_for {
        return (ready("False", reason, message), Some(message));
    }
    let left_out = refused.iter().map(|(cluster, why)| format!("{why} (cluster {cluster})"));
    let left_out: Vec<_> = left_out.take(MAX_NAMED).collect();
    let message = if left_out.is_empty() {
        USABLE.to_owned()
    } else {
        format!("{USABLE}, without some endpoints: {}", left_out.join("; "))
    };
    (ready("True", why::READY, &message), None)
}

/// Returns the status of the ServiceImport, if it is another one than it has.
fn status(
    import: &ServiceImport,
    clusters: &[ClusterStatus],
    ready: Condition,
) -> Option<ServiceImportStatus> {
    let old = import.status.clone().unwrap_or_default();
    let has_news = old.clusters != clusters || keys::is_news(&old.conditions, &ready);
    let mut status = ServiceImportStatus { clusters: clusters.to_vec(), ..old };
    set(&mut status.conditions, ready);
    has_news.then_some(status)
}
