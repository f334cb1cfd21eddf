//! Looks at a managed cluster again and again, and takes its upgrade from step to step.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, Stream};
use http::{Method, StatusCode};
use rand::RngExt;
use serde_json::{Value, json};
use stolos_core::update::cluster::{Inspection, Operation};
use tracing::debug;

use super::arm::{LongOperation, Outcome};
use super::http::Error;
use super::inspect::{self, Seen, pools, text};
use super::progress::{self, Step};
use super::{Aks, Upgrade};
use crate::Observation;

/// How often one part is written in one attempt. Azure may end a write without its effect; then it is asked again, but
/// not for ever.
const MAX_WRITES: u32 = 3;

/// How often Azure may leave one write of an attempt without an answer, or throttle it after all repetitions. By the
/// usual interval this is half an hour.
const MAX_UNANSWERED: u32 = 30;

/// Yields what is seen, for ever. Requests are made while the stream is polled.
pub(super) fn follow(aks: Aks) -> impl Stream<Item = Observation> + Send {
    let follower = Follower { aks, seen: None, long: None, wait: Duration::ZERO, last: None };
    stream::unfold(follower, |mut follower| async move {
        let seen = follower.next().await;
        Some((seen, follower))
    })
}

struct Follower {
    aks: Aks,
    seen: Option<Seen>,
    /// The long operation of the current step.
    long: Option<LongOperation>,
    /// Until the next look.
    wait: Duration,
    last: Option<Observation>,
}

impl Follower {
    async fn next(&mut self) -> Observation {
        loop {
            if !self.wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(self.wait) => {}
                    () = self.aks.upgrades.0.changed.notified(), if self.long.is_none() => {}
                }
            }
            self.wait = self.quiet_wait();
            let cluster = match self.look().await {
                Ok(inspection) => inspection,
                Err(error) => {
                    debug!(%error, cluster = self.aks.id, "Azure did not answer as hoped");
                    if let Some(asked) = error.retry_after() {
                        self.wait = self.wait.max(self.aks.arm.paced(asked));
                    }
                    Inspection::Unknown(error.to_string())
                }
            };
            let seen = Observation { cluster, operations: self.aks.upgrades.operations() };
            if self.last.as_ref() != Some(&seen) {
                self.last = Some(seen.clone());
                return seen;
            }
        }
    }

    /// Returns the interval with jitter: many clusters must not be looked at in step.
    fn quiet_wait(&self) -> Duration {
        self.aks.pace.interval.mul_f64(rand::rng().random_range(0.9..1.1))
    }

    async fn look(&mut self) -> Result<Inspection, Error> {
        self.follow_long_operation().await?;
        if self.long.is_none() || self.seen.is_none() {
            self.read().await?;
        }
        if self.long.is_none()
            && let Some(upgrade) = self.aks.upgrades.running()
        {
            self.advance(&upgrade).await?;
        }
        let upgrade = self.aks.upgrades.running().map(|upgrade| upgrade.id);
        let Some(seen) = &self.seen else { return Ok(Inspection::Unknown("not read".into())) };
        Ok(match inspect::inspect(seen, upgrade.as_deref()) {
            Ok(cluster) => Inspection::Known(cluster),
            Err(reason) => Inspection::Unknown(reason),
        })
    }

    async fn follow_long_operation(&mut self) -> Result<(), Error> {
        let Some(LongOperation { url: Some(url), .. }) = &self.long else {
            // Without a place to look at, the state of the cluster tells.
            self.long = None;
            return Ok(());
        };
        match self.aks.arm.poll(url).await {
            Ok(Outcome::Running { wait }) => self.wait = wait,
            Ok(Outcome::Failed { code, message }) => {
                self.long = None;
                if let Some(upgrade) = self.aks.upgrades.running() {
                    self.aks.upgrades.set(&upgrade.id, Operation::Failed { code, message });
                }
            }
            // Azure forgets operations after a while; the state of the cluster tells.
            Ok(Outcome::Succeeded)
            | Err(Error::Refused { status: StatusCode::NOT_FOUND | StatusCode::GONE, .. }) => {
                self.long = None;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads the cluster and what it is offered.
    async fn read(&mut self) -> Result<(), Error> {
        let (arm, id) = (&self.aks.arm, &self.aks.id);
        let cluster = arm.get(id).await?;
        let offers = arm.get(&format!("{id}/upgradeProfiles/default")).await?;
        let (mut newest_images, mut recent_images) = (BTreeMap::new(), BTreeMap::new());
        for pool in pools(&cluster) {
            let Some(name) = text(pool, "/name") else { continue };
            let profile = arm.get(&format!("{id}/agentPools/{name}/upgradeProfiles/default")).await;
            // A pool that is being deleted has none.
            let profile = match profile {
                Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => continue,
                profile => profile?,
            };
            recent_images.insert(name.to_owned(), inspect::recent_images(pool, &profile));
            let newest = text(&profile, "/properties/latestNodeImageVersion");
            if let Some(newest) = newest.and_then(|image| image.parse().ok()) {
                newest_images.insert(name.to_owned(), newest);
            }
        }
        let maintenance = arm.get(&format!("{id}/maintenanceConfigurations")).await?;
        let region_versions = match text(&cluster, "/location") {
            Some(location) if inspect::has_long_term_support(&cluster) => {
                let subscription: String = id.split_inclusive('/').take(3).collect();
                let path = format!(
                    "{subscription}providers/Microsoft.ContainerService/locations/{location}/kubernetesVersions"
                );
                arm.get(&path).await?
            }
            _ => Value::Null,
        };
        self.seen = Some(Seen {
            cluster,
            offers,
            newest_images,
            recent_images,
            maintenance,
            region_versions,
        });
        Ok(())
    }

    async fn advance(&mut self, upgrade: &Upgrade) -> Result<(), Error> {
        let Some(seen) = &self.seen else { return Ok(()) };
        let step = progress::next(seen, &upgrade.target);
        let set = |operation| self.aks.upgrades.set(&upgrade.id, operation);
        let outcome = match &step {
            Step::Wait(message) => Some(Operation::Running(Some(message.clone()))),
            Step::Done => Some(Operation::Done(Some(step.message()))),
            Step::Failed { code, message } => {
                Some(Operation::Failed { code: (*code).to_owned(), message: message.clone() })
            }
            Step::PutCluster { .. }
            | Step::PutPool { .. }
            | Step::UpgradeImage { .. }
            | Step::PutImage { .. } => None,
        };
        if let Some(outcome) = outcome {
            set(outcome);
            return Ok(());
        }
        if let Some(part) = step.key()
            && self.aks.upgrades.count(&upgrade.id, part) > MAX_WRITES
        {
            let message =
                format!("{}: asked for {MAX_WRITES} times without effect", step.message());
            set(Operation::Failed { code: "NoEffect".into(), message });
            return Ok(());
        }
        match self.write(&step).await {
            Ok(long) => {
                self.wait = long.wait;
                self.long = Some(long);
                set(Operation::Running(Some(step.message())));
                Ok(())
            }
            // Somebody else was faster; the next look tells what there is.
            Err(Error::Refused {
                status: StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED,
                code,
                message,
                retry_after,
            }) => {
                self.aks.upgrades.forgive(&upgrade.id, step.key());
                if let Some(asked) = retry_after {
                    self.wait = self.aks.arm.paced(asked);
                }
                set(Operation::Running(Some(format!("the cluster is busy: {code}: {message}"))));
                Ok(())
            }
            Err(Error::Refused { status, code, message, .. })
                if status.is_client_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                    && status != StatusCode::UNAUTHORIZED =>
            {
                set(Operation::Failed { code, message });
                Ok(())
            }
            Err(error) => self.unanswered(&upgrade.id, &step, error),
        }
    }

    /// A write may have been accepted or not; the next look tells.
    fn unanswered(&self, id: &str, step: &Step, error: Error) -> Result<(), Error> {
        let upgrades = &self.aks.upgrades;
        upgrades.forgive(id, step.key());
        let part = format!("{}, unanswered", step.key().unwrap_or_default());
        if upgrades.count(id, part) <= MAX_UNANSWERED {
            return Err(error);
        }
        let message = format!(
            "{}: asked for {MAX_UNANSWERED} times without an answer; the last: {error}",
            step.message()
        );
        upgrades.set(id, Operation::Failed { code: "NoAnswer".into(), message });
        Ok(())
    }

    async fn write(&self, step: &Step) -> Result<LongOperation, Error> {
        let (arm, id) = (&self.aks.arm, &self.aks.id);
        match step {
            Step::PutCluster { body, etag, .. } => {
                arm.write(Method::PUT, id, etag.as_deref(), Some(body)).await
            }
            Step::PutPool { pool, version } => {
                self.put_pool(pool, "orchestratorVersion", &version.to_string()).await
            }
            Step::PutImage { pool, image } => {
                self.put_pool(pool, "nodeImageVersion", image.as_str()).await
            }
            Step::UpgradeImage { pool } => {
                let path = format!("{id}/agentPools/{pool}/upgradeNodeImageVersion");
                arm.write(Method::POST, &path, None, None::<&Value>).await
            }
            Step::Wait(_) | Step::Done | Step::Failed { .. } => {
                Ok(LongOperation { url: None, wait: Duration::ZERO })
            }
        }
    }

    /// Writes a pool as it is but for one property.
    async fn put_pool(
        &self,
        pool: &str,
        property: &str,
        value: &str,
    ) -> Result<LongOperation, Error> {
        let path = format!("{}/agentPools/{pool}", self.aks.id);
        let mut body = self.aks.arm.get(&path).await?;
        body["properties"][property] = json!(value);
        let etag = ["/properties/eTag", "/eTag"].iter().find_map(|at| text(&body, at));
        let etag = etag.map(str::to_owned);
        self.aks.arm.write(Method::PUT, &path, etag.as_deref(), Some(&body)).await
    }
}
