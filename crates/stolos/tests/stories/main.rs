//! End-to-end stories: the real binary, driven by kubectl.
//!
//! Each story runs on two backends where it makes sense: `embedded` (`stolos up`), and `kubernetes` (real API servers
//! with `stolos hub`, `stolos member` and `stolos simulate` as processes of their own). What a machine lacks is said in
//! one line, and the story counts as passed without having run.

mod apply;
mod backend;
mod bad_input;
mod balancing;
mod compatible;
mod data_plane;
mod demo;
mod dns;
mod fleet_cli;
mod fleets;
mod gateways;
mod guides;
mod kubectl;
mod kubectl_story;
mod kubefleet;
mod leaving;
mod lifecycle;
mod look;
mod mcs;
mod migration;
mod migration_overrides;
mod namespaces;
mod orchestration;
mod overrides;
mod placement;
mod placement_cli;
mod probes;
mod rollouts;
mod scheduling;
mod selecting;
mod services;
mod strategies;
mod stuck;
mod update;
mod versions;
