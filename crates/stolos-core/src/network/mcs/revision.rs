//! Which state of an object something was made of. A list may show an earlier one, and what is made of that takes away what
//! has come since.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::network::clusterset::Revision;

/// Returns the state of an object.
pub(super) fn of(metadata: &ObjectMeta) -> Revision {
    Revision {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
    }
}

/// Tells whether an object is shown in an earlier state than this.
pub(super) fn is_before(metadata: &ObjectMeta, known: &Revision) -> bool {
    let shown = of(metadata);
    shown.uid == known.uid && shown.generation < known.generation
}

/// Writes a state as a text.
pub(super) fn text(revision: &Revision) -> String {
    format!("{}/{}", revision.uid, revision.generation)
}

/// Reads a state from its text.
pub(super) fn parse(text: &str) -> Option<Revision> {
    let (uid, generation) = text.split_once('/')?;
    Some(Revision { uid: uid.to_owned(), generation: generation.parse().ok()? })
}
