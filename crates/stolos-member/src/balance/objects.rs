//! What the balancer watches and writes.

use std::sync::Arc;

use futures::Stream;
use futures::stream::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use stolos_api::network::EndpointSliceImport;
use stolos_controller::{Change, Key, find};

use super::decide::{Outcome, Told};

/// Objects of the member.
pub(super) mod member {
    use k8s_openapi::api::core::v1::{Event, Node, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use stolos_api::network::{MultiClusterService, ServiceImport};

    stolos_controller::kinds! {
        super::super::MANAGER;
        EndpointSlice, Event, MultiClusterService, Node, Service, ServiceImport,
    }
}

/// What the balancer learns of.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Member(member::Object),
    /// Its own stream and not a watch of the loop: nothing waits for the hub.
    Hub(Box<Change<EndpointSliceImport>>),
    /// The data plane has been asked to serve something.
    Applied(Arc<Outcome>),
    /// People know of endpoints that are left out.
    Told(Key, Told),
    /// The API server says that there is no such object.
    Gone(Doubt),
}

macro_rules! seen {
    ($($kind:ty),* $(,)?) => {
        $(impl From<$kind> for Seen {
            fn from(object: $kind) -> Self {
                Self::Member(object.into())
            }
        })*
    };
}

seen! {
    EndpointSlice, k8s_openapi::api::core::v1::Node, Service,
    stolos_api::network::MultiClusterService, stolos_api::network::ServiceImport,
}

/// Name under which the hub's lists are known.
const IMPORTS: &str = "EndpointSliceImport";

/// An object that a list does not show. That proves nothing; whether it is gone is asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    Import(Key),
    Slice(Key),
    Service(Key),
    MultiClusterService(Key),
    ServiceImport(Key),
}

impl Doubt {
    /// Asks for the object by name.
    pub(super) async fn look(&self, hub: &Client, member: &Client) -> Result<Seen, kube::Error> {
        let found = match self {
            Self::Import(key) => {
                let found = find::<EndpointSliceImport>(hub, key).await?;
                found.map(|import| Seen::Hub(Box::new(Change::Applied(import))))
            }
            Self::Slice(key) => find::<EndpointSlice>(member, key).await?.map(Seen::from),
            Self::Service(key) => find::<Service>(member, key).await?.map(Seen::from),
            Self::MultiClusterService(key) => {
                find::<stolos_api::network::MultiClusterService>(member, key).await?.map(Seen::from)
            }
            Self::ServiceImport(key) => {
                find::<stolos_api::network::ServiceImport>(member, key).await?.map(Seen::from)
            }
        };
        Ok(found.unwrap_or_else(|| Seen::Gone(self.clone())))
    }
}

/// Follows the endpoints that the hub has for this member, for ever, with back-off on errors.
pub(super) fn imports(api: Api<EndpointSliceImport>) -> impl Stream<Item = Seen> + Send {
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let changes = events.scan(std::collections::BTreeSet::new(), |listed, event| {
        let change = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                None
            }
            Ok(watcher::Event::InitApply(import)) => {
                listed.insert(Key::of(&import.metadata));
                Some(Change::Applied(slim(import)))
            }
            Ok(watcher::Event::InitDone) => {
                Some(Change::Listed { kind: IMPORTS, keys: std::mem::take(listed) })
            }
            Ok(watcher::Event::Apply(import)) => Some(Change::Applied(slim(import))),
            Ok(watcher::Event::Delete(import)) => Some(Change::Deleted(slim(import))),
            Err(error) => {
                tracing::debug!(%error, "the hub is not heard; endpoints stay as they are");
                None
            }
        };
        std::future::ready(Some(change))
    });
    changes
        .filter_map(|change| std::future::ready(change.map(|change| Seen::Hub(Box::new(change)))))
}

fn slim(mut import: EndpointSliceImport) -> EndpointSliceImport {
    import.metadata.managed_fields = None;
    import
}
