//! Cluster roles that are put together from others keep the rules of those.

use serde_json::Value;

use super::Context;
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::auth::rbac;
use crate::status::ApiError;
use crate::store::{Key, ListOptions, ResourceId};

const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";

/// Runs until the store closes.
pub(super) async fn run(context: Context) {
    let queue = Queue::new();
    let roles = ResourceId::from(CLUSTER_ROLES);
    // Any role may be part of any sum, and there are few sums: one key stands for all of them.
    let following = follow(&context.store, &roles, |seen| match seen {
        Seen::Listed(_) | Seen::Changed(_) => queue.push(()),
        Seen::Missed => {}
    });
    tokio::select! {
        () = following => {}
        () = queue.run(1, |()| aggregate(&context, &roles)) => {}
    }
}

async fn aggregate(context: &Context, roles: &ResourceId) -> Result<Next, ApiError> {
    let page = context.store.list(roles, &ListOptions::default());
    let versions = page.expect("the latest state never expires").items;
    let all: Vec<Value> = versions.iter().map(|version| version.object()).collect();
    let mut written = Ok(());
    for role in &all {
        let Some(rules) = rbac::aggregated_rules(role, &all) else { continue };
        let is_same = role["rules"] == rules
            || (role["rules"].is_null() && rules == Value::Array(Vec::new()));
        if is_same || role["metadata"]["deletionTimestamp"].is_string() {
            continue;
        }
        let key = Key::cluster_scoped(role["metadata"]["name"].as_str().unwrap_or_default());
        let path = format!("/apis/{}/v1/clusterroles/{}", rbac::GROUP, key.name);
        let mut wanted = role.clone();
        wanted["rules"] = rules;
        // One that is refused keeps no other from its rules.
        written = written.and(context.api.replace(&path, wanted).await);
    }
    written.map(|()| Next::Done)
}
