//! The checks of one pending gate.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use stolos_api::update::{Check, CheckStatus, Gate, Probe};
use stolos_controller::{Clock, Key};
use stolos_core::update::probe::{self, Found, Subject};
use tokio::sync::watch;
use tracing::debug;

use super::objects::looks;
use super::{Providers, cel, prometheus};

/// Pause after a write: what changes often is written in one.
const PAUSE: Duration = Duration::from_millis(200);

/// Wait before a write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What has to be looked at for a gate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) uid: String,
    pub(super) checks: Vec<Check>,
    /// The members of its stage or group: the name within the fleet, and the object.
    pub(super) members: Vec<(String, Key)>,
}

/// Makes the checks of a gate and writes what they find, at first that nothing is known: what was found before has not
/// been watched since.
pub(super) async fn look(
    key: Key,
    job: Job,
    hub: Client,
    providers: watch::Receiver<Providers>,
    clock: Clock,
) {
    let gates = Api::<Gate>::namespaced(hub, &key.namespace);
    let mut found: BTreeMap<Subject, Found> = BTreeMap::new();
    let mut probes = Vec::new();
    for check in &job.checks {
        for (subject, probe) in open(check, &job.members, &providers) {
            found.insert(subject.clone(), Found::unknown("not looked at yet"));
            probes.push(probe.map(move |found| (subject.clone(), found)).boxed());
        }
    }
    let mut news = stream::select_all(probes);
    let mut checks = probe::record(&[], &found, clock());
    let mut written = None;
    loop {
        if written.as_ref() != Some(&checks) {
            if !write(&gates, &key, &job.uid, &checks).await {
                return;
            }
            written = Some(checks.clone());
            tokio::time::sleep(PAUSE).await;
        }
        let Some(mut next) = news.next().await else { return };
        loop {
            found.insert(next.0, next.1);
            // One by one: a failure between two writes is a break in health too.
            checks = probe::record(&checks, &found, clock());
            let Some(Some(more)) = news.next().now_or_never() else { break };
            next = more;
        }
    }
}

type Probing = BoxStream<'static, Found>;

fn open(
    check: &Check,
    members: &[(String, Key)],
    providers: &watch::Receiver<Providers>,
) -> Vec<(Subject, Probing)> {
    let alone = || (check.name.clone(), None);
    let always = |found: Found| stream::once(async { found }).chain(stream::pending()).boxed();
    match &check.probe {
        Probe::Prometheus(probe) => vec![(alone(), prometheus::ask(probe.clone()))],
        Probe::Cel(_) if members.is_empty() => {
            let nobody = Some("there are no members to look at".to_owned());
            vec![(alone(), always(Found { message: nobody, ..Found::passing() }))]
        }
        Probe::Cel(probe) => match cel::open(probe) {
            Err(error) => vec![(alone(), always(Found::unknown(&error)))],
            Ok(open) => {
                let look = |(name, key): &(String, Key)| {
                    let looks = looks(key.clone(), providers.clone(), open.clone());
                    let found = looks.map(|look| match look {
                        Ok(objects) => Found::of_objects(&objects),
                        Err(reason) => Found::unknown(&reason),
                    });
                    ((check.name.clone(), Some(name.clone())), found.boxed())
                };
                members.iter().map(look).collect()
            }
        },
    }
}

/// Writes until it is done. Returns whether the gate is still there.
async fn write(gates: &Api<Gate>, key: &Key, uid: &str, checks: &[CheckStatus]) -> bool {
    let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "status": {"checks": checks}}));
    loop {
        match gates.patch_status(&key.name, &PatchParams::default(), &patch).await {
            Ok(_) => return true,
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                return false;
            }
            Err(error) => debug!(%error, gate = %key.name, "failed to write what checks found"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
