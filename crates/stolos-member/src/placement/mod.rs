//! Propagation on the member: Works are applied, kept right, reported, and withdrawn by proof.

pub(crate) mod apply;
mod json;
mod kinds;
mod manifest;
mod pass;
mod record;
mod seen;
mod withdraw;

pub(crate) use kinds::Placed;

use tokio::sync::mpsc;

use crate::Context;
use crate::placement::kinds::Kinds;
use crate::placement::seen::Seen;

/// What all Works of an agent share.
pub(crate) struct Applier {
    pub(crate) context: Context,
    kinds: Kinds,
    seen: Seen,
}

impl Applier {
    /// `notes` takes what the watches of the member see.
    pub(crate) fn new(context: Context, notes: mpsc::Sender<Placed>) -> Self {
        let kinds = Kinds::new(context.member.clone(), notes);
        Self { context, kinds, seen: Seen::default() }
    }
}
