//! Watches of a simulation.

use std::fmt::Debug;
use std::pin::Pin;

use futures::stream::StreamExt;
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tracing::debug;

use crate::world::{Kind, Object};

/// What a watch tells.
pub(crate) enum Change {
    Applied(Object),
    Deleted(Object),
    /// A watch starts over; what it does not list again is gone.
    Restarted(Kind),
    Listed(Kind),
}

/// Watches a kind for ever, with back-off on errors.
pub(crate) fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> Pin<Box<dyn Stream<Item = Change> + Send>>
where
    K: Resource<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Into<Object>
        + KindOf
        + 'static,
{
    let changes = watcher(api, config).default_backoff().inspect_err(|error| {
        debug!(%error, kind = %K::kind(&()), "watch failed; it starts over");
    });
    let changes = changes.filter_map(|event| async {
        Some(match event.ok()? {
            watcher::Event::Apply(mut object) | watcher::Event::InitApply(mut object) => {
                // Large, and nobody here reads them.
                object.meta_mut().managed_fields = None;
                Change::Applied(object.into())
            }
            watcher::Event::Delete(object) => Change::Deleted(object.into()),
            watcher::Event::Init => Change::Restarted(K::KIND),
            watcher::Event::InitDone => Change::Listed(K::KIND),
        })
    });
    Box::pin(changes)
}

/// The variant of [`Kind`] of a type.
pub(crate) trait KindOf {
    const KIND: Kind;
}

macro_rules! kind_of {
    ($kind:ident) => {
        impl KindOf for $kind {
            const KIND: Kind = Kind::$kind;
        }
    };
}
crate::world::for_each_kind!(kind_of);
