//! Upgrade providers against the embedded API server and a fake of Azure's resource manager.

mod aks;
mod cluster_api;
mod simulated;
mod support;
