//! Calls webhooks over HTTPS. Admission and the conversion of custom resources share this client.
//!
//! A call is bounded in time, size and number, follows no redirects, and never happens while a lock is held: a webhook
//! may call this server again.

mod connect;
mod error;
mod post;
mod review;
mod target;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;

pub use error::CallError;
pub(crate) use review::foreign;
pub use target::{ServiceAddress, ServiceResolver};
pub(crate) use validate::{check_bundle, check_client_config};

/// Calls in flight at once, per logical cluster. Waiting for a turn counts as part of the call, so that webhooks that
/// call the server again, and so other webhooks, end in a timeout and not in a deadlock.
const MAX_CALLS: usize = 256;

/// The webhooks of a logical cluster: makes clients, and bounds what all of them do together. Clones share the bounds.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    /// Finds services; without one, webhooks that are given by service cannot be reached.
    services: Option<ServiceResolver>,
    calls: Semaphore,
}

impl Webhooks {
    /// Builds it with what finds services.
    #[must_use]
    pub fn new(services: Option<ServiceResolver>) -> Self {
        Self(Arc::new(Shared { services, calls: Semaphore::new(MAX_CALLS) }))
    }

    /// Returns a client for a `clientConfig`. What is wrong with the configuration is said when it is called.
    pub(crate) fn client(&self, config: &Value) -> Client {
        let http = target::Target::parse(config).and_then(|target| {
            let trust = connect::trust(config)?;
            Ok(post::Endpoint::new(target, trust, self.0.services.clone()))
        });
        Client { shared: Arc::clone(&self.0), http }
    }
}

/// Calls one webhook; connections are kept and used again.
pub(crate) struct Client {
    shared: Arc<Shared>,
    http: Result<post::Endpoint, String>,
}

impl Client {
    /// Posts a JSON document and returns the JSON answer.
    ///
    /// # Errors
    ///
    /// When there is no answer in time, or none that is JSON with a status that means success.
    pub(crate) async fn post(&self, body: Bytes, timeout: Duration) -> Result<Value, CallError> {
        let endpoint = self.http.as_ref().map_err(|why| CallError::Unusable(why.clone()))?;
        let call = async {
            // The semaphore is never closed.
            let _turn = self.shared.calls.acquire().await;
            endpoint.post(body, timeout).await
        };
        match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::failed(endpoint.url(timeout), "context deadline exceeded")),
        }
    }
}
