//! The clusters behind members: connects to each and passes on what its upgrade provider sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use stolos_api::cluster::fleet::{AzureAccess, ClusterReference, Fleet, FleetMember};
use stolos_controller::Key;
use stolos_core::update::cluster::Inspection;
use stolos_upgrade::{
    Access, Aks, ClusterApi, Credentials, HostIdentity, KubeconfigError, Observation, Pace,
    SharedProvider, Simulated, Unmanaged, Upgrades,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::effect::Fact;
use super::health::Providers;

/// How long the first answer of a cluster is waited for before its members count as not reachable. Runs of a fleet wait
/// for the first answer of each of its clusters; a cluster on the same continent answers within a fraction of it.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Gives a client of the cluster to which the kubeconfig in a secret leads.
pub type Connect =
    Arc<dyn Fn(Secret) -> BoxFuture<'static, Result<Client, KubeconfigError>> + Send + Sync>;

/// What is known of the cluster of a member.
pub(super) struct ClusterNews {
    pub(super) member: Key,
    /// Upgrades the cluster; `None` until there is a way to reach it.
    pub(super) provider: Option<SharedProvider>,
    pub(super) observation: Observation,
}

/// Follows the clusters of all members until the future is dropped or nobody listens.
pub(super) async fn follow(
    client: Client,
    connect: Connect,
    providers: watch::Sender<Providers>,
    news: mpsc::Sender<Fact>,
) {
    let api = Api::<FleetMember>::all(client.clone());
    // Timeout 0: an idle watch stays open.
    let config = watcher::Config::default().timeout(0);
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut followers = Followers {
        client,
        connect,
        providers,
        news,
        tasks: JoinSet::new(),
        by_member: BTreeMap::new(),
    };
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(member)) => {
                listed.insert(Key::of(&member.metadata));
                followers.add(&member);
            }
            Ok(watcher::Event::InitDone) => followers.retain(&listed),
            Ok(watcher::Event::Apply(member)) => followers.add(&member),
            Ok(watcher::Event::Delete(member)) => followers.remove(&Key::of(&member.metadata)),
            Err(error) => debug!(%error, "watch of members failed; it starts over"),
        }
        while followers.tasks.try_join_next().is_some() {}
    }
}

/// One task per member. Dropping this ends them all.
struct Followers {
    client: Client,
    connect: Connect,
    providers: watch::Sender<Providers>,
    news: mpsc::Sender<Fact>,
    tasks: JoinSet<()>,
    by_member: BTreeMap<Key, (ClusterReference, AbortHandle)>,
}

impl Followers {
    fn add(&mut self, member: &FleetMember) {
        let key = Key::of(&member.metadata);
        let reference = &member.spec.cluster;
        if self.by_member.get(&key).is_some_and(|(known, _)| known == reference) {
            return;
        }
        self.remove(&key);
        let follower = Follower {
            client: self.client.clone(),
            connect: self.connect.clone(),
            member: key.clone(),
            providers: self.providers.clone(),
            news: self.news.clone(),
            provider: None,
        };
        let fleet = member.spec.fleet_name.clone();
        let task = self.tasks.spawn(follower.run(Access::of(reference), fleet));
        self.by_member.insert(key, (reference.clone(), task));
    }

    fn remove(&mut self, key: &Key) {
        if let Some((_, task)) = self.by_member.remove(key) {
            task.abort();
            self.providers.send_if_modified(|providers| providers.remove(key).is_some());
        }
    }

    fn retain(&mut self, listed: &BTreeSet<Key>) {
        let gone: Vec<Key> =
            self.by_member.keys().filter(|key| !listed.contains(key)).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
    }
}

struct Follower {
    client: Client,
    connect: Connect,
    member: Key,
    providers: watch::Sender<Providers>,
    news: mpsc::Sender<Fact>,
    provider: Option<SharedProvider>,
}

/// Nobody listens any more.
struct Closed;

/// What a secret gives access to.
enum Behind {
    Simulated,
    ClusterApi { namespace: String, name: String },
    Azure { id: String, pace: Pace, upgrades: Upgrades },
}

impl Behind {
    async fn provider(&self, secret: &Secret, connect: &Connect) -> Result<SharedProvider, String> {
        let client = async || connect(secret.clone()).await.map_err(|error| error.to_string());
        Ok(match self {
            Self::Simulated => Arc::new(Simulated::new(client().await?)),
            Self::ClusterApi { namespace, name } => {
                Arc::new(ClusterApi::new(client().await?, namespace, name))
            }
            Self::Azure { id, pace, upgrades } => {
                let credentials = Credentials::read(secret, &HostIdentity::from_env());
                let credentials = credentials.map_err(|error| error.to_string())?;
                let aks = Aks::new(id, credentials, *pace, upgrades.clone());
                Arc::new(aks.map_err(|error| error.to_string())?)
            }
        })
    }
}

impl Follower {
    async fn run(mut self, access: Access, fleet: String) {
        let _closed: Result<(), Closed> = match access {
            Access::SimulatedBySecret(secret) => {
                self.follow_secret(&secret, &Behind::Simulated).await
            }
            Access::ClusterApi { namespace, name, kubeconfig_secret } => {
                let namespace = namespace.unwrap_or_else(|| self.member.namespace.clone());
                match kubeconfig_secret {
                    Some(secret) => {
                        self.follow_secret(&secret, &Behind::ClusterApi { namespace, name }).await
                    }
                    None => self.follow_on_hub(&namespace, &name).await,
                }
            }
            Access::Azure(id) => self.follow_azure(id, &fleet).await,
            Access::Nobody(reason) => self.follow_unmanaged(reason).await,
        };
    }

    async fn follow_unmanaged(&mut self, reason: String) -> Result<(), Closed> {
        self.provider = Some(Arc::new(Unmanaged::new(reason.clone())));
        self.tell_unknown(reason).await
    }

    async fn follow_on_hub(&mut self, namespace: &str, name: &str) -> Result<(), Closed> {
        let asker = &self.member.namespace;
        let provider = ClusterApi::on_hub(self.client.clone(), namespace, name, asker);
        let provider: SharedProvider = Arc::new(provider);
        let mut seen = provider.follow();
        self.provider = Some(provider);
        while let Some(observation) = seen.next().await {
            self.tell(observation).await?;
        }
        Ok(())
    }

    /// Follows a cluster of Azure with the credentials that its fleet names, and with others when it names others.
    async fn follow_azure(&mut self, id: String, fleet: &str) -> Result<(), Closed> {
        let api = Api::<Fleet>::namespaced(self.client.clone(), &self.member.namespace);
        let mut fleets = watcher::watch_object(api, fleet).default_backoff().boxed();
        let upgrades = Upgrades::default();
        let mut access = next_access(&mut fleets, None).await;
        loop {
            let Some(azure) = &access else {
                self.provider = None;
                let reason =
                    format!("fleet `{fleet}` names no credentials for Azure in spec.azure");
                self.tell_unknown(reason).await?;
                access = next_access(&mut fleets, Some(&None)).await;
                continue;
            };
            let seconds = azure.poll_interval_seconds.and_then(|it| u64::try_from(it).ok());
            let interval = seconds.map(Duration::from_secs);
            let pace = Pace::default();
            let pace = Pace { interval: interval.unwrap_or(pace.interval), ..pace };
            let behind = Behind::Azure { id: id.clone(), pace, upgrades: upgrades.clone() };
            access = tokio::select! {
                followed = self.follow_secret(&azure.credentials_secret.name, &behind) => {
                    return followed;
                }
                other = next_access(&mut fleets, Some(&access)) => other,
            };
        }
    }

    /// Follows the cluster to which a secret leads, and another one when the secret changes.
    async fn follow_secret(&mut self, name: &str, behind: &Behind) -> Result<(), Closed> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.member.namespace);
        let mut secrets = watcher::watch_object(api, name).default_backoff().boxed();
        let mut seen: BoxStream<'static, Observation> = stream::pending().boxed();
        let mut data = None;
        let mut silent = true;
        let patience = tokio::time::sleep(FIRST_ANSWER);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                Some(secret) = secrets.next() => match secret {
                    Ok(Some(secret)) if data.is_some() && secret.data == data => {}
                    Ok(Some(secret)) => {
                        data.clone_from(&secret.data);
                        seen = self.connect(&secret, behind).await?;
                        // A secret that leads nowhere has been told about.
                        silent = self.provider.is_some();
                        patience.as_mut().reset(tokio::time::Instant::now() + FIRST_ANSWER);
                    }
                    Ok(None) => {
                        data = None;
                        silent = false;
                        self.provider = None;
                        seen = stream::pending().boxed();
                        self.tell_unknown(format!("secret `{name}` does not exist")).await?;
                    }
                    Err(error) => debug!(%error, secret = name, "watch failed; it starts over"),
                },
                Some(observation) = seen.next() => {
                    silent = false;
                    self.tell(observation).await?;
                }
                () = &mut patience, if silent => {
                    silent = false;
                    self.tell_unknown("the cluster does not answer".into()).await?;
                }
            }
        }
    }

    async fn connect(
        &mut self,
        secret: &Secret,
        behind: &Behind,
    ) -> Result<BoxStream<'static, Observation>, Closed> {
        match behind.provider(secret, &self.connect).await {
            Ok(provider) => {
                let seen = provider.follow();
                self.provider = Some(provider);
                Ok(seen)
            }
            Err(error) => {
                self.provider = None;
                self.tell_unknown(error).await?;
                Ok(stream::pending().boxed())
            }
        }
    }

    async fn tell_unknown(&self, reason: String) -> Result<(), Closed> {
        let cluster = Inspection::Unknown(reason);
        self.tell(Observation { cluster, operations: BTreeMap::new() }).await
    }

    async fn tell(&self, observation: Observation) -> Result<(), Closed> {
        // First, so that whoever waits for a look into the cluster does not wait for nothing.
        self.offer_provider();
        let member = self.member.clone();
        let news = ClusterNews { member, provider: self.provider.clone(), observation };
        self.news.send(Fact::Cluster(Box::new(news))).await.map_err(|_| Closed)
    }

    fn offer_provider(&self) {
        self.providers.send_if_modified(|providers| {
            match (&self.provider, providers.get(&self.member)) {
                (None, None) => false,
                (Some(new), Some(known)) if Arc::ptr_eq(new, known) => false,
                (Some(new), _) => {
                    providers.insert(self.member.clone(), new.clone());
                    true
                }
                (None, Some(_)) => {
                    providers.remove(&self.member);
                    true
                }
            }
        });
    }
}

/// Waits until a fleet names other credentials than before. Nothing is lost when the future is dropped.
async fn next_access(
    fleets: &mut BoxStream<'static, watcher::Result<Option<Fleet>>>,
    before: Option<&Option<AzureAccess>>,
) -> Option<AzureAccess> {
    loop {
        match fleets.next().await {
            Some(Ok(fleet)) => {
                let access = fleet.and_then(|fleet| fleet.spec.azure);
                if before != Some(&access) {
                    return access;
                }
            }
            Some(Err(error)) => debug!(%error, "watch of a fleet failed; it starts over"),
            None => std::future::pending().await,
        }
    }
}
