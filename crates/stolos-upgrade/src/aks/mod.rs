//! Managed clusters of Azure, through the resource manager.
//!
//! Azure can be watched by nobody, so this is the one place that polls: a long operation as often as Azure says
//! (`Retry-After`), a quiet cluster by a stated interval with some jitter.
//!
//! An attempt is identified by the engine's stored decision, its id and target; on Azure's side there is only the state
//! of the cluster. Each step is decided by [comparing](progress) the two. After a crash the engine starts the attempt again
//! with the same id and target: what Azure works on is waited for, what is done is passed over, so that nothing is
//! upgraded twice. The one trace that a crash wipes out is that Azure refused or failed a step; that step is then
//! asked for once more, as a person would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use stolos_api::update::MemberTarget;
use stolos_core::update::cluster::Operation;
use tokio::sync::Notify;

mod arm;
mod certificate;
mod credentials;
mod follow;
mod http;
mod inspect;
mod progress;
mod token;

pub use credentials::{Credentials, CredentialsError, HostIdentity};

use crate::{ClientError, Observation, Provider, StartError};

/// How often a quiet cluster is looked at unless configured otherwise. Five requests a minute and cluster stay far below what Azure
/// allows an application for a hundred clusters.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// How many upgrades of a cluster are remembered.
const REMEMBERED: usize = 8;

/// How a cluster is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Between two looks at a quiet cluster; up to a tenth more or less.
    pub interval: Duration,
    /// Multiplies the waits that Azure asks for. Anything but 1 is for tests.
    pub factor: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: DEFAULT_POLL_INTERVAL, factor: 1.0 }
    }
}

/// The upgrades that one cluster was asked for. Whoever follows a cluster keeps this when its credentials change.
#[derive(Clone, Default)]
pub struct Upgrades(Arc<Memory>);

#[derive(Default)]
struct Memory {
    /// Newest last.
    list: Mutex<Vec<Upgrade>>,
    changed: Notify,
}

#[derive(Clone, Debug)]
struct Upgrade {
    id: String,
    target: MemberTarget,
    operation: Operation,
    /// How often each part was written.
    tries: BTreeMap<String, u32>,
}

impl Upgrades {
    fn list(&self) -> MutexGuard<'_, Vec<Upgrade>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<Upgrade> {
        let is_running = |upgrade: &&Upgrade| matches!(upgrade.operation, Operation::Running(_));
        self.list().iter().find(is_running).cloned()
    }

    fn set(&self, id: &str, operation: Operation) {
        if let Some(upgrade) = self.list().iter_mut().find(|upgrade| upgrade.id == id) {
            upgrade.operation = operation;
        }
    }

    /// Counts one more write of a part and returns how many there were.
    fn count(&self, id: &str, part: String) -> u32 {
        let mut list = self.list();
        let Some(upgrade) = list.iter_mut().find(|upgrade| upgrade.id == id) else { return 0 };
        let tries = upgrade.tries.entry(part).or_default();
        *tries += 1;
        *tries
    }

    /// Takes back the count of a write that Azure did not take because the cluster was busy.
    fn forgive(&self, id: &str, part: Option<String>) {
        let mut list = self.list();
        let upgrade = list.iter_mut().find(|upgrade| upgrade.id == id);
        if let Some((upgrade, part)) = upgrade.zip(part)
            && let Some(tries) = upgrade.tries.get_mut(&part)
        {
            *tries = tries.saturating_sub(1);
        }
    }

    fn operations(&self) -> BTreeMap<String, Operation> {
        self.list().iter().map(|upgrade| (upgrade.id.clone(), upgrade.operation.clone())).collect()
    }

    fn begin(&self, id: &str, target: &MemberTarget) -> Result<(), StartError> {
        let running = self.running();
        let mut list = self.list();
        if list.iter().any(|upgrade| upgrade.id == id) {
            return Ok(());
        }
        if let Some(other) = running {
            return Err(StartError::Request {
                operation_id: id.to_owned(),
                source: format!("upgrade {} is under way", other.id).into(),
            });
        }
        if list.len() >= REMEMBERED {
            list.remove(0);
        }
        list.push(Upgrade {
            id: id.to_owned(),
            target: target.clone(),
            operation: Operation::Running(None),
            tries: BTreeMap::new(),
        });
        drop(list);
        self.0.changed.notify_one();
        Ok(())
    }
}

/// A managed cluster of Azure.
#[derive(Clone)]
pub struct Aks {
    arm: Arc<arm::Arm>,
    /// The resource id.
    id: String,
    pace: Pace,
    upgrades: Upgrades,
}

/// A managed cluster cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum AksError {
    /// The id is one of something else.
    #[error(
        "`{0}` is not the id of a managed cluster, /subscriptions/<id>/resourceGroups/<name>/providers/Microsoft.ContainerService/managedClusters/<name>"
    )]
    Id(String),
    /// TLS cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Aks {
    /// Returns the provider of a managed cluster.
    ///
    /// # Errors
    /// When the id is not one of a managed cluster. Nothing is sent.
    pub fn new(
        id: &str,
        credentials: Credentials,
        pace: Pace,
        upgrades: Upgrades,
    ) -> Result<Self, AksError> {
        if !is_managed_cluster(id) {
            return Err(AksError::Id(id.to_owned()));
        }
        let arm = arm::Arm::new(credentials, pace.factor);
        let arm = Arc::new(arm.map_err(AksError::Tls)?);
        Ok(Self { arm, id: id.to_owned(), pace, upgrades })
    }
}

/// Ids go into URLs, so only what Azure allows in names passes.
fn is_managed_cluster(id: &str) -> bool {
    let parts: Vec<&str> = id.split('/').collect();
    let ["", subscriptions, _, groups, _, providers, namespace, kind, _] = parts[..] else {
        return false;
    };
    let fixed = [
        (subscriptions, "subscriptions"),
        (groups, "resourceGroups"),
        (providers, "providers"),
        (namespace, "Microsoft.ContainerService"),
        (kind, "managedClusters"),
    ];
    let allowed = |c: char| c.is_alphanumeric() || "-_.()".contains(c);
    fixed.iter().all(|(is, wanted)| is.eq_ignore_ascii_case(wanted))
        && parts[1..].iter().all(|part| {
            part.is_ascii()
                && !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(allowed)
        })
}

impl Provider for Aks {
    fn follow(&self) -> BoxStream<'static, Observation> {
        follow::follow(self.clone()).boxed()
    }

    fn start<'a>(
        &'a self,
        operation_id: &'a str,
        target: &'a MemberTarget,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async { self.upgrades.begin(operation_id, target) })
    }

    fn client(&self) -> BoxFuture<'_, Result<kube::Client, ClientError>> {
        Box::pin(async { Err(ClientError::NotSupported("a managed cluster of Azure")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_managed_clusters_are_taken() {
        const GOOD: &str = "/subscriptions/00-1/resourceGroups/rg_(1)/providers/Microsoft.ContainerService/managedClusters/c";
        assert!(is_managed_cluster(GOOD));
        assert!(is_managed_cluster(&GOOD.to_lowercase()));
        for wrong in [
            "",
            "c",
            &GOOD[1..],
            &format!("{GOOD}/agentPools/p"),
            &GOOD.replace("/c", "/.."),
            &GOOD.replace("/c", "/c?x=1"),
            &GOOD.replace("/c", "/"),
            &GOOD.replace("managedClusters", "fleets"),
        ] {
            assert!(!is_managed_cluster(wrong), "{wrong}");
        }
    }
}
