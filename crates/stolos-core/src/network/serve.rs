//! What a data plane is asked to serve for a derived Service, and what people are told of it.
//!
//! What cannot be read changes nothing: a service that is served goes on as before, and one that is not yet served waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    LoadBalancerIngress, LoadBalancerStatus, PortStatus, Service, ServiceStatus,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::names::{
    CLUSTER_ANNOTATION, ENDPOINT_SLICE_MANAGER, SILENT_SINCE_ANNOTATION, annotation, balancing,
    class, condition as type_, event, gateway, label, reason,
};
use stolos_api::network::{
    AddressType, Endpoint, EndpointSliceExportSpec, EndpointSliceImport, MultiClusterService,
    ServiceImport,
};

use super::balance::{Desired, EndpointId, VipPort};
use super::knobs::{self, Announce, Knobs, Mode};
use super::pool::{Assignment, Claim};
use super::vip::{self, Guard, Refusal, vips};
use super::{keys, service};
use crate::condition;
use crate::event::Event;

/// What the errors of ports begin with, as Kubernetes asks for errors that are not its own.
const ERROR_PREFIX: &str = "network.fleet.stolos.dev";

/// What a decision about a derived Service reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The derived Service.
    pub service: &'a Service,
    /// The MultiClusterService that it is derived from, if it is known.
    pub origin: Option<&'a MultiClusterService>,
    /// The ServiceImport that this one uses, if it is known.
    pub import: Option<&'a ServiceImport>,
    /// Endpoints of all members; None: not known.
    pub slices: Option<&'a [EndpointSliceImport]>,
    /// The address of the service.
    pub address: &'a Assignment,
    /// The member.
    pub cluster: &'a str,
    /// Which endpoints are refused.
    pub guard: &'a Guard,
    /// What is served of the service.
    pub before: &'a Wanted,
}

/// What is to be served of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The VIP ports.
    pub ports: Vec<Desired>,
    /// Endpoints that are gateways and ask for TLS.
    pub gateways: BTreeSet<EndpointId>,
    /// Whether endpoints are told the address of the client.
    pub proxy_protocol: bool,
    /// Endpoints that are left out, by member.
    pub refused: BTreeMap<String, Refusal>,
    /// Since when the hub has not heard of members, of which there are endpoints.
    pub silent: BTreeMap<String, Timestamp>,
    /// What a person must see to.
    pub problem: Option<Problem>,
}

/// Why a service or a port is not served as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In one word.
    pub reason: &'static str,
    /// In a sentence, with what would help.
    pub message: String,
}

/// Tells whether a data plane is responsible for a Service.
#[must_use]
pub fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.as_deref() == Some(class::PROXY)
    }) && service::origin(service).is_some()
        && !keys::is_deleting(&service.metadata)
}

/// Returns what a service needs of the pool. `assigned` is the address that it has been given and that its status may not
/// show yet.
#[must_use]
pub fn claim(
    service: &Service,
    origin: Option<&MultiClusterService>,
    assigned: Option<IpAddr>,
) -> Claim {
    let annotations = origin.and_then(|origin| origin.metadata.annotations.as_ref());
    let created = service.metadata.creation_timestamp.as_ref();
    Claim {
        service: keys::key(&service.metadata),
        created: created.map_or(Timestamp::MAX, |created| created.0),
        held: assigned.or_else(|| address(service)),
        asked: annotations.and_then(knobs::vip),
    }
}

/// Returns the address in the status of a Service.
fn address(service: &Service) -> Option<IpAddr> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    balancer.ingress.iter().flatten().find_map(|ingress| ingress.ip.as_ref()?.parse().ok())
}

/// Returns the endpoints of a service: what the hub says, and where it says nothing of a slice that this member has got
/// from it before, that slice, whose member is as `silent` as it was. Only the hub's own word takes endpoints away.
#[must_use]
pub fn slices(
    imports: &[&EndpointSliceImport],
    known: &[&EndpointSlice],
    silent: &BTreeMap<String, Timestamp>,
) -> Vec<EndpointSliceImport> {
    let told: BTreeSet<&str> = imports.iter().map(|import| keys::name(&import.metadata)).collect();
    let is_of_fleet = |slice: &&&EndpointSlice| {
        keys::label(&slice.metadata, label::MANAGED_BY) == Some(ENDPOINT_SLICE_MANAGER)
            && !keys::is_deleting(&slice.metadata)
            && !told.contains(keys::name(&slice.metadata))
    };
    let remembered = known.iter().filter(is_of_fleet).map(|slice| remembered(slice, silent));
    imports.iter().map(|import| (*import).clone()).chain(remembered).collect()
}

/// Returns what the hub has said of a slice.
fn remembered(slice: &EndpointSlice, silent: &BTreeMap<String, Timestamp>) -> EndpointSliceImport {
    let name = keys::name(&slice.metadata);
    let endpoints = slice.endpoints.iter();
    let endpoints = endpoints.map(|one| Endpoint { addresses: one.addresses.clone() }).collect();
    let mut spec = EndpointSliceExportSpec {
        address_type: AddressType::Ipv4,
        endpoints,
        ports: slice.ports.clone().unwrap_or_default(),
        ..EndpointSliceExportSpec::default()
    };
    // Without the annotation, each slice counts as a cluster of its own.
    let cluster = keys::annotation(&slice.metadata, CLUSTER_ANNOTATION).unwrap_or(name);
    cluster.clone_into(&mut spec.endpoint_slice_reference.cluster_id);
    let mut import = EndpointSliceImport::new(name, spec);
    let weight = keys::annotation(&slice.metadata, annotation::WEIGHT);
    let weight = weight.map(|weight| (annotation::WEIGHT.to_owned(), weight.to_owned()));
    let mark = keys::annotation(&slice.metadata, gateway::TLS);
    let mark = mark.map(|mark| (gateway::TLS.to_owned(), mark.to_owned()));
    let since = silent.get(cluster);
    let since = since.map(|since| (SILENT_SINCE_ANNOTATION.to_owned(), since.to_string()));
    import.metadata.annotations = Some(weight.into_iter().chain(mark).chain(since).collect());
    import
}

/// Decides what is to be served of a service.
#[must_use]
pub fn wanted(observed: &Observed<'_>) -> Wanted {
    let before = observed.before.ports.first();
    let refusal = observed
        .address
        .refusal
        .as_ref()
        .map(|refusal| Problem { reason: refusal.reason(), message: refusal.to_string() });
    let Some(address) = observed.address.address else {
        return Wanted { problem: refusal, ..Wanted::default() };
    };
    let (settings, proxy_protocol, problem) = match asked(observed) {
        Ok(knobs) => (knobs.settings, knobs.proxy_protocol, refusal),
        Err(problem) => match before {
            Some(before) => {
                (before.settings.clone(), observed.before.proxy_protocol, Some(problem))
            }
            None => return Wanted { problem: Some(problem), ..Wanted::default() },
        },
    };
    let ports = observed.service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let ports: Vec<_> = ports.map(keys::exported_port).collect();
    let service = vip::Service {
        addresses: &[address],
        ports: &ports,
        slices: observed.slices.unwrap_or_default(),
        settings: &settings,
    };
    let mut vips = vips(&service, observed.guard);
    let mut silent = silent(service.slices);
    if observed.slices.is_none() {
        keep_endpoints(&mut vips.ports, &observed.before.ports);
        vips.gateways.clone_from(&observed.before.gateways);
        silent.clone_from(&observed.before.silent);
    }
    let vip::Vips { ports, gateways, refused } = vips;
    Wanted { ports, gateways, proxy_protocol, refused, silent, problem }
}

/// Returns since when the hub has not heard of members, by their endpoints.
fn silent(slices: &[EndpointSliceImport]) -> BTreeMap<String, Timestamp> {
    let told = slices.iter().filter_map(|slice| {
        let since = keys::annotation(&slice.metadata, SILENT_SINCE_ANNOTATION)?.parse().ok()?;
        Some((slice.spec.endpoint_slice_reference.cluster_id.clone(), since))
    });
    told.collect()
}

/// Gives ports the endpoints that they had.
fn keep_endpoints(ports: &mut [Desired], before: &[Desired]) {
    for port in ports {
        let is_same =
            |old: &&Desired| (old.vip.protocol, old.vip.port) == (port.vip.protocol, port.vip.port);
        if let Some(old) = before.iter().find(is_same) {
            port.endpoints.clone_from(&old.endpoints);
            port.weights.clone_from(&old.weights);
        }
    }
}

/// Returns what the user asks for, if that can be done.
fn asked(observed: &Observed<'_>) -> Result<Knobs, Problem> {
    let (Some(origin), Some(import)) = (observed.origin, observed.import) else {
        let message = "the MultiClusterService or its ServiceImport is not known yet".to_owned();
        return Err(Problem { reason: reason::ORIGIN_UNKNOWN, message });
    };
    let annotations = origin.metadata.annotations.clone().unwrap_or_default();
    let status = import.status.clone().unwrap_or_default();
    let knobs = knobs::read(&annotations, &status, observed.cluster).map_err(|problems| {
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Problem { reason: reason::ANNOTATIONS_MALFORMED, message: all.join("; ") }
    })?;
    if knobs.announce == Announce::None {
        return Ok(knobs);
    }
    let name = balancing::ANNOUNCE;
    let message = format!(
        "metadata.annotations[{name}]: the mode `proxy` cannot do this; remove the annotation"
    );
    Err(Problem { reason: reason::NOT_SUPPORTED, message })
}

/// What became of what was wanted of a service.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The derived Service.
    pub service: &'a Service,
    /// The MultiClusterService that it is derived from, if it is known.
    pub origin: Option<&'a MultiClusterService>,
    /// What was wanted.
    pub wanted: &'a Wanted,
    /// Ports of all services that are not served.
    pub not_served: &'a BTreeMap<VipPort, Problem>,
    /// Endpoints that were left out when people were told last.
    pub told_refused: &'a BTreeMap<String, Refusal>,
}

/// What the Service and people are to be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The status of the Service, if it is another one than before.
    pub status: Option<ServiceStatus>,
    /// What people should know of the MultiClusterService.
    pub events: Vec<Event>,
}

/// Decides what the Service and people are to be told.
#[must_use]
pub fn report(outcome: &Outcome<'_>, now: Timestamp) -> Report {
    let mut report = Report::default();
    let served = served(outcome, now);
    let old = outcome.service.status.clone().unwrap_or_default();
    let conditions = old.conditions.clone().unwrap_or_default();
    let load_balancer = balancer(outcome);
    let is_news = keys::is_news(&conditions, &served);
    if is_news {
        let was_false = condition::find(&conditions, type_::SERVED);
        let was_false = was_false.is_some_and(|old| old.status == "False");
        if served.status == "False" {
            let message = served.message.clone();
            report.events.push(Event::warning(failure(outcome), message));
        } else if was_false {
            report.events.push(Event::normal(reason::SERVED, served.message.clone()));
        }
    }
    if is_news || old.load_balancer.clone().unwrap_or_default() != load_balancer {
        let mut conditions = conditions;
        condition::set(&mut conditions, served);
        report.status = Some(ServiceStatus {
            conditions: Some(conditions),
            load_balancer: Some(load_balancer),
        });
    }
    let refused = outcome.wanted.refused.iter();
    let news = refused.filter(|(cluster, why)| outcome.told_refused.get(*cluster) != Some(why));
    report.events.extend(news.map(|(cluster, refusal)| {
        let message = format!("endpoints of cluster `{cluster}` are left out: {refusal}");
        Event::warning(event::ENDPOINTS_REFUSED, message)
    }));
    report
}

/// Returns the ports of the service that are not served.
fn failed<'a>(outcome: &Outcome<'a>) -> impl Iterator<Item = &'a Problem> + use<'a> {
    let (wanted, not_served) = (outcome.wanted, outcome.not_served);
    wanted.ports.iter().filter_map(|port| not_served.get(&port.vip))
}

/// Returns the first reason for which the service is not served as it should be.
fn failure(outcome: &Outcome<'_>) -> &'static str {
    let problems = outcome.wanted.problem.iter().chain(failed(outcome));
    problems.map(|problem| problem.reason).next().unwrap_or(reason::SERVED)
}

fn served(outcome: &Outcome<'_>, now: Timestamp) -> Condition {
    // Services have no generation; a 0 would not be stored, and thus be news for ever.
    let observed_generation = outcome.service.metadata.generation;
    let say = |status: &str, reason: &str, message: &str| Condition {
        observed_generation,
        ..condition::new(type_::SERVED, status, reason, message, 0, now)
    };
    let mut messages: Vec<String> = Vec::new();
    if let Some(problem) = &outcome.wanted.problem {
        let as_before = if outcome.wanted.ports.is_empty() { "" } else { "; served as before" };
        messages.push(format!("{}{as_before}", problem.message));
    }
    messages.extend(failed(outcome).map(|problem| problem.message.clone()));
    if !messages.is_empty() {
        let (reason, message) = (failure(outcome), messages.join("; "));
        return say("False", reason, &message);
    }
    let ports: Vec<_> = outcome.wanted.ports.iter().map(|port| port.vip.to_string()).collect();
    let mut message = match &*ports {
        [] => "the service has no ports".to_owned(),
        ports => format!("connections are taken at {}", ports.join(", ")),
    };
    if asks_for_kernel(outcome.origin) {
        message.push_str("; the proxy stands in for the mode `kernel`");
    }
    say("True", reason::SERVED, &message)
}

fn asks_for_kernel(origin: Option<&MultiClusterService>) -> bool {
    let annotations = origin.and_then(|origin| origin.metadata.annotations.as_ref());
    annotations.and_then(knobs::mode) == Some(Mode::Kernel)
}

fn balancer(outcome: &Outcome<'_>) -> LoadBalancerStatus {
    let Some(first) = outcome.wanted.ports.first() else { return LoadBalancerStatus::default() };
    let port = |port: &Desired| PortStatus {
        error: outcome
            .not_served
            .get(&port.vip)
            .map(|why| format!("{ERROR_PREFIX}/{}", why.reason)),
        port: i32::from(port.vip.port),
        protocol: port.vip.protocol.as_str().to_owned(),
    };
    let ingress = LoadBalancerIngress {
        hostname: None,
        ip: Some(first.vip.address.to_string()),
        ip_mode: Some("Proxy".to_owned()),
        ports: Some(outcome.wanted.ports.iter().map(port).collect()),
    };
    LoadBalancerStatus { ingress: Some(vec![ingress]) }
}
