//! How much the process takes on, from how many file descriptors it may have.
//!
//! A connection through the proxy costs two descriptors. Running out of them in the middle would fail whatever comes
//! next, be it a health check or a hand-over; so the budget is split once, on start, and each part keeps to its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for what is neither a connection nor a listener: runtimes, files, health checks.
const RESERVED: usize = 64;
/// Health checks at once, each with one descriptor.
pub(crate) const MAX_CHECKS: usize = 256;
/// Pipes of one worker: 256 KiB each at most, so 32 MiB of kernel memory a worker when all are full.
pub(crate) const MAX_PIPES: usize = 128;
/// Below this, nothing useful fits.
const FEWEST: usize = 1024;

/// The bounds that a data plane keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections at once, over all VIP ports; the next one is reset at once.
    pub connections: usize,
    /// UDP flows at once, over all VIP ports; the first datagram of the next one is dropped.
    pub flows: usize,
    /// VIP ports at once; the next one is reported and not served.
    pub vip_ports: usize,
    /// Pipes of a worker; connections that find none copy through memory instead.
    pub pipes: usize,
}

/// The process may have too few file descriptors.
#[derive(Debug, thiserror::Error)]
#[error(
    "the process may have {allowed} file descriptors; at least {FEWEST} are needed (`ulimit -n`)"
)]
pub struct TooFewDescriptors {
    allowed: usize,
}

impl Limits {
    /// Splits `allowed` file descriptors for `n_workers` workers.
    ///
    /// # Errors
    ///
    /// There are fewer than 1,024.
    pub fn split(allowed: usize, n_workers: usize) -> Result<Self, TooFewDescriptors> {
        if allowed < FEWEST {
            return Err(TooFewDescriptors { allowed });
        }
        let n_workers = n_workers.max(1);
        // Few descriptors: fewer pipes rather than no connections.
        let pipes = MAX_PIPES.min(allowed / 16 / n_workers);
        let rest = allowed - RESERVED - MAX_CHECKS.min(allowed / 8) - 2 * pipes * n_workers;
        let listeners = rest / 4;
        let flows = rest / 8;
        Ok(Self {
            connections: (rest - listeners - flows) / 2,
            flows,
            vip_ports: listeners / n_workers,
            pipes,
        })
    }

    /// Raises the soft limit of file descriptors to the hard one and splits what that gives.
    ///
    /// # Errors
    ///
    /// There are fewer than 1,024.
    pub fn of_process(n_workers: usize) -> Result<Self, TooFewDescriptors> {
        let mut limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Refused by some sandboxes: the soft limit holds then.
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
        // Without any limit (`None`), a million is more than one machine balances.
        let allowed = limit.current.map_or(1 << 20, |n| usize::try_from(n).unwrap_or(usize::MAX));
        Self::split(allowed.min(1 << 20), n_workers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_never_need_more_than_there_is(allowed in 0usize..2_000_000, n_workers in 1usize..256) {
            let Ok(limits) = Limits::split(allowed, n_workers) else {
                prop_assert!(allowed < FEWEST);
                return Ok(());
            };
            let needed = 2 * limits.connections
                + limits.flows
                + limits.vip_ports * n_workers
                + 2 * limits.pipes * n_workers
                + RESERVED
                + MAX_CHECKS.min(allowed / 8);
            prop_assert!(needed <= allowed, "{needed} of {allowed}: {limits:?}");
            prop_assert!(limits.connections >= allowed / 8, "{limits:?}");
        }
    }

    #[test]
    fn too_few_descriptors_are_named_with_the_way_out() {
        let error = Limits::split(256, 2).unwrap_err();
        let want =
            "the process may have 256 file descriptors; at least 1024 are needed (`ulimit -n`)";
        assert_eq!(error.to_string(), want);
    }
}
