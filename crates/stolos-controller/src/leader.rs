//! Leader election by a `Lease`: of several processes in one role, one works.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tracing::{info, warn};

use crate::{Clock, Readiness};

/// When a lease is renewed, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a lease holds without being renewed (KubeFleet's `leader-lease-duration`).
    duration: Duration,
    /// A leader that could not renew for so long stops working, well before another may begin.
    renew_deadline: Duration,
    /// Time between renewals, and between tries of those who wait.
    retry_period: Duration,
}

/// Those of KubeFleet's hub agent.
impl Default for Times {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(60),
            renew_deadline: Duration::from_secs(45),
            retry_period: Duration::from_secs(5),
        }
    }
}

/// Times with which two processes could lead at once, or none for long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// A lease is written in whole seconds.
    #[error("a lease of {0:?} is too short; it takes 1s at least")]
    Short(Duration),
    /// A leader must have stopped before another begins.
    #[error("the renew deadline of {0:?} must be shorter than the lease duration of {1:?}")]
    Deadline(Duration, Duration),
    /// A leader must try more than once.
    #[error(
        "the retry period of {0:?} must be more than zero and less than the renew deadline of {1:?}"
    )]
    Retry(Duration, Duration),
}

impl Times {
    /// Checks that times fit together.
    ///
    /// # Errors
    /// See [`TimesError`].
    pub fn new(
        duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimesError> {
        // Fractions of a second do not fit into a lease, so they do not count.
        let whole = Duration::from_secs(duration.as_secs());
        if whole.is_zero() {
            return Err(TimesError::Short(duration));
        }
        if renew_deadline >= whole {
            return Err(TimesError::Deadline(renew_deadline, duration));
        }
        if retry_period.is_zero() || retry_period >= renew_deadline {
            return Err(TimesError::Retry(retry_period, renew_deadline));
        }
        Ok(Self { duration: whole, renew_deadline, retry_period })
    }
}

/// What readiness calls the election.
const LEADER: &str = "leader election";

/// A lease and who wants it.
pub struct Lease {
    api: Api<LeaseObject>,
    namespace: String,
    name: String,
    identity: String,
    times: Times,
    readiness: Readiness,
    clock: Clock,
}

/// Why the work ended.
#[derive(Debug)]
pub struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the lease was not renewed in time; another process may hold it")
    }
}

impl std::error::Error for Lost {}

impl Lease {
    /// Names a lease. The identity of this process is its host name and process id.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, times: Times, clock: Clock) -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
        let identity = format!("{host}_{}_{}", std::process::id(), clock().as_nanosecond());
        let api = Api::namespaced(client, namespace);
        Self {
            api,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            times,
            readiness: Readiness::default(),
            clock,
        }
    }

    /// Says there whether it is known who leads.
    #[must_use]
    pub fn telling(mut self, readiness: Readiness) -> Self {
        readiness.waits_for(LEADER, ["who leads"]);
        self.readiness = readiness;
        self
    }

    /// Takes or renews the lease. Tells whether we hold it.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let now = (self.clock)();
        let held = self.api.get_opt(&self.name).await?;
        let result = match held {
            None => self.api.create(&PostParams::default(), &self.fresh(now)).await,
            Some(lease) if !self.may_take(&lease, now) => return Ok(false),
            Some(lease) => {
                let ours = self.taken(lease, now);
                self.api.replace(&self.name, &PostParams::default(), &ours).await
            }
        };
        match result {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn may_take(&self, lease: &LeaseObject, now: Timestamp) -> bool {
        let Some(spec) = &lease.spec else { return true };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let seconds = spec
            .lease_duration_seconds
            .map_or(self.times.duration.as_secs(), |s| u64::try_from(s).unwrap_or(0));
        let renewed = spec.renew_time.as_ref().map_or(Timestamp::MIN, |at| at.0);
        let age = now.duration_since(renewed);
        age > SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or(SignedDuration::MAX)
    }

    fn fresh(&self, now: Timestamp) -> LeaseObject {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        self.taken(LeaseObject { metadata, spec: None }, now)
    }

    fn taken(&self, mut lease: LeaseObject, now: Timestamp) -> LeaseObject {
        let now = MicroTime(now);
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.times.duration.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    /// Gives the lease back, so that another need not wait for its end.
    async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return;
        };
        spec.holder_identity = Some(String::new());
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            warn!(lease = %self.name, %error, "failed to give the lease back");
        }
    }
}

/// Waits for the lease, then works while it can be renewed.
///
/// # Errors
/// When the lease was lost; the work has been dropped by then.
pub async fn hold(lease: &Lease, work: impl Future<Output = ()>) -> Result<(), Lost> {
    loop {
        match lease.renew().await {
            Ok(true) => break,
            Ok(false) => lease.readiness.has(LEADER),
            Err(error) => warn!(lease = %lease.name, %error, "failed to take the lease"),
        }
        tokio::time::sleep(lease.times.retry_period).await;
    }
    lease.readiness.has(LEADER);
    info!(lease = %lease.name, identity = %lease.identity, "leading");
    let ended = tokio::select! {
        () = work => Ok(()),
        () = keep(lease) => Err(Lost),
    };
    lease.release().await;
    ended
}

/// Renews until that fails for too long or somebody else holds the lease.
async fn keep(lease: &Lease) {
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(lease.times.retry_period).await;
        match tokio::time::timeout(lease.times.renew_deadline, lease.renew()).await {
            Ok(Ok(true)) => renewed = tokio::time::Instant::now(),
            Ok(Ok(false)) => return,
            Ok(Err(error)) => warn!(lease = %lease.name, %error, "failed to renew the lease"),
            Err(_) => warn!(lease = %lease.name, "the API server does not answer"),
        }
        if renewed.elapsed() > lease.times.renew_deadline {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_must_let_one_stop_before_another_begins() {
        let times = |duration, deadline, retry| {
            Times::new(
                Duration::from_millis(duration),
                Duration::from_millis(deadline),
                Duration::from_millis(retry),
            )
        };
        assert_eq!(times(60_000, 45_000, 5_000), Ok(Times::default()));
        for (duration, deadline, retry, want) in [
            (999, 500, 100, "too short"),
            (15_000, 15_000, 2_000, "must be shorter"),
            // A lease of 1.9 s is written as one of 1 s.
            (1_900, 1_500, 100, "must be shorter"),
            (15_000, 10_000, 10_000, "less than the renew deadline"),
            (15_000, 10_000, 0, "more than zero"),
        ] {
            let error = times(duration, deadline, retry).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
