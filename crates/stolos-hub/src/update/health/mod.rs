//! Looks into clusters: pre-flight checks of members for the runs that ask for them, and the checks of pending gates.
//!
//! One task per member and per gate, for as long as a run needs it. What a pre-flight check finds becomes a fact of the
//! controller; what the checks of a gate find is written to the gate, where the engine reads it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future;
use futures::stream::{self, BoxStream, StreamExt};
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use stolos_api::update::{Gate, PreflightCheck, UpdateRun};
use stolos_controller::{Clock, Key};
use stolos_upgrade::SharedProvider;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::debug;

mod cel;
mod gate;
mod member;
mod metrics;
mod objects;
mod prometheus;
mod wanted;

use super::effect::Fact;
use wanted::{Wanted, World};

/// The providers of members that can be reached.
pub(super) type Providers = BTreeMap<Key, SharedProvider>;

/// News of the hub's objects.
enum News {
    Run(Box<watcher::Event<UpdateRun>>),
    Gate(Box<watcher::Event<Gate>>),
}

/// Looks at what runs need until the future is dropped.
pub(super) async fn follow(
    hub: Client,
    providers: watch::Receiver<Providers>,
    facts: mpsc::Sender<Fact>,
    clock: Clock,
) {
    let mut news = stream::select(
        watched(Api::<UpdateRun>::all(hub.clone())).map(|event| News::Run(Box::new(event))),
        watched(Api::<Gate>::all(hub.clone())).map(|event| News::Gate(Box::new(event))),
    );
    let mut world = World::default();
    let mut lookers =
        Lookers { hub, providers, facts, clock, gates: BTreeMap::new(), members: BTreeMap::new() };
    let mut changes = lookers.providers.clone();
    loop {
        tokio::select! {
            Some(news) = news.next() => world.take(news),
            Ok(()) = changes.changed() => {}
        }
        let wanted = world.wanted(&changes.borrow_and_update());
        lookers.adjust(wanted).await;
    }
}

fn watched<K>(api: Api<K>) -> BoxStream<'static, watcher::Event<K>>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    // Timeout 0: an idle watch stays open.
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let good = events.filter_map(|event| {
        let event =
            event.inspect_err(|error| debug!(%error, "watch for checks failed; it starts over"));
        future::ready(event.ok())
    });
    good.boxed()
}

/// The tasks. Dropping this ends them all.
struct Lookers {
    hub: Client,
    providers: watch::Receiver<Providers>,
    facts: mpsc::Sender<Fact>,
    clock: Clock,
    gates: BTreeMap<Key, (gate::Job, Looker)>,
    members: BTreeMap<Key, (BTreeSet<PreflightCheck>, Looker)>,
}

/// A task that ends with its handle.
struct Looker(JoinHandle<()>);

impl Looker {
    /// Ends the task. Nothing comes from it afterwards.
    async fn end(mut self) {
        self.0.abort();
        let _aborted = (&mut self.0).await;
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lookers {
    async fn adjust(&mut self, wanted: Wanted) {
        let Wanted { gates, members } = wanted;
        self.adjust_gates(gates).await;
        self.adjust_members(members).await;
    }

    async fn adjust_gates(&mut self, wanted: BTreeMap<Key, gate::Job>) {
        let over = |(key, (job, _)): &(&Key, &(gate::Job, Looker))| wanted.get(key) != Some(job);
        let over: Vec<Key> = self.gates.iter().filter(over).map(|(key, _)| key.clone()).collect();
        for key in over {
            if let Some((_, looker)) = self.gates.remove(&key) {
                looker.end().await;
            }
        }
        for (key, job) in wanted {
            if !self.gates.contains_key(&key) {
                let (hub, providers) = (self.hub.clone(), self.providers.clone());
                let task = gate::look(key.clone(), job.clone(), hub, providers, self.clock.clone());
                self.gates.insert(key, (job, Looker(tokio::spawn(task))));
            }
        }
    }

    async fn adjust_members(&mut self, wanted: BTreeMap<Key, BTreeSet<PreflightCheck>>) {
        let over = self.members.iter().filter(|(key, (checks, _))| wanted.get(key) != Some(checks));
        for key in over.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if let Some((_, looker)) = self.members.remove(&key) {
                looker.end().await;
                // What was found gets old; a later run looks anew.
                let forget = Fact::Preflight { member: key, findings: Vec::new() };
                let _ended = self.facts.send(forget).await;
            }
        }
        for (key, checks) in wanted {
            if !self.members.contains_key(&key) {
                let (providers, facts) = (self.providers.clone(), self.facts.clone());
                let look = member::look(key.clone(), checks.clone(), providers, facts);
                self.members.insert(key, (checks, Looker(tokio::spawn(look))));
            }
        }
    }
}
