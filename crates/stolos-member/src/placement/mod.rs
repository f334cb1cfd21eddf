//! Propagation on the member: Works are applied, kept right, reported, and withdrawn by proof.

pub(crate) mod apply;
mod kinds;
mod record;

pub(crate) use kinds::Placed;

use tokio::sync::mpsc;

use crate::Context;
use crate::placement::kinds::Kinds;

/// What all Works of an agent share.
pub(crate) struct Applier {
    pub(crate) context: Context,
    kinds: Kinds,
    seen: apply::Seen,
}

impl Applier {
    /// `notes` takes what the watches of the member see.
    pub(crate) fn new(context: Context, notes: mpsc::Sender<Placed>) -> Self {
        let kinds = Kinds::new(context.member.clone(), notes);
        Self { context, kinds, seen: apply::Seen::default() }
    }
}
