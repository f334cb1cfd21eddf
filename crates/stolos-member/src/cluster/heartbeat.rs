//! Heartbeats: the agent's sign of life with the health and the properties of its cluster.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ListParams, PostParams};
use stolos_api::cluster::names::{agent, condition as type_, reason};
use stolos_api::cluster::{AgentStatus, InternalMemberCluster, InternalMemberClusterStatus};
use stolos_core::cluster::properties;
use stolos_core::condition;

use crate::Context;
use crate::failure::told;

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
    let now = (context.clock)();
    let observed = observe(context).await;
    let (healthy, why, message) = match &observed {
        Ok(_) => ("True", reason::INTERNAL_MEMBER_CLUSTER_HEALTHY, String::new()),
        Err(error) => ("False", reason::INTERNAL_MEMBER_CLUSTER_UNHEALTHY, told(error)),
    };
    write(context, internal, |status, generation| {
        if let Ok(cluster) = observed {
            status.properties =
                properties::properties(&cluster.nodes, cluster.version.as_deref(), now);
            status.resource_usage = Some(properties::usage(&cluster.nodes, &cluster.pods, now));
            let mut told = vec![
                (type_::PROPERTY_PROVIDER_STARTED, "True", reason::STARTED),
                (type_::PROPERTY_COLLECTION_SUCCEEDED, "True", reason::PROPERTIES_COLLECTED),
            ];
            if let Some(namespaces) = cluster.namespaces {
                let (listed, is_complete) = properties::namespaces(&namespaces);
                let (holds, why) = if is_complete {
                    ("True", reason::SUCCEEDED)
                } else {
                    ("False", reason::DEGRADED)
                };
                told.push((type_::NAMESPACE_COLLECTION_SUCCEEDED, holds, why));
                status.namespaces = Some(listed);
            } else {
                status.namespaces = None;
                status
                    .conditions
                    .retain(|told| told.type_ != type_::NAMESPACE_COLLECTION_SUCCEEDED);
            }
            for (type_, holds, why) in told {
                let told = condition::new(type_, holds, why, "", generation, now);
                condition::set(&mut status.conditions, told);
            }
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

async fn observe(context: &Context) -> Result<Cluster, kube::Error> {
    let member = &context.member;
    let ready = http::Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError)?;
    member.request_text(ready).await?;
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
