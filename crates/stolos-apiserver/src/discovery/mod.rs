//! What the server serves, in the legacy and the aggregated form.
