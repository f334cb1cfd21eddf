//! Embedded Kubernetes-compatible API server.
//!
//! One generic, schema-driven handler serves built-in kinds and custom resources alike. State lives in an in-memory
//! revisioned index over an embedded database; nothing is visible before it is durable. Several logical clusters run in
//! one process. This crate knows nothing about fleets.
//!
//! A request's way through the modules: [`serve`] (TLS, HTTP) → [`auth`] (who, may they) → [`rest`] (what is asked, the
//! generic handler) → [`registry`] (which resource) → [`patch`], [`managed_fields`], [`schema`] (the new object) →
//! [`store`] (commit, index, watch).

pub mod addresses;
pub mod auth;
pub mod clock;
mod conditions;
pub mod controllers;
pub mod crd;
pub mod discovery;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod managed_fields;
mod mirror;
mod name_rules;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod random;
pub mod registry;
pub mod rest;
pub mod schema;
pub mod selector;
pub mod serve;
pub mod server;
pub mod status;
pub mod store;
pub mod table;
pub mod webhook;

pub use server::ApiServer;
