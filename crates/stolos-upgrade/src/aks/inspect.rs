//! What Azure says about a managed cluster.

use std::collections::BTreeMap;

use serde_json::Value;
use stolos_api::update::{MaintenanceWindow, MaintenanceWindows};
use stolos_core::update::cluster::{Cluster, Hold, Offer, Pool, Power, Restorable};
use stolos_core::update::image::NodeImage;
use stolos_core::update::version::Version;

/// The support plan of clusters and versions with long-term support.
const LONG_TERM_SUPPORT: &str = "AKSLongTermSupport";

/// A managed cluster and what it is offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// The body of the managed cluster.
    pub(super) cluster: Value,
    /// Its upgrade profile.
    pub(super) offers: Value,
    /// The newest image of each pool in the cluster's region.
    pub(super) newest_images: BTreeMap<String, NodeImage>,
    /// The images that Azure takes each pool back to.
    pub(super) recent_images: BTreeMap<String, Vec<NodeImage>>,
    /// The maintenance configurations of the cluster.
    pub(super) maintenance: Value,
    /// The versions of the cluster's region, where they matter.
    pub(super) region_versions: Value,
}

/// Returns a text in a body.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Reads a version in a body.
pub(super) fn version(value: &Value, pointer: &str) -> Option<Version> {
    text(value, pointer)?.parse().ok()
}

/// Returns the version of the control plane.
pub(super) fn control_plane(cluster: &Value) -> Option<Version> {
    version(cluster, "/properties/currentKubernetesVersion")
        .or_else(|| version(cluster, "/properties/kubernetesVersion"))
}

/// Returns the pools, system pools first and each kind by name: system pools carry what user pools need.
pub(super) fn pools(cluster: &Value) -> Vec<&Value> {
    let list = cluster.pointer("/properties/agentPoolProfiles").and_then(Value::as_array);
    let mut pools: Vec<&Value> = list.into_iter().flatten().collect();
    pools.sort_by_key(|pool| (text(pool, "/mode") != Some("System"), text(pool, "/name")));
    pools
}

pub(super) fn pool_version(pool: &Value) -> Option<Version> {
    version(pool, "/currentOrchestratorVersion").or_else(|| version(pool, "/orchestratorVersion"))
}

pub(super) fn pool_image(pool: &Value) -> Option<NodeImage> {
    text(pool, "/nodeImageVersion")?.parse().ok()
}

/// Whether the pool was made from a snapshot.
pub(super) fn is_from_snapshot(pool: &Value) -> bool {
    text(pool, "/creationData/sourceResourceId").is_some()
}

/// Returns what Azure does to the cluster or a pool at the moment.
pub(super) fn in_progress(cluster: &Value) -> Option<String> {
    let going_on = |state: &&str| !matches!(*state, "Succeeded" | "Failed" | "Canceled");
    if let Some(state) = text(cluster, "/properties/provisioningState").filter(going_on) {
        return Some(format!("Azure reports the cluster as {state}"));
    }
    pools(cluster).into_iter().find_map(|pool| {
        let state = text(pool, "/provisioningState").filter(going_on)?;
        let name = text(pool, "/name").unwrap_or_default();
        Some(format!("Azure reports pool `{name}` as {state}"))
    })
}

pub(super) fn is_stopped(cluster: &Value) -> bool {
    text(cluster, "/properties/powerState/code") == Some("Stopped")
}

/// Whether the cluster has long-term support.
pub(super) fn has_long_term_support(cluster: &Value) -> bool {
    text(cluster, "/properties/supportPlan") == Some(LONG_TERM_SUPPORT)
}

/// Reads the state of a cluster, or says why that is not possible.
pub(super) fn inspect(seen: &Seen, upgrade: Option<&str>) -> Result<Cluster, String> {
    let Seen { cluster, offers, newest_images, recent_images, maintenance, region_versions } = seen;
    let control_plane =
        control_plane(cluster).ok_or("Azure does not tell the version of the cluster")?;
    let restorable = restorable_images(cluster, recent_images);
    let pools = pools(cluster).into_iter().filter_map(|pool| {
        Some(Pool {
            name: text(pool, "/name")?.to_owned(),
            version: pool_version(pool)?,
            image: pool_image(pool),
            from_snapshot: is_from_snapshot(pool),
        })
    });
    let own = upgrade.map(|id| format!("upgrade {id} of the cluster is under way"));
    let mut images: Vec<NodeImage> = newest_images.values().cloned().collect();
    images.sort_unstable();
    images.dedup();
    Ok(Cluster {
        region: text(cluster, "/location").map(str::to_owned),
        control_plane,
        pools: pools.collect(),
        power: if is_stopped(cluster) { Power::Stopped } else { Power::Running },
        hold: own.or_else(|| in_progress(cluster)).map(Hold::busy),
        long_term_support: has_long_term_support(cluster),
        walks_minors: false,
        versions: Offer::These(versions(offers, control_plane)),
        long_term_support_versions: long_term_support_versions(region_versions),
        images: Offer::These(images),
        windows: windows(maintenance)?,
        // Kubernetes versions never go back.
        restorable: Restorable { versions: false, images: Offer::These(restorable) },
    })
}

/// Returns the images that all pools of their family can be taken back to, or have.
fn restorable_images(cluster: &Value, recent: &BTreeMap<String, Vec<NodeImage>>) -> Vec<NodeImage> {
    let pools = pools(cluster);
    let can = |pool: &&Value, image: &NodeImage| {
        let current = pool_image(pool);
        let of_pool = text(pool, "/name").and_then(|name| recent.get(name));
        current.is_none_or(|current| current.family != image.family || current == *image)
            || of_pool.is_some_and(|images| images.contains(image))
    };
    let mut images: Vec<NodeImage> = (recent.values().flatten())
        .filter(|image| pools.iter().all(|pool| can(pool, image)))
        .cloned()
        .collect();
    images.sort_unstable();
    images.dedup();
    images
}

/// Reads the images that a pool had lately, together with the version that it has, from its upgrade profile.
pub(super) fn recent_images(pool: &Value, profile: &Value) -> Vec<NodeImage> {
    let list = profile.pointer("/properties/recentlyUsedVersions").and_then(Value::as_array);
    let fits = |used: &&Value| version(used, "/orchestratorVersion") == pool_version(pool);
    let used = list.into_iter().flatten().filter(fits);
    used.filter_map(|used| text(used, "/nodeImageVersion")?.parse().ok()).collect()
}

/// Reads the windows of a cluster. Azure's form is ours.
fn windows(maintenance: &Value) -> Result<MaintenanceWindows, String> {
    let window = |name: &str| {
        let list = maintenance.get("value").and_then(Value::as_array);
        let found = list.into_iter().flatten().find(|item| text(item, "/name") == Some(name));
        let window = found.and_then(|item| item.pointer("/properties/maintenanceWindow"));
        let window = window.filter(|window| !window.is_null()).map(without_nulls);
        window.map(serde_json::from_value::<MaintenanceWindow>).transpose().map_err(|error| {
            // Without its window a cluster would be upgraded at any time.
            format!("maintenance configuration `{name}` of the cluster cannot be read: {error}")
        })
    };
    Ok(MaintenanceWindows {
        kubernetes: window("aksManagedAutoUpgradeSchedule")?,
        node_image: window("aksManagedNodeOSUpgradeSchedule")?,
    })
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            set.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        other => other.clone(),
    }
}

fn long_term_support_versions(region: &Value) -> Vec<Version> {
    let minors = region.get("values").and_then(Value::as_array);
    let supported = minors.into_iter().flatten().filter(|minor| {
        let plans = minor.pointer("/capabilities/supportPlan").and_then(Value::as_array);
        plans.is_some_and(|plans| plans.contains(&Value::from(LONG_TERM_SUPPORT)))
    });
    let patches = supported.filter_map(|minor| minor.get("patchVersions")?.as_object());
    patches.flat_map(serde_json::Map::keys).filter_map(|version| version.parse().ok()).collect()
}

/// Returns the versions that Azure offers the control plane, and the one that it has. Previews are left out: they are
/// never chosen unasked.
fn versions(offers: &Value, current: Version) -> Vec<Version> {
    let list = offers.pointer("/properties/controlPlaneProfile/upgrades").and_then(Value::as_array);
    let released = list
        .into_iter()
        .flatten()
        .filter(|offer| offer.get("isPreview").and_then(Value::as_bool) != Some(true));
    let offered = released.filter_map(|offer| version(offer, "/kubernetesVersion"));
    let mut versions: Vec<Version> = offered.chain([current]).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}
