//! Flow schemas say in their status whether the priority level that they name is there.

use futures::future::join_all;
use serde_json::{Value, json};

use super::Context;
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::rest::meta;
use crate::schema::builtin::flows::API_VERSION;
use crate::status::ApiError;
use crate::store::{Key, ListOptions, ResourceId};

const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
/// Name under which upstream writes.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Brings the schemas that are there up to date, so that a cluster that begins is at rest. What fails is tried again by
/// [`run`].
pub(super) async fn catch_up(context: &Context) {
    let (schemas, levels) = (ResourceId::from(SCHEMAS), ResourceId::from(LEVELS));
    let keys = keys(context, &schemas);
    join_all(keys.into_iter().map(|key| check(context, &schemas, &levels, key))).await;
}

/// Runs until the store closes.
pub(super) async fn run(context: Context) {
    let queue = Queue::new();
    let (schemas, levels) = (ResourceId::from(SCHEMAS), ResourceId::from(LEVELS));
    let of_schemas = follow(&context.store, &schemas, |seen| match seen {
        Seen::Listed(version) => queue.push(version.key.clone()),
        Seen::Changed(event) if !event.deleted => queue.push(event.current.key.clone()),
        Seen::Changed(_) | Seen::Missed => {}
    });
    let of_levels = follow(&context.store, &levels, |seen| match seen {
        // A level that changes is there before and after; there are few schemas to look at.
        Seen::Listed(_) | Seen::Changed(_) => {
            for key in keys(&context, &schemas) {
                queue.push(key);
            }
        }
        Seen::Missed => {}
    });
    tokio::select! {
        () = of_schemas => {}
        () = of_levels => {}
        () = queue.run(1, |key| check(&context, &schemas, &levels, key)) => {}
    }
}

fn keys(context: &Context, schemas: &ResourceId) -> Vec<Key> {
    let page = context.store.list(schemas, &ListOptions::default());
    let versions = page.expect("the latest state never expires").items;
    versions.iter().map(|version| version.key.clone()).collect()
}

async fn check(
    context: &Context,
    schemas: &ResourceId,
    levels: &ResourceId,
    key: Key,
) -> Result<Next, ApiError> {
    let Some(version) = context.store.get(schemas, &key) else { return Ok(Next::Done) };
    let schema = version.object();
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let exists = context.store.get(levels, &Key::cluster_scoped(level)).is_some();
    let Some(mut condition) = dangling(&schema, level, exists) else { return Ok(Next::Done) };
    condition["lastTransitionTime"] = meta::seconds(context.clock.now()).into();
    let status = json!({
        "apiVersion": API_VERSION, "kind": "FlowSchema", "metadata": { "name": key.name },
        "status": { "conditions": [condition] },
    });
    let path = format!(
        "/apis/{API_VERSION}/flowschemas/{}/status?fieldManager={MANAGER}&force=true",
        key.name
    );
    context.api.apply(&path, status).await?;
    Ok(Next::Done)
}

/// Returns the condition to write, or nothing where the schema says so already.
fn dangling(schema: &Value, level: &str, exists: bool) -> Option<Value> {
    let (status, reason, what) = if exists {
        ("False", "Found", "it exists")
    } else {
        ("True", "NotFound", "there is no such object")
    };
    let joined = if exists { "and" } else { "but" };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {joined} {what}"
    );
    let mut conditions = schema["status"]["conditions"].as_array().into_iter().flatten();
    let says_so = conditions.any(|condition| {
        condition["type"] == "Dangling"
            && condition["status"] == status
            && condition["message"] == message
    });
    let condition =
        json!({ "type": "Dangling", "status": status, "reason": reason, "message": message });
    (!says_so).then_some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_dangles_until_its_level_is_there() {
        let condition = dangling(&json!({}), "mine", false).unwrap();
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("True"), &json!("NotFound"))
        );
        let schema = json!({ "status": { "conditions": [condition] } });
        assert_eq!(dangling(&schema, "mine", false), None);
        assert_eq!(dangling(&schema, "mine", true).unwrap()["status"], "False");
        assert_ne!(dangling(&schema, "other", false), None, "the text names another level");
    }
}
