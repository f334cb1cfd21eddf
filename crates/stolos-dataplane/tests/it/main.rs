//! The data plane with real sockets on loopback: what clients, endpoints and their user see.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod apply;
mod authority;
mod gateway;
mod handover;
mod health;
mod proxy_protocol;
mod support;
mod tcp;
mod udp;
