//! Members as the hub shows them.

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use kube::ResourceExt;
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::profile::ClusterProfile;
use stolos_api::placement::ResourcePlacement;

use crate::fleet::{Fleet, create, delete, eventually, gone, merge, merge_status, told};

#[tokio::test(start_paused = true)]
async fn every_member_has_a_profile_that_goes_with_it() {
    let fleet = Fleet::start(&["a", "b"]).await;
    let profiles = fleet.hub.inside::<ClusterProfile>("fleet-system");
    for name in ["a", "b"] {
        eventually(&profiles, name, "says that the member is healthy", |profile| {
            let status = profile.and_then(|profile| profile.status.as_ref());
            status.is_some_and(|status| {
                status.version.as_ref().is_some_and(|version| version.kubernetes.starts_with("v1."))
                    && status.conditions.iter().any(|c| {
                        (c.type_.as_str(), c.status.as_str(), c.reason.as_str())
                            == ("ControlPlaneHealthy", "True", "MemberClusterAPIServerHealthy")
                    })
            })
        })
        .await;
        let profile = profiles.get(name).await.unwrap();
        assert_eq!(profile.labels()["x-k8s.io/cluster-manager"], "KubeFleet");
        assert_eq!(profile.spec.display_name, name);
    }
    // What somebody changes or deletes comes back.
    merge(&profiles, "a", json!({"spec": {"displayName": "else"}})).await;
    eventually(&profiles, "a", "has its name again", |profile| {
        profile.is_some_and(|profile| profile.spec.display_name == "a")
    })
    .await;
    delete(&profiles, "a").await;
    eventually(&profiles, "a", "is there again", |profile| profile.is_some()).await;

    delete(&fleet.hub.all::<MemberCluster>(), "a").await;
    gone(&fleet.hub.all::<MemberCluster>(), "a").await;
    gone(&profiles, "a").await;
    profiles.get("b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_member_that_falls_silent_shows_it_by_itself() {
    let mut fleet = Fleet::start(&["a"]).await;
    let profiles = fleet.hub.inside::<ClusterProfile>("fleet-system");
    let is = |reason: &'static str| {
        move |profile: Option<&ClusterProfile>| {
            let status = profile.and_then(|profile| profile.status.as_ref());
            status.is_some_and(|status| status.conditions.iter().any(|c| c.reason == reason))
        }
    };
    eventually(&profiles, "a", "is healthy", is("MemberClusterAPIServerHealthy")).await;
    let members = fleet.hub.all::<MemberCluster>();
    assert_eq!(health(&members.get("a").await.unwrap()), "True MemberClusterAPIServerHealthy");
    let period = json!({"spec": {"heartbeatPeriodSeconds": 5}});
    merge(&fleet.hub.all::<MemberCluster>(), "a", period).await;
    fleet.stop_agents().await;
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    eventually(&profiles, "a", "is silent", is("MemberAgentHeartbeatLost")).await;
    eventually(&members, "a", "is not healthy", |member| {
        member.is_some_and(|member| health(member) == "False MemberAgentHeartbeatLost")
    })
    .await;
    fleet.start_agents();
    eventually(&members, "a", "is healthy again", |member| {
        member.is_some_and(|member| health(member) == "True MemberClusterAPIServerHealthy")
    })
    .await;
}

/// Status and reason of the condition Healthy of a member.
fn health(member: &MemberCluster) -> String {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let healthy = conditions.iter().find(|c| c.type_ == "Healthy");
    healthy.map_or_else(String::new, |healthy| format!("{} {}", healthy.status, healthy.reason))
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_else_wrote_stays_until_the_agent_reports() {
    let mut fleet = Fleet::start(&["a"]).await;
    let members = fleet.hub.all::<MemberCluster>();
    // Nothing is under way any more, so that what follows comes from the change alone.
    fleet.stop_agents().await;
    let beat = "2030-01-01T00:00:00Z";
    let status = json!({"status": {"agentStatus": [{
        "type": "MemberAgent", "lastReceivedHeartbeat": beat, "conditions": [],
    }]}});
    merge_status(&members, "a", status).await;
    // By the time a placement is scheduled, the hub has long seen the status.
    create(&fleet.hub.all(), &namespace("marker")).await;
    fleet.place("crp", placement("marker")).await;
    eventually(&fleet.placements(), "crp", "is scheduled", |placement| {
        placement.is_some_and(|placement| placement.status.is_some())
    })
    .await;
    let beat_of = async || {
        let member = members.get("a").await.unwrap();
        let agent = &member.status.as_ref().unwrap().agent_status[0];
        agent.last_received_heartbeat.as_ref().unwrap().0.to_string()
    };
    assert_eq!(beat_of().await, beat);
    // Another wish of a person is no report of the agent either.
    let wish = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    merge(&members, "a", wish).await;
    eventually(&members, "a", "has been looked at since", |member| {
        member.is_some_and(|member| {
            let conditions = &member.status.as_ref().unwrap().conditions;
            let joined = conditions.iter().find(|c| c.type_ == "Joined").unwrap();
            joined.observed_generation == member.metadata.generation
        })
    })
    .await;
    assert_eq!(beat_of().await, beat);
}

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn placement(namespace: &str) -> Value {
    json!({"resourceSelectors": [
        {"group": "", "version": "v1", "kind": "Namespace", "name": namespace},
    ]})
}

#[tokio::test(start_paused = true)]
async fn joining_is_told_as_events() {
    let fleet = Fleet::start(&["a"]).await;
    let events = fleet.hub.inside::<Event>("default");
    let all = [
        "InternalMemberClusterCreated",
        "MemberClusterJoined",
        "MemberClusterReadyToJoin",
        "NamespaceCreated",
        "RoleBindingCreated",
        "RoleCreated",
    ];
    told(&events, "a", &all).await;
}

#[tokio::test(start_paused = true)]
async fn a_resource_placement_passes_over_members_without_its_namespace() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.collect_namespaces = true;
    fleet.join("a").await;
    fleet.join("b").await;
    create(&fleet.hub.all(), &namespace("app")).await;
    create(&fleet.member("b").all(), &namespace("app")).await;
    let knows = |member: Option<&MemberCluster>| {
        let status = member.and_then(|member| member.status.as_ref());
        status
            .and_then(|status| status.namespaces.as_ref())
            .is_some_and(|namespaces| namespaces.contains_key("app"))
    };
    // The next heartbeat tells.
    let period = json!({"spec": {"heartbeatPeriodSeconds": 1}});
    merge(&fleet.hub.all::<MemberCluster>(), "b", period).await;
    eventually(&fleet.hub.all::<MemberCluster>(), "b", "tells its namespaces", knows).await;

    let settings: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "settings"}})).unwrap();
    create(&fleet.hub.inside("app"), &settings).await;
    let selects = json!([{"group": "", "version": "v1", "kind": "ConfigMap", "name": "settings"}]);
    let placement: ResourcePlacement = serde_json::from_value(json!({
        "metadata": {"name": "rp"}, "spec": {
            "resourceSelectors": selects,
            "policy": {"placementType": "PickN", "numberOfClusters": 2},
        },
    }))
    .unwrap();
    let placements = fleet.hub.inside::<ResourcePlacement>("app");
    create(&placements, &placement).await;
    eventually(&placements, "rp", "goes to the one member that has its namespace", |placement| {
        let status = placement.and_then(|placement| placement.status.as_ref());
        status.is_some_and(|status| {
            let entries = &status.per_cluster_placement_statuses;
            entries.len() == 2
                && entries[0].cluster_name == "b"
                && entries[1].cluster_name.is_empty()
                && entries[1].conditions[0].message
                    == "ClusterUnschedulable, target namespace does not exist on cluster"
        })
    })
    .await;
}
