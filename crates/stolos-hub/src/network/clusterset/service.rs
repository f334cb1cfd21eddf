//! One service: what it is, who is told of it, and what its exporters are told about conflicts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use stolos_api::cluster::names::member_namespace;
use stolos_api::network::clusterset::{ExportedService, ImportedService, ImportedServiceSpec};
use stolos_controller::{Plan, Write};
use stolos_core::network::mcs::resolve::{self, Export, Standing, Telling};

use super::act::{Act, Sought};
use super::{Clusterset, member_of};

impl Clusterset {
    pub(super) fn plan_service(&self, service: &str, now: Timestamp) -> Plan<Act> {
        let exports: BTreeMap<&str, &Arc<ExportedService>> = self
            .exports
            .indexed(service)
            // What was asked for and is not there is in a list that shows what was once.
            .filter(|one| !self.absent.contains(&Sought::export(one.as_ref())))
            .filter_map(|one| Some((member_of(one.as_ref())?, one)))
            .collect();
        let imports: BTreeMap<&str, &Arc<ImportedService>> = self
            .imports
            .indexed(service)
            .filter_map(|one| Some((member_of(one.as_ref())?, one)))
            .collect();
        let sought = self.sought(service, &exports, &imports);
        if !sought.is_empty() {
            return Plan::default().then(sought.into_iter().map(Act::Look).collect());
        }
        let takes_part = |(member, export): &(&&str, &&Arc<ExportedService>)| {
            export.metadata.deletion_timestamp.is_none()
                && self.standing(member) != Some(Standing::Leaving)
        };
        let live: Vec<_> = exports.iter().filter(takes_part).collect();
        let told: Vec<_> =
            live.iter().map(|(cluster, export)| Export { cluster, told: export }).collect();
        let resolved = resolve::resolve(&told);

        let known = self.members.iter().filter_map(|member| member.metadata.name.as_deref());
        let members: BTreeSet<&str> = known.chain(imports.keys().copied()).collect();
        let spec = resolved.as_ref().map(|resolved| &resolved.told);
        let written = members.into_iter().filter_map(|member| {
            let standing = self.standing(member)?;
            let import = imports.get(member).map(AsRef::as_ref);
            self.tell(service, member, import, standing, spec)
        });
        let plan = Plan::default().then(written.collect());
        let Some(resolved) = &resolved else { return plan };
        let answered = live.iter().filter_map(|(_, export)| {
            let status = resolve::answer(export, &resolved.merged, now)?;
            let told = ExportedService { status: Some(status), ..ExportedService::clone(export) };
            Some(Act::Write(Write::ReplaceStatus(told.into())))
        });
        plan.then(answered.collect())
    }

    /// Returns what members are told of and no list shows, or only an earlier state, and whose member is in no list: it is
    /// looked for by name before anything is decided without it.
    fn sought(
        &self,
        service: &str,
        exports: &BTreeMap<&str, &Arc<ExportedService>>,
        imports: &BTreeMap<&str, &Arc<ImportedService>>,
    ) -> BTreeSet<Sought> {
        let told = imports.values().flat_map(|import| &import.spec.clusters);
        let exporters = told.map(|one| one.cluster.as_str());
        let exporters = exporters.filter(|cluster| !exports.contains_key(cluster));
        let outdated = exports.iter().filter(|(cluster, export)| {
            let mut told = imports.values().map(|import| &import.spec);
            let known = self.confirmed.get(&Sought::export(export.as_ref()));
            known != Some(&export.metadata.resource_version)
                && told.any(|told| resolve::is_outdated(cluster, export, told))
        });
        let exporters = exporters.chain(outdated.map(|(cluster, _)| *cluster)).map(|cluster| {
            Sought::Export { service: service.to_owned(), member: cluster.to_owned() }
        });
        let members = exports.keys().chain(imports.keys());
        let members = members.filter(|member| self.standing(member).is_none());
        let members = members.map(|member| Sought::Member((*member).to_owned()));
        exporters.chain(members).filter(|sought| !self.absent.contains(sought)).collect()
    }

    /// Tells a member of a service, or no longer. What it is not known to be told is looked for first.
    fn tell(
        &self,
        service: &str,
        member: &str,
        import: Option<&ImportedService>,
        standing: Standing,
        spec: Option<&ImportedServiceSpec>,
    ) -> Option<Act> {
        let import_is_leaving =
            import.is_some_and(|import| import.metadata.deletion_timestamp.is_some());
        if import_is_leaving {
            return None;
        }
        let write = match (resolve::telling(standing, spec.is_some()), import, spec) {
            (Telling::Withdraw, Some(import), _) => Write::Delete(import.clone().into()),
            (Telling::Tell | Telling::Renew, Some(import), Some(spec))
                if !resolve::says_the_same(&import.spec, spec) =>
            {
                Write::Replace(ImportedService { spec: spec.clone(), ..import.clone() }.into())
            }
            (Telling::Tell, None, Some(spec)) => {
                let (service, member) = (service.to_owned(), member.to_owned());
                let sought = Sought::Import { service, member };
                if !self.absent.contains(&sought) {
                    return Some(Act::Look(sought));
                }
                let Sought::Import { service, member } = sought else { return None };
                let mut import = ImportedService::new(&service, spec.clone());
                import.metadata.namespace = Some(member_namespace(&member));
                Write::Create(import.into())
            }
            _ => return None,
        };
        Some(Act::Write(write))
    }
}
