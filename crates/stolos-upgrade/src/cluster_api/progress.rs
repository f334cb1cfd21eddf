//! The next step of an upgrade that is under way, from its record and from what is seen.

use serde_json::{Value, json};
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::cluster::Operation;
use stolos_core::update::version::Version;

use super::images::{self, Missing, Wish};
use super::objects::{Part, Reference, Role, World, condition, first_false};
use super::topology::{self, kept_back, variable, wanted_version, with_variable};

/// What to write next, and how the upgrade stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) writes: Vec<Write>,
    pub(super) operation: Operation,
}

/// A change of an object as it was seen; it fails when the object has changed since.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// Create a machine template, if it is not there.
    Template { like: Reference, object: Box<kube::core::DynamicObject> },
    /// Change `spec.topology` of the `Cluster`.
    Topology(Value),
    /// Change a part.
    Part { role: Role, name: String, patch: Value },
}

impl Step {
    fn running(message: impl Into<String>) -> Self {
        Self { writes: Vec::new(), operation: Operation::Running(Some(message.into())) }
    }

    fn done(message: impl Into<String>) -> Self {
        Self { writes: Vec::new(), operation: Operation::Done(Some(message.into())) }
    }

    fn failed(code: &str, message: impl Into<String>) -> Self {
        let operation = Operation::Failed { code: code.into(), message: message.into() };
        Self { writes: Vec::new(), operation }
    }

    fn write(writes: Vec<Write>, message: impl Into<String>) -> Self {
        Self { writes, operation: Operation::Running(Some(message.into())) }
    }
}

/// Decides the next step. Asked again after each change, it leads to the target and then stays there.
pub(super) fn next(world: &World, target: &MemberTarget) -> Step {
    let wanted = match wanted_version(target) {
        Ok(version) => version,
        Err(error) => return Step::failed("InvalidTarget", error),
    };
    if world.is_paused() {
        return Step::running("Paused: Cluster API is told to leave the Cluster alone");
    }
    if let Some((code, message)) = world.parts().iter().find_map(Part::terminal_failure) {
        return Step::failed(&code, message);
    }
    let wish = Wish::of(target);
    let step = if world.topology().is_some() {
        follow_topology(world, target, wanted, &wish)
    } else {
        upgrade_parts(world, target, wanted, &wish)
    };
    step.unwrap_or_else(|Missing(message)| Step::failed("NodeImageVersionNotAvailable", message))
}

/// Without a topology: the control plane, then worker by worker.
fn upgrade_parts(
    world: &World,
    target: &MemberTarget,
    wanted: Option<Version>,
    wish: &Wish,
) -> Result<Step, Missing> {
    if world.control_plane.is_none() && wanted.is_some() {
        let message = "the Cluster has no control plane object whose version could be changed";
        return Ok(Step::failed("NotSupported", message));
    }
    let parts = world.parts();
    let parts = parts.iter().filter(|part| {
        part.role == Role::ControlPlane || target.upgrade_type != UpgradeType::ControlPlaneOnly
    });
    for part in parts {
        let Some(current) = part.version() else { continue };
        let version = wanted.filter(|wanted| *wanted > current);
        let image = images::wanted(world, part, version.unwrap_or(current), wish)?;
        if version.is_some() || image.is_some() {
            return Ok(change_part(world, part, version, image));
        }
        if let Some(wait) = waits_for(world, part, wanted) {
            return Ok(Step::running(wait));
        }
    }
    Ok(Step::done(summary(wanted)))
}

/// One write brings version and template together: two would replace every machine twice.
fn change_part(
    world: &World,
    part: &Part<'_>,
    version: Option<Version>,
    image: Option<&super::catalogue::Image>,
) -> Step {
    let mut writes = Vec::new();
    let mut spec = json!({});
    let mut changes = Vec::new();
    if let Some(version) = version {
        spec["version"] = json!(format!("v{version}"));
        changes.push(format!("version {version}"));
    }
    let mut patch = match part.role {
        Role::ControlPlane => json!({ "spec": spec }),
        Role::Deployment | Role::Pool => json!({ "spec": { "template": { "spec": spec } } }),
    };
    if let Some(image) = image {
        let copy = part.template().and_then(|reference| {
            let path = world.catalogue.field(&reference.kind)?;
            let template = world.templates.get(&reference)?;
            Some((reference, images::with_image(template, path, &image.value)?))
        });
        let Some((reference, copy)) = copy else {
            return Step::failed("NotSupported", format!("{part} has no machine template"));
        };
        changes.push(format!("image {}", image.image));
        let name = json!({ "name": copy.metadata.name });
        let switch = nested(part.template_pointer(), name);
        json_patch_merge(&mut patch, switch);
        writes.push(Write::Template { like: reference, object: Box::new(copy) });
    }
    writes.push(Write::Part { role: part.role, name: part.name().to_owned(), patch });
    Step::write(writes, format!("{part}: to {}", changes.join(" and ")))
}

fn nested(pointer: &str, value: Value) -> Value {
    pointer
        .rsplit('/')
        .filter(|key| !key.is_empty())
        .fold(value, |inner, key| json!({ key: inner }))
}

fn json_patch_merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                json_patch_merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// With a topology: Cluster API goes from part to part; images follow when all have their version, as a variable that
/// changes earlier would give new images to machines of the old version.
fn follow_topology(
    world: &World,
    target: &MemberTarget,
    wanted: Option<Version>,
    wish: &Wish,
) -> Result<Step, Missing> {
    let topology = world.topology().expect("the caller has looked");
    if let Some(patch) = topology::change(topology, target.upgrade_type, wanted) {
        return Ok(Step::write(vec![Write::Topology(patch)], "topology: to the wanted version"));
    }
    let only_control_plane = target.upgrade_type == UpgradeType::ControlPlaneOnly;
    for part in world.parts() {
        if only_control_plane && part.role != Role::ControlPlane {
            continue;
        }
        let behind = wanted.filter(|wanted| part.version().is_some_and(|now| now < *wanted));
        if let Some(wanted) = behind {
            let kept = part.topology_name().and_then(|name| {
                let kind =
                    if part.role == Role::Pool { "machinePools" } else { "machineDeployments" };
                kept_back(topology, kind, name)
            });
            let why = kept.map_or_else(
                || first_problem(world).unwrap_or_else(|| "its turn has not come".into()),
                |annotation| format!("kept back by annotation {annotation}"),
            );
            return Ok(Step::running(format!("{part} waits for version {wanted}: {why}")));
        }
        if let Some(wait) = waits_for(world, &part, wanted) {
            return Ok(Step::running(wait));
        }
    }
    if only_control_plane {
        return Ok(Step::done(summary(wanted)));
    }
    if let Some(name) = &world.catalogue.topology_variable
        && let Some(part) = world.workers().first().copied().or_else(|| world.control_plane())
        && let Some(current) = part.version()
        && let Some(image) = images::wanted(world, &part, current, wish)?
        && variable(topology, name) != Some(&image.value)
    {
        let patch = with_variable(topology, name, &image.value);
        let message = format!("topology variable {name}: to image {}", image.image);
        return Ok(Step::write(vec![Write::Topology(patch)], message));
    }
    Ok(reconciled(world).map_or_else(|| Step::done(summary(wanted)), Step::running))
}

/// Returns what `TopologyReconciled` waits for, or nothing when it is true for the `Cluster` as it is.
fn reconciled(world: &World) -> Option<String> {
    let Some(condition) = condition(&world.cluster, "TopologyReconciled") else {
        return Some("the topology has not been reconciled yet".into());
    };
    let observed = condition.get("observedGeneration").and_then(Value::as_i64);
    if observed.zip(world.cluster.metadata.generation).is_some_and(|(seen, now)| seen < now) {
        return Some("the topology has not been reconciled since it changed".into());
    }
    if condition.get("status") == Some(&Value::from("True")) {
        return None;
    }
    let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(format!("TopologyReconciled: {}: {}", text("reason"), text("message")))
}

/// Returns what a changed part waits for.
fn waits_for(world: &World, part: &Part<'_>, wanted: Option<Version>) -> Option<String> {
    let unsettled = part.unsettled().or_else(|| {
        let oldest = world.oldest_version(part)?;
        let behind = wanted.filter(|wanted| oldest < *wanted)?;
        Some(format!("a machine runs {oldest}, {behind} is wanted"))
    })?;
    let problem = first_problem(world).map(|text| format!(" ({text})")).unwrap_or_default();
    Some(format!("{part}: {unsettled}{problem}"))
}

/// Returns the first condition that is false and should not be, going from the whole to its machines.
fn first_problem(world: &World) -> Option<String> {
    let topology = condition(&world.cluster, "TopologyReconciled")
        .filter(|condition| condition.get("status") == Some(&Value::from("False")))
        .and_then(|_| reconciled(world));
    let parts = || {
        world
            .parts()
            .into_iter()
            .find_map(|part| Some(format!("{part}: {}", first_false(part.object)?)))
    };
    let machines = || {
        world.machines.iter().find_map(|machine| {
            let name = machine.metadata.name.as_deref().unwrap_or_default();
            Some(format!("Machine `{name}`: {}", first_false(machine)?))
        })
    };
    topology.or_else(parts).or_else(machines)
}

fn summary(wanted: Option<Version>) -> String {
    wanted.map_or_else(
        || "all machines have their image".to_owned(),
        |version| format!("everything that was to be upgraded runs {version}"),
    )
}
