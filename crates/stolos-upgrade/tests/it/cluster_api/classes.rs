//! What classes say of versions, control planes of other kinds, and clusters whose images nobody maps.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use kube::api::{Patch, PatchParams};
use serde_json::json;
use stolos_core::update::cluster::Offer;
use stolos_upgrade::{ClusterApi, Provider};

use super::rig::{CONTROL_PLANE, CORE, NAMESPACE, Rig, Shape, each_version};
use super::{full, upgrades};
use crate::support::{known, state_of, until};

#[tokio::test]
async fn a_class_that_lists_its_versions_lets_clusters_walk_over_minors() {
    each_version(|rig| async move {
        let controller = rig.cluster(Shape::Topology).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        let before = until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        assert!(!known(&before).unwrap().walks_minors);

        let listed = ["v1.33.4", "v1.34.1", "v1.35.0"];
        rig.patch(
            CORE,
            "ClusterClass",
            "standard",
            json!({"spec": {"kubernetesVersions": listed}}),
        )
        .await;
        let offered = until(&mut seen, |o| known(o).is_some_and(|c| c.walks_minors)).await;
        let versions = ["1.33.4", "1.34.1", "1.35.0"].map(|version| version.parse().unwrap());
        assert_eq!(known(&offered).unwrap().versions, Offer::These(versions.into()));

        provider.start("one", &full("1.35.0")).await.unwrap();
        let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
        assert_eq!(known(&after).unwrap().control_plane.to_string(), "1.35.0");
        assert_eq!(known(&after).unwrap().oldest_pool().to_string(), "1.35.0");
        let walked: Vec<String> = ["v1.34.1", "v1.35.0"]
            .iter()
            .flat_map(|version| {
                ["c-cp", "c-a", "c-b", "c-p"].map(|part| format!("{part} {version}"))
            })
            .collect();
        assert_eq!(upgrades(&controller.finished()), walked);
        let cluster = rig.get(CORE, "Cluster", "c").await;
        assert_eq!(cluster.metadata.generation, Some(2), "one change said everything");
    })
    .await;
}

#[tokio::test]
async fn a_control_plane_that_somebody_else_runs_is_upgraded_by_its_version_alone() {
    each_version(|rig| async move {
        rig.define_managed_control_plane().await;
        let reference = rig.reference(CONTROL_PLANE, "ManagedControlPlane", "m-cp");
        let spec = json!({"controlPlaneRef": reference});
        rig.create(CORE, "Cluster", json!({"metadata": {"name": "m"}, "spec": spec})).await;
        let spec = json!({"version": "v1.33.4", "region": "north"});
        let object = json!({"metadata": {"name": "m-cp"}, "spec": spec});
        rig.create(CONTROL_PLANE, "ManagedControlPlane", object).await;
        report(&rig, "v1.33.4").await;

        let provider = ClusterApi::new(rig.client.clone(), NAMESPACE, "m");
        let mut seen = provider.follow();
        until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        provider.start("one", &full("1.34.1")).await.unwrap();
        until(&mut seen, |o| state_of(o, "one").contains("has not seen the change")).await;
        report(&rig, "v1.33.4").await;
        let waits = |o: &_| state_of(o, "one").contains("reports 1.33.4, 1.34.1 is wanted");
        until(&mut seen, waits).await;
        let changed = rig.get(CONTROL_PLANE, "ManagedControlPlane", "m-cp").await;
        assert_eq!(changed.data["spec"], json!({"version": "v1.34.1", "region": "north"}));
        report(&rig, "v1.34.1").await;
        let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
        assert_eq!(known(&after).unwrap().control_plane.to_string(), "1.34.1");
    })
    .await;
}

async fn report(rig: &Rig, version: &str) {
    let object = rig.get(CONTROL_PLANE, "ManagedControlPlane", "m-cp").await;
    let status = json!({"version": version, "observedGeneration": object.metadata.generation});
    let api = rig.api(CONTROL_PLANE, "ManagedControlPlane");
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status("m-cp", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_cluster_whose_images_nobody_maps_has_no_source_of_images() {
    const VERSIONS_ALONE: &str =
        "{location: north, locations: {north: {kubernetesVersions: [1.33.4, 1.34.1]}}}";
    each_version(|rig| async move {
        for shape in [Shape::Plain, Shape::Topology] {
            let rig = Rig::new(rig.version).await.unwrap();
            let _controller = rig.cluster(shape).await;
            let mut seen = rig.provider().follow();
            let before = until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
            assert!(known(&before).unwrap().has_no_image_source());
            rig.catalogue(VERSIONS_ALONE).await;
            let after = until(&mut seen, |o| known(o).is_some_and(|c| c.region.is_some())).await;
            assert!(known(&after).unwrap().has_no_image_source());
        }
    })
    .await;
}
