//! JSON patch, JSON merge patch and strategic merge patch.
//!
//! Server-side apply is not a patch in this sense: see [`crate::managed_fields`].

mod json;
mod merge;
mod strategic;

pub use json::{MAX_OPERATIONS, json};
pub use merge::merge;
pub use strategic::strategic;

/// Says why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself makes no sense, whatever the object: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object, such as a failed `test` or a missing path: 422.
    #[error("{0}")]
    Unprocessable(String),
}
