//! Who may be missed: it sees every endpoint and every address that goes on an importing member, and knows what users took
//! away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use stolos_api::network::names::{CLUSTER_ANNOTATION, clusterset, label};
use tokio::task::JoinSet;

/// What users took away in one story.
#[derive(Default)]
struct Seen {
    /// The derived Service of the story.
    derived: String,
    /// Addresses by cluster.
    endpoints: BTreeSet<(String, String)>,
    /// Clusters whose whole export was withdrawn, if only for a moment.
    exports: BTreeSet<String>,
    /// Members that stopped to import, if only for a moment.
    imports: BTreeSet<String>,
    /// Whether there was a moment without any exporter.
    was_unexported: bool,
    /// Addresses that each slice of a member had last.
    slices: BTreeMap<(String, String), (String, BTreeSet<String>)>,
    wrong: Vec<String>,
}

/// Watches the members of one story.
pub(super) struct Oracle {
    seen: Arc<Mutex<Seen>>,
    _watches: JoinSet<()>,
}

impl Oracle {
    /// `derived` is the Service that has the address on an importing member, in this namespace.
    pub(super) fn new(namespace: &str, derived: &str, members: &[(&'static str, Client)]) -> Self {
        let seen = Arc::new(Mutex::new(Seen { derived: derived.to_owned(), ..Seen::default() }));
        let mut watches = JoinSet::new();
        for (member, client) in members {
            let (member, judge) = (*member, seen.clone());
            let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
            watches.spawn(follow(slices, move |event| judge.lock().unwrap().hear(member, event)));
            let judge = seen.clone();
            let services = Api::<Service>::namespaced(client.clone(), namespace);
            watches.spawn(follow(services, move |event| {
                if let watcher::Event::Delete(gone) = event {
                    judge.lock().unwrap().judge_address(member, &gone.name_any());
                }
            }));
        }
        Self { seen, _watches: watches }
    }

    /// Notes that a user takes an endpoint away.
    pub(super) fn remove(&self, cluster: &str, address: &str) {
        let endpoint = (cluster.to_owned(), address.to_owned());
        self.seen.lock().unwrap().endpoints.insert(endpoint);
    }

    /// Notes that a user withdraws the export of a cluster; `is_last`: nobody else exports.
    pub(super) fn unexport(&self, cluster: &str, is_last: bool) {
        let mut seen = self.seen.lock().unwrap();
        seen.exports.insert(cluster.to_owned());
        seen.was_unexported |= is_last;
    }

    /// Notes that a user lets a member import no more.
    pub(super) fn unimport(&self, member: &str) {
        self.seen.lock().unwrap().imports.insert(member.to_owned());
    }

    pub(super) fn verdict(&self) -> Result<(), String> {
        let seen = self.seen.lock().unwrap();
        if seen.wrong.is_empty() { Ok(()) } else { Err(seen.wrong.join("; ")) }
    }
}

impl Seen {
    fn hear(&mut self, member: &str, event: watcher::Event<EndpointSlice>) {
        let (slice, is_there) = match event {
            watcher::Event::Apply(slice) | watcher::Event::InitApply(slice) => (slice, true),
            watcher::Event::Delete(slice) => (slice, false),
            watcher::Event::Init | watcher::Event::InitDone => return,
        };
        if slice.labels().get(label::SERVICE_NAME) != Some(&self.derived) {
            return;
        }
        let source = slice.annotations().get(CLUSTER_ANNOTATION);
        let source = source.or_else(|| slice.labels().get(clusterset::SOURCE_CLUSTER));
        let cluster = source.cloned().unwrap_or_default();
        let key = (member.to_owned(), slice.name_any());
        let now: BTreeSet<String> = if is_there {
            slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()).collect()
        } else {
            BTreeSet::new()
        };
        let before = self.slices.insert(key, (cluster.clone(), now.clone()));
        let before = before.map(|(_, addresses)| addresses).unwrap_or_default();
        for address in before.difference(&now) {
            let endpoint = (cluster.clone(), address.clone());
            let was_taken = self.endpoints.contains(&endpoint)
                || self.exports.contains(&cluster)
                || self.imports.contains(member);
            if !was_taken {
                self.wrong.push(format!(
                    "`{member}` lost endpoint {address} of `{cluster}`, and nobody took it away"
                ));
            }
        }
    }

    fn judge_address(&mut self, member: &str, name: &str) {
        if name == self.derived && !self.imports.contains(member) && !self.was_unexported {
            self.wrong.push(format!("`{member}` lost the address of `{name}`, and nobody took it"));
        }
    }
}

async fn follow<K>(api: Api<K>, hear: impl Fn(watcher::Event<K>))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if let Ok(event) = event {
            hear(event);
        }
    }
}
