//! Which state of an object something was made of. A list may show an earlier one, and what is made of that takes away what
//! has come since.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::network::clusterset::Revision;
use stolos_api::network::names::MADE_OF_ANNOTATION;

use super::keys;

/// Returns the state of an object.
pub(super) fn of(metadata: &ObjectMeta) -> Revision {
    Revision {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
    }
}

/// Tells whether something is shown in an earlier state than is known of it.
pub(super) fn is_before(shown: &Revision, known: &Revision) -> bool {
    shown.uid == known.uid && shown.generation < known.generation
}

/// Writes a state as a text.
pub(super) fn text(revision: &Revision) -> String {
    format!("{}/{}", revision.uid, revision.generation)
}

/// Returns the state that an imported EndpointSlice says to be made of.
pub(super) fn made_of(slice: &ObjectMeta) -> Option<Revision> {
    let (uid, generation) = keys::annotation(slice, MADE_OF_ANNOTATION)?.split_once('/')?;
    Some(Revision { uid: uid.to_owned(), generation: generation.parse().ok()? })
}
