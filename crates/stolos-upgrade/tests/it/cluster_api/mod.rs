//! The provider for Cluster API on its real definitions, in both versions, with a simulated controller.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use kube::api::{ListParams, PatchParams};
use serde_json::json;
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Inspection, Offer, Pool};
use stolos_upgrade::{ClusterApi, Observation, Provider, StartError};

use crate::support::{known, pool_version, state_of, until};

mod classes;
mod controller;
mod rig;

use rig::{CONTROL_PLANE, CORE, INFRASTRUCTURE, NAMESPACE, Rig, Shape, each_version};

const HOLD: &str = "topology.cluster.x-k8s.io/hold-upgrade-sequence";
const DEFER: &str = "topology.cluster.x-k8s.io/defer-upgrade";

const CATALOGUE: &str = "
location: north
locations:
  north:
    kubernetesVersions: [1.33.4, 1.34.1]
    images:
    - {image: node-1.0, value: 'registry/node:1'}
    - {image: node-2.0, value: 'registry/node:2'}
templates: {DevMachineTemplate: spec.template.spec.backend.docker.customImage}
topologyVariable: nodeImage
";

fn to(upgrade_type: UpgradeType, version: Option<&str>, images: &[&str]) -> MemberTarget {
    MemberTarget {
        upgrade_type,
        kubernetes_version: version.map(str::to_owned),
        node_images: images.iter().map(|&image| image.to_owned()).collect(),
        keeps_snapshots: false,
        rollback: false,
    }
}

fn back(version: Option<&str>, image: &str) -> MemberTarget {
    MemberTarget { rollback: true, ..to(UpgradeType::NodeImageOnly, version, &[image]) }
}

fn all_have(seen: &Observation, image: &str) -> bool {
    let is_it = |pool: &Pool| pool.image.as_ref().is_some_and(|other| other.as_str() == image);
    known(seen).is_some_and(|cluster| cluster.pools.iter().all(is_it))
}

fn full(version: &str) -> MemberTarget {
    to(UpgradeType::Full, Some(version), &[])
}

/// Upgrades that finished after the first round, by part and version.
fn upgrades(finished: &[String]) -> Vec<String> {
    let words = finished.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    words.filter(|line| !line.ends_with("v1.33.4")).collect()
}

const IN_ORDER: [&str; 4] = ["c-cp v1.34.1", "c-a v1.34.1", "c-b v1.34.1", "c-p v1.34.1"];

#[tokio::test]
async fn a_full_upgrade_goes_from_the_control_plane_to_the_last_pool() {
    each_version(|rig| async move {
        for shape in [Shape::Plain, Shape::Topology] {
            let rig = Rig::new(rig.version).await.unwrap();
            let controller = rig.cluster(shape).await;
            let provider = rig.provider();
            let mut seen = provider.follow();
            let idle = |o: &_| known(o).is_some_and(|c| c.hold.is_none() && c.pools.len() == 3);
            let before = until(&mut seen, idle).await;
            assert_eq!(known(&before).unwrap().control_plane.to_string(), "1.33.4");
            assert_eq!(known(&before).unwrap().versions, Offer::Anything);

            provider.start("one", &full("1.34.1")).await.unwrap();
            provider.start("one", &full("1.34.1")).await.unwrap();
            let busy = until(&mut seen, |o| state_of(o, "one").starts_with("running")).await;
            assert!(known(&busy).unwrap().hold.as_ref().unwrap().message.contains("one"));
            let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
            let cluster = known(&after).unwrap();
            assert_eq!(cluster.control_plane.to_string(), "1.34.1");
            assert_eq!(cluster.oldest_pool().to_string(), "1.34.1");
            assert_eq!(cluster.hold, None);
            assert_eq!(upgrades(&controller.finished()), IN_ORDER, "{shape:?}");

            provider.start("one", &full("1.34.1")).await.unwrap();
            let deployment = rig.get(CORE, "MachineDeployment", "c-a").await;
            assert_eq!(deployment.metadata.generation, Some(2), "changed once");
        }
    })
    .await;
}

#[tokio::test]
async fn pools_stay_behind_until_a_full_upgrade_brings_them() {
    each_version(|rig| async move {
        for shape in [Shape::Plain, Shape::Topology] {
            let rig = Rig::new(rig.version).await.unwrap();
            let controller = rig.cluster(shape).await;
            let provider = rig.provider();
            let mut seen = provider.follow();
            until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
            let target = to(UpgradeType::ControlPlaneOnly, Some("1.34.1"), &[]);
            provider.start("first", &target).await.unwrap();
            let after = until(&mut seen, |o| state_of(o, "first") == "done").await;
            let cluster = known(&after).unwrap();
            assert_eq!(cluster.control_plane.to_string(), "1.34.1");
            assert_eq!(cluster.oldest_pool().to_string(), "1.33.4");
            assert_eq!(cluster.hold, None, "pools that are kept back do not make a cluster busy");
            assert_eq!(upgrades(&controller.finished()), IN_ORDER[..1]);
            if shape == Shape::Topology {
                let cluster = rig.get(CORE, "Cluster", "c").await;
                let workers = &cluster.data["spec"]["topology"]["workers"];
                let of = |kind: &str, index: usize| {
                    workers[kind][index]["metadata"]["annotations"].clone()
                };
                assert_eq!(of("machineDeployments", 0), json!({HOLD: "stolos", "mine": "stays"}));
                assert_eq!(of("machineDeployments", 1), json!(null));
                assert_eq!(of("machinePools", 0), json!({DEFER: "stolos"}));
            }

            provider.start("second", &full("1.34.1")).await.unwrap();
            let after = until(&mut seen, |o| state_of(o, "second") == "done").await;
            assert_eq!(known(&after).unwrap().oldest_pool().to_string(), "1.34.1");
            assert_eq!(state_of(&after, "first"), "done");
            assert_eq!(upgrades(&controller.finished()), IN_ORDER);
            if shape == Shape::Topology {
                let cluster = rig.get(CORE, "Cluster", "c").await;
                let first = &cluster.data["spec"]["topology"]["workers"]["machineDeployments"][0];
                assert_eq!(first["metadata"]["annotations"], json!({"mine": "stays"}));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_goes_on_where_a_killed_hub_left_it() {
    each_version(|rig| async move {
        for shape in [Shape::Plain, Shape::Topology] {
            let rig = Rig::new(rig.version).await.unwrap();
            let controller = rig.cluster(shape).await;
            until(&mut rig.provider().follow(), |o| known(o).is_some_and(|c| c.hold.is_none()))
                .await;
            rig.provider().start("one", &full("1.34.1")).await.unwrap();
            // A hub that dies each time that it has seen something.
            loop {
                let provider = rig.provider();
                provider.start("one", &full("1.34.1")).await.unwrap();
                let seen = until(&mut provider.follow(), |o| known(o).is_some()).await;
                if state_of(&seen, "one") == "done" {
                    break;
                }
                assert!(state_of(&seen, "one").starts_with("running"), "{seen:?}");
            }
            assert_eq!(upgrades(&controller.finished()), IN_ORDER, "{shape:?}");
            for name in ["c-a", "c-b"] {
                let deployment = rig.get(CORE, "MachineDeployment", name).await;
                assert_eq!(deployment.metadata.generation, Some(2), "{name} changed once");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_image_is_a_new_template_in_one_write_with_the_version() {
    each_version(|rig| async move {
        let controller = rig.cluster(Shape::Plain).await;
        rig.catalogue(CATALOGUE).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        let before = until(&mut seen, |o| {
            known(o).is_some_and(|c| c.hold.is_none() && !c.image_families().is_empty())
        })
        .await;
        let cluster = known(&before).unwrap();
        assert_eq!(cluster.region.as_deref(), Some("north"));
        assert_eq!(cluster.pools.len(), 4, "machines of the control plane have images too");
        assert_eq!(cluster.images.listed().len(), 2);
        assert_eq!(cluster.versions.listed().len(), 2);

        let target = to(UpgradeType::Full, Some("1.34.1"), &["node-2.0"]);
        provider.start("one", &target).await.unwrap();
        let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
        let cluster = known(&after).unwrap();
        assert!(
            cluster.pools.iter().all(|pool| pool.image.as_ref().unwrap().as_str() == "node-2.0")
        );
        assert_eq!(upgrades(&controller.finished()), IN_ORDER, "no part rolled twice");
        let templates =
            rig.api(INFRASTRUCTURE, "DevMachineTemplate").list(&ListParams::default()).await;
        assert_eq!(
            templates.unwrap().items.len(),
            2,
            "all parts share the copy, the original stays"
        );

        provider
            .start("again", &to(UpgradeType::NodeImageOnly, None, &["node-2.0"]))
            .await
            .unwrap();
        until(&mut seen, |o| state_of(o, "again") == "done").await;
        assert_eq!(upgrades(&controller.finished()), IN_ORDER, "nothing to do");

        let restorable = &known(&after).unwrap().restorable;
        assert!(!restorable.versions && restorable.images.has(&"node-1.0".parse().unwrap()));
        provider.start("back", &back(None, "node-1.0")).await.unwrap();
        let put_back = until(&mut seen, |o| state_of(o, "back") == "done").await;
        assert!(all_have(&put_back, "node-1.0"), "{put_back:?}");
        let cluster = known(&put_back).unwrap();
        assert_eq!(cluster.oldest_pool().to_string(), "1.34.1", "versions stay");
        let refused = provider.start("older", &back(Some("1.33.4"), "node-1.0")).await;
        assert!(matches!(refused, Err(StartError::Refused { .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn the_image_of_a_topology_is_a_variable_that_changes_after_the_versions() {
    each_version(|rig| async move {
        let controller = rig.cluster(Shape::Topology).await;
        rig.catalogue(CATALOGUE).await;
        let variables = json!([{"name": "nodeImage", "value": "registry/node:1"}]);
        rig.patch_cluster(json!({"spec": {"topology": {"variables": variables}}})).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        until(&mut seen, |o| {
            known(o).is_some_and(|c| c.hold.is_none() && !c.image_families().is_empty())
        })
        .await;
        let target = to(UpgradeType::Full, Some("1.34.1"), &["node-2.0"]);
        provider.start("one", &target).await.unwrap();
        let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
        assert!(
            known(&after)
                .unwrap()
                .pools
                .iter()
                .all(|pool| pool.image.as_ref().unwrap().as_str() == "node-2.0")
        );
        let finished = controller.finished();
        let new_image = finished.iter().position(|line| line.ends_with("registry/node:2")).unwrap();
        let last_version =
            finished.iter().position(|line| line.starts_with("c-p v1.34.1")).unwrap();
        assert!(last_version < new_image, "{finished:?}");

        provider.start("back", &back(None, "node-1.0")).await.unwrap();
        let put_back = until(&mut seen, |o| state_of(o, "back") == "done").await;
        assert!(all_have(&put_back, "node-1.0"), "{put_back:?}");
    })
    .await;
}

#[tokio::test]
async fn a_paused_cluster_is_left_alone_until_it_goes_on() {
    each_version(|rig| async move {
        for shape in [Shape::Plain, Shape::Topology] {
            let rig = Rig::new(rig.version).await.unwrap();
            let controller = rig.cluster(shape).await;
            let provider = rig.provider();
            let mut seen = provider.follow();
            until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
            rig.patch_cluster(json!({"spec": {"paused": true}})).await;
            let paused = |o: &_| {
                known(o).is_some_and(|c| c.hold.as_ref().is_some_and(|hold| hold.code == "Paused"))
            };
            until(&mut seen, paused).await;
            provider.start("one", &full("1.34.1")).await.unwrap();
            until(&mut seen, |o| state_of(o, "one").starts_with("running Paused")).await;
            let topology =
                rig.get(CORE, "Cluster", "c").await.data["spec"]["topology"]["version"].clone();
            assert!(topology.is_null() || topology == "v1.33.4", "{topology}");
            assert!(upgrades(&controller.finished()).is_empty());

            rig.patch_cluster(json!({"spec": {"paused": false}})).await;
            until(&mut seen, |o| state_of(o, "one") == "done").await;
            assert_eq!(upgrades(&controller.finished()), IN_ORDER);
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_that_is_stuck_says_what_blocks_it() {
    each_version(|rig| async move {
        for shape in [Shape::Plain, Shape::Topology] {
            let rig = Rig::new(rig.version).await.unwrap();
            let controller = rig.cluster(shape).await;
            let provider = rig.provider();
            let mut seen = provider.follow();
            until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
            controller.stall(true);
            provider.start("one", &full("1.34.1")).await.unwrap();
            let blocked = until(&mut seen, |o| {
                state_of(o, "one").contains("PodDisruptionBudget")
                    || state_of(o, "one").contains("ClusterUpgrading")
            })
            .await;
            assert!(state_of(&blocked, "one").contains("control plane `c-cp`"), "{blocked:?}");
            let other = provider.start("two", &full("1.34.1")).await.unwrap_err();
            assert!(matches!(other, StartError::Request { .. }), "{other}");
            controller.stall(false);
            until(&mut seen, |o| state_of(o, "one") == "done").await;
        }
    })
    .await;
}

#[tokio::test]
async fn machines_that_are_replaced_on_delete_are_waited_for() {
    each_version(|rig| async move {
        let _controller = rig.cluster(Shape::Plain).await;
        let strategy = json!({"strategy": {"type": "OnDelete"}});
        let spec = if rig.is_new() { json!({"rollout": strategy}) } else { strategy };
        rig.patch(CORE, "MachineDeployment", "c-a", json!({"spec": spec})).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        provider.start("one", &full("1.34.1")).await.unwrap();
        let waiting = until(&mut seen, |o| state_of(o, "one").contains("OnDeleteStrategy")).await;
        let cluster = known(&waiting).unwrap();
        assert_eq!(pool_version(cluster, "c-a"), "1.33.4");
        assert_eq!(pool_version(cluster, "c-b"), "1.33.4", "the next one waits");
    })
    .await;
}

#[tokio::test]
async fn workers_held_by_their_owner_stay_held() {
    each_version(|rig| async move {
        let controller = rig.cluster(Shape::Topology).await;
        let mut workers =
            rig.get(CORE, "Cluster", "c").await.data["spec"]["topology"]["workers"].clone();
        workers["machineDeployments"][1]["metadata"] =
            json!({"annotations": {HOLD: "until Monday"}});
        rig.patch_cluster(json!({"spec": {"topology": {"workers": workers}}})).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        provider.start("one", &full("1.34.1")).await.unwrap();
        let held = |o: &_| state_of(o, "one").contains("kept back by annotation");
        let held = until(&mut seen, held).await;
        assert!(state_of(&held, "one").contains("c-b"), "{held:?}");
        assert_eq!(upgrades(&controller.finished()), IN_ORDER[..2]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    each_version(|rig| async move {
        let controller = rig.cluster(Shape::Topology).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        provider
            .start("up", &to(UpgradeType::ControlPlaneOnly, Some("1.34.1"), &[]))
            .await
            .unwrap();
        until(&mut seen, |o| state_of(o, "up") == "done").await;
        let back = provider.start("back", &full("1.33.9")).await.unwrap_err();
        assert!(
            matches!(&back, StartError::Refused { code, .. } if code == "NotSupported"),
            "{back}"
        );
        let nobody = ClusterApi::new(rig.client.clone(), NAMESPACE, "nobody");
        let missing = nobody.start("x", &full("1.34.1")).await.unwrap_err();
        assert!(matches!(missing, StartError::Refused { .. }), "{missing}");
        let unseen = until(&mut nobody.follow(), |_| true).await;
        assert!(
            matches!(&unseen.cluster, Inspection::Unknown(why) if why.contains("does not exist"))
        );
        assert_eq!(upgrades(&controller.finished()), IN_ORDER[..1]);

        rig.patch_cluster(json!({"metadata": {"annotations": {"fleet.stolos.dev/upgrades": "?"}}}))
            .await;
        until(
            &mut seen,
            |o| matches!(&o.cluster, Inspection::Unknown(why) if why.contains("cannot be read")),
        )
        .await;
        assert!(provider.start("y", &full("1.34.1")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_gave_up_fails_the_upgrade() {
    each_version(|rig| async move {
        let controller = rig.cluster(Shape::Plain).await;
        let provider = rig.provider();
        let mut seen = provider.follow();
        until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        controller.stall(true);
        provider.start("one", &full("1.34.1")).await.unwrap();
        let failure = json!({"failureReason": "CreateError", "failureMessage": "no quota"});
        let status =
            if rig.is_new() { json!({"deprecated": {"v1beta1": failure}}) } else { failure };
        let api = rig.api(CONTROL_PLANE, "KubeadmControlPlane");
        let patch = kube::api::Patch::Merge(json!({"status": status}));
        api.patch_status("c-cp", &PatchParams::default(), &patch).await.unwrap();
        let failed = until(&mut seen, |o| state_of(o, "one").starts_with("failed")).await;
        assert!(
            state_of(&failed, "one").contains("CreateError")
                && state_of(&failed, "one").contains("no quota")
        );
    })
    .await;
}

#[tokio::test]
async fn members_of_other_namespaces_need_the_clusters_consent() {
    each_version(|rig| async move {
        let _controller = rig.cluster(Shape::Plain).await;
        let provider = ClusterApi::on_hub(rig.client.clone(), NAMESPACE, "c", "elsewhere");
        let mut seen = provider.follow();
        until(
            &mut seen,
            |o| matches!(&o.cluster, Inspection::Unknown(why) if why.contains("members-from")),
        )
        .await;
        let refused = provider.start("one", &full("1.34.1")).await.unwrap_err();
        assert!(matches!(&refused, StartError::Refused { code, .. } if code == "Forbidden"));
        let consent =
            json!({"metadata": {"annotations": {"fleet.stolos.dev/members-from": "a, elsewhere"}}});
        rig.patch_cluster(consent).await;
        until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
        provider.start("one", &full("1.34.1")).await.unwrap();
        until(&mut seen, |o| state_of(o, "one") == "done").await;
    })
    .await;
}

#[tokio::test]
async fn a_management_cluster_that_gets_cluster_api_later_is_noticed() {
    if rig::definitions().is_none() {
        return;
    }
    let rig = Rig::without_cluster_api("v1beta2").await;
    let provider = rig.provider();
    let mut seen = provider.follow();
    until(
        &mut seen,
        |o| matches!(&o.cluster, Inspection::Unknown(why) if why.contains("installed")),
    )
    .await;
    rig.install().await;
    let _controller = rig.cluster(Shape::Plain).await;
    until(&mut seen, |o| known(o).is_some_and(|c| c.hold.is_none())).await;
}
