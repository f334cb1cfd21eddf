//! Membership: heartbeats, health and properties of the member.

pub(crate) mod heartbeat;
