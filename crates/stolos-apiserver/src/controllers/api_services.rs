//! `APIServices`: one for each group and version that is served. All are local, and nothing is routed by them; clients list
//! them, wait for them, and read from them in which order groups come.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Context;
use super::api::Propagation;
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::names::GroupVersion;
use crate::registry::Snapshot;
use crate::status::ApiError;
use crate::store::{Key, ListOptions, ResourceId};

const STORAGE: &str = "apiservices.apiregistration.k8s.io";
const COLLECTION: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// Tells the services that the server keeps from those of others.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Value for services that are made once, when the server starts.
const ON_START: &str = "onstart";
/// Value for services that follow what is served.
const ALWAYS: &str = "true";
/// Priorities of the groups and versions of custom resources.
const CUSTOM: (i64, i64) = (1000, 100);

/// Priorities of built-in groups and of their versions; the highest comes first.
const BUILTIN: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
];

/// Creates the services of built-in groups that are missing, all at once: a store on disk then syncs once or twice.
pub(super) async fn create_builtin(context: &Context) -> Result<(), ApiError> {
    let services = ResourceId::from(STORAGE);
    // Whoever configures admission must not keep the server from starting.
    let api = context.api.without_admission();
    let creations = BUILTIN.iter().filter_map(|&(group, version, of_group, of_version)| {
        let group_version = GroupVersion::new(group, version);
        let key = Key::cluster_scoped(&name(&group_version));
        let is_missing = context.store.get(&services, &key).is_none();
        let service = service(&group_version, (of_group, of_version), ON_START);
        is_missing.then(|| api.ensure(COLLECTION, service))
    });
    try_join_all(creations).await.map(drop)
}

/// Keeps the services of custom resources; runs until the store closes.
pub(super) async fn run(context: Context) {
    let queue = Queue::new();
    let services = ResourceId::from(STORAGE);
    // There are few services, and one look at what is served tells of all: one key stands for them.
    let following = follow(&context.store, &services, |seen| match seen {
        Seen::Listed(_) | Seen::Changed(_) => queue.push(()),
        Seen::Missed => {}
    });
    let mut registry_changes = context.registry.subscribe();
    let publication = async {
        loop {
            queue.push(());
            if registry_changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = publication => {}
        () = queue.run(1, |()| settle(&context, &services)) => {}
    }
}

async fn settle(context: &Context, services: &ResourceId) -> Result<Next, ApiError> {
    let page = context.store.list(services, &ListOptions::default());
    let mut wanted = wanted(&context.registry.snapshot());
    // One that is refused keeps no other away.
    let mut written = Ok(());
    for found in page.expect("the latest state never expires").items {
        let object = found.object();
        let is_ours = object["metadata"]["labels"][MANAGED] == ALWAYS;
        let path = format!("{COLLECTION}/{}", found.key.name);
        match wanted.remove(&found.key.name) {
            None if is_ours && !found.attributes.deleting => {
                let deleted = context.api.delete(&path, &found, Propagation::Background).await;
                written = written.and(deleted);
            }
            Some(service) if is_ours && object["spec"] != service["spec"] => {
                let mut object = object;
                object["spec"] = service["spec"].clone();
                written = written.and(context.api.replace(&path, object).await);
            }
            None | Some(_) => {}
        }
    }
    for service in wanted.into_values() {
        written = written.and(context.api.ensure(COLLECTION, service).await);
    }
    written.map(|()| Next::Done)
}

/// Returns the services of custom resources by name.
fn wanted(snapshot: &Snapshot) -> BTreeMap<String, Value> {
    let served = snapshot.all().iter().filter(|row| row.custom).map(|row| &row.group_version);
    served
        .filter(|served| !is_builtin(served))
        .map(|served| (name(served), service(served, CUSTOM, ALWAYS)))
        .collect()
}

fn is_builtin(served: &GroupVersion) -> bool {
    BUILTIN.iter().any(|(group, version, ..)| served.group == *group && served.version == *version)
}

fn name(of: &GroupVersion) -> String {
    format!("{}.{}", of.version, of.group)
}

fn service(of: &GroupVersion, (group, version): (i64, i64), managed: &str) -> Value {
    let mut spec = json!({
        "version": of.version, "groupPriorityMinimum": group, "versionPriority": version,
    });
    if !of.group.is_empty() {
        spec["group"] = json!(of.group);
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name(of), "labels": {MANAGED: managed}},
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn every_built_in_group_and_version_but_that_of_services_has_one() {
        for row in Registry::builtin().all() {
            let served = &row.group_version;
            assert_eq!(is_builtin(served), served.group != "apiregistration.k8s.io", "{served}");
        }
        assert!(wanted(&Registry::builtin().snapshot()).is_empty());
    }
}
