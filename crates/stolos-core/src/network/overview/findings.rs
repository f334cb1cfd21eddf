//! What stands in the way of connections to a service, and what would help.

use jiff::Timestamp;
use stolos_api::cluster::MemberCluster;
use stolos_api::network::names::{CLUSTER_ANNOTATION, condition as type_};
use stolos_api::network::{InternalServiceExport, ServicePort};

use super::super::{import_slice, keys, silence};
use super::{
    Exporter, ExporterState, Finding, Imported, Importer, ImporterState, Observed, addresses,
    member_of, oldest, told_of,
};
use crate::condition;

pub(super) fn findings(
    observed: &Observed<'_>,
    exporters: &[Exporter],
    importers: &[Importer],
) -> Vec<Finding> {
    let (namespace, name) = observed.key.split_once('/').unwrap_or(("", observed.key));
    let mut findings = Vec::new();
    let mut find = |cluster: Option<&str>, message: String, hint: String| {
        findings.push(Finding { cluster: cluster.map(str::to_owned), message, hint });
    };
    if exporters.is_empty() {
        let hint = format!(
            "create a ServiceExport `{name}` in namespace `{namespace}` of a member that has the Service, \
             or place one with a ClusterResourcePlacement"
        );
        find(None, "no member exports it".to_owned(), hint);
    } else if !observed.namespace_exists {
        let message = format!("the hub has no namespace `{namespace}` for its ServiceImport");
        find(None, message, format!("kubectl create namespace {namespace}"));
    }
    for one in exporters {
        if let Some((message, hint)) = of_exporter(observed, one, namespace, name) {
            find(Some(&one.cluster), message, hint);
        }
        if let Some((message, hint)) = silent(observed.members, &one.cluster, observed.now) {
            find(Some(&one.cluster), message, hint);
        }
    }
    if importers.is_empty() {
        let hint = format!(
            "create a MultiClusterService in namespace `{namespace}` of a member, with \
             spec.serviceImport.name `{name}`"
        );
        find(None, "no member imports it".to_owned(), hint);
    }
    for one in importers {
        if let Some((message, hint)) = of_importer(importers, one) {
            find(Some(&one.cluster), message, hint);
        }
        let told = observed.told.get(&one.cluster);
        for imported in told.iter().flat_map(|told| &told.services) {
            for message in problems(imported) {
                find(Some(&one.cluster), message, String::new());
            }
        }
    }
    findings
}

fn of_exporter(
    observed: &Observed<'_>,
    exporter: &Exporter,
    namespace: &str,
    name: &str,
) -> Option<(String, String)> {
    let cluster = &exporter.cluster;
    let told = observed.told.get(cluster).and_then(|told| told.export.as_ref());
    Some(match exporter.state {
        ExporterState::Serving => return None,
        // Endpoints wait for the namespace, which is told of the whole service.
        ExporterState::NoEndpoints if !observed.namespace_exists => return None,
        ExporterState::NoEndpoints => no_endpoints(namespace, name),
        ExporterState::Conflicts => {
            let own = observed.exports.iter().find(|export| member_of(&export.metadata) == cluster);
            let winner = oldest(observed.exports);
            let shown = |export: Option<&InternalServiceExport>| {
                export.map(|export| ports(&export.spec.ports)).unwrap_or_default()
            };
            let of = winner.map(|winner| member_of(&winner.metadata)).unwrap_or_default();
            (
                format!(
                    "conflicts: it has ports {}, and {of}, which has exported it for longer, {}",
                    shown(own),
                    shown(winner)
                ),
                "give the Services the same ports, port names, protocols and application protocols"
                    .to_owned(),
            )
        }
        ExporterState::Leaving => ("is withdrawing its export".to_owned(), String::new()),
        ExporterState::Refused => {
            let valid = told.and_then(|export| told_of(export, type_::VALID));
            let valid = valid.filter(|valid| valid.status != "True");
            let own = observed.exports.iter().find(|one| member_of(&one.metadata) == cluster);
            let conflict = own.and_then(|own| own.status.as_ref());
            let conflict =
                conflict.and_then(|status| condition::find(&status.conditions, type_::CONFLICT));
            let why = valid.or(conflict).map(|condition| condition.message.as_str());
            let why = why.unwrap_or("it has not been looked at yet");
            (format!("does not export it: {why}"), String::new())
        }
        ExporterState::ZeroWeight => (
            "takes no connections: its ServiceExport has weight 0".to_owned(),
            format!(
                "kubectl -n {namespace} annotate serviceexport {name} networking.fleet.azure.com/weight=1 --overwrite"
            ),
        ),
    })
}

pub(super) fn no_endpoints(namespace: &str, name: &str) -> (String, String) {
    let hint = format!(
        "look at the pods: kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}"
    );
    ("exports it, but has no endpoint that takes connections".to_owned(), hint)
}

/// Returns ports as people write them.
#[must_use]
pub fn ports(ports: &[ServicePort]) -> String {
    let port = |port: &ServicePort| match port.name.as_str() {
        "" => format!("{}/{}", port.port, port.protocol.as_str()),
        name => format!("{name}:{}/{}", port.port, port.protocol.as_str()),
    };
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports.iter().map(port).collect::<Vec<_>>().join(",")
}

fn of_importer(importers: &[Importer], one: &Importer) -> Option<(String, String)> {
    match one.state {
        ImporterState::Waiting => {
            let holds = |other: &&Importer| other.state == ImporterState::Importing;
            let holder = importers.iter().find(holds).map_or("another member", |one| &one.cluster);
            Some((
                format!("waits: {holder} imports it, and this hub lets one member import a service"),
                "run the hub with --service-importers many, or delete the MultiClusterService there"
                    .to_owned(),
            ))
        }
        ImporterState::NotExported => {
            Some(("waits for a member that exports it".to_owned(), String::new()))
        }
        ImporterState::Leaving => Some(("is withdrawing its import".to_owned(), String::new())),
        ImporterState::Importing => None,
    }
}

/// Returns what a member says to be wrong with a MultiClusterService.
fn problems(imported: &Imported) -> Vec<String> {
    let Imported { service, derived, slices } = imported;
    let name = keys::name(&service.metadata);
    let conditions = service.status.as_ref().map(|status| status.conditions.as_slice());
    let of_derived = derived.as_ref().and_then(|derived| derived.status.as_ref());
    let all = conditions
        .into_iter()
        .chain(of_derived.and_then(|status| status.conditions.as_deref()))
        .flatten();
    let wrong = all.filter(|one| one.status != "True" && !one.message.is_empty());
    let mut problems: Vec<_> =
        wrong.map(|one| format!("MultiClusterService {name}: {}", one.message)).collect();
    if problems.is_empty() && addresses(service).is_empty() {
        problems.push(format!(
            "MultiClusterService {name} has no address yet; whoever gives LoadBalancer Services theirs has not done so"
        ));
    }
    problems.extend(slices.iter().filter_map(|slice| {
        let cluster = keys::annotation(&slice.metadata, CLUSTER_ANNOTATION).unwrap_or_default();
        let why = import_slice::refused(slice)?;
        Some(format!("MultiClusterService {name}: endpoints of {cluster} are left out: {why}"))
    }));
    problems
}

/// Returns how long a member has been silent, if it is.
pub(super) fn silent(
    members: &[MemberCluster],
    cluster: &str,
    now: Timestamp,
) -> Option<(String, String)> {
    let named = |member: &&MemberCluster| member.metadata.name.as_deref() == Some(cluster);
    let member = members.iter().find(named)?;
    let heard = silence::heard(member)?;
    let is_silent = now >= silence::lease(member, heard).stale_from();
    let message = || format!("has not been heard of for {} s", now.duration_since(heard).as_secs());
    let hint = "its endpoints stay; data planes that see them fail leave them out";
    is_silent.then(|| (message(), hint.to_owned()))
}
