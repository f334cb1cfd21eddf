//! How long connections may take for what.

use std::time::Duration;

/// How long connections may take for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect to one endpoint, before the next one is tried.
    pub connect: Duration,
    /// To send the PROXY header that a port asks for.
    pub header: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Without an answer of the peer to bytes that were sent to it (`TCP_USER_TIMEOUT`). The kernel counts a reader that
    /// reads nothing for so long as dead, so this must be longer than an honest reader pauses.
    pub unacknowledged: Duration,
    /// Idle time before the kernel asks whether the peer is still there.
    pub keep_alive: Duration,
    /// Without a datagram in either direction, for a UDP flow.
    pub flow_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            header: Duration::from_secs(3),
            idle: Duration::from_secs(3600),
            unacknowledged: Duration::from_secs(300),
            keep_alive: Duration::from_secs(60),
            flow_idle: Duration::from_secs(30),
        }
    }
}
