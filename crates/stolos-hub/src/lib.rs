//! Hub controllers: clusters, placements, updates.
