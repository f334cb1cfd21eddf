//! Which members get the endpoints of a member, on the hub (networking 5.4, 5.5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stolos_api::network::names::{
    EXPORTED_AT_ANNOTATION, SILENT_SINCE_ANNOTATION, annotation, finalizer, gateway,
};
use stolos_api::network::{
    EndpointSliceExport, EndpointSliceExportSpec, EndpointSliceImport, ServiceImport,
};

use super::claim::InUseBy;
use super::{keys, stamp};

/// What to do with an exported slice, in this order: finalizer to add, copies, finalizer to drop once every copy is gone or on
/// its way. Who imports takes as long as that takes, and holds up nobody.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Why.
    pub reason: Reason,
    /// Whether the cleanup finalizer is to be there.
    pub finalizer: bool,
    /// Namespaces in which a copy is to be created or changed, all with the spec of the export.
    pub copy_to: BTreeSet<String>,
    /// Namespaces in which the copy is to be deleted.
    pub delete_from: BTreeSet<String>,
}

impl Plan {
    /// Tells whether it follows from what the ServiceImport says of exporters and importers.
    #[must_use]
    pub fn is_by_import(&self) -> bool {
        matches!(self.reason, Reason::Imported | Reason::NotImported | Reason::NotAccepted)
    }
}

/// Why a slice is copied or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Members import the service.
    Imported,
    /// No member imports the service.
    NotImported,
    /// No cluster exports the service, as far as is known: it may not have been resolved yet.
    NotResolved,
    /// The service is exported, but not by this member: its export conflicts or was withdrawn.
    NotAccepted,
    /// The claim on the service cannot be read; nothing changes until it is repaired.
    ClaimUnreadable,
    /// The slice is being withdrawn.
    Leaving,
    /// It speaks for another member than the one in whose namespace it is.
    NotItsOwn,
}

/// What importing members are told of the exporting one, besides its endpoints: they cannot read it elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Weight of its export.
    pub weight: i64,
    /// Since when it is silent, if it is.
    pub silent_since: Option<Timestamp>,
}

/// Decides which members get a copy of a slice. `copies` are all EndpointSliceImports of the slice's name.
#[must_use]
pub fn plan(
    export: &EndpointSliceExport,
    import: Option<&ServiceImport>,
    told: &Told,
    copies: &[EndpointSliceImport],
) -> Plan {
    let has_finalizer = keys::has_finalizer(&export.metadata, finalizer::ENDPOINT_SLICE_EXPORT);
    let (reason, importers) = match importers(export, import) {
        Ok(importers) => (Reason::Imported, importers),
        Err(reason @ (Reason::NotResolved | Reason::ClaimUnreadable)) => {
            let (copy_to, delete_from) = (BTreeSet::new(), BTreeSet::new());
            return Plan { reason, finalizer: has_finalizer, copy_to, delete_from };
        }
        Err(reason) => (reason, BTreeSet::new()),
    };
    // What another member has exported under the same name is not this member's to change.
    let (copies, foreign): (Vec<_>, Vec<_>) = copies.iter().partition(|copy| is_of(copy, export));
    let of = |copy: &&EndpointSliceImport| keys::namespace(&copy.metadata).to_owned();
    let foreign: BTreeSet<String> = foreign.iter().map(of).collect();
    let copies: BTreeMap<String, _> = copies.into_iter().map(|copy| (of(&copy), copy)).collect();
    let differs = |namespace: &&String| {
        !foreign.contains(*namespace)
            && copies.get(*namespace).is_none_or(|copy| {
                !keys::is_deleting(&copy.metadata) && !is_copy(copy, export, told)
            })
    };
    let unwanted = |(namespace, copy): &(&String, &&EndpointSliceImport)| {
        !importers.contains(*namespace) && !keys::is_deleting(&copy.metadata)
    };
    Plan {
        reason,
        finalizer: !importers.is_empty()
            || (has_finalizer && copies.values().any(|copy| !keys::is_deleting(&copy.metadata))),
        copy_to: importers.iter().filter(differs).cloned().collect(),
        delete_from: copies.iter().filter(unwanted).map(|(name, _)| name.clone()).collect(),
    }
}

/// Returns the namespaces of the members that import a slice, or why none does.
fn importers(
    export: &EndpointSliceExport,
    import: Option<&ServiceImport>,
) -> Result<BTreeSet<String>, Reason> {
    let cluster = &export.spec.endpoint_slice_reference.cluster_id;
    if keys::is_deleting(&export.metadata) {
        return Err(Reason::Leaving);
    }
    if keys::member_of(keys::namespace(&export.metadata)) != Some(cluster) {
        return Err(Reason::NotItsOwn);
    }
    let import = import.ok_or(Reason::NotResolved)?;
    let clusters = import.status.as_ref().map(|status| status.clusters.as_slice());
    match clusters.unwrap_or_default() {
        [] => return Err(Reason::NotResolved),
        clusters if clusters.iter().all(|one| one.cluster != *cluster) => {
            return Err(Reason::NotAccepted);
        }
        _ => {}
    }
    let claim = InUseBy::of(import).map_err(|_| Reason::ClaimUnreadable)?;
    let claim = claim.filter(|claim| !claim.member_clusters.is_empty());
    Ok(claim.ok_or(Reason::NotImported)?.member_clusters.into_keys().collect())
}

/// What to do with the copies in the namespace of a member that is being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The member is not being removed.
    Keep,
    /// Its agents may still clean up, until this moment.
    Wait(Timestamp),
    /// Drop all finalizers: nobody else will.
    Force,
}

/// Decides what to do with the copies in the namespace of a member. Its agents have `patience` to clean up.
#[must_use]
pub fn release(deleted: Option<Timestamp>, patience: SignedDuration, now: Timestamp) -> Release {
    match deleted.map(|deleted| deleted.saturating_add(patience).unwrap_or(Timestamp::MAX)) {
        None => Release::Keep,
        Some(deadline) if now < deadline => Release::Wait(deadline),
        Some(_) => Release::Force,
    }
}

/// Returns a copy of a slice for a member, with what that is told and the mark of gateways.
#[must_use]
pub fn copy(export: &EndpointSliceExport, told: &Told, namespace: &str) -> EndpointSliceImport {
    let spec: EndpointSliceExportSpec = export.spec.clone();
    let mut copy = EndpointSliceImport::new(keys::name(&export.metadata), spec);
    copy.metadata.namespace = Some(namespace.to_owned());
    let annotations = annotations(export, told).into_iter();
    let annotations = annotations.filter_map(|(name, text)| Some((name.to_owned(), text?)));
    copy.metadata.annotations = Some(annotations.collect());
    copy
}

/// Returns a copy that exists with what it is to say. What others have annotated stays.
#[must_use]
pub fn renewed(stored: &EndpointSliceImport, wanted: &EndpointSliceImport) -> EndpointSliceImport {
    let mut copy = stored.clone();
    copy.spec = wanted.spec.clone();
    let annotations = copy.metadata.annotations.get_or_insert_default();
    for name in OWN_ANNOTATIONS {
        annotations.remove(name);
    }
    annotations.extend(wanted.metadata.annotations.clone().unwrap_or_default());
    copy
}

/// Annotations of copies that only the hub writes.
const OWN_ANNOTATIONS: [&str; 4] =
    [annotation::WEIGHT, gateway::TLS, SILENT_SINCE_ANNOTATION, EXPORTED_AT_ANNOTATION];

/// Returns what copies are annotated with; without a text, the annotation is absent.
fn annotations(export: &EndpointSliceExport, told: &Told) -> [(&'static str, Option<String>); 4] {
    let mark = keys::annotation(&export.metadata, gateway::TLS);
    let silent_since = told.silent_since.map(|since| since.to_string());
    let exported_at = stamp::exported_at(&export.metadata).map(|at| at.to_string());
    let [weight, gateway, silence, exported] = OWN_ANNOTATIONS;
    [
        (weight, Some(told.weight.to_string())),
        (gateway, mark.map(str::to_owned)),
        (silence, silent_since),
        (exported, exported_at),
    ]
}

/// Tells whether members have been told of a later state of a slice. A list may be behind, and what it shows would take
/// endpoints away that are there; the slice itself is to be asked for.
#[must_use]
pub fn is_outdated(export: &EndpointSliceExport, copies: &[EndpointSliceImport]) -> bool {
    let shown = &export.spec.endpoint_slice_reference;
    copies.iter().filter(|copy| is_of(copy, export)).any(|copy| {
        let told = &copy.spec.endpoint_slice_reference;
        told.uid == shown.uid && told.generation > shown.generation
    })
}

/// Tells whether a copy has come from the member in whose namespace an export is, whatever that says of itself.
fn is_of(copy: &EndpointSliceImport, export: &EndpointSliceExport) -> bool {
    keys::member_of(keys::namespace(&export.metadata))
        == Some(&copy.spec.endpoint_slice_reference.cluster_id)
}

fn is_copy(copy: &EndpointSliceImport, export: &EndpointSliceExport, told: &Told) -> bool {
    let mut annotations = annotations(export, told).into_iter();
    copy.spec == export.spec
        && annotations.all(|(name, text)| keys::annotation(&copy.metadata, name) == text.as_deref())
}
