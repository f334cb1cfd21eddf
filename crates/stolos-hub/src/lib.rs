//! Hub controllers: clusters, placements, updates.

pub mod cluster;
