//! Where connections to a service go, and why they do not go elsewhere, from what the hub knows and what members that
//! could be asked say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Serialize;
use stolos_api::cluster::MemberCluster;
use stolos_api::network::names::{DEFAULT_WEIGHT, MAX_WEIGHT, condition as type_};
use stolos_api::network::{
    EndpointSliceExport, InternalServiceExport, InternalServiceImport, MultiClusterService,
    ServiceExport, ServiceImport, ServicePort,
};

use super::claim::InUseBy;
use super::{export, keys, resolve};
use crate::condition;

pub mod clusterset;
mod findings;

pub use findings::ports;

/// What is known of a service.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// `<namespace>/<name>` of the service.
    pub key: &'a str,
    /// Whether the hub has the namespace.
    pub namespace_exists: bool,
    /// The ServiceImport of the hub.
    pub import: Option<&'a ServiceImport>,
    /// The exports of the service.
    pub exports: &'a [InternalServiceExport],
    /// The endpoints of its exporters.
    pub slices: &'a [EndpointSliceExport],
    /// The members that ask to import it.
    pub claimants: &'a [InternalServiceImport],
    /// All members.
    pub members: &'a [MemberCluster],
    /// What members say themselves; those that could not be asked are absent.
    pub told: &'a BTreeMap<String, Told>,
    /// The present moment.
    pub now: Timestamp,
}

/// What a member says of a service.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Its ServiceExport.
    pub export: Option<ServiceExport>,
    /// Its MultiClusterServices of the service.
    pub services: Vec<Imported>,
}

/// A MultiClusterService of a member.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The MultiClusterService.
    pub service: MultiClusterService,
    /// Its derived Service.
    pub derived: Option<Service>,
    /// The endpoints of other members that are behind the derived Service.
    pub slices: Vec<EndpointSlice>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// `<namespace>/<name>` of the service.
    pub service: String,
    /// Whose kinds it is exported with.
    pub api: Api,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Members that export it, by name.
    pub exporters: Vec<Exporter>,
    /// Members that import it or ask to, by name.
    pub importers: Vec<Importer>,
    /// What stands in the way.
    pub findings: Vec<Finding>,
}

/// The kinds with which a service is exported and imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Api {
    /// Those of Azure.
    #[serde(rename = "networking.fleet.azure.com")]
    Fleet,
    /// Those of the standard, the Multi-Cluster Services API.
    #[serde(rename = "multicluster.x-k8s.io")]
    Mcs,
}

/// A member that exports a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exporter {
    /// Name of the member.
    pub cluster: String,
    /// Share of the traffic that it asks for, relative to the others; the standard knows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Share of new connections that it gets while all endpoints answer, in percent.
    pub percent: f64,
    /// Endpoints that take connections.
    pub endpoints: usize,
    /// How it stands.
    pub state: ExporterState,
}

/// How an exporter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ExporterState {
    /// It takes part.
    Serving,
    /// It takes part, but none of its endpoints takes connections.
    NoEndpoints,
    /// An older export has other ports.
    Conflicts,
    /// Its export is being withdrawn.
    Leaving,
    /// Its export is not valid.
    Refused,
    /// It has weight 0.
    ZeroWeight,
}

impl ExporterState {
    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::NoEndpoints => "NoEndpoints",
            Self::Conflicts => "Conflicts",
            Self::Leaving => "Leaving",
            Self::Refused => "Refused",
            Self::ZeroWeight => "ZeroWeight",
        }
    }
}

/// A member that imports a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Importer {
    /// Name of the member.
    pub cluster: String,
    /// How it stands.
    pub state: ImporterState,
    /// Addresses of its MultiClusterServices; none too when it could not be asked.
    pub addresses: Vec<String>,
    /// Whether it could be asked.
    pub was_asked: bool,
}

/// How an importer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ImporterState {
    /// It imports the service.
    Importing,
    /// Another member does, and the hub lets one at a time; or something of the member is in the way.
    Waiting,
    /// No member exports the service.
    NotExported,
    /// It is withdrawing.
    Leaving,
}

impl ImporterState {
    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Importing => "Importing",
            Self::Waiting => "Waiting",
            Self::NotExported => "NotExported",
            Self::Leaving => "Leaving",
        }
    }
}

/// Something that stands in the way, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The member that it is about; none when it is about the whole service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What.
    pub message: String,
    /// What would help.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// Tells where connections to a service go, and what stands in the way.
#[must_use]
pub fn overview(observed: &Observed<'_>) -> Overview {
    let exporters = exporters(observed);
    let importers = importers(observed);
    let findings = findings::findings(observed, &exporters, &importers);
    let ports = oldest(observed.exports).map(|export| export.spec.ports.clone());
    Overview {
        service: observed.key.to_owned(),
        api: Api::Fleet,
        ports: ports.unwrap_or_default(),
        exporters,
        importers,
        findings,
    }
}

/// Returns the member in whose namespace on the hub an object is.
fn member_of(metadata: &ObjectMeta) -> &str {
    keys::member_of(keys::namespace(metadata)).unwrap_or_default()
}

/// Returns the export that decides over the ports.
fn oldest(exports: &[InternalServiceExport]) -> Option<&InternalServiceExport> {
    let live = exports.iter().filter(|export| !keys::is_deleting(&export.metadata));
    live.min_by_key(|export| {
        let created = export.metadata.creation_timestamp.as_ref().map(|at| at.0);
        (created.unwrap_or(Timestamp::MAX), member_of(&export.metadata))
    })
}

fn exporters(observed: &Observed<'_>) -> Vec<Exporter> {
    let plan = resolve::plan(observed.key, observed.exports, observed.import, observed.now);
    let mut n_endpoints: BTreeMap<&str, usize> = BTreeMap::new();
    let live = observed.slices.iter().filter(|slice| !keys::is_deleting(&slice.metadata));
    for slice in live {
        *n_endpoints.entry(member_of(&slice.metadata)).or_default() += slice.spec.endpoints.len();
    }
    let exported = observed.exports.iter().map(|one| {
        let cluster = member_of(&one.metadata);
        let place =
            (keys::namespace(&one.metadata).to_owned(), keys::name(&one.metadata).to_owned());
        let endpoints = n_endpoints.get(cluster).copied().unwrap_or(0);
        let state = match plan.exports.get(&place).map(|decided| decided.standing) {
            Some(resolve::Standing::Accepted) if endpoints == 0 => ExporterState::NoEndpoints,
            Some(resolve::Standing::Accepted) => ExporterState::Serving,
            Some(resolve::Standing::Leaving) | None => ExporterState::Leaving,
            Some(resolve::Standing::Conflicts) => ExporterState::Conflicts,
            Some(resolve::Standing::NotItsOwn) => ExporterState::Refused,
        };
        let weight = one.spec.weight.unwrap_or(DEFAULT_WEIGHT).clamp(0, MAX_WEIGHT);
        let weight = Some(weight);
        Exporter { cluster: cluster.to_owned(), weight, percent: 0.0, endpoints, state }
    });
    let mut exporters: Vec<_> = exported.collect();
    // Those that export nothing to the hub are only known by what they say themselves.
    let known: BTreeSet<String> = exporters.iter().map(|one| one.cluster.clone()).collect();
    let told = observed.told.iter().filter(|(cluster, _)| !known.contains(*cluster));
    exporters.extend(told.filter_map(|(cluster, told)| {
        let export = told.export.as_ref()?;
        let weight = export::weight(&export.metadata);
        let state = match weight {
            Ok(0) if is_valid(export) => ExporterState::ZeroWeight,
            _ if is_valid(export) => return None,
            _ => ExporterState::Refused,
        };
        let weight = Some(weight.unwrap_or(DEFAULT_WEIGHT));
        Some(Exporter { cluster: cluster.clone(), weight, percent: 0.0, endpoints: 0, state })
    }));
    exporters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    shares(&mut exporters, |one| one.weight.unwrap_or(DEFAULT_WEIGHT));
    exporters
}

/// Gives each exporter that serves its share by what it weighs.
fn shares(exporters: &mut [Exporter], weight: impl Fn(&Exporter) -> i64) {
    let serves = |one: &Exporter| one.state == ExporterState::Serving;
    let all: i64 = exporters.iter().filter(|one| serves(one)).map(&weight).sum();
    for one in exporters.iter_mut().filter(|one| serves(one) && all > 0) {
        #[expect(clippy::cast_precision_loss, reason = "weights are at most 1000 each")]
        let percent = weight(one) as f64 / all as f64 * 100.0;
        one.percent = (percent * 10.0).round() / 10.0;
    }
}

fn is_valid(export: &ServiceExport) -> bool {
    told_of(export, type_::VALID).is_some_and(|valid| valid.status == "True")
}

fn told_of<'a>(export: &'a ServiceExport, name: &str) -> Option<&'a Condition> {
    condition::find(&export.status.as_ref()?.conditions, name)
}

fn importers(observed: &Observed<'_>) -> Vec<Importer> {
    let holders = observed.import.and_then(|import| InUseBy::of(import).ok().flatten());
    let holders = holders.unwrap_or_default().member_clusters;
    let is_exported = observed
        .import
        .and_then(|import| import.status.as_ref())
        .is_some_and(|status| !status.clusters.is_empty());
    let importer = |claimant: &InternalServiceImport| {
        let cluster = member_of(&claimant.metadata).to_owned();
        let state = if keys::is_deleting(&claimant.metadata) {
            ImporterState::Leaving
        } else if !is_exported {
            ImporterState::NotExported
        } else if holders.contains_key(keys::namespace(&claimant.metadata)) {
            ImporterState::Importing
        } else {
            ImporterState::Waiting
        };
        let told = observed.told.get(&cluster);
        let services = told.iter().flat_map(|told| &told.services);
        let addresses = services.flat_map(|one| addresses(&one.service)).collect();
        Importer { cluster, state, addresses, was_asked: told.is_some() }
    };
    let mut importers: Vec<_> = observed.claimants.iter().map(importer).collect();
    importers.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    importers
}

fn addresses(service: &MultiClusterService) -> Vec<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    ingress.filter_map(|one| one.ip.clone().or_else(|| one.hostname.clone())).collect()
}
