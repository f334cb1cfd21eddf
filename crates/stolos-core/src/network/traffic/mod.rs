//! Balancing by DNS: profiles, backends and what is behind them, on the hub (networking 7.2 to 7.5).
//!
//! Decisions about the provider of the DNS names end where its API begins: they say what it should have, and are told
//! what it answered.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::condition;

mod address;
mod answer;
pub mod backend;
mod monitor;
pub mod profile;
mod provider;
mod weight;

pub use address::{AddressError, PublicAddress, PublicIp, azure_address, ingress_address};
pub use answer::{Candidate, Question, Target, draw, is_label, ttl_seconds};
pub use monitor::{Check, Monitor, MonitorError, Request};
pub use provider::{Found, FoundEndpoint, ProfileId};
pub use weight::effective_weights;

/// What a provider answered instead of doing what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// Status of its answer; None if there was no answer.
    pub status: Option<u16>,
    /// What it said.
    pub message: String,
}

impl ProviderError {
    /// Tells whether the provider does not have what was asked for.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        self.status == Some(404)
    }

    /// Tells whether the provider will refuse the same request again.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) && status != 429)
    }
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn new(status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }

    fn condition(&self, type_: &str, generation: i64, now: Timestamp) -> Condition {
        condition::new(type_, self.status, self.reason, &self.message, generation, now)
    }
}
