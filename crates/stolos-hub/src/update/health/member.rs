//! Pre-flight checks of one member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher;
use stolos_api::update::PreflightCheck;
use stolos_controller::Key;
use stolos_core::update::cluster::Finding;
use stolos_core::update::preflight::{budget_problem, node_problem};
use stolos_core::update::probe;
use tokio::sync::{mpsc, watch};

use super::objects::{Look, looks, watch_judged};
use super::{Fact, Providers, metrics};

/// How long the first look may take. Runs that ask for the checks wait for it.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Tells what pre-flight checks find on a member, at first when all have been made, then after each change.
pub(super) async fn look(
    member: Key,
    checks: BTreeSet<PreflightCheck>,
    providers: watch::Receiver<Providers>,
    facts: mpsc::Sender<Fact>,
) {
    let findings = checks.iter().map(|check| findings(&member, *check, &providers));
    let mut findings = stream::select_all(findings);
    let mut found = BTreeMap::new();
    let mut told = None;
    let patience = tokio::time::sleep(FIRST_LOOK);
    tokio::pin!(patience);
    let mut late = false;
    loop {
        tokio::select! {
            Some(finding) = findings.next() => {
                found.insert(finding.check, finding);
            }
            () = &mut patience, if !late => late = true,
        }
        if !late && found.len() < checks.len() {
            continue;
        }
        let all = checks.iter().map(|check| {
            let silent = || Finding::new(*check, Some("the cluster does not answer".into()));
            found.get(check).cloned().unwrap_or_else(silent)
        });
        let all: Vec<Finding> = all.collect();
        if told.as_ref() != Some(&all) {
            let fact = Fact::Preflight { member: member.clone(), findings: all.clone() };
            if facts.send(fact).await.is_err() {
                return;
            }
            told = Some(all);
        }
    }
}

/// Returns what one check finds, again after each change.
fn findings(
    member: &Key,
    check: PreflightCheck,
    providers: &watch::Receiver<Providers>,
) -> BoxStream<'static, Finding> {
    let (member, providers) = (member.clone(), providers.clone());
    let judged = move |look: Look| {
        let problem = look.map_or_else(Some, |objects| probe::summary(&objects));
        Finding::new(check, problem)
    };
    let any = watcher::Config::default;
    match check {
        PreflightCheck::NodesReady => {
            let open = move |client: Client| {
                let looks = watch_judged(Api::<Node>::all(client), any(), node_problem);
                async { Ok(looks) }.boxed()
            };
            looks(member, providers, Arc::new(open)).map(judged).boxed()
        }
        PreflightCheck::PodDisruptionBudgets => {
            let open = move |client: Client| {
                let budgets = Api::<PodDisruptionBudget>::all(client);
                let looks = watch_judged(budgets, any(), budget_problem);
                async { Ok(looks) }.boxed()
            };
            looks(member, providers, Arc::new(open)).map(judged).boxed()
        }
        PreflightCheck::DeprecatedApis => {
            let open = |client: Client| async { Ok(metrics::read(client)) }.boxed();
            let read = looks(member, providers, Arc::new(open));
            let finding = move |look: Look<_>| match look {
                Ok(requested) => Finding { requested, ..Finding::new(check, None) },
                Err(reason) => Finding::new(check, Some(reason)),
            };
            read.map(finding).boxed()
        }
    }
}
