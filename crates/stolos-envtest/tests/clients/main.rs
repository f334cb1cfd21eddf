//! Programs that other people wrote, run against the embedded API server over its socket.
//!
//! A test whose program is missing prints one line and passes. With `STOLOS_TEST_KUBECONFIG` the same tests run against
//! the cluster of that kubeconfig, such as a real kube-apiserver.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod chart;
mod cluster;
mod drop_in;
mod go;
mod kubectl;
mod program;
mod python;
