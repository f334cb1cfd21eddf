//! Subresources that are not a part of the object itself: what they ask for, as plain functions.

pub(crate) mod binding;
pub(crate) mod eviction;
pub(crate) mod scale;
