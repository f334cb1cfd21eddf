//! The responder and its checks over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod checks;
mod client;
mod queries;
