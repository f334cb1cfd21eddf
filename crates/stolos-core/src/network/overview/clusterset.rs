//! The same of services of the standard (KEP-1645): every member that has the namespace imports them, and every endpoint gets as
//! many connections as any other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::cluster::MemberCluster;
use stolos_api::network::clusterset::{
    ExportedService, ExportedSlice, ImportedService, condition as of_hub, reason,
};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};
use stolos_api::network::{Protocol, ServicePort, mcs};

use super::findings::{no_endpoints, silent};
use super::{
    Api, Exporter, ExporterState, Finding, Importer, ImporterState, Overview, member_of, shares,
};
use crate::condition;
use crate::network::keys;
use crate::network::mcs::resolve::{self, Export, Standing};
use crate::network::mcs::{conflict_condition, import};

/// What is known of a service.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// `<namespace>/<name>` of the service.
    pub key: &'a str,
    /// What members export of it.
    pub exports: &'a [ExportedService],
    /// What members are told of it.
    pub imports: &'a [ImportedService],
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
    /// Its ServiceImport.
    pub import: Option<ServiceImport>,
}

/// Tells where connections to a service go, and what stands in the way.
#[must_use]
pub fn overview(observed: &Observed<'_>) -> Overview {
    let live = observed.exports.iter().filter(|export| !leaves(observed, export));
    let live: Vec<_> =
        live.map(|told| Export { cluster: member_of(&told.metadata), told }).collect();
    let resolved = resolve::resolve(&live);
    let ports = resolved.iter().flat_map(|resolved| &resolved.merged.spec.ports).map(port);
    let exporters = exporters(observed);
    let importers = importers(observed);
    let mut findings = Findings { observed, found: Vec::new() };
    if let Some(resolved) = resolved.as_ref().filter(|one| !one.merged.conflicts.is_empty()) {
        let message = conflict_condition(&resolved.merged, 0, observed.now).message;
        let hint = "the clusters that differ stay; make their Services and ServiceExports alike";
        findings.add(None, message, hint.to_owned());
    }
    findings.of_exporters(&exporters);
    findings.of_importers(&importers);
    Overview {
        service: observed.key.to_owned(),
        api: Api::Mcs,
        ports: ports.collect(),
        exporters,
        importers,
        findings: findings.found,
    }
}

fn port(port: &mcs::ServicePort) -> ServicePort {
    ServicePort {
        name: port.name.clone(),
        protocol: Protocol::parse(&port.protocol).unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
        port: port.port,
        ..ServicePort::default()
    }
}

/// Tells whether an export is on its way out.
fn leaves(observed: &Observed<'_>, export: &ExportedService) -> bool {
    let cluster = member_of(&export.metadata);
    let is_of = |member: &&MemberCluster| member.metadata.name.as_deref() == Some(cluster);
    keys::is_deleting(&export.metadata)
        || resolve::standing(observed.members.iter().find(is_of)) == Standing::Leaving
}

fn exporters(observed: &Observed<'_>) -> Vec<Exporter> {
    let exporter = |cluster: &str, endpoints, state| Exporter {
        cluster: cluster.to_owned(),
        weight: None,
        percent: 0.0,
        endpoints,
        state,
    };
    let exported = observed.exports.iter().map(|export| {
        let endpoints = ready(&export.spec.slices);
        let state = match endpoints {
            _ if leaves(observed, export) => ExporterState::Leaving,
            0 => ExporterState::NoEndpoints,
            _ => ExporterState::Serving,
        };
        exporter(member_of(&export.metadata), endpoints, state)
    });
    let mut exporters: Vec<_> = exported.collect();
    // Those that export nothing to the hub are only known by what they say themselves.
    for (cluster, told) in observed.told {
        let is_known = exporters.iter().any(|one| one.cluster == *cluster);
        if told.export.is_some() && !is_known {
            exporters.push(exporter(cluster, 0, ExporterState::Refused));
        }
    }
    exporters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    shares(&mut exporters, |one| i64::try_from(one.endpoints).unwrap_or(i64::MAX));
    exporters
}

/// Counts endpoints that take connections.
fn ready(slices: &[ExportedSlice]) -> usize {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    endpoints.filter(|endpoint| endpoint.ready != Some(false)).count()
}

/// Returns the members that import a service. Those without the namespace do not: they are told of every service.
fn importers(observed: &Observed<'_>) -> Vec<Importer> {
    let importer = |told: &ImportedService| {
        let cluster = member_of(&told.metadata).to_owned();
        let state = match imported(told) {
            _ if keys::is_deleting(&told.metadata) => ImporterState::Leaving,
            Some(one) if one.reason == reason::NAMESPACE_NOT_FOUND => return None,
            Some(one) if one.status == "True" => ImporterState::Importing,
            _ => ImporterState::Waiting,
        };
        let asked = observed.told.get(&cluster);
        let addresses = asked.and_then(|told| told.import.as_ref()).map(|one| one.spec.ips.clone());
        let addresses = addresses.unwrap_or_default();
        Some(Importer { cluster, state, addresses, was_asked: asked.is_some() })
    };
    let mut importers: Vec<_> = observed.imports.iter().filter_map(importer).collect();
    importers.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    importers
}

/// Returns what a member says of importing.
fn imported(told: &ImportedService) -> Option<&Condition> {
    condition::find(&told.status.as_ref()?.conditions, of_hub::IMPORTED)
}

struct Findings<'a> {
    observed: &'a Observed<'a>,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, cluster: Option<&str>, message: String, hint: String) {
        self.found.push(Finding { cluster: cluster.map(str::to_owned), message, hint });
    }

    fn of_exporters(&mut self, exporters: &[Exporter]) {
        let (namespace, name) = self.observed.key.split_once('/').unwrap_or_default();
        if exporters.is_empty() {
            let hint = format!(
                "create a ServiceExport `{name}` ({}) in namespace `{namespace}` of a member that has the Service",
                mcs::API_VERSION
            );
            self.add(None, "no member exports it".to_owned(), hint);
        }
        for Exporter { cluster, state, .. } in exporters {
            match state {
                ExporterState::NoEndpoints => {
                    let (message, hint) = no_endpoints(namespace, name);
                    self.add(Some(cluster), message, hint);
                }
                ExporterState::Leaving => {
                    self.add(Some(cluster), "is withdrawing its export".to_owned(), String::new());
                }
                ExporterState::Refused => {
                    let why = self.observed.told.get(cluster).and_then(refusal);
                    let why = why.unwrap_or("it has not been looked at yet");
                    self.add(Some(cluster), format!("does not export it: {why}"), String::new());
                }
                _ => {}
            }
            if let Some((message, hint)) = silent(self.observed.members, cluster, self.observed.now)
            {
                self.add(Some(cluster), message, hint);
            }
        }
    }

    fn of_importers(&mut self, importers: &[Importer]) {
        let (namespace, _) = self.observed.key.split_once('/').unwrap_or_default();
        if importers.is_empty() && !self.observed.imports.is_empty() {
            let message = format!("no member imports it, because none has namespace `{namespace}`");
            self.add(None, message, format!("kubectl create namespace {namespace}"));
        }
        for importer in importers {
            let told = self.observed.told.get(&importer.cluster);
            let told = told.and_then(|told| told.import.as_ref());
            let is_of = |one: &&ImportedService| member_of(&one.metadata) == importer.cluster;
            let waits = self.observed.imports.iter().find(is_of).and_then(imported);
            let message = match importer.state {
                ImporterState::Leaving => "is withdrawing its import",
                ImporterState::Waiting => {
                    waits.map_or("has not said yet that it imports it", |one| one.message.as_str())
                }
                _ => match told.and_then(import::problem) {
                    Some(problem) => problem,
                    None => continue,
                },
            };
            self.add(Some(&importer.cluster), message.to_owned(), String::new());
        }
    }
}

/// Returns why a member exports nothing.
fn refusal(told: &Told) -> Option<&str> {
    let conditions = &told.export.as_ref()?.status.as_ref()?.conditions;
    let wrong = [mcs::condition::VALID, mcs::condition::READY]
        .into_iter()
        .find_map(|type_| condition::find(conditions, type_).filter(|one| one.status != "True"));
    wrong.map(|one| one.message.as_str())
}
