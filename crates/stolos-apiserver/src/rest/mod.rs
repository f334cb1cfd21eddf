//! The generic handler: what a request asks, and doing it.
