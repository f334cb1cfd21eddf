//! Objects of one kind, whatever it is, kept up to date by a watch.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::watcher;
use tokio::time::Instant;
use tracing::debug;

/// Wait after the first failed request; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Longest wait: a server that is back is noticed within this time.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Returns the wait after a number of failures in a row.
pub(super) fn retry_after(failures: u32) -> Duration {
    (FIRST_RETRY * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LAST_RETRY)
}

/// Lists anew after every error: a resumed watch would not tell that the server is back before something changes.
pub(super) struct Watched {
    api: Api<DynamicObject>,
    config: watcher::Config,
    events: Option<BoxStream<'static, watcher::Result<watcher::Event<DynamicObject>>>>,
    objects: BTreeMap<String, DynamicObject>,
    /// What was listed since the list began.
    fresh: BTreeMap<String, DynamicObject>,
    listed: bool,
    lost: Option<String>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Watched {
    pub(super) fn new(api: Api<DynamicObject>, config: watcher::Config) -> Self {
        Self {
            api,
            // Timeout 0: an idle watch stays open.
            config: config.timeout(0),
            events: None,
            objects: BTreeMap::new(),
            fresh: BTreeMap::new(),
            listed: false,
            lost: None,
            failures: 0,
            retry_at: None,
        }
    }

    pub(super) fn named(api: Api<DynamicObject>, name: &str) -> Self {
        Self::new(api, watcher::Config::default().fields(&format!("metadata.name={name}")))
    }

    /// Whether everything has been listed.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Why nothing can be listed at the moment.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// How many requests failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &DynamicObject> {
        self.objects.values()
    }

    pub(super) fn api(&self) -> &Api<DynamicObject> {
        &self.api
    }

    /// Reads what there is at this moment, ahead of the watch.
    pub(super) async fn catch_up(&mut self) -> kube::Result<()> {
        let selected = ListParams {
            label_selector: self.config.label_selector.clone(),
            field_selector: self.config.field_selector.clone(),
            ..ListParams::default()
        };
        for object in self.api.list(&selected).await?.items {
            self.learn(object);
        }
        Ok(())
    }

    /// Takes a state in, unless a newer one is known.
    fn learn(&mut self, object: DynamicObject) {
        let (name, object) = entry(object);
        if self.objects.get(&name).is_none_or(|known| revision(known) <= revision(&object)) {
            self.objects.insert(name, object);
        }
    }

    /// Waits for the next change. Nothing is lost when the future is dropped.
    pub(super) async fn changed(&mut self) {
        if let Some(at) = self.retry_at {
            tokio::time::sleep_until(at).await;
            self.retry_at = None;
        }
        let events = self
            .events
            .get_or_insert_with(|| watcher(self.api.clone(), self.config.clone()).boxed());
        match events.next().await {
            Some(Ok(event)) => self.take(event),
            Some(Err(error)) => {
                debug!(%error, "watch of Cluster API failed; it starts over");
                if let watcher::Error::InitialListFailed(error) = error {
                    self.lost = Some(error.to_string());
                }
                self.start_over();
            }
            None => self.start_over(),
        }
    }

    fn start_over(&mut self) {
        self.events = None;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + retry_after(self.failures));
    }

    fn take(&mut self, event: watcher::Event<DynamicObject>) {
        match event {
            watcher::Event::Init => self.fresh.clear(),
            watcher::Event::InitApply(object) => self.fresh.extend([entry(object)]),
            watcher::Event::InitDone => {
                self.objects = std::mem::take(&mut self.fresh);
                self.listed = true;
                self.lost = None;
                self.failures = 0;
            }
            watcher::Event::Apply(object) => self.learn(object),
            watcher::Event::Delete(object) => {
                self.objects.remove(&entry(object).0);
            }
        }
    }
}

fn entry(mut object: DynamicObject) -> (String, DynamicObject) {
    // Large, and nobody here reads them.
    object.metadata.managed_fields = None;
    (object.metadata.name.clone().unwrap_or_default(), object)
}

/// Returns the resource version as a number (KEP-5504: clients may compare them).
fn revision(object: &DynamicObject) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
