//! One service: which exports agree, its ServiceImport, and who imports it.

use jiff::Timestamp;
use stolos_api::network::names::{annotation, finalizer as names};
use stolos_api::network::{
    InternalServiceExport, InternalServiceExportStatus, InternalServiceImport, ServiceImport,
    ServiceImportStatus,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::condition;
use stolos_core::network::claim::{self, InUseBy};
use stolos_core::network::resolve::{self, Import, Standing};

use super::look::{self, Act, Sought};
use super::{MANAGER, Services, finalizer};
use crate::event::{self, Report};

impl Services {
    /// Plans a service in rounds: an object is written once a round, and what comes later waits for it.
    pub(super) fn plan_service(&self, service: &str, now: Timestamp) -> Plan<Act> {
        let exports: Vec<_> = self
            .exports
            .indexed(service)
            .map(|export| InternalServiceExport::clone(export))
            .collect();
        let claimants: Vec<_> =
            self.claimants.indexed(service).map(|one| InternalServiceImport::clone(one)).collect();
        let import = self.import(service).map(AsRef::as_ref);
        let sought = self.sought(service, import, &exports, &claimants);
        if !sought.is_empty() {
            return Plan::default().then(sought.into_iter().map(Act::Look).collect());
        }
        let resolved = resolve::plan(service, &exports, import, now);

        let adopted = exports.iter().filter_map(|export| adopt(export, &resolved)).collect();
        let plan = Plan::default().then(adopted);
        let claim = claim::plan(import, &claimants, self.config.importers);
        let resolution = resolution(service, import, &resolved, now);
        if !resolution.is_empty() {
            return match import.is_none().then(|| self.namespace(service)) {
                Some(Home::Unknown(look)) => plan.then(vec![look]),
                Some(Home::Absent) => {
                    // One that gets its finalizer in this round is told in the next.
                    let adopted = exports.iter().filter(|one| adopt(one, &resolved).is_none());
                    let told = adopted.filter_map(|one| tell_homeless(service, one, now));
                    let shown = claimants.iter().filter_map(|one| tell_claimant(one, &claim));
                    let told = told.chain(shown).collect();
                    plan.then(told).then(released(&exports, &resolved, &claimants, &claim))
                }
                Some(Home::There) | None => plan.then(resolution),
            };
        }
        let told = exports.iter().filter_map(|export| tell(export, &resolved)).collect();
        let held = claimants.iter().filter_map(|one| hold(one, &claim)).collect();
        let claimed = claim.claim.as_ref().and_then(|claim| import.map(|import| (import, claim)));
        let plan = plan.then(told).then(held);
        if let Some((import, holders)) = claimed {
            return plan.then(vec![claimed_by(import, holders)]);
        }
        let told = claimants.iter().filter_map(|one| tell_claimant(one, &claim)).collect();
        let released = released(&exports, &resolved, &claimants, &claim);
        let rest = import.filter(|_| matches!(resolved.import, Import::Absent));
        plan.then(told).then(released).then(rest.and_then(removed).into_iter().collect())
    }

    /// Tells whether the hub has the namespace of a service.
    fn namespace(&self, service: &str) -> Home {
        let (name, _) = service.split_once('/').unwrap_or_default();
        let sought = Sought::Namespace(name.to_owned());
        match self.namespaces.get(&Key::cluster(name)) {
            // Nothing can be created in one that is on its way out.
            Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => Home::Absent,
            Some(_) => Home::There,
            None if self.absent.contains(&sought) => Home::Absent,
            None => Home::Unknown(Act::Look(sought)),
        }
    }

    /// Returns what the ServiceImport counts on and nothing shows: whoever is in it is looked for by name before it is
    /// taken out.
    fn sought(
        &self,
        service: &str,
        import: Option<&ServiceImport>,
        exports: &[InternalServiceExport],
        claimants: &[InternalServiceImport],
    ) -> Vec<Sought> {
        let Some(import) = import else { return Vec::new() };
        let of = |metadata| look::Service::of(service, metadata);
        let exporting: Vec<_> = exports.iter().map(|export| of(&export.metadata)).collect();
        let asking: Vec<_> = claimants.iter().map(|one| of(&one.metadata)).collect();
        let named =
            |cluster: &str| look::Service { key: service.to_owned(), cluster: cluster.to_owned() };
        let clusters = import.status.iter().flat_map(|status| &status.clusters);
        let exporters = clusters.map(|one| named(&one.cluster));
        let exporters = exporters.filter(|one| !exporting.contains(one)).map(Sought::Export);
        let holders = InUseBy::of(import).ok().flatten().unwrap_or_default().member_clusters;
        let holders = holders.into_values().map(|cluster| named(&cluster));
        let holders = holders.filter(|one| !asking.contains(one)).map(Sought::Claimant);
        exporters.chain(holders).filter(|sought| !self.absent.contains(sought)).collect()
    }
}

/// Returns the namespace of an exported service, which no `<namespace>/<name>` equals.
pub(super) fn namespace(export: &InternalServiceExport) -> Option<String> {
    let service = &export.spec.service_reference.namespaced_name;
    service.split_once('/').map(|(namespace, _)| namespace.to_owned())
}

/// Whether the hub has the namespace of a service.
enum Home {
    There,
    Absent,
    /// No list shows it, and it has not been asked for by name.
    Unknown(Act),
}

fn place(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> (String, String) {
    let Key { namespace, name } = Key::of(metadata);
    (namespace, name)
}

/// Gives an export its finalizer.
fn adopt(export: &InternalServiceExport, plan: &resolve::Plan) -> Option<Act> {
    let decided = plan.exports.get(&place(&export.metadata))?;
    let wanted = decided.finalizer.then_some(true)?;
    finalizer::write(export, names::INTERNAL_SERVICE_EXPORT, wanted)
}

/// Brings the ServiceImport to its status; a service that nobody exports any more is emptied.
fn resolution(
    service: &str,
    import: Option<&ServiceImport>,
    plan: &resolve::Plan,
    now: Timestamp,
) -> Vec<Act> {
    let status = match &plan.import {
        Import::Unchanged => return Vec::new(),
        Import::Present(status) => ServiceImportStatus::clone(status),
        Import::Absent => ServiceImportStatus::default(),
    };
    let Some(import) = import else {
        let Some((namespace, name)) = service.split_once('/') else { return Vec::new() };
        let mut import = ServiceImport::default();
        import.metadata.namespace = Some(namespace.to_owned());
        import.metadata.name = Some(name.to_owned());
        return vec![Act::Write(Write::Create(import.into()))];
    };
    if import.status.clone().unwrap_or_default() == status {
        return Vec::new();
    }
    let events = plan.events.iter().enumerate().map(|(index, told)| {
        let report = Report {
            component: MANAGER,
            type_: told.severity.as_str(),
            reason: told.reason.to_owned(),
            message: told.message.clone(),
        };
        Act::Write(Write::Create(event::event(import, report, index, now).into()))
    });
    let written = ServiceImport { status: Some(status), ..import.clone() };
    std::iter::once(Act::Write(Write::ReplaceStatus(written.into()))).chain(events).collect()
}

/// Tells an export whether it conflicts. One that gets its finalizer in this round is told in the next.
fn tell(export: &InternalServiceExport, plan: &resolve::Plan) -> Option<Act> {
    let decided = plan.exports.get(&place(&export.metadata))?;
    let told = decided.condition.clone()?;
    if adopt(export, plan).is_some() {
        return None;
    }
    let mut export = export.clone();
    let mut status = export.status.take().unwrap_or_default();
    condition::set(&mut status.conditions, told);
    export.status = Some(InternalServiceExportStatus { ..status });
    Some(Act::Write(Write::ReplaceStatus(export.into())))
}

/// Lets go of exports and claimants that the service has forgotten.
fn released(
    exports: &[InternalServiceExport],
    resolved: &resolve::Plan,
    claimants: &[InternalServiceImport],
    claim: &claim::Plan,
) -> Vec<Act> {
    let exports = exports.iter().filter_map(|export| release(export, resolved));
    exports.chain(claimants.iter().filter_map(|one| let_go(one, claim))).collect()
}

/// Tells an export that the hub lacks the namespace of its service.
fn tell_homeless(service: &str, export: &InternalServiceExport, now: Timestamp) -> Option<Act> {
    let told = resolve::homeless(service, export, now)?;
    let mut export = export.clone();
    condition::set(&mut export.status.get_or_insert_default().conditions, told);
    Some(Act::Write(Write::ReplaceStatus(export.into())))
}

/// Lets an export go that the service has forgotten.
fn release(export: &InternalServiceExport, plan: &resolve::Plan) -> Option<Act> {
    let decided = plan.exports.get(&place(&export.metadata))?;
    let leaves = decided.standing == Standing::Leaving && !decided.finalizer;
    leaves.then(|| finalizer::write(export, names::INTERNAL_SERVICE_EXPORT, false)).flatten()
}

/// Gives a claimant that holds the claim its finalizer, before it is named.
fn hold(claimant: &InternalServiceImport, plan: &claim::Plan) -> Option<Act> {
    let decided = plan.imports.get(&place(&claimant.metadata))?;
    let wanted = decided.finalizer.then_some(true)?;
    finalizer::write(claimant, names::INTERNAL_SERVICE_IMPORT, wanted)
}

/// Names the members that import a service, in one write with the finalizer that keeps it meanwhile.
fn claimed_by(import: &ServiceImport, holders: &InUseBy) -> Act {
    let mut import = import.clone();
    let annotations = import.metadata.annotations.get_or_insert_default();
    let finalizers = import.metadata.finalizers.get_or_insert_default();
    finalizers.retain(|one| one != names::SERVICE_IMPORT);
    match holders.annotation() {
        Some(text) => {
            annotations.insert(annotation::SERVICE_IN_USE_BY.to_owned(), text);
            finalizers.push(names::SERVICE_IMPORT.to_owned());
        }
        None => drop(annotations.remove(annotation::SERVICE_IN_USE_BY)),
    }
    Act::Write(Write::Replace(import.into()))
}

/// Shows a claimant what it imports. One that gets its finalizer in this round is shown it in the next.
fn tell_claimant(claimant: &InternalServiceImport, plan: &claim::Plan) -> Option<Act> {
    let status = plan.imports.get(&place(&claimant.metadata))?.status.clone()?;
    if hold(claimant, plan).is_some() {
        return None;
    }
    let told = InternalServiceImport { status: Some(status), ..claimant.clone() };
    Some(Act::Write(Write::ReplaceStatus(told.into())))
}

/// Lets a claimant go that imports nothing any more; its status is emptied first.
fn let_go(claimant: &InternalServiceImport, plan: &claim::Plan) -> Option<Act> {
    let decided = plan.imports.get(&place(&claimant.metadata))?;
    let done = !decided.finalizer && decided.status.is_none();
    done.then(|| finalizer::write(claimant, names::INTERNAL_SERVICE_IMPORT, false)).flatten()
}

/// Removes the ServiceImport of a service that nobody exports.
fn removed(import: &ServiceImport) -> Option<Act> {
    let is_there = import.metadata.deletion_timestamp.is_none();
    is_there.then(|| Act::Write(Write::DeleteUnchanged(import.clone().into())))
}
