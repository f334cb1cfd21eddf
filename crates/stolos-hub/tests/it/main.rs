//! Integration tests of the hub with embedded API servers and real member agents, in one binary to keep linking short.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod admission;
mod apply;
mod auto_upgrade;
mod checks;
mod figures;
mod fleet;
mod forgetful;
mod limits;
mod mcs;
mod members;
mod migration;
mod mortal;
mod namespaced;
mod notify;
mod overrides;
mod placement;
mod prometheus;
mod promises;
mod propagation;
mod providers;
mod rollback;
mod services;
mod status_copy;
mod traffic;
mod updatable;
mod update;
