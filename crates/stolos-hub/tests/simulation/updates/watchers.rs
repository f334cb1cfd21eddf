//! What members were really asked to do, as seen on the members themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::task::JoinSet;

/// Upgrades that have begun on members and what was wrong with any of them.
pub(super) struct Watchers {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// Upgrades by member, in the order of their begin.
    begun: BTreeMap<String, Vec<String>>,
    /// Upgrades that have not ended, with their member.
    open: BTreeSet<(String, String)>,
    problems: Vec<String>,
}

impl Watchers {
    pub(super) fn start(members: &[(&'static str, Client)]) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let mut tasks = JoinSet::new();
        for (name, client) in members {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
            let config = watcher::Config::default().labels("sim.stolos.dev/upgrade").timeout(0);
            let changes = watcher(api, config).default_backoff().applied_objects();
            let (seen, name) = (seen.clone(), (*name).to_owned());
            tasks.spawn(async move {
                let mut changes = std::pin::pin!(changes);
                while let Some(change) = changes.next().await {
                    let Ok(upgrade) = change else { continue };
                    seen.lock().unwrap().note(&name, &upgrade);
                }
            });
        }
        Self { seen, _tasks: tasks }
    }

    /// Returns what members were asked for that they should not have been.
    pub(super) fn problem(&self) -> Option<String> {
        self.seen.lock().unwrap().problems.first().cloned()
    }

    /// Returns the upgrades of a member.
    pub(super) fn begun(&self, member: &str) -> Vec<String> {
        self.seen.lock().unwrap().begun.get(member).cloned().unwrap_or_default()
    }

    /// Returns how many upgrades have begun on all members.
    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().begun.values().map(Vec::len).sum()
    }
}

impl Seen {
    fn note(&mut self, member: &str, upgrade: &ConfigMap) {
        let (member, id) = (member.to_owned(), upgrade.name_any());
        let state = upgrade.data.as_ref().and_then(|data| data.get("state")).map(String::as_str);
        let begun = self.begun.entry(member.clone()).or_default();
        if !begun.contains(&id) {
            begun.push(id.clone());
            let other = self.open.iter().find(|(other, _)| *other == member);
            self.problems
                .extend(other.map(|(_, other)| {
                    format!("{member} begins {id} while it is still at {other}")
                }));
        }
        if matches!(state, Some("Done" | "Failed")) {
            self.open.remove(&(member, id));
        } else {
            self.open.insert((member, id));
        }
    }
}
