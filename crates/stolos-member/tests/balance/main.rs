//! The balancer against embedded API servers of a hub and a member: with a data plane that only records what it is asked
//! for, and with the proxy.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod proxied;
mod recorded;
mod world;
