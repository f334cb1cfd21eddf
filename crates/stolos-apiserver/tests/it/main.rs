//! Integration tests of the embedded API server, in one binary to keep linking short.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod access;
mod admission;
mod api_services;
mod conversion;
mod crash;
mod crds;
mod differential;
mod events;
mod garbage;
mod harness;
mod hooks;
mod inside;
mod isolation;
mod kinds;
mod kube_runtime;
mod limits;
mod model;
mod namespaces;
mod objects;
mod ownership;
mod pitfalls;
mod pods;
mod races;
mod reads;
mod representations;
mod rights;
mod shared_port;
mod starts;
mod strictness;
mod watches;
