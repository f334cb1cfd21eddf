//! The simulated provider against a simulated cluster on the embedded API server.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Inspection, Operation};
use stolos_upgrade::{Observation, Provider, Simulated};

use crate::support::{api_server, known, state_of, until};

async fn cluster() -> Client {
    let (_server, client) = api_server().await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "kube-system"}})).unwrap();
    let _exists =
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
    let config = stolos_sim::Config {
        cluster: stolos_sim::Cluster {
            name: "m".into(),
            region: "north".into(),
            kubernetes_version: "1.33.0".into(),
            node_image: "Ubuntu-2204-202610.01.0".into(),
            kubernetes_versions: Vec::new(),
            node_images: Vec::new(),
            nodes: 2,
            cpu: 4,
            memory_gib: 16,
        },
        workloads: stolos_sim::Workloads::Simulated,
        pods: stolos_sim::Pods::Mute,
        pod_delay: Duration::from_millis(1),
        node_upgrade_time: Duration::from_millis(20),
        clock: Arc::new(Timestamp::now),
    };
    tokio::spawn(stolos_sim::run(client.clone(), config));
    client
}

fn full(version: &str, image: &str) -> MemberTarget {
    MemberTarget {
        upgrade_type: UpgradeType::Full,
        kubernetes_version: Some(version.into()),
        node_images: vec![image.into()],
        keeps_snapshots: false,
        rollback: false,
    }
}

async fn upgrade_counts(client: &Client) -> BTreeMap<String, String> {
    let nodes = Api::<Node>::all(client.clone()).list(&kube::api::ListParams::default()).await;
    (nodes.unwrap().items.into_iter())
        .map(|node| {
            let annotations = node.metadata.annotations.unwrap_or_default();
            (node.metadata.name.unwrap(), annotations[stolos_sim::UPGRADES_ANNOTATION].clone())
        })
        .collect()
}

#[tokio::test]
async fn an_upgrade_is_seen_from_its_start_to_its_end_and_happens_once() {
    let client = cluster().await;
    let provider = Simulated::new(client.clone());
    let mut seen = provider.follow();
    let before = until(&mut seen, |o| known(o).is_some_and(|c| c.pools.len() == 1)).await;
    let cluster = known(&before).unwrap();
    assert_eq!(cluster.region.as_deref(), Some("north"));
    assert_eq!(cluster.control_plane.to_string(), "1.33.0");
    assert_eq!(cluster.pools[0].version.to_string(), "1.33.0");
    assert_eq!(cluster.image_families(), ["Ubuntu-2204"].into());

    let target = full("1.34.1", "Ubuntu-2204-202611.01.0");
    provider.start("attempt-1", &target).await.unwrap();
    provider.start("attempt-1", &target).await.unwrap();
    let under_way = until(&mut seen, |o| o.operations.contains_key("attempt-1")).await;
    assert!(matches!(under_way.operations["attempt-1"], Operation::Running(_)));
    let busy = until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_some())).await;
    assert!(known(&busy).unwrap().hold.as_ref().unwrap().message.contains("attempt-1"));

    let done = |o: &Observation| {
        matches!(o.operations.get("attempt-1"), Some(Operation::Done(_)))
            && known(o).is_some_and(|c| c.oldest_pool().to_string() == "1.34.1")
    };
    let after = until(&mut seen, done).await;
    let cluster = known(&after).unwrap();
    assert_eq!(cluster.control_plane.to_string(), "1.34.1");
    assert_eq!(cluster.pools[0].image.as_ref().unwrap().as_str(), "Ubuntu-2204-202611.01.0");
    provider.start("attempt-1", &target).await.unwrap();
    assert!(upgrade_counts(&client).await.values().all(|count| count == "1"));
}

#[tokio::test]
async fn what_is_to_be_put_back_goes_back_nodes_first() {
    let client = cluster().await;
    let provider = Simulated::new(client.clone());
    let mut seen = provider.follow();
    until(&mut seen, |o| known(o).is_some_and(|c| c.pools.len() == 1)).await;
    provider.start("up", &full("1.34.1", "Ubuntu-2204-202611.01.0")).await.unwrap();
    let up = |o: &Observation| {
        matches!(o.operations.get("up"), Some(Operation::Done(_)))
            && known(o).is_some_and(|c| c.oldest_pool().to_string() == "1.34.1")
    };
    let after = until(&mut seen, up).await;
    let restorable = &known(&after).unwrap().restorable;
    assert!(!restorable.versions, "no script says so");
    assert!(restorable.images.has(&"Ubuntu-2204-202610.01.0".parse().unwrap()));

    let back = MemberTarget { rollback: true, ..full("1.33.0", "Ubuntu-2204-202610.01.0") };
    provider.start("back", &back).await.unwrap();
    loop {
        let now = until(&mut seen, |o| known(o).is_some()).await;
        let cluster = known(&now).unwrap();
        assert!(cluster.oldest_pool() <= cluster.control_plane, "nodes are never newer");
        if matches!(now.operations.get("back"), Some(Operation::Done(_))) {
            assert_eq!(cluster.control_plane.to_string(), "1.33.0");
            assert_eq!(cluster.oldest_pool().to_string(), "1.33.0");
            let image = cluster.pools[0].image.as_ref().unwrap();
            assert_eq!(image.as_str(), "Ubuntu-2204-202610.01.0");
            break;
        }
    }
    assert!(upgrade_counts(&client).await.values().all(|count| count == "2"));
}

#[tokio::test]
async fn nothing_goes_back_to_an_older_version() {
    let client = cluster().await;
    let provider = Simulated::new(client.clone());
    let mut seen = provider.follow();
    until(&mut seen, |o| known(o).is_some_and(|c| c.pools.len() == 1)).await;
    let ahead = MemberTarget {
        upgrade_type: UpgradeType::ControlPlaneOnly,
        kubernetes_version: Some("1.34.10".into()),
        node_images: Vec::new(),
        keeps_snapshots: false,
        rollback: false,
    };
    provider.start("control-plane", &ahead).await.unwrap();
    let done =
        |o: &Observation| matches!(o.operations.get("control-plane"), Some(Operation::Done(_)));
    until(&mut seen, done).await;

    provider.start("between", &full("1.34.9", "Ubuntu-2204-202611.01.0")).await.unwrap();
    let done = |o: &Observation| {
        matches!(o.operations.get("between"), Some(Operation::Done(_)))
            && known(o).is_some_and(|c| c.oldest_pool().to_string() == "1.34.9")
    };
    let after = until(&mut seen, done).await;
    assert_eq!(known(&after).unwrap().control_plane.to_string(), "1.34.10");
}

#[tokio::test]
async fn a_failed_upgrade_tells_why() {
    let client = cluster().await;
    let provider = Simulated::new(client.clone());
    let mut seen = provider.follow();
    until(&mut seen, |o| known(o).is_some()).await;
    let facts = Api::<ConfigMap>::namespaced(client, "kube-system");
    let broken = Patch::Merge(json!({"data": {"failUpgrades": "no quota left"}}));
    let name = stolos_sim::CLUSTER_CONFIG_MAP;
    facts.patch(name, &PatchParams::default(), &broken).await.unwrap();

    provider.start("attempt-1", &full("1.34.1", "Ubuntu-2204-202611.01.0")).await.unwrap();
    let ended =
        |o: &Observation| matches!(o.operations.get("attempt-1"), Some(Operation::Failed { .. }));
    let failed = until(&mut seen, ended).await;
    let Operation::Failed { message, .. } = &failed.operations["attempt-1"] else { panic!() };
    assert_eq!(message, "no quota left");
}

#[tokio::test]
async fn the_facts_say_what_a_cluster_is_offered() {
    let client = cluster().await;
    let provider = Simulated::new(client.clone());
    let mut seen = provider.follow();
    until(&mut seen, |o| known(o).is_some()).await;
    let facts = Api::<ConfigMap>::namespaced(client, "kube-system");
    let offer = json!({"data": {"kubernetesVersions": "1.33.0, 1.34.1", "power": "stopped"}});
    let name = stolos_sim::CLUSTER_CONFIG_MAP;
    facts.patch(name, &PatchParams::default(), &Patch::Merge(offer)).await.unwrap();
    let offered =
        until(&mut seen, |o| known(o).is_some_and(|c| c.versions.listed().len() == 2)).await;
    assert_eq!(known(&offered).unwrap().power, stolos_core::update::cluster::Power::Stopped);
}

#[tokio::test]
async fn a_script_lets_attempts_fail_and_holds_until_its_times_have_come() {
    let client = cluster().await;
    let provider = Simulated::new(client.clone());
    let mut seen = provider.follow();
    until(&mut seen, |o| known(o).is_some()).await;
    let facts = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
    let name = stolos_sim::CLUSTER_CONFIG_MAP;
    let soon = Timestamp::now() + Duration::from_millis(300);
    let script = json!({"data": {
        "failAttempts": "1", "apiErrorsUntil": soon.to_string(), "busyUntil": soon.to_string(),
        "kubernetesVersions": "1.33.0,1.34.1", "unavailable": "1.34.1", "unavailableUntil": soon.to_string(),
    }});
    facts.patch(name, &PatchParams::default(), &Patch::Merge(script)).await.unwrap();
    until(
        &mut seen,
        |o| matches!(&o.cluster, Inspection::Unknown(why) if why.contains("does not answer")),
    )
    .await;
    let back = until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
    assert_eq!(known(&back).unwrap().versions.listed().len(), 2, "everything has come to its time");
    assert!(Timestamp::now() >= soon);

    provider.start("first", &full("1.34.1", "Ubuntu-2204-202611.01.0")).await.unwrap();
    until(&mut seen, |o| state_of(o, "first").starts_with("failed")).await;
    assert!(upgrade_counts(&client).await.values().all(|count| count == "0"));
    provider.start("second", &full("1.34.1", "Ubuntu-2204-202611.01.0")).await.unwrap();
    until(&mut seen, |o| state_of(o, "second") == "done").await;
    assert!(upgrade_counts(&client).await.values().all(|count| count == "1"));
}
