//! Volumes of the cluster, what attaches them, and what storage says of its capacity.

use serde_json::{Value, json};

use super::resources::{amount, check_not_negative};
use super::{check_choice, check_text, list};
use crate::name_rules::subdomain_problems;
use crate::schema::causes::{forbidden, invalid, not_supported, required, too_long};
use crate::status::Cause;

/// Longest name of a driver.
const MAX_DRIVER: u64 = 63;
const ALONE: &str = "ReadWriteOncePod";
const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", ALONE];
/// Kinds of volumes, in the order in which upstream looks for them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Checks a volume.
pub(super) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    check_modes(spec, causes);
    check_capacity(&spec["capacity"], causes);
    let policies = ["Delete", "Recycle", "Retain"];
    check_choice(spec, "persistentVolumeReclaimPolicy", "spec", &policies, causes);
    let affinity = &spec["nodeAffinity"];
    if affinity.is_object() && !affinity["required"].is_object() {
        let why = "must specify required node constraints";
        causes.push(required("spec.nodeAffinity.required", why));
    }
    check_sources(spec, causes);
    if spec["hostPath"]["path"].as_str().is_some_and(|path| path.trim_matches('/').is_empty())
        && spec["persistentVolumeReclaimPolicy"] == "Recycle"
    {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        causes.push(forbidden("spec.persistentVolumeReclaimPolicy", why));
    }
    let class = &spec["storageClassName"];
    if class.as_str().is_some_and(|class| !class.is_empty()) {
        check_name(class, "spec.storageClassName", causes);
    }
    check_choice(spec, "volumeMode", "spec", &["Block", "Filesystem"], causes);
}

fn check_modes(spec: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "spec.accessModes";
    let modes: Vec<&Value> = list(spec, "accessModes").collect();
    if modes.is_empty() {
        causes.push(required(PATH, ""));
    }
    let known = |mode: &Value| mode.as_str().is_some_and(|mode| MODES.contains(&mode));
    for mode in modes.iter().filter(|mode| !known(mode)) {
        causes.push(not_supported(PATH, mode, &MODES.map(Value::from)));
    }
    let is_alone = |mode: &&&Value| **mode == ALONE;
    if modes.iter().any(|mode| *mode == ALONE)
        && modes.iter().any(|mode| known(mode) && !is_alone(&mode))
    {
        let why = format!("may not use {ALONE} with other access modes");
        causes.push(forbidden(PATH, &why));
    }
}

fn check_capacity(capacity: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "spec.capacity";
    let n_resources = capacity.as_object().map_or(0, serde_json::Map::len);
    if n_resources == 0 {
        causes.push(required(PATH, ""));
    }
    if n_resources > 1 || capacity.get("storage").is_none() {
        causes.push(not_supported(PATH, capacity, &[json!("storage")]));
    }
    for (resource, value) in capacity.as_object().into_iter().flatten() {
        let Some(amount) = amount(value).filter(|amount| amount.sign() < 1) else { continue };
        let field = format!("{PATH}[{resource}]");
        if amount.sign() < 0 {
            let shown = amount.as_integer().map_or_else(|| value.clone(), Value::from);
            causes.push(invalid(&field, &shown, "must be a valid resource quantity"));
        }
        causes.push(invalid(&field, &amount.to_string().into(), "must be greater than zero"));
    }
}

fn check_sources(spec: &Value, causes: &mut Vec<Cause>) {
    let mut present = SOURCES.iter().filter(|source| spec[**source].is_object());
    let Some(first) = present.next() else {
        causes.push(required("spec", "must specify a volume type"));
        return;
    };
    check_source(first, spec, causes);
    for other in present {
        let field = if *other == "cephfs" { "cephFS" } else { other };
        let why = "may not specify more than 1 volume type";
        causes.push(forbidden(&format!("spec.{field}"), why));
    }
}

/// Checks the kinds of volumes that are in use outside of clouds.
fn check_source(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let source = &spec[kind];
    let at = |field: &str| format!("spec.{kind}.{field}");
    match kind {
        "hostPath" | "local" => {
            check_text(source, "path", &at("path"), causes);
            if source["path"].as_str().is_some_and(|path| path.split('/').any(|part| part == ".."))
            {
                causes.push(invalid(&at("path"), &source["path"], "must not contain '..'"));
            }
            if kind == "local" && !spec["nodeAffinity"].is_object() {
                let why = "Local volume requires node affinity";
                causes.push(required("spec.nodeAffinity", why));
            }
        }
        "nfs" => {
            check_text(source, "server", &at("server"), causes);
            check_text(source, "path", &at("path"), causes);
            if source["path"].as_str().is_none_or(|path| !path.starts_with('/')) {
                let path = source["path"].as_str().unwrap_or_default();
                causes.push(invalid(&at("path"), &path.into(), "must be an absolute path"));
            }
        }
        "csi" => {
            check_driver(&source["driver"], &at("driver"), causes);
            check_text(source, "volumeHandle", &at("volumeHandle"), causes);
        }
        _ => {}
    }
}

fn check_driver(driver: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = driver.as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(required(path, ""));
    }
    if name.len() as u64 > MAX_DRIVER {
        causes.push(too_long(path, MAX_DRIVER));
    }
    let problems = subdomain_problems(&name.to_lowercase());
    causes.extend(problems.iter().map(|why| invalid(path, &name.into(), why)));
}

fn check_name(name: &Value, path: &str, causes: &mut Vec<Cause>) {
    let text = name.as_str().unwrap_or_default();
    causes.extend(subdomain_problems(text).iter().map(|why| invalid(path, &text.into(), why)));
}

/// Checks what asks for a volume to be attached to a node.
pub(super) fn check_attachment(spec: &Value, causes: &mut Vec<Cause>) {
    check_text(spec, "attacher", "spec.attacher", causes);
    let source = &spec["source"];
    let (named, inline) = (&source["persistentVolumeName"], &source["inlineVolumeSpec"]);
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (named.is_string(), inline.is_object()) {
        (false, false) => causes.push(required("spec.source", one)),
        (true, true) => causes.push(forbidden("spec.source", one)),
        (true, false) if named == "" => {
            let why = "must specify non empty persistentVolumeName";
            causes.push(required("spec.source.persistentVolumeName", why));
        }
        (true, false) | (false, true) => {}
    }
    check_name(&spec["nodeName"], "spec.nodeName", causes);
    check_driver(&spec["attacher"], "spec.attacher", causes);
    if named.is_string() {
        check_name(named, "spec.source.persistentVolumeName", causes);
    }
}

/// Checks what storage says of its capacity.
pub(super) fn check_storage_capacity(capacity: &Value, causes: &mut Vec<Cause>) {
    super::selector("nodeTopology", &capacity["nodeTopology"], causes);
    check_name(&capacity["storageClassName"], "storageClassName", causes);
    if let Some(amount) = amount(&capacity["capacity"]) {
        check_not_negative(amount, "capacity", causes);
    }
}
