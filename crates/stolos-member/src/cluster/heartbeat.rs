//! Heartbeats: the agent's sign of life with the health and the properties of its cluster.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ListParams, PostParams};
use stolos_api::cluster::names::{agent, condition as type_, reason};
use stolos_api::cluster::{
    AgentStatus, InternalMemberCluster, InternalMemberClusterStatus, PropertyValue,
};
use stolos_core::cluster::costs::Costs;
use stolos_core::cluster::properties;
use stolos_core::cluster::provider::Provider;
use stolos_core::condition;

use crate::Context;
use crate::failure::told;

/// How long a member may take to answer one of the two questions of a heartbeat (placement-clusters 2.4).
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells whether the agent has reported on the present generation.
pub(crate) fn is_current(internal: &InternalMemberCluster) -> bool {
    joined_is(internal, "True")
}

/// Tells whether the agent has reported that it left.
pub(crate) fn has_left(internal: &InternalMemberCluster) -> bool {
    joined_is(internal, "False")
}

fn joined_is(internal: &InternalMemberCluster, status: &str) -> bool {
    let generation = internal.metadata.generation.unwrap_or(0);
    let agent = internal.status.as_ref().and_then(|status| status.agent(agent::MEMBER_AGENT));
    let joined =
        agent.and_then(|agent| condition::current(&agent.conditions, type_::JOINED, generation));
    joined.is_some_and(|joined| joined.status == status)
}

/// Reports that the agent works, with the health and the properties of the member.
///
/// # Errors
/// When the hub does not take the report. A member that does not answer is reported as unhealthy.
pub(crate) async fn report(
    context: &Context,
    internal: &InternalMemberCluster,
) -> Result<InternalMemberCluster, kube::Error> {
    let ready = within(PATIENCE, ready(context)).await;
    let collected = match &ready {
        Ok(()) => Some(within(PATIENCE, collect(context)).await),
        // Who is not ready is not asked for more; what it said before stands.
        Err(_) => None,
    };
    let now = (context.clock)();
    let (healthy, why, message) = match &ready {
        Ok(()) => ("True", reason::INTERNAL_MEMBER_CLUSTER_HEALTHY, String::new()),
        Err(trouble) => {
            ("False", reason::INTERNAL_MEMBER_CLUSTER_UNHEALTHY, trouble.message.clone())
        }
    };
    write(context, internal, |status, generation| {
        match collected {
            Some(Ok(cluster)) => {
                tell(status, cluster, &context.provider, generation, now);
                let told = context.network.property();
                status.properties.extend(told.map(|(name, value)| property(name, value, now)));
            }
            Some(Err(Trouble { reason, message })) => {
                let type_ = type_::PROPERTY_COLLECTION_SUCCEEDED;
                let failed = condition::new(type_, "False", reason, &message, generation, now);
                condition::set(&mut status.conditions, failed);
            }
            None => {}
        }
        let agent = agent_of(status);
        agent.last_received_heartbeat = Some(condition::time(now));
        condition::set(
            &mut agent.conditions,
            condition::new(type_::HEALTHY, healthy, why, &message, generation, now),
        );
        set_joined(agent, "True", reason::INTERNAL_MEMBER_CLUSTER_JOINED, generation, now);
    })
    .await
}

fn property(name: &str, value: &str, now: Timestamp) -> (String, PropertyValue) {
    let (value, observation_time) = (value.to_owned(), condition::time(now));
    (name.to_owned(), PropertyValue { value, observation_time })
}

/// Tells what was collected.
fn tell(
    status: &mut InternalMemberClusterStatus,
    cluster: Cluster,
    provider: &Provider,
    generation: i64,
    now: Timestamp,
) {
    status.properties = properties::properties(&cluster.nodes, cluster.version.as_deref(), now);
    let costs = provider.costs(&cluster.nodes);
    let costs_told = costs.iter().flat_map(Costs::properties);
    status.properties.extend(costs_told.map(|(name, value)| property(name, &value, now)));
    let mut usage = properties::usage(&cluster.nodes, &cluster.pods, now);
    provider.narrow(&mut usage);
    status.resource_usage = Some(usage);
    let (type_, why) = (type_::PROPERTY_COLLECTION_SUCCEEDED, reason::PROPERTIES_COLLECTED);
    let mut told = vec![(type_, "True", why, String::new())];
    let of_provider = provider.told(costs.as_ref());
    if costs.is_none() {
        status.conditions.retain(|told| told.type_ != type_::COST_COLLECTION_SUCCEEDED);
    }
    told.extend(of_provider.into_iter().map(|told| {
        let holds = if told.holds { "True" } else { "False" };
        (told.type_, holds, told.reason, told.message)
    }));
    if let Some(namespaces) = cluster.namespaces {
        let (listed, is_complete) = properties::namespaces(&namespaces);
        let (holds, why) =
            if is_complete { ("True", reason::SUCCEEDED) } else { ("False", reason::DEGRADED) };
        told.push((type_::NAMESPACE_COLLECTION_SUCCEEDED, holds, why, String::new()));
        status.namespaces = Some(listed);
    } else {
        status.namespaces = None;
        status.conditions.retain(|told| told.type_ != type_::NAMESPACE_COLLECTION_SUCCEEDED);
    }
    for (type_, holds, why, message) in told {
        let told = condition::new(type_, holds, why, &message, generation, now);
        condition::set(&mut status.conditions, told);
    }
}

/// Reports that the agent has let go of everything.
///
/// # Errors
/// When the hub does not take the report.
pub(crate) async fn report_left(
    context: &Context,
    internal: &InternalMemberCluster,
) -> Result<InternalMemberCluster, kube::Error> {
    let now = (context.clock)();
    write(context, internal, |status, generation| {
        let agent = agent_of(status);
        agent.last_received_heartbeat = Some(condition::time(now));
        set_joined(agent, "False", reason::INTERNAL_MEMBER_CLUSTER_LEFT, generation, now);
    })
    .await
}

fn agent_of(status: &mut InternalMemberClusterStatus) -> &mut AgentStatus {
    let position = status.agent_status.iter().position(|agent| agent.type_ == agent::MEMBER_AGENT);
    let position = position.unwrap_or_else(|| {
        let type_ = agent::MEMBER_AGENT.to_owned();
        status.agent_status.push(AgentStatus { type_, ..AgentStatus::default() });
        status.agent_status.len() - 1
    });
    &mut status.agent_status[position]
}

fn set_joined(agent: &mut AgentStatus, status: &str, why: &str, generation: i64, now: Timestamp) {
    condition::set(
        &mut agent.conditions,
        condition::new(type_::JOINED, status, why, "", generation, now),
    );
}

async fn write(
    context: &Context,
    internal: &InternalMemberCluster,
    change: impl FnOnce(&mut InternalMemberClusterStatus, i64),
) -> Result<InternalMemberCluster, kube::Error> {
    let mut reported = internal.clone();
    let generation = internal.metadata.generation.unwrap_or(0);
    change(reported.status.get_or_insert_default(), generation);
    let namespace = internal.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<InternalMemberCluster> = Api::namespaced(context.hub.clone(), namespace);
    let name = internal.metadata.name.as_deref().unwrap_or_default();
    api.replace_status(name, &PostParams::default(), &reported).await
}

/// What a heartbeat looks at.
struct Cluster {
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    version: Option<String>,
    /// Absent unless they are to be told.
    namespaces: Option<Vec<Namespace>>,
}

/// Why a member did not answer a question.
#[derive(Debug, PartialEq)]
struct Trouble {
    reason: &'static str,
    message: String,
}

/// Waits for an answer of the member, but not for ever: a heartbeat must not stop because its member hangs.
async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Trouble { reason: reason::COLLECTION_FAILED, message: told(&error) }),
        Err(_) => {
            let message = format!("the member did not answer within {patience:?}");
            Err(Trouble { reason: reason::TIMED_OUT, message })
        }
    }
}

/// Asks whether the member's API server is ready.
async fn ready(context: &Context) -> Result<(), kube::Error> {
    let ready = http::Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError)?;
    context.member.request_text(ready).await.map(drop)
}

async fn collect(context: &Context) -> Result<Cluster, kube::Error> {
    let member = &context.member;
    let all = ListParams::default();
    Ok(Cluster {
        nodes: Api::<Node>::all(member.clone()).list(&all).await?.items,
        pods: Api::<Pod>::all(member.clone()).list(&all).await?.items,
        namespaces: if context.collect_namespaces {
            Some(Api::<Namespace>::all(member.clone()).list(&all).await?.items)
        } else {
            None
        },
        version: member.apiserver_version().await.ok().map(|version| version.git_version),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::Config;

    /// Answers by the path alone; a PUT gets its body back.
    fn answering(answer: fn(&str) -> (u16, String)) -> Client {
        let service = tower::service_fn(move |request: http::Request<Body>| async move {
            let path = request.uri().path().to_owned();
            let (code, body) = if request.method() == http::Method::PUT {
                (200, request.into_body().collect_bytes().await.unwrap().to_vec())
            } else {
                let (code, body) = answer(&path);
                (code, body.into_bytes())
            };
            let response = http::Response::builder().status(code).body(Body::from(body)).unwrap();
            Ok::<_, std::convert::Infallible>(response)
        });
        Client::new(service, "default")
    }

    async fn reported(answer: fn(&str) -> (u16, String)) -> Vec<String> {
        let context = Arc::new(Config {
            name: "m".to_owned(),
            hub: answering(|_| (404, String::new())),
            member: answering(answer),
            clock: Arc::new(|| Timestamp::UNIX_EPOCH),
            deletion_wait: crate::DELETION_WAIT,
            collect_namespaces: false,
            metrics: Arc::default(),
            readiness: stolos_controller::Readiness::default(),
            provider: Provider::default(),
            network: crate::network::Options::default(),
        });
        let internal: InternalMemberCluster = serde_json::from_value(json!({
            "metadata": {"name": "m", "namespace": "fleet-member-m"}, "spec": {"state": "Join"},
        }))
        .unwrap();
        let status = report(&context, &internal).await.unwrap().status.unwrap();
        let of_agent = status.agent_status.iter().flat_map(|agent| &agent.conditions);
        let conditions = status.conditions.iter().chain(of_agent);
        conditions.map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect()
    }

    fn empty_list() -> (u16, String) {
        (200, json!({"metadata": {}, "items": []}).to_string())
    }

    #[tokio::test]
    async fn who_is_ready_is_healthy_even_if_properties_cannot_be_collected() {
        let told = reported(|path| match path {
            "/readyz" => (200, "ok".to_owned()),
            "/api/v1/pods" => (403, json!({"status": "Failure", "code": 403}).to_string()),
            _ => empty_list(),
        })
        .await;
        assert_eq!(
            told,
            [
                "ClusterPropertyCollectionSucceeded False CollectionFailed",
                "Healthy True InternalMemberClusterHealthy",
                "Joined True InternalMemberClusterJoined",
            ]
        );
    }

    #[tokio::test]
    async fn who_is_not_ready_is_not_healthy() {
        let told = reported(|path| match path {
            "/readyz" => (403, "etcd failed".to_owned()),
            _ => empty_list(),
        })
        .await;
        assert_eq!(
            told,
            [
                "Healthy False InternalMemberClusterUnhealthy",
                "Joined True InternalMemberClusterJoined",
            ]
        );
    }

    #[tokio::test]
    async fn a_member_that_hangs_is_not_waited_for() {
        let hangs = std::future::pending::<Result<(), kube::Error>>();
        let trouble = within(Duration::from_millis(1), hangs).await.unwrap_err();
        assert_eq!(trouble.reason, "TimedOut");
    }
}
