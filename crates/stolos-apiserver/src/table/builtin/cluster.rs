//! Nodes, namespaces, events and other parts of the cluster itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, age, at, condition, flag, int, name, or, text, time};
use super::{AGE, Heading, NAME, Printer};
use crate::table::duration;

const EVENT_COLUMNS: &[Heading] = &[
    Heading::string("Last Seen", "Time since the event happened last."),
    Heading::string("Type", "`Normal`, or `Warning` when a person should look."),
    Heading::string("Reason", "Why the event was written, for programs."),
    Heading::string("Object", "Object that the event is about."),
    Heading::string("Subobject", "Part of the object that the event is about.").wide(),
    Heading::string("Source", "Component that wrote the event, and where it runs.").wide(),
    Heading::string("Message", "What happened, for people."),
    Heading::string("First Seen", "Time since the event happened first.").wide(),
    Heading::string("Count", "How often the event happened.").wide(),
    Heading::string("Name", "Name of the event.").wide().naming(),
];

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "Node",
        columns: &[
            NAME,
            Heading::string("Status", "Whether the node is ready and takes pods."),
            Heading::string("Roles", "Roles of the node."),
            AGE,
            Heading::string("Version", "Version of the kubelet."),
            Heading::string("Internal-IP", "Address within the cluster.").wide(),
            Heading::string("External-IP", "Address from outside of the cluster.").wide(),
            Heading::string("OS-Image", "Operating system.").wide(),
            Heading::string("Kernel-Version", "Version of the kernel.").wide(),
            Heading::string("Container-Runtime", "Container runtime and its version.").wide(),
        ],
        cells: node,
    },
    Printer {
        group: "",
        kind: "Namespace",
        columns: &[
            NAME,
            Heading::string("Status", "Whether the namespace is in use or going away."),
            AGE,
        ],
        cells: |object, now| {
            vec![name(object), text(object, "status.phase").into(), age(object, now)]
        },
    },
    Printer { group: "", kind: "Event", columns: EVENT_COLUMNS, cells: event },
    Printer { group: "events.k8s.io", kind: "Event", columns: EVENT_COLUMNS, cells: event },
    Printer {
        group: "coordination.k8s.io",
        kind: "Lease",
        columns: &[NAME, Heading::string("Holder", "Who holds the lease."), AGE],
        cells: |object, now| {
            vec![name(object), text(object, "spec.holderIdentity").into(), age(object, now)]
        },
    },
    Printer {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        columns: &[
            NAME,
            Heading::integer("Value", "Priority of pods of this class."),
            Heading::boolean("Global-Default", "Pods without a class belong to this one."),
            AGE,
            Heading::string("PreemptionPolicy", "Whether pods of this class displace others."),
        ],
        cells: |object, now| {
            vec![
                name(object),
                int(object, "value").into(),
                flag(object, "globalDefault").into(),
                age(object, now),
                text(object, "preemptionPolicy").into(),
            ]
        },
    },
    Printer {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        columns: &[
            NAME,
            Heading::string("Handler", "Configuration of the container runtime."),
            AGE,
        ],
        cells: |object, now| vec![name(object), text(object, "handler").into(), age(object, now)],
    },
    Printer {
        group: "apiregistration.k8s.io",
        kind: "APIService",
        columns: &[
            NAME,
            Heading::string("Service", "Service that answers for the group."),
            Heading::string("Available", "Whether the group can be reached."),
            AGE,
        ],
        cells: |object, now| {
            vec![
                name(object),
                api_service(object).into(),
                available(object).into(),
                age(object, now),
            ]
        },
    },
];

fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = |field| or(text(at(node, "status.nodeInfo"), field), duration::UNKNOWN).into();
    vec![
        name(node),
        node_status(node).into(),
        or(&roles(node).join(","), NONE).into(),
        age(node, now),
        text(node, "status.nodeInfo.kubeletVersion").into(),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn node_status(node: &Value) -> String {
    let ready =
        match condition(node, "status.conditions", "Ready").map(|ready| text(ready, "status")) {
            Some("True") => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        };
    if flag(node, "spec.unschedulable") {
        format!("{ready},SchedulingDisabled")
    } else {
        ready.to_owned()
    }
}

fn roles(node: &Value) -> Vec<&str> {
    let labels = at(node, "metadata.labels").as_object().into_iter().flatten();
    let roles =
        labels.filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        });
    roles.filter(|role| !role.is_empty()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn address<'a>(node: &'a Value, type_: &str) -> &'a str {
    condition(node, "status.addresses", type_).map_or(NONE, |address| text(address, "address"))
}

/// Prints events of both groups; they are one resource with different names for the same fields.
fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let first_time = |fields: &[&str]| fields.iter().find_map(|field| time(event, field));
    let first = first_time(&["firstTimestamp", "deprecatedFirstTimestamp", "eventTime"]);
    let last = first_time(&["lastTimestamp", "deprecatedLastTimestamp"]).or(first);
    let series = at(event, "series");
    let (last, count) = if series.is_null() {
        (last, int(event, "count").max(int(event, "deprecatedCount")).max(1))
    } else {
        (time(series, "lastObservedTime"), int(series, "count"))
    };
    let object = either(event, "involvedObject", "regarding");
    vec![
        duration::since(last, now).into(),
        text(event, "type").into(),
        text(event, "reason").into(),
        target(object).into(),
        text(object, "fieldPath").into(),
        source(event).into(),
        or(text(event, "message"), text(event, "note")).trim().into(),
        duration::since(first, now).into(),
        count.into(),
        name(event),
    ]
}

fn either<'a>(object: &'a Value, first: &str, second: &str) -> &'a Value {
    match at(object, first) {
        Value::Null => at(object, second),
        value => value,
    }
}

fn target(object: &Value) -> String {
    let kind = text(object, "kind").to_lowercase();
    match text(object, "name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let source = either(event, "source", "deprecatedSource");
    let reporter = or(text(event, "reportingComponent"), text(event, "reportingController"));
    let component = or(text(source, "component"), reporter);
    match or(text(source, "host"), text(event, "reportingInstance")) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

fn api_service(object: &Value) -> String {
    let service = at(object, "spec.service");
    if service.is_null() {
        return "Local".to_owned();
    }
    format!("{}/{}", text(service, "namespace"), text(service, "name"))
}

fn available(object: &Value) -> String {
    let Some(condition) = condition(object, "status.conditions", "Available") else {
        return "Unknown".to_owned();
    };
    match (text(condition, "status"), text(condition, "reason")) {
        (status @ "True", _) | (status, "") => status.to_owned(),
        (status, reason) => format!("{status} ({reason})"),
    }
}
