//! Pre-flight checks of one member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

use super::objects::{Look, Open, looks, watch_judged};
use super::{Fact, Providers};

/// How long the first look may take. Runs that ask for the checks wait for it.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Every check; those that no run asks for cost a watch.
const CHECKS: [PreflightCheck; 2] =
    [PreflightCheck::NodesReady, PreflightCheck::PodDisruptionBudgets];

/// Tells what pre-flight checks find on a member, at first when all have been made, then after each change.
pub(super) async fn look(
    member: Key,
    providers: watch::Receiver<Providers>,
    facts: mpsc::Sender<Fact>,
) {
    let checks = CHECKS.map(|check| {
        let looks = looks(member.clone(), providers.clone(), open(check));
        looks.map(move |look| (check, look)).boxed()
    });
    let mut looks = stream::select_all(checks);
    let mut found = BTreeMap::new();
    let mut told = None;
    let patience = tokio::time::sleep(FIRST_LOOK);
    tokio::pin!(patience);
    let mut late = false;
    loop {
        tokio::select! {
            Some((check, look)) = looks.next() => {
                found.insert(check, problem(look));
            }
            () = &mut patience, if !late => late = true,
        }
        if !late && found.len() < CHECKS.len() {
            continue;
        }
        let findings = CHECKS.map(|check| {
            let silent = || Some("the cluster does not answer".to_owned());
            Finding { check, problem: found.get(&check).cloned().unwrap_or_else(silent) }
        });
        if told.as_ref() != Some(&findings) {
            let fact = Fact::Preflight { member: member.clone(), findings: findings.to_vec() };
            if facts.send(fact).await.is_err() {
                return;
            }
            told = Some(findings);
        }
    }
}

fn problem(look: Look) -> Option<String> {
    match look {
        Ok(objects) => probe::summary(&objects),
        Err(reason) => Some(reason),
    }
}

fn open(check: PreflightCheck) -> Open {
    Arc::new(move |client: Client| {
        let any = watcher::Config::default();
        let looks = match check {
            PreflightCheck::NodesReady => watch_judged(Api::<Node>::all(client), any, node_problem),
            PreflightCheck::PodDisruptionBudgets => {
                watch_judged(Api::<PodDisruptionBudget>::all(client), any, budget_problem)
            }
        };
        async { Ok(looks) }.boxed()
    })
}
