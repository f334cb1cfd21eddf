//! Volumes and classes of them.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, UNSET, age, at, deleting, flag, list, name, or, scalar, text, texts};
use super::{AGE, Heading, NAME, Printer};

const GROUP: &str = "storage.k8s.io";

const CAPACITY: Heading = Heading::string("Capacity", "Size of the volume.");
const ACCESS_MODES: Heading = Heading::string("Access Modes", "How the volume may be mounted.");
const CLASS: Heading = Heading::string("StorageClass", "Class of the volume.");
const ATTRIBUTES_CLASS: Heading =
    Heading::string("VolumeAttributesClass", "Class of the volume's attributes.");
const MODE: Heading = Heading::string("VolumeMode", "File system or raw block device.").wide();

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "PersistentVolume",
        columns: &[
            NAME,
            CAPACITY,
            ACCESS_MODES,
            Heading::string("Reclaim Policy", "What happens to the volume once it is released."),
            Heading::string("Status", "Whether the volume is free, bound or released."),
            Heading::string("Claim", "Claim that the volume is bound to."),
            CLASS,
            ATTRIBUTES_CLASS,
            Heading::string("Reason", "Why the volume is in this state."),
            AGE,
            MODE,
        ],
        cells: volume,
    },
    Printer {
        group: "",
        kind: "PersistentVolumeClaim",
        columns: &[
            NAME,
            Heading::string("Status", "Whether the claim has a volume."),
            Heading::string("Volume", "Volume that the claim is bound to."),
            CAPACITY,
            ACCESS_MODES,
            CLASS,
            ATTRIBUTES_CLASS,
            AGE,
            MODE,
        ],
        cells: claim,
    },
    Printer {
        group: GROUP,
        kind: "StorageClass",
        columns: &[
            NAME,
            Heading::string("Provisioner", "Who makes the volumes."),
            Heading::string("ReclaimPolicy", "What happens to volumes once they are released."),
            Heading::string("VolumeBindingMode", "When volumes are made and bound."),
            Heading::string("AllowVolumeExpansion", "Whether claims may ask for more later."),
            AGE,
        ],
        cells: class,
    },
    Printer {
        group: GROUP,
        kind: "VolumeAttachment",
        columns: &[
            NAME,
            Heading::string("Attacher", "Driver that attaches the volume.").naming(),
            Heading::string("PV", "Volume that is attached."),
            Heading::string("Node", "Node that it is attached to."),
            Heading::boolean("Attached", "Whether it is attached by now."),
            AGE,
        ],
        cells: |object, now| {
            vec![
                name(object),
                text(object, "spec.attacher").into(),
                text(object, "spec.source.persistentVolumeName").into(),
                text(object, "spec.nodeName").into(),
                flag(object, "status.attached").into(),
                age(object, now),
            ]
        },
    },
    Printer {
        group: GROUP,
        kind: "CSINode",
        columns: &[NAME, Heading::integer("Drivers", "Number of drivers on the node."), AGE],
        cells: |object, now| {
            vec![name(object), list(object, "spec.drivers").len().into(), age(object, now)]
        },
    },
    Printer {
        group: GROUP,
        kind: "CSIDriver",
        columns: &[
            NAME,
            Heading::boolean("AttachRequired", "Volumes must be attached to a node first."),
            Heading::boolean("PodInfoOnMount", "The driver wants to know the pod it mounts for."),
            Heading::boolean("StorageCapacity", "The driver publishes how much room it has."),
            Heading::string("TokenRequests", "Audiences of the tokens that the driver gets."),
            Heading::boolean("RequiresRepublish", "The driver wants to be called again and again."),
            Heading::string("Modes", "Life cycles of volumes that the driver supports."),
            AGE,
        ],
        cells: driver,
    },
    Printer {
        group: GROUP,
        kind: "VolumeAttributesClass",
        columns: &[NAME, Heading::string("DriverName", "Driver that knows the attributes."), AGE],
        cells: |object, now| {
            vec![name(object), text(object, "driverName").into(), age(object, now)]
        },
    },
];

fn volume(volume: &Value, now: Timestamp) -> Vec<Value> {
    let claim = at(volume, "spec.claimRef");
    let claim = if claim.is_null() {
        String::new()
    } else {
        format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
    };
    vec![
        name(volume),
        amount(at(volume, "spec.capacity.storage")).into(),
        access_modes(volume, "spec.accessModes").into(),
        text(volume, "spec.persistentVolumeReclaimPolicy").into(),
        phase(volume),
        claim.into(),
        class_name(volume).into(),
        unless_set(volume, "spec.volumeAttributesClassName"),
        text(volume, "status.reason").into(),
        age(volume, now),
        unless_set(volume, "spec.volumeMode"),
    ]
}

fn claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let volume = text(claim, "spec.volumeName");
    let (capacity, modes) = if volume.is_empty() {
        Default::default()
    } else {
        (amount(at(claim, "status.capacity.storage")), access_modes(claim, "status.accessModes"))
    };
    vec![
        name(claim),
        phase(claim),
        volume.into(),
        capacity.into(),
        modes.into(),
        class_name(claim).into(),
        unless_set(claim, "spec.volumeAttributesClassName"),
        age(claim, now),
        unless_set(claim, "spec.volumeMode"),
    ]
}

fn phase(object: &Value) -> Value {
    if deleting(object) { "Terminating".into() } else { text(object, "status.phase").into() }
}

fn amount(quantity: &Value) -> String {
    or(&scalar(quantity), "0").to_owned()
}

fn unless_set(object: &Value, path: &str) -> Value {
    at(object, path).as_str().unwrap_or(UNSET).into()
}

/// An annotation named the class before there was a field for it, and still wins.
fn class_name(object: &Value) -> &str {
    let annotation = &at(object, "metadata.annotations")["volume.beta.kubernetes.io/storage-class"];
    annotation.as_str().unwrap_or_else(|| text(object, "spec.storageClassName"))
}

/// Writes the short names of access modes, in a fixed order.
fn access_modes(object: &Value, path: &str) -> String {
    let short_names = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes = texts(object, path);
    let present = short_names.iter().filter(|(mode, _)| modes.contains(mode));
    present.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn class(class: &Value, now: Timestamp) -> Vec<Value> {
    let annotations = at(class, "metadata.annotations");
    let is_default = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ]
    .iter()
    .any(|key| annotations[*key] == "true");
    let class_name = text(class, "metadata.name");
    vec![
        if is_default { format!("{class_name} (default)").into() } else { class_name.into() },
        text(class, "provisioner").into(),
        or(text(class, "reclaimPolicy"), "Delete").into(),
        or(text(class, "volumeBindingMode"), "Immediate").into(),
        flag(class, "allowVolumeExpansion").into(),
        age(class, now),
    ]
}

fn driver(driver: &Value, now: Timestamp) -> Vec<Value> {
    let requests = at(driver, "spec.tokenRequests");
    let audiences =
        list(driver, "spec.tokenRequests").iter().map(|request| text(request, "audience"));
    let audiences = audiences.collect::<Vec<_>>().join(",");
    vec![
        name(driver),
        at(driver, "spec.attachRequired").as_bool().unwrap_or(true).into(),
        flag(driver, "spec.podInfoOnMount").into(),
        flag(driver, "spec.storageCapacity").into(),
        if requests.is_null() { UNSET.into() } else { audiences.into() },
        flag(driver, "spec.requiresRepublish").into(),
        or(&texts(driver, "spec.volumeLifecycleModes").join(","), NONE).into(),
        age(driver, now),
    ]
}
