//! TrafficManagerBackends (networking 7.5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use stolos_api::network::names::{DEFAULT_WEIGHT, condition as type_, finalizer, reason};
use stolos_api::network::{
    FromCluster, InternalServiceExport, ServiceImport, TrafficManagerBackend,
    TrafficManagerBackendStatus, TrafficManagerEndpointStatus, TrafficManagerProfile,
};

use super::super::keys;
use super::{ProviderError, Verdict, effective_weights};
use crate::condition;

/// What decides whether an exported Service can be behind a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Azure, which wants a public address with a DNS label.
    Azure,
    /// The built-in one, which is content with an address.
    BuiltIn,
}

/// What a decision about a backend reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The backend.
    pub backend: &'a TrafficManagerBackend,
    /// The TrafficManagerProfile that it names.
    pub profile: Option<&'a TrafficManagerProfile>,
    /// What the provider has of the profile: its endpoints, or none if it has no such profile.
    pub found: Result<Option<&'a [Endpoint]>, &'a ProviderError>,
    /// The ServiceImport that it names.
    pub import: Option<&'a ServiceImport>,
    /// The exports of that service by member.
    pub exports: &'a BTreeMap<String, InternalServiceExport>,
    /// The provider.
    pub provider: Provider,
}

/// An endpoint of a profile at its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name, of which case does not count.
    pub name: String,
    /// Id of the address behind it, of which case does not count.
    pub target: String,
    /// Share of the traffic.
    pub weight: i64,
    /// Whether it is enabled, and of the type that we make.
    pub is_ours_in_form: bool,
}

/// What to do with a backend, in this order: finalizer, endpoints to delete, endpoints to put, status.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whether the cleanup finalizer is to be there.
    pub finalizer: bool,
    /// Names of endpoints to delete at the provider.
    pub delete: Vec<String>,
    /// Endpoints to create or update at the provider.
    pub put: Vec<Desired>,
    /// Endpoints that the provider has as they should be.
    pub keep: Vec<Desired>,
    /// What is wrong with clusters whose Service cannot be behind the profile.
    pub invalid: BTreeMap<String, String>,
    verdict: Option<Verdict>,
    /// Whether the provider is to be asked again.
    pub retry: bool,
}

/// An endpoint that a backend should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Name.
    pub name: String,
    /// Member.
    pub cluster: String,
    /// Id of the address behind it.
    pub target: String,
    /// Share of the traffic.
    pub weight: i64,
    /// Weight of the member's export.
    pub export_weight: i64,
}

/// Decides what to do with a backend that is not being deleted.
#[must_use]
pub fn plan(observed: &Observed<'_>) -> Plan {
    let own = own_endpoints(observed);
    match judge(observed) {
        Judgement::Wait(verdict, retry) => {
            Plan { retry, ..without_endpoints(observed, Vec::new(), verdict) }
        }
        Judgement::Withdraw(verdict) => {
            let delete = own.iter().map(|endpoint| endpoint.name.clone()).collect();
            without_endpoints(observed, delete, verdict)
        }
        Judgement::Serve(clusters) => serve(observed, &own, &clusters),
    }
}

/// What follows from the objects around a backend.
enum Judgement<'a> {
    /// Change nothing at the provider, and tell this.
    Wait(Verdict, bool),
    /// Take the endpoints away, and tell this.
    Withdraw(Verdict),
    /// Put the exports of these members behind the profile.
    Serve(Vec<(&'a str, &'a InternalServiceExport)>),
}

fn judge<'a>(observed: &Observed<'a>) -> Judgement<'a> {
    let spec = &observed.backend.spec;
    let (profile, service) = (&spec.profile.name, &spec.backend.name);
    let invalid = |message: String| Verdict::new("False", reason::INVALID, message);
    let pending = |message: String| Verdict::new("Unknown", reason::PENDING, message);
    let found = match profile_verdict(observed) {
        Some(verdict) => return Judgement::Wait(verdict, false),
        None => observed.found,
    };
    match found {
        Ok(Some(_)) => {}
        Ok(None) => {
            let message = format!("Azure Traffic Manager profile of \"{profile}\" is not found");
            return Judgement::Wait(invalid(message), false);
        }
        Err(error) => {
            let message = format!(
                "Failed to get the profile of \"{profile}\" and retrying: {}",
                error.message
            );
            return Judgement::Wait(pending(message), true);
        }
    }
    let import = observed.import.filter(|import| !keys::is_deleting(&import.metadata));
    let Some(import) = import else {
        return Judgement::Withdraw(invalid(format!("ServiceImport \"{service}\" is not found")));
    };
    if spec.weight == 0 {
        let message =
            "0 service(s) exported from clusters have been accepted as Traffic Manager endpoints";
        return Judgement::Withdraw(Verdict::new("True", reason::ACCEPTED, message));
    }
    let clusters = import.status.as_ref().map(|status| status.clusters.as_slice());
    let clusters = clusters.unwrap_or_default().iter();
    let exports = clusters.map(|one| observed.exports.get_key_value(&one.cluster));
    match exports.collect::<Option<Vec<_>>>() {
        Some(exports) if !exports.is_empty() => Judgement::Serve(
            exports.into_iter().map(|(name, export)| (name.as_str(), export)).collect(),
        ),
        Some(_) | None => {
            Judgement::Wait(pending("In the process of exporting the services".to_owned()), false)
        }
    }
}

/// Returns what speaks against the profile that a backend names.
fn profile_verdict(observed: &Observed<'_>) -> Option<Verdict> {
    let name = &observed.backend.spec.profile.name;
    let Some(profile) = observed.profile else {
        let message = format!("TrafficManagerProfile \"{name}\" is not found");
        return Some(Verdict::new("False", reason::INVALID, message));
    };
    let generation = profile.metadata.generation.unwrap_or(0);
    let conditions = profile.status.as_ref().map(|status| status.conditions.as_slice());
    let programmed =
        condition::current(conditions.unwrap_or_default(), type_::PROGRAMMED, generation);
    match programmed.map(|programmed| programmed.status.as_str()) {
        Some("True") => None,
        Some("False") => {
            let message = format!(
                "Invalid trafficManagerProfile \"{name}\", please check the trafficManagerProfile status"
            );
            Some(Verdict::new("False", reason::INVALID, message))
        }
        _ => {
            let message = format!("In the processing of trafficManagerProfile \"{name}\"");
            Some(Verdict::new("Unknown", reason::PENDING, message))
        }
    }
}

fn without_endpoints(observed: &Observed<'_>, delete: Vec<String>, verdict: Verdict) -> Plan {
    Plan {
        finalizer: keys::has_finalizer(
            &observed.backend.metadata,
            finalizer::TRAFFIC_MANAGER_BACKEND,
        ),
        delete,
        put: Vec::new(),
        keep: Vec::new(),
        invalid: BTreeMap::new(),
        verdict: Some(verdict),
        retry: false,
    }
}

fn serve(
    observed: &Observed<'_>,
    own: &[&Endpoint],
    clusters: &[(&str, &InternalServiceExport)],
) -> Plan {
    let mut invalid = BTreeMap::new();
    let mut valid = Vec::new();
    for (cluster, export) in clusters {
        match target(export, observed.provider) {
            Ok(target) => {
                valid.push((*cluster, target, export.spec.weight.unwrap_or(DEFAULT_WEIGHT)))
            }
            Err(why) => drop(invalid.insert((*cluster).to_owned(), why)),
        }
    }
    let exported: Vec<i64> = valid.iter().map(|(.., weight)| *weight).collect();
    let weights = effective_weights(observed.backend.spec.weight, &exported);
    let endpoint = |((cluster, target, export_weight), weight): ((&str, &str, i64), i64)| Desired {
        name: endpoint_name(observed.backend, cluster),
        cluster: cluster.to_owned(),
        target: target.to_owned(),
        weight,
        export_weight,
    };
    let desired = valid.into_iter().zip(weights).filter(|(_, weight)| *weight > 0).map(endpoint);
    let is_there = |desired: &Desired| own.iter().any(|endpoint| is_equal(endpoint, desired));
    let (keep, put): (Vec<_>, Vec<_>) = desired.partition(is_there);
    let is_wanted = |endpoint: &Endpoint| {
        keep.iter().chain(&put).any(|desired| desired.name.eq_ignore_ascii_case(&endpoint.name))
    };
    let delete = own.iter().filter(|endpoint| !is_wanted(endpoint));
    let delete = delete.map(|endpoint| endpoint.name.clone()).collect();
    Plan { finalizer: true, delete, put, keep, invalid, verdict: None, retry: false }
}

/// Returns the id of the address behind which an exported Service is, or what is wrong with it.
fn target(export: &InternalServiceExport, provider: Provider) -> Result<&str, String> {
    let spec = &export.spec;
    if spec.type_ != "LoadBalancer" {
        return Err(format!("unsupported service type \"{}\"", spec.type_));
    }
    if spec.is_internal_load_balancer {
        return Err("internal load balancer is not supported".to_owned());
    }
    let Some(id) = spec.public_ip_resource_id.as_deref().filter(|id| !id.is_empty()) else {
        return Err("in the processing of configuring public IP".to_owned());
    };
    if provider == Provider::Azure && !spec.is_dns_label_configured {
        return Err("DNS label is not configured to the public IP".to_owned());
    }
    Ok(id)
}

/// Returns the beginning of the names of all endpoints of a backend.
fn prefix(backend: &TrafficManagerBackend) -> String {
    format!("fleet-{}#", backend.metadata.uid.as_deref().unwrap_or_default())
}

fn endpoint_name(backend: &TrafficManagerBackend, cluster: &str) -> String {
    format!("{}{}#{cluster}", prefix(backend), backend.spec.backend.name)
}

fn own_endpoints<'a>(observed: &Observed<'a>) -> Vec<&'a Endpoint> {
    let prefix = prefix(observed.backend).to_ascii_lowercase();
    let is_own = |endpoint: &&Endpoint| endpoint.name.to_ascii_lowercase().starts_with(&prefix);
    let found = observed.found.ok().flatten().unwrap_or_default();
    found.iter().filter(is_own).collect()
}

fn is_equal(endpoint: &Endpoint, desired: &Desired) -> bool {
    endpoint.name.eq_ignore_ascii_case(&desired.name)
        && endpoint.target.eq_ignore_ascii_case(&desired.target)
        && endpoint.weight == desired.weight
        && endpoint.is_ours_in_form
}

/// What the provider answered to the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// What it has of the endpoints that were put, by name: id and address.
    pub put: BTreeMap<String, Result<(String, Option<String>), ProviderError>>,
    /// What went wrong when endpoints were deleted.
    pub delete: Option<ProviderError>,
    /// Id and address of the endpoints that were kept, by name.
    pub kept: BTreeMap<String, (String, Option<String>)>,
}

/// What a backend is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The status, if it is another one than before.
    pub status: Option<TrafficManagerBackendStatus>,
    /// Whether the provider is to be asked again.
    pub retry: bool,
}

/// Decides what a backend is told.
#[must_use]
pub fn report(
    backend: &TrafficManagerBackend,
    plan: &Plan,
    answers: &Answers,
    now: Timestamp,
) -> Report {
    let mut endpoints: Vec<_> =
        plan.keep.iter().chain(&plan.put).filter_map(|one| accepted(one, answers)).collect();
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    let (verdict, retry) = verdict(plan, answers, endpoints.len());
    if verdict.status == "Unknown" {
        endpoints.clear();
    }
    let old = backend.status.clone().unwrap_or_default();
    let mut status = TrafficManagerBackendStatus { endpoints, conditions: old.conditions.clone() };
    let generation = backend.metadata.generation.unwrap_or(0);
    let condition = verdict.condition(type_::ACCEPTED, generation, now);
    if keys::is_news(&old.conditions, &condition) {
        condition::set(&mut status.conditions, condition);
    }
    Report { status: (status != old).then_some(status), retry }
}

fn accepted(desired: &Desired, answers: &Answers) -> Option<TrafficManagerEndpointStatus> {
    let put = answers.put.get(&desired.name).and_then(|answer| answer.as_ref().ok());
    let (resource_id, target) = put.or_else(|| answers.kept.get(&desired.name))?.clone();
    Some(TrafficManagerEndpointStatus {
        name: desired.name.clone(),
        resource_id,
        weight: Some(desired.weight),
        target,
        from: Some(FromCluster {
            cluster: desired.cluster.clone(),
            weight: Some(desired.export_weight),
        }),
    })
}

fn verdict(plan: &Plan, answers: &Answers, n_accepted: usize) -> (Verdict, bool) {
    if let Some(error) = &answers.delete {
        let message = format!("Failed to delete endpoints and retrying: {}", error.message);
        return (Verdict::new("Unknown", reason::PENDING, message), true);
    }
    if let Some(verdict) = &plan.verdict {
        return (verdict.clone(), plan.retry);
    }
    let errors =
        answers.put.iter().filter_map(|(name, answer)| Some((name, answer.as_ref().err()?)));
    let (bad, failed): (Vec<_>, Vec<_>) = errors.partition(|(_, error)| error.is_refusal());
    if let Some((name, error)) = failed.first() {
        let message =
            format!("Failed to configure endpoint \"{name}\" and retrying: {}", error.message);
        return (Verdict::new("Unknown", reason::PENDING, message), true);
    }
    let invalid = plan.invalid.first_key_value();
    if invalid.is_none() && bad.is_empty() {
        let message = format!(
            "{n_accepted} service(s) exported from clusters have been accepted as Traffic Manager endpoints"
        );
        return (Verdict::new("True", reason::ACCEPTED, message), false);
    }
    let mut faults = Vec::new();
    if let Some((cluster, why)) = invalid {
        let n = plan.invalid.len();
        faults.push(format!("{n} service(s) exported from clusters cannot be exposed as the Traffic Manager endpoints, for example, service exported from {cluster} is invalid: {why}"));
    }
    if let Some((name, error)) = bad.first() {
        let n = bad.len();
        faults.push(format!(
            "{n} endpoint(s) were refused, for example, \"{name}\": {}",
            error.message
        ));
    }
    (Verdict::new("False", reason::INVALID, faults.join("; ")), !bad.is_empty())
}

/// What to do with a backend that is being deleted: names of endpoints to delete at the provider. Afterwards, all
/// finalizers are dropped.
#[must_use]
pub fn leave(observed: &Observed<'_>) -> Vec<String> {
    let has_finalizer =
        keys::has_finalizer(&observed.backend.metadata, finalizer::TRAFFIC_MANAGER_BACKEND);
    let own = own_endpoints(observed).into_iter().filter(|_| has_finalizer);
    own.map(|endpoint| endpoint.name.clone()).collect()
}
