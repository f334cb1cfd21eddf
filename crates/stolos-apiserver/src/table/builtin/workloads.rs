//! Workloads that keep pods running.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, age, at, containers, flag, int, list, name, text};
use super::{AGE, CONTAINERS, Heading, IMAGES, NAME, Printer, SELECTOR, selector};

const DESIRED: Heading = Heading::integer("Desired", "Pods that are wished for.");
const CURRENT: Heading = Heading::integer("Current", "Pods that exist.");
const READY: Heading = Heading::integer("Ready", "Pods that are ready.");
const READY_OF_WISHED: Heading =
    Heading::string("Ready", "Pods that are ready, of those wished for.");
const UP_TO_DATE: &str = "Pods made from the present template.";
const AVAILABLE: &str = "Pods that have been ready for long enough.";

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "autoscaling",
        kind: "Scale",
        columns: &[
            NAME,
            Heading::integer("Desired", "Instances that are wished for."),
            Heading::integer("Available", "Instances that were observed."),
            AGE,
        ],
        cells: |scale, now| {
            let number = |path| int(scale, path).into();
            vec![name(scale), number("spec.replicas"), number("status.replicas"), age(scale, now)]
        },
    },
    Printer {
        group: "apps",
        kind: "Deployment",
        columns: &[
            NAME,
            READY_OF_WISHED,
            Heading::string("Up-to-date", UP_TO_DATE),
            Heading::string("Available", AVAILABLE),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        cells: deployment,
    },
    Printer {
        group: "apps",
        kind: "ReplicaSet",
        columns: &[NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR],
        cells: |object, now| replicas(object, now, selector::cell(at(object, "spec.selector"))),
    },
    Printer {
        group: "",
        kind: "ReplicationController",
        columns: &[NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR],
        cells: |object, now| {
            replicas(object, now, selector::labels(at(object, "spec.selector")).into())
        },
    },
    Printer {
        group: "apps",
        kind: "StatefulSet",
        columns: &[NAME, READY_OF_WISHED, AGE, CONTAINERS, IMAGES],
        cells: |object, now| {
            let [names, images] = containers(object, TEMPLATE);
            vec![name(object), ready_of_wished(object), age(object, now), names, images]
        },
    },
    Printer {
        group: "apps",
        kind: "DaemonSet",
        columns: &[
            NAME,
            Heading::integer("Desired", "Nodes that should run a pod."),
            Heading::integer("Current", "Nodes that have a pod."),
            READY,
            Heading::integer("Up-to-date", UP_TO_DATE),
            Heading::integer("Available", AVAILABLE),
            Heading::string("Node Selector", "Labels of the nodes that get a pod."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        cells: daemon_set,
    },
    Printer {
        group: "apps",
        kind: "ControllerRevision",
        columns: &[
            NAME,
            Heading::string("Controller", "Object that this is a revision of."),
            Heading::string("Revision", "Number of the revision."),
            AGE,
        ],
        cells: |object, now| {
            vec![
                name(object),
                controller(object).into(),
                int(object, "revision").into(),
                age(object, now),
            ]
        },
    },
    Printer {
        group: "autoscaling",
        kind: "Scale",
        columns: &[
            Heading::string("Name", "Name of the scaled object."),
            DESIRED,
            Heading::integer("Available", "Pods that exist."),
            AGE,
        ],
        cells: |object, now| {
            let (wished, there) = (int(object, "spec.replicas"), int(object, "status.replicas"));
            vec![name(object), wished.into(), there.into(), age(object, now)]
        },
    },
];

const TEMPLATE: &str = "spec.template.spec.containers";

fn ready_of_wished(object: &Value) -> Value {
    format!("{}/{}", int(object, "status.readyReplicas"), int(object, "spec.replicas")).into()
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    let selector = selector::expression(at(object, "spec.selector"));
    vec![
        name(object),
        ready_of_wished(object),
        int(object, "status.updatedReplicas").into(),
        int(object, "status.availableReplicas").into(),
        age(object, now),
        names,
        images,
        selector.unwrap_or_else(|| "<invalid>".to_owned()).into(),
    ]
}

fn replicas(object: &Value, now: Timestamp, selector: Value) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    vec![
        name(object),
        int(object, "spec.replicas").into(),
        int(object, "status.replicas").into(),
        int(object, "status.readyReplicas").into(),
        age(object, now),
        names,
        images,
        selector,
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, TEMPLATE);
    vec![
        name(object),
        int(object, "status.desiredNumberScheduled").into(),
        int(object, "status.currentNumberScheduled").into(),
        int(object, "status.numberReady").into(),
        int(object, "status.updatedNumberScheduled").into(),
        int(object, "status.numberAvailable").into(),
        selector::labels(at(object, "spec.template.spec.nodeSelector")).into(),
        age(object, now),
        names,
        images,
        selector::cell(at(object, "spec.selector")),
    ]
}

/// Writes the owner that controls an object: `statefulset.apps/web`.
fn controller(object: &Value) -> String {
    let owners = list(object, "metadata.ownerReferences");
    let Some(owner) = owners.iter().find(|owner| flag(owner, "controller")) else {
        return NONE.to_owned();
    };
    let kind = text(owner, "kind").to_lowercase();
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")),
        None => format!("{kind}/{}", text(owner, "name")),
    }
}
