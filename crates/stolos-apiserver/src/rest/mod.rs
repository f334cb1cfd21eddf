//! The generic handler: what a request asks, and doing it.
//!
//! One tower service answers everything, in process and over TLS. A request goes through `service` (who is asking, may
//! they), `route` (which handler), and then one of `list`, `watch`, `write` or `subresource`. The rules of an object's
//! life are plain functions in `lifecycle`.

pub mod admission;
mod body;
mod call;
mod continue_token;
pub(crate) mod convert;
mod decode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod lifecycle;
mod limits;
mod list;
mod local;
pub(crate) mod meta;
pub(crate) mod metrics;
mod negotiate;
mod openid;
mod path;
mod query;
mod respond;
mod route;
mod service;
mod strict;
mod subresource;
mod system;
mod warnings;
mod watch;
mod write;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use body::{Abandoned, Body};
pub use limits::Limits;
pub use local::LocalClient;
pub use respond::Response;
pub use service::ApiService;
pub(crate) use service::PathPrefix;
pub(crate) use system::page_not_found;
pub use warnings::Warnings;

use crate::addresses::Addresses;
use crate::auth::Auth;
use crate::clock::Clock;
use crate::random::Random;
use crate::registry::Registry;
use crate::store::ClusterStore;

/// What every request of a logical cluster shares.
pub(crate) struct Core {
    pub(crate) store: ClusterStore,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) auth: Auth,
    /// What services get.
    pub(crate) addresses: Addresses,
    /// The webhooks and policies that users have configured.
    pub(crate) catalog: admission::Catalog,
    /// In the order in which they run.
    pub(crate) admission: Vec<Arc<dyn admission::Plugin>>,
    pub(crate) limits: Limits,
    /// Deprecated APIs that were asked for.
    pub(crate) requested: metrics::Requested,
    /// One permit for each request in flight that is not a watch.
    pub(crate) in_flight: Semaphore,
    /// One permit for each open watch.
    pub(crate) watches: Arc<Semaphore>,
    /// Becomes true when the server stops; ends all watches.
    pub(crate) stopping: tokio::sync::watch::Receiver<bool>,
}
