//! Which members import a service, on the hub (networking 5.3).
//!
//! The claim is an annotation on the ServiceImport that upstream's agents read too. By default one member at a time
//! holds it, as upstream; a hub may let all hold it that ask.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stolos_api::network::names::{annotation, finalizer};
use stolos_api::network::{InternalServiceImport, ServiceImport, ServiceImportStatus};

use super::keys;

/// How many members may import a service at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Importers {
    /// One; the others wait until it withdraws.
    #[default]
    One,
    /// All that ask.
    Many,
}

/// The importing members by their namespace on the hub, as the annotation holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUseBy {
    /// Members by namespace.
    #[serde(rename = "MemberClusters", default)]
    pub member_clusters: BTreeMap<String, String>,
}

impl InUseBy {
    /// Reads the annotation of a ServiceImport. None without one.
    ///
    /// # Errors
    ///
    /// If the annotation is something else.
    pub fn of(import: &ServiceImport) -> Result<Option<Self>, serde_json::Error> {
        let text = keys::annotation(&import.metadata, annotation::SERVICE_IN_USE_BY);
        text.map(serde_json::from_str).transpose()
    }

    /// Returns the annotation, which is absent when nobody imports the service.
    ///
    /// # Panics
    ///
    /// Never: names are JSON.
    #[must_use]
    pub fn annotation(&self) -> Option<String> {
        let text = || serde_json::to_string(self).expect("names are JSON");
        (!self.member_clusters.is_empty()).then(text)
    }
}

/// What to do with the claims on a service, in this order: finalizers to add, the ServiceImport in one write, statuses,
/// finalizers to drop.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The claim that the ServiceImport is to have, with its finalizer where somebody holds it. None: it has it.
    pub claim: Option<InUseBy>,
    /// Every InternalServiceImport, by namespace and name.
    pub imports: BTreeMap<(String, String), Import>,
}

/// What is to become of an InternalServiceImport.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// How it stands.
    pub standing: Standing,
    /// Whether the cleanup finalizer is to be there.
    pub finalizer: bool,
    /// The status, if it is another one than before.
    pub status: Option<ServiceImportStatus>,
}

/// How an InternalServiceImport stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its member imports the service.
    Holds,
    /// Another member does.
    Waits,
    /// No cluster exports the service.
    NotExported,
    /// It is being withdrawn.
    Leaving,
    /// It speaks for another member than the one in whose namespace it is.
    NotItsOwn,
}

/// Decides who imports a service. `claimants` are all InternalServiceImports of the service.
#[must_use]
pub fn plan(
    import: Option<&ServiceImport>,
    claimants: &[InternalServiceImport],
    importers: Importers,
) -> Plan {
    let live = import.filter(|import| !keys::is_deleting(&import.metadata));
    let exported =
        live.and_then(|import| import.status.as_ref()).filter(|s| !s.clusters.is_empty());
    // An annotation that nobody can read names nobody, and is written anew.
    let current = import.map(|import| InUseBy::of(import).ok().flatten().unwrap_or_default());
    let holders =
        holders(live.is_some(), exported.is_some(), current.as_ref(), claimants, importers);
    let decide = |claimant: &InternalServiceImport| {
        let namespace = keys::namespace(&claimant.metadata).to_owned();
        let standing = standing(claimant).unwrap_or_else(|| {
            match (live.is_some(), holders.member_clusters.contains_key(&namespace)) {
                (true, true) => Standing::Holds,
                (true, false) if exported.is_some() => Standing::Waits,
                _ => Standing::NotExported,
            }
        });
        let place = (namespace, keys::name(&claimant.metadata).to_owned());
        (place, decided(claimant, standing, exported))
    };
    let imports = claimants.iter().map(decide).collect();
    let has_finalizer = import
        .is_some_and(|import| keys::has_finalizer(&import.metadata, finalizer::SERVICE_IMPORT));
    let annotated =
        import.and_then(|import| keys::annotation(&import.metadata, annotation::SERVICE_IN_USE_BY));
    let is_held = !holders.member_clusters.is_empty();
    let changes = import.is_some()
        && (current.as_ref() != Some(&holders)
            || has_finalizer != is_held
            || annotated.is_some() != is_held);
    Plan { claim: changes.then_some(holders), imports }
}

/// Returns how an InternalServiceImport stands whose member cannot hold a claim.
fn standing(claimant: &InternalServiceImport) -> Option<Standing> {
    let member = keys::member_of(keys::namespace(&claimant.metadata));
    if keys::is_deleting(&claimant.metadata) {
        Some(Standing::Leaving)
    } else if member != Some(&claimant.spec.service_import_reference.cluster_id) {
        Some(Standing::NotItsOwn)
    } else {
        None
    }
}

/// Decides who holds the claim: those who held it and still ask, and if nobody does, the one who has asked for the
/// longest.
fn holders(
    is_live: bool,
    is_exported: bool,
    current: Option<&InUseBy>,
    claimants: &[InternalServiceImport],
    importers: Importers,
) -> InUseBy {
    if !is_live {
        return InUseBy::default();
    }
    let mut asking: Vec<_> = claimants.iter().filter(|one| standing(one).is_none()).collect();
    asking.sort_by(|a, b| age(a).cmp(&age(b)));
    let holds = |claimant: &InternalServiceImport| {
        let namespace = keys::namespace(&claimant.metadata);
        current.is_some_and(|current| current.member_clusters.contains_key(namespace))
    };
    let mut chosen: Vec<_> = asking.iter().filter(|claimant| holds(claimant)).collect();
    // While nobody exports the service there is nothing to import, but who imported it keeps its place.
    match importers {
        Importers::One if chosen.is_empty() && is_exported => chosen.extend(asking.first()),
        Importers::One => chosen.truncate(1),
        Importers::Many if is_exported => chosen = asking.iter().collect(),
        Importers::Many => {}
    }
    let entry = |claimant: &&&InternalServiceImport| {
        let cluster = claimant.spec.service_import_reference.cluster_id.clone();
        (keys::namespace(&claimant.metadata).to_owned(), cluster)
    };
    InUseBy { member_clusters: chosen.iter().map(entry).collect() }
}

/// Orders claimants by age; of two that came in the same second, the cluster decides.
fn age(claimant: &InternalServiceImport) -> (Timestamp, &str) {
    let created = claimant.metadata.creation_timestamp.as_ref().map(|at| at.0);
    (created.unwrap_or(Timestamp::MAX), &claimant.spec.service_import_reference.cluster_id)
}

fn decided(
    claimant: &InternalServiceImport,
    standing: Standing,
    exported: Option<&ServiceImportStatus>,
) -> Import {
    let holds = standing == Standing::Holds;
    let wanted = match (standing, exported) {
        (Standing::Holds, Some(status)) => status.clone(),
        // What is being withdrawn is no longer written to.
        (Standing::Leaving, _) => claimant.status.clone().unwrap_or_default(),
        _ => ServiceImportStatus::default(),
    };
    let current = claimant.status.clone().unwrap_or_default();
    Import { standing, finalizer: holds, status: (current != wanted).then_some(wanted) }
}
