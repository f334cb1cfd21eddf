//! A watch that can be told to list anew.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use tokio::sync::watch::Receiver;
use tracing::debug;

/// Wait after the first failed request; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Longest wait: a cluster that is back is noticed within this time.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// What a watch says.
pub(super) enum News {
    /// Something may have changed.
    Change,
    /// Everything has been listed since this round began.
    Listed(u64),
    /// Nothing can be listed; it is tried again.
    Lost(String),
}

/// Watches a kind for ever, keeping what there is in a store. A new number in `rounds` makes it list anew.
pub(super) fn watch_anew<K>(
    api: Api<K>,
    config: watcher::Config,
    rounds: Receiver<u64>,
) -> (Store<K>, BoxStream<'static, News>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    // Timeout 0: an idle watch stays open.
    let config = config.timeout(0);
    let watch = Watch { api, config, writer, rounds, events: None, round: 0, failures: 0 };
    let news = stream::unfold(watch, |mut watch| async move {
        let news = watch.next().await;
        Some((news, watch))
    });
    (reader, news.boxed())
}

/// Lists anew after every error: a resumed watch would not tell that the cluster is back before something changes in it.
struct Watch<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    rounds: Receiver<u64>,
    events: Option<BoxStream<'static, watcher::Result<watcher::Event<K>>>>,
    /// The round in which the list began.
    round: u64,
    failures: u32,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    async fn next(&mut self) -> News {
        if self.events.is_none() && self.failures > 0 {
            let doubled = FIRST_RETRY * 2_u32.saturating_pow(self.failures - 1);
            tokio::time::sleep(doubled.min(LAST_RETRY)).await;
        }
        if self.events.is_none() {
            self.round = *self.rounds.borrow_and_update();
        }
        let (api, config, rounds) = (&self.api, &self.config, &mut self.rounds);
        let fresh = || watcher(api.clone(), config.clone()).boxed();
        let events = self.events.get_or_insert_with(fresh);
        let event = tokio::select! {
            event = events.next() => event,
            Ok(()) = rounds.changed() => None,
        };
        match event {
            Some(Ok(event)) => {
                self.writer.apply_watcher_event(&event);
                if !matches!(event, watcher::Event::InitDone) {
                    return News::Change;
                }
                self.failures = 0;
                News::Listed(self.round)
            }
            Some(Err(error)) => {
                self.events = None;
                self.failures = (self.failures + 1).min(16);
                debug!(%error, "watch of a simulated cluster failed; it starts over");
                match error {
                    watcher::Error::InitialListFailed(error) => News::Lost(error.to_string()),
                    _ => News::Change,
                }
            }
            None => {
                self.events = None;
                News::Change
            }
        }
    }
}
