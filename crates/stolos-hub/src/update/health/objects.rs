//! Objects of a member's cluster, each of them judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher;
use stolos_controller::Key;
use stolos_upgrade::SharedProvider;
use tokio::sync::watch;
use tracing::debug;

use super::Providers;

/// Wait after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// Longest wait: a cluster that is back is noticed within this time.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// How long a cluster may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest watch without an answer of the server, in seconds. A cluster that falls silent must not count as healthy for
/// much longer than this.
const WATCH_SECONDS: u32 = 30;

/// What is wrong with each object, by its name.
pub(super) type Judged = BTreeMap<String, Option<String>>;

/// What is seen, or why nothing is.
pub(super) type Look<T = Judged> = Result<T, String>;

/// Opens the looks at a cluster.
pub(super) type Open<T = Judged> = Arc<
    dyn Fn(Client) -> BoxFuture<'static, Result<BoxStream<'static, Look<T>>, String>> + Send + Sync,
>;

/// Looks at a kind until the cluster cannot be listed: the last look is then the reason.
pub(super) fn watch_judged<K>(
    api: Api<K>,
    config: watcher::Config,
    judge: impl Fn(&K) -> Option<String> + Send + 'static,
) -> BoxStream<'static, Look>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let events = watcher(api, config.timeout(WATCH_SECONDS)).boxed();
    let watched = Watched { events, judge, seen: Judged::new(), fresh: Judged::new() };
    let looks = stream::unfold(Some(watched), |watched| async {
        let mut watched = watched?;
        let look = watched.next().await;
        let goes_on = look.is_ok();
        Some((look, goes_on.then_some(watched)))
    });
    looks.boxed()
}

struct Watched<K, J> {
    events: BoxStream<'static, watcher::Result<watcher::Event<K>>>,
    judge: J,
    seen: Judged,
    /// What was listed since the list began.
    fresh: Judged,
}

impl<K: kube::Resource, J: Fn(&K) -> Option<String>> Watched<K, J> {
    async fn next(&mut self) -> Look {
        loop {
            match self.events.next().await {
                Some(Ok(watcher::Event::Init)) => self.fresh.clear(),
                Some(Ok(watcher::Event::InitApply(object))) => {
                    self.fresh.insert(name(&object), (self.judge)(&object));
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    self.seen = std::mem::take(&mut self.fresh);
                    return Ok(self.seen.clone());
                }
                Some(Ok(watcher::Event::Apply(object))) => {
                    let problem = (self.judge)(&object);
                    let before = self.seen.insert(name(&object), problem.clone());
                    if before != Some(problem) {
                        return Ok(self.seen.clone());
                    }
                }
                Some(Ok(watcher::Event::Delete(object))) => {
                    self.seen.remove(&name(&object));
                    return Ok(self.seen.clone());
                }
                Some(Err(error)) => {
                    debug!(%error, "watch of a member failed");
                    if let watcher::Error::InitialListFailed(_)
                    | watcher::Error::WatchStartFailed(_) = error
                    {
                        return Err(format!("the cluster does not answer: {error}"));
                    }
                }
                None => return Err("the cluster does not answer".into()),
            }
        }
    }
}

fn name<K: kube::Resource>(object: &K) -> String {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    match &meta.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// Looks into the cluster of a member for ever, with a new connection after each failure and when its provider changes.
pub(super) fn looks<T: Send + 'static>(
    member: Key,
    providers: watch::Receiver<Providers>,
    open: Open<T>,
) -> BoxStream<'static, Look<T>> {
    let looker =
        Looker { member, providers, open, current: None, failures: 0, told_missing: false };
    let looks = stream::unfold(looker, |mut looker| async {
        let look = looker.next().await;
        Some((look, looker))
    });
    looks.boxed()
}

struct Looker<T> {
    member: Key,
    providers: watch::Receiver<Providers>,
    open: Open<T>,
    current: Option<(SharedProvider, BoxStream<'static, Look<T>>)>,
    failures: u32,
    told_missing: bool,
}

impl<T> Looker<T> {
    async fn next(&mut self) -> Look<T> {
        loop {
            let provider = self.providers.borrow_and_update().get(&self.member).cloned();
            let same = |known: &SharedProvider| {
                provider.as_ref().is_some_and(|provider| Arc::ptr_eq(known, provider))
            };
            if self.current.as_ref().is_some_and(|(known, _)| !same(known)) {
                self.current = None;
                self.failures = 0;
            }
            if self.current.is_none()
                && let Some(look) = self.connect(provider).await
            {
                return look;
            }
            let Some((_, looks)) = &mut self.current else { continue };
            tokio::select! {
                look = looks.next() => {
                    let look = look.unwrap_or_else(|| Err("the cluster does not answer".into()));
                    match look {
                        Ok(_) => self.failures = 0,
                        Err(_) => self.fail(),
                    }
                    return look;
                }
                Ok(()) = self.providers.changed() => {}
            }
        }
    }

    /// Connects, or says once why not. `None` means that there is a connection, or that providers have changed.
    async fn connect(&mut self, provider: Option<SharedProvider>) -> Option<Look<T>> {
        let Some(provider) = provider else {
            if !std::mem::replace(&mut self.told_missing, true) {
                return Some(Err("the hub knows no way to the cluster".into()));
            }
            if self.providers.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            return None;
        };
        self.told_missing = false;
        if self.failures > 0 {
            tokio::time::sleep(retry_after(self.failures)).await;
        }
        let opened = async {
            let client = provider.client().await.map_err(|error| error.to_string())?;
            (self.open)(client).await
        };
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, opened).await;
        match opened.unwrap_or_else(|_| Err("the cluster does not answer".into())) {
            Ok(looks) => {
                self.current = Some((provider, looks));
                None
            }
            Err(reason) => {
                self.fail();
                Some(Err(reason))
            }
        }
    }

    fn fail(&mut self) {
        self.current = None;
        self.failures = self.failures.saturating_add(1);
    }
}

fn retry_after(failures: u32) -> Duration {
    (FIRST_RETRY * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LAST_RETRY)
}
