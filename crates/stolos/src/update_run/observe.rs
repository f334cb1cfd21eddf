//! What is known of a fleet's clusters at one moment, for forecasts: each is asked through its upgrade provider, with the
//! user's own rights.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, State, UpdateRun};
use stolos_core::cluster::fleet::was_refused;
use stolos_core::update::cluster::{Cluster, Holder, Inspection, Member};
use stolos_core::update::{Durations, Observed};
use stolos_upgrade::{Access, ClusterApi, Observation, SharedProvider, Simulated};

use super::text;
use crate::fleet::hub::Fleet;

/// How long a cluster may take to answer; one on the same continent takes a fraction of it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Clusters that are asked at a time, so that a thousand do not open a thousand connections at once.
const PARALLEL: usize = 50;

/// Returns the members with their clusters, the upgrades in flight and the gates of a fleet.
pub(super) async fn observe(fleet: &Fleet) -> anyhow::Result<Observed> {
    let members: Vec<FleetMember> = fleet.list().await?;
    let gates: Vec<Gate> = fleet.list().await?;
    let looks: Vec<_> = members
        .into_iter()
        .filter(|member| !was_refused(member))
        .map(|member| async move {
            let seen = look(fleet, &member).await;
            (member, seen)
        })
        .collect();
    let looks: Vec<(FleetMember, Observation)> =
        futures::stream::iter(looks).buffer_unordered(PARALLEL).collect().await;
    let mut observed = Observed::default();
    for (member, seen) in looks {
        observed.operations.extend(seen.operations);
        let name = fleet.short_name(&member).to_owned();
        observed.members.insert(name, with_cluster(fleet, &member, seen.cluster));
    }
    observed.gates =
        gates.into_iter().map(|gate| (fleet.short_name(&gate).to_owned(), gate)).collect();
    Ok(observed)
}

/// Asks the provider of a member's cluster once.
async fn look(fleet: &Fleet, member: &FleetMember) -> Observation {
    let provider = match provider(fleet, member).await {
        Ok(provider) => provider,
        Err(cluster) => return Observation { cluster, operations: BTreeMap::new() },
    };
    let mut seen = provider.follow();
    match tokio::time::timeout(ANSWERED_WITHIN, seen.next()).await {
        Ok(Some(observation)) => observation,
        Ok(None) | Err(_) => Observation {
            cluster: Inspection::Unknown("the cluster does not answer".to_owned()),
            operations: BTreeMap::new(),
        },
    }
}

/// Returns the provider of a member's cluster, or what is known of the cluster without one.
async fn provider(fleet: &Fleet, member: &FleetMember) -> Result<SharedProvider, Inspection> {
    Ok(match Access::of(&member.spec.cluster) {
        Access::SimulatedBySecret(secret) => {
            Arc::new(Simulated::new(connected(fleet, &secret).await?))
        }
        Access::ClusterApi { namespace, name, kubeconfig_secret } => {
            let namespace = namespace.as_deref().unwrap_or(&fleet.namespace);
            let client = match &kubeconfig_secret {
                Some(secret) => connected(fleet, secret).await?,
                // With the user's own rights, which say themselves what may be seen.
                None => fleet.client.clone(),
            };
            Arc::new(ClusterApi::new(client, namespace, &name))
        }
        // The credentials are the hub's; what it has written last must do.
        Access::Azure(_) => return Err(as_written(member)),
        Access::Nobody(reason) => return Err(Inspection::Unknown(reason)),
    })
}

async fn connected(fleet: &Fleet, secret: &str) -> Result<Client, Inspection> {
    let secrets: Api<Secret> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let found = secrets.get(secret).await.map_err(|error| {
        Inspection::Unknown(format!("secret `{secret}` cannot be read: {error}"))
    })?;
    let client = stolos_upgrade::connect(&found).await;
    client.map_err(|error| Inspection::Unknown(error.to_string()))
}

/// Returns a cluster as the hub has written it into the member's status: no pools, no windows.
fn as_written(member: &FleetMember) -> Inspection {
    let status = member.status.as_ref();
    let version = status.and_then(|status| status.kubernetes_version.as_ref()?.parse().ok());
    match version {
        Some(version) => Inspection::Known(Cluster {
            region: status.and_then(|status| status.location.clone()),
            ..Cluster::running(version)
        }),
        None => Inspection::Unknown("the hub has not looked at the cluster yet".to_owned()),
    }
}

fn with_cluster(fleet: &Fleet, member: &FleetMember, cluster: Inspection) -> Member {
    let status = member.status.clone().unwrap_or_default();
    let labels = member.spec.labels.clone().into_iter().chain(status.labels).collect();
    Member {
        group: member.spec.group.clone(),
        labels,
        holder: status
            .update_lease
            .map(|lease| Holder { update_run: lease.update_run, uid: lease.update_run_uid }),
        windows: member.spec.maintenance_windows.clone().unwrap_or_default(),
        ..Member::new(member.spec.cluster.id(&fleet.namespace), cluster)
    }
}

/// Returns how long upgrades take: of each member as long as its latest one in any run, of others `default`.
pub(super) fn durations(runs: &[UpdateRun], default: SignedDuration) -> Durations {
    let mut latest = BTreeMap::new();
    let stages = runs.iter().filter_map(text::status).flat_map(|status| &status.stages);
    for member in stages.flat_map(text::members) {
        let times = member.status.start_time.as_ref().zip(member.status.completed_time.as_ref());
        let Some((start, end)) = times.filter(|_| member.status.state == State::Completed) else {
            continue;
        };
        let found = (end.0, end.0.duration_since(start.0));
        let known = latest.entry(member.name.clone()).or_insert(found);
        *known = (*known).max(found);
    }
    Durations {
        default,
        members: latest.into_iter().map(|(name, (_, duration))| (name, duration)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    #[test]
    fn an_upgrade_takes_as_long_as_the_latest_one_that_succeeded() {
        let durations = durations(&[sample::half_way()], SignedDuration::from_mins(10));
        assert_eq!(durations.default, SignedDuration::from_mins(10));
        let known = [("member-1".to_owned(), SignedDuration::from_mins(1))];
        assert_eq!(durations.members, known.into());
    }
}
