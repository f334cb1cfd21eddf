//! What the objects of a cluster say about it.

use serde_json::Value;
use stolos_core::update::cluster::{Cluster, Hold, Inspection, Offer, Pool, Restorable};
use stolos_core::update::code;
use stolos_core::update::version::Version;

use super::images;
use super::objects::{Part, Role, World, version_at};
use super::record::Record;
use super::topology::kept_back;

/// Reads the state of a cluster, or says why that is not possible.
pub(super) fn inspect(world: &World, record: &Record) -> Inspection {
    match known(world, record) {
        Ok(cluster) => Inspection::Known(cluster),
        Err(reason) => Inspection::Unknown(reason),
    }
}

fn known(world: &World, record: &Record) -> Result<Cluster, String> {
    let mut pools: Vec<Pool> =
        world.workers().iter().filter_map(|part| pool(world, part)).collect();
    let control_plane = control_plane_version(world)
        .or_else(|| pools.iter().map(|pool| pool.version).max())
        .ok_or("nothing in Cluster API tells the version of the cluster")?;
    if let Some(part) = world.control_plane() {
        // Machines of the control plane are nodes as well; they count where their image can be changed.
        pools.extend(pool(world, &part).filter(|pool| pool.image.is_some()));
    }
    Ok(Cluster {
        region: world.location().map(str::to_owned),
        pools,
        hold: hold(world, record),
        walks_minors: walks_minors(world),
        versions: versions(world),
        images: images::offered(world),
        // Control planes never go back; machines get any image that fits their version.
        restorable: Restorable { versions: false, images: images::offered(world) },
        ..Cluster::running(control_plane)
    })
}

fn control_plane_version(world: &World) -> Option<Version> {
    let part = world.control_plane()?;
    world.oldest_version(&part)
}

fn pool(world: &World, part: &Part<'_>) -> Option<Pool> {
    let image = images::current(world, part).map(|image| image.image.clone());
    Some(Pool {
        name: part.name().to_owned(),
        version: world.oldest_version(part)?,
        image,
        from_snapshot: false,
    })
}

fn versions(world: &World) -> Offer<Version> {
    let class = world.class.as_ref();
    let listed = class.and_then(|class| class.data.pointer("/spec/kubernetesVersions"));
    if let Some(listed) = listed.and_then(Value::as_array).filter(|listed| !listed.is_empty()) {
        return Offer::These(listed.iter().filter_map(|item| version_at(item, "")).collect());
    }
    match world.offers().and_then(|location| location.versions.as_ref()) {
        Some(versions) => Offer::These(versions.clone()),
        None => Offer::Anything,
    }
}

/// Whether Cluster API goes over the minor versions in between by itself ("chained upgrades"): where the class of a
/// topology lists its versions or plans upgrades by an extension.
fn walks_minors(world: &World) -> bool {
    const WAYS: [&str; 2] =
        ["/spec/kubernetesVersions/0", "/spec/upgrade/external/generateUpgradePlanExtension"];
    let class = world.class.as_ref().filter(|_| world.topology().is_some());
    class.is_some_and(|class| WAYS.iter().any(|way| class.data.pointer(way).is_some()))
}

/// Returns what keeps the cluster from being upgraded at the moment.
fn hold(world: &World, record: &Record) -> Option<Hold> {
    if let Some(upgrade) = record.running() {
        return Some(Hold::busy(format!("upgrade {} of the cluster is under way", upgrade.id)));
    }
    if world.cluster.metadata.deletion_timestamp.is_some() {
        return Some(Hold::busy("the Cluster is being deleted"));
    }
    if world.is_paused() {
        let message = "Cluster API is told to leave the Cluster alone".into();
        return Some(Hold { code: code::PAUSED, message });
    }
    let rolling = world.parts().into_iter().find_map(|part| {
        let message = format!("{part}: {}", part.rolling()?);
        let code = if part.is_on_delete() { code::ON_DELETE_STRATEGY } else { code::CLUSTER_BUSY };
        Some(Hold { code, message })
    });
    rolling.or_else(|| follows_topology(world).map(Hold::busy))
}

/// Returns the part that does not have the topology's version yet, unless it is kept back on purpose.
fn follows_topology(world: &World) -> Option<String> {
    let topology = world.topology()?;
    let wanted = version_at(topology, "/version")?;
    let behind = world.parts().into_iter().find(|part| {
        let kept = part.topology_name().and_then(|name| match part.role {
            Role::ControlPlane => None,
            Role::Deployment => kept_back(topology, "machineDeployments", name),
            Role::Pool => kept_back(topology, "machinePools", name),
        });
        part.version().is_some_and(|version| version < wanted) && kept.is_none()
    })?;
    Some(format!("{behind} is being brought to {wanted} by the topology of its Cluster"))
}
