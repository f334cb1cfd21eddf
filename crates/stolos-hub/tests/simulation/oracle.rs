//! Who may be missed: it sees every removal on the members and knows what users withdrew.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::task::JoinSet;

/// A placement, a member, and an object there; the namespace stands for itself under an empty name.
type Withdrawal = (String, String, String);

#[derive(Default)]
struct Seen {
    namespace: String,
    withdrawn: BTreeSet<Withdrawal>,
    wrong: Vec<String>,
}

/// Watches the members of one story.
pub(crate) struct Oracle {
    seen: Arc<Mutex<Seen>>,
    _watches: JoinSet<()>,
}

impl Oracle {
    /// Begins to watch what is in a namespace, and the namespace, on every member; and the namespace `default`, where nobody
    /// places anything.
    pub(crate) fn new(namespace: &str, members: &[(&'static str, Client)]) -> Self {
        let seen =
            Arc::new(Mutex::new(Seen { namespace: namespace.to_owned(), ..Seen::default() }));
        let mut watches = JoinSet::new();
        for (member, client) in members {
            let (member, client) = (*member, client.clone());
            let judge = seen.clone();
            watches.spawn(follow(Api::<Namespace>::all(client.clone()), move |gone| {
                judge.lock().unwrap().judge(member, &gone.name_any(), "", &owners(&gone));
            }));
            let judge = seen.clone();
            watches.spawn(follow(Api::<ConfigMap>::all(client), move |gone| {
                let namespace = gone.namespace().unwrap_or_default();
                judge.lock().unwrap().judge(member, &namespace, &gone.name_any(), &owners(&gone));
            }));
        }
        Self { seen, _watches: watches }
    }

    /// Notes that a user withdraws an object, or with an empty name the whole namespace, from a member.
    pub(crate) fn withdraw(&self, placement: &str, member: &str, object: &str) {
        let withdrawal = (placement.to_owned(), member.to_owned(), object.to_owned());
        self.seen.lock().unwrap().withdrawn.insert(withdrawal);
    }

    pub(crate) fn verdict(&self) -> Result<(), String> {
        let seen = self.seen.lock().unwrap();
        if seen.wrong.is_empty() { Ok(()) } else { Err(seen.wrong.join("; ")) }
    }
}

impl Seen {
    fn judge(&mut self, member: &str, namespace: &str, name: &str, owners: &[String]) {
        let is_ours = namespace == self.namespace;
        if !is_ours && namespace != "default" || name == "kube-root-ca.crt" {
            return;
        }
        let is_withdrawn = |placement: &str| {
            ["", name].iter().any(|object| {
                let key = (placement.to_owned(), member.to_owned(), (*object).to_owned());
                self.withdrawn.contains(&key)
            })
        };
        let by = |owner: &String| owner.strip_suffix("-work").is_some_and(is_withdrawn);
        // What is in a namespace goes with it, whoever placed it.
        let goes_with_namespace = !name.is_empty()
            && self.withdrawn.iter().any(|(_, on, object)| on == member && object.is_empty());
        if is_ours && (owners.iter().any(by) || goes_with_namespace) {
            return;
        }
        self.wrong.push(format!(
            "`{namespace}/{name}` of {owners:?} was removed from `{member}` and nobody withdrew it"
        ));
    }
}

fn owners<K: ResourceExt>(object: &K) -> Vec<String> {
    object.owner_references().iter().map(|owner| owner.name.clone()).collect()
}

async fn follow<K>(api: Api<K>, judge: impl Fn(K))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if let Ok(watcher::Event::Delete(gone)) = event {
            judge(gone);
        }
    }
}
