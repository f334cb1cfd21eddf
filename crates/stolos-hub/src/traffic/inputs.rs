//! What the endpoints of a backend depend on.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use stolos_api::cluster::names::MEMBER_NAMESPACE_PREFIX;
use stolos_api::network::names::condition as type_;
use stolos_api::network::{
    InternalServiceExport, ServiceImport, TrafficManagerBackend, TrafficManagerProfile,
};
use stolos_controller::Key;
use stolos_core::condition;

use super::{Traffic, by_profile, profile_of, service_of, text};

/// Everything on the hub that the endpoints of a backend depend on. While it is the same, the provider is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    uid: String,
    generation: i64,
    is_leaving: bool,
    profile: Option<Profile>,
    /// Members that export the service; None without a ServiceImport.
    clusters: Option<Vec<String>>,
    exports: BTreeMap<String, Export>,
    /// Other backends that put the same service behind the same name. The provider takes only one of them.
    rivals: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Profile {
    uid: String,
    generation: i64,
    programmed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Export {
    type_: String,
    is_dns_label_configured: bool,
    is_internal_load_balancer: bool,
    public_ip_resource_id: Option<String>,
    weight: Option<i64>,
}

/// The objects around a backend.
pub(super) struct Around {
    pub(super) profile: Option<TrafficManagerProfile>,
    pub(super) import: Option<ServiceImport>,
    /// By member.
    pub(super) exports: BTreeMap<String, InternalServiceExport>,
}

impl Around {
    /// Tells whether the provider is said to answer the name.
    pub(super) fn is_programmed(&self) -> bool {
        let programmed = self.profile.as_ref().and_then(programmed);
        programmed.as_deref() == Some("True")
    }
}

/// Returns what a profile says of itself at its generation.
fn programmed(profile: &TrafficManagerProfile) -> Option<String> {
    let generation = profile.metadata.generation.unwrap_or(0);
    let conditions = &profile.status.as_ref()?.conditions;
    let programmed = condition::current(conditions, type_::PROGRAMMED, generation)?;
    Some(programmed.status.clone())
}

impl Traffic {
    /// Returns what is known around a backend.
    pub(super) fn around(&self, backend: &TrafficManagerBackend) -> Around {
        let service = service_of(backend);
        let exports = self.exports.indexed(&text(&service)).filter_map(|export| {
            // The namespace and not what the export says: no member speaks for another.
            let namespace = export.metadata.namespace.as_deref()?;
            let member = namespace.strip_prefix(MEMBER_NAMESPACE_PREFIX)?;
            Some((member.to_owned(), InternalServiceExport::clone(export)))
        });
        Around {
            profile: self.profiles.get(&profile_of(backend)).map(|one| one.as_ref().clone()),
            import: self.imports.get(&service).map(|one| one.as_ref().clone()),
            exports: exports.collect(),
        }
    }

    /// Returns what the endpoints of a backend depend on.
    pub(super) fn inputs(&self, backend: &TrafficManagerBackend, around: &Around) -> Inputs {
        let live = around.import.as_ref().filter(|one| one.metadata.deletion_timestamp.is_none());
        let clusters = live.map(|import| {
            let clusters = import.status.iter().flat_map(|status| &status.clusters);
            clusters.map(|one| one.cluster.clone()).collect::<Vec<_>>()
        });
        let counts = |member: &String| clusters.iter().flatten().any(|one| one == member);
        let exports = around.exports.iter().filter(|(member, _)| counts(member));
        let exports = exports.map(|(member, export)| (member.clone(), Export::of(export)));
        Inputs {
            uid: backend.uid().unwrap_or_default(),
            generation: backend.metadata.generation.unwrap_or(0),
            is_leaving: backend.metadata.deletion_timestamp.is_some(),
            profile: around.profile.as_ref().map(Profile::of),
            exports: exports.collect(),
            clusters,
            rivals: self.rivals(backend),
        }
    }

    fn rivals(&self, backend: &TrafficManagerBackend) -> BTreeSet<String> {
        let own = Key::of(&backend.metadata);
        let all = self.backends.indexed(&by_profile(&profile_of(backend)));
        let rivals = all.filter(|one| {
            one.spec.backend == backend.spec.backend && Key::of(&one.metadata) != own
        });
        rivals.filter_map(|one| one.uid()).collect()
    }
}

impl Profile {
    fn of(profile: &TrafficManagerProfile) -> Self {
        Self {
            uid: profile.uid().unwrap_or_default(),
            generation: profile.metadata.generation.unwrap_or(0),
            programmed: programmed(profile),
        }
    }
}

impl Export {
    fn of(export: &InternalServiceExport) -> Self {
        let spec = &export.spec;
        Self {
            type_: spec.type_.clone(),
            is_dns_label_configured: spec.is_dns_label_configured,
            is_internal_load_balancer: spec.is_internal_load_balancer,
            public_ip_resource_id: spec.public_ip_resource_id.clone(),
            weight: spec.weight,
        }
    }
}
