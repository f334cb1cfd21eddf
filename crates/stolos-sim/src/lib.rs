//! Simulated clusters: nodes, workloads, upgrades, faults.
