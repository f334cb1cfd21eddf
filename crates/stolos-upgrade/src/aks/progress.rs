//! The next step of an upgrade, by comparing the target with what Azure shows.
//!
//! Nothing else is remembered of an upgrade, and nothing is written on the cluster: whatever has its version and image
//! is left alone, whatever Azure works on is waited for. So an attempt that is told again after a crash goes on where
//! it was.

use serde_json::{Value, json};
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::image::NodeImage;
use stolos_core::update::version::Version;

use super::inspect::{
    Seen, control_plane, in_progress, is_from_snapshot, is_stopped, pool_image, pool_version,
    pools, text,
};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Somebody else has to do something first.
    Wait(String),
    /// Write the cluster with another version of the control plane.
    PutCluster { version: Version, body: Value, etag: Option<String> },
    /// Write a pool with another version.
    PutPool { pool: String, version: Version },
    /// Bring a pool to the newest image of its region.
    UpgradeImage { pool: String },
    /// Take a pool back to an image that it had lately.
    PutImage { pool: String, image: NodeImage },
    /// Everything is as it should be.
    Done,
    /// It cannot be.
    Failed { code: &'static str, message: String },
}

impl Step {
    /// Returns one text for the same write to the same part, to count attempts by.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::PutCluster { .. } => Some("cluster".into()),
            Self::PutPool { pool, .. } => Some(format!("version of {pool}")),
            Self::UpgradeImage { pool } | Self::PutImage { pool, .. } => {
                Some(format!("image of {pool}"))
            }
            Self::Wait(_) | Self::Done | Self::Failed { .. } => None,
        }
    }

    /// Returns what a person reads while the step goes on.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Wait(message) | Self::Failed { message, .. } => message.clone(),
            Self::PutCluster { version, .. } => format!("control plane: to {version}"),
            Self::PutPool { pool, version } => format!("pool `{pool}`: to {version}"),
            Self::UpgradeImage { pool } => format!("pool `{pool}`: to the newest node image"),
            Self::PutImage { pool, image } => format!("pool `{pool}`: back to {image}"),
            Self::Done => "everything that was to be upgraded is".into(),
        }
    }
}

/// Decides the next step.
pub(super) fn next(seen: &Seen, target: &MemberTarget) -> Step {
    let cluster = &seen.cluster;
    if is_stopped(cluster) {
        return Step::Wait("the cluster is stopped".into());
    }
    if let Some(busy) = in_progress(cluster) {
        return Step::Wait(busy);
    }
    let version = match target.kubernetes_version.as_deref().map(str::parse::<Version>) {
        None => None,
        Some(Ok(version)) => Some(version),
        Some(Err(error)) => {
            return Step::Failed { code: "InvalidTarget", message: error.to_string() };
        }
    };
    if target.rollback && version.is_some() {
        let message = "Azure takes no cluster back to an older Kubernetes version".into();
        return Step::Failed { code: "NotSupported", message };
    }
    let behind =
        |now: Option<Version>| version.filter(|wanted| now.is_some_and(|now| now < *wanted));
    if let Some(version) = behind(control_plane(cluster)) {
        return put_cluster(cluster, version);
    }
    if target.upgrade_type == UpgradeType::ControlPlaneOnly {
        return Step::Done;
    }
    for pool in pools(cluster) {
        if let Some(version) = behind(pool_version(pool)) {
            return Step::PutPool { pool: name(pool), version };
        }
    }
    let images: Vec<NodeImage> =
        target.node_images.iter().filter_map(|image| image.parse().ok()).collect();
    let moves = |pool: &&Value| !(target.keeps_snapshots && is_from_snapshot(pool));
    let moving = pools(cluster).into_iter().filter(moves);
    let step = if target.rollback { rollback_step } else { image_step };
    let steps = moving.filter_map(|pool| step(seen, pool, &images));
    steps.into_iter().next().unwrap_or(Step::Done)
}

/// The body is the whole cluster as it was read, with its pools at their versions: that is how Azure is asked for the
/// control plane alone.
fn put_cluster(cluster: &Value, version: Version) -> Step {
    let mut body = cluster.clone();
    body["properties"]["kubernetesVersion"] = json!(version.to_string());
    let etag = text(cluster, "/eTag").map(str::to_owned);
    Step::PutCluster { version, body, etag }
}

fn image_step(seen: &Seen, pool: &Value, images: &[NodeImage]) -> Option<Step> {
    let current = pool_image(pool)?;
    let wanted = images.iter().find(|image| image.family == current.family)?;
    if current.cmp_version(wanted).is_ge() {
        return None;
    }
    let pool = name(pool);
    match seen.newest_images.get(&pool) {
        Some(newest) if newest == wanted => Some(Step::UpgradeImage { pool }),
        newest => Some(Step::Failed {
            code: "NodeImageVersionNotAvailable",
            message: format!(
                "Azure brings pool `{pool}` to the newest image of its region only: {}, not {wanted}",
                newest.map_or("none is told", NodeImage::as_str)
            ),
        }),
    }
}

fn rollback_step(seen: &Seen, pool: &Value, images: &[NodeImage]) -> Option<Step> {
    let current = pool_image(pool)?;
    let wanted = images.iter().find(|image| image.family == current.family)?;
    if current == *wanted {
        return None;
    }
    let (pool, image) = (name(pool), wanted.clone());
    let recent = seen.recent_images.get(&pool);
    if recent.is_some_and(|recent| recent.contains(wanted)) {
        return Some(Step::PutImage { pool, image });
    }
    let message =
        format!("Azure takes pool `{pool}` back to images that it had lately only, not to {image}");
    Some(Step::Failed { code: "NodeImageVersionNotAvailable", message })
}

fn name(pool: &Value) -> String {
    text(pool, "/name").unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(control_plane: &str, state: &str, pools: &[(&str, &str, &str)]) -> Seen {
        let pools: Vec<Value> = (pools.iter())
            .map(|(name, mode, version)| {
                json!({
                    "name": name, "mode": mode, "currentOrchestratorVersion": version,
                    "nodeImageVersion": "u-1.0", "provisioningState": "Succeeded",
                })
            })
            .collect();
        let cluster = json!({"eTag": "e1", "location": "north", "properties": {
            "kubernetesVersion": control_plane, "currentKubernetesVersion": control_plane,
            "provisioningState": state, "agentPoolProfiles": pools,
        }});
        let newest = ("a".to_owned(), "u-3.0".parse().unwrap());
        Seen { cluster, newest_images: [newest].into(), ..Seen::default() }
    }

    fn summary(step: &Step) -> String {
        match step {
            Step::Wait(_) => "wait".into(),
            Step::Done => "done".into(),
            Step::Failed { code, .. } => format!("failed {code}"),
            Step::PutCluster { version, .. } => format!("cluster {version}"),
            Step::PutPool { pool, version } => format!("pool {pool} {version}"),
            Step::UpgradeImage { pool } => format!("image {pool}"),
            Step::PutImage { pool, image } => format!("image {pool} {image}"),
        }
    }

    #[test]
    fn parts_follow_each_other_and_what_is_there_is_left_alone() {
        let (old, new) = ("1.33.4", "1.34.1");
        for (upgrade_type, control_plane, state, pools, images, want) in [
            ("Full", old, "Succeeded", &[("a", "User", old)][..], &[][..], "cluster 1.34.1"),
            ("Full", old, "Upgrading", &[("a", "User", old)], &[], "wait"),
            ("Full", old, "Failed", &[("a", "User", old)], &[], "cluster 1.34.1"),
            (
                "Full",
                new,
                "Succeeded",
                &[("a", "User", old), ("z", "System", old)],
                &[],
                "pool z 1.34.1",
            ),
            (
                "Full",
                new,
                "Succeeded",
                &[("a", "User", old), ("z", "System", new)],
                &[],
                "pool a 1.34.1",
            ),
            ("Full", "1.34.2", "Succeeded", &[("a", "User", "1.34.2")], &[], "done"),
            ("ControlPlaneOnly", new, "Succeeded", &[("a", "User", old)], &[], "done"),
            ("Full", new, "Succeeded", &[("a", "User", new)], &["u-3.0"], "image a"),
            ("Full", new, "Succeeded", &[("a", "User", new)], &["u-1.0"], "done"),
            ("Full", new, "Succeeded", &[("a", "User", new)], &["w-9.0"], "done"),
            (
                "Full",
                new,
                "Succeeded",
                &[("a", "User", new)],
                &["u-2.0"],
                "failed NodeImageVersionNotAvailable",
            ),
        ] {
            let target = serde_json::from_value(json!({
                "type": upgrade_type, "kubernetesVersion": new, "nodeImages": images,
            }));
            let step = next(&seen(control_plane, state, pools), &target.unwrap());
            assert_eq!(summary(&step), want, "{upgrade_type} {control_plane} {pools:?} {images:?}");
        }
    }

    #[test]
    fn the_control_plane_is_written_with_the_pools_as_they_are() {
        let seen = seen("1.33.4", "Succeeded", &[("a", "User", "1.33.4")]);
        let target = serde_json::from_value(json!({"type": "Full", "kubernetesVersion": "1.34.1"}));
        let Step::PutCluster { body, etag, .. } = next(&seen, &target.unwrap()) else { panic!() };
        assert_eq!(etag.as_deref(), Some("e1"));
        let pools = "/properties/agentPoolProfiles";
        assert_eq!(body.pointer(pools), seen.cluster.pointer(pools));
        assert_eq!(body["properties"]["kubernetesVersion"], "1.34.1");
    }
}
