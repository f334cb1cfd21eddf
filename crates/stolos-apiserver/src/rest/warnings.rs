//! What the client of a request is warned of. A refusal carries the warnings that came before it, too.

use std::sync::{Arc, Mutex};

/// The warnings of one request. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds warnings.
    pub fn add(&self, warnings: impl IntoIterator<Item = String>) {
        self.0.lock().expect("adding a warning does not panic").extend(warnings);
    }

    /// Returns what was added since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("adding a warning does not panic"))
    }
}
