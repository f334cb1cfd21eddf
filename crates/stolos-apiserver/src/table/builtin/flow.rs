//! How requests share an API server. The objects are stored and shown; this server does not act on them.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, age, at, int, list, name, text};
use super::{AGE, Heading, NAME, Printer};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: GROUP,
        kind: "FlowSchema",
        columns: &[
            NAME,
            Heading::string("PriorityLevel", "Priority level of the requests."),
            Heading::string("MatchingPrecedence", "Lower numbers are looked at first."),
            Heading::string("DistinguisherMethod", "What separates flows from each other."),
            AGE,
            Heading::string("MissingPL", "The priority level does not exist."),
        ],
        cells: flow_schema,
    },
    Printer {
        group: GROUP,
        kind: "PriorityLevelConfiguration",
        columns: &[
            NAME,
            Heading::string("Type", "Whether requests are limited."),
            Heading::string("NominalConcurrencyShares", "Share of the requests at once."),
            Heading::string("Queues", "Number of queues."),
            Heading::string("HandSize", "Queues that a flow may choose from."),
            Heading::string("QueueLengthLimit", "Most requests of a queue."),
            AGE,
        ],
        cells: priority_level,
    },
];

fn flow_schema(schema: &Value, now: Timestamp) -> Vec<Value> {
    let conditions = list(schema, "status.conditions");
    let dangling = conditions.iter().find(|condition| text(condition, "type") == "Dangling");
    let method = at(schema, "spec.distinguisherMethod.type").as_str().unwrap_or(NONE);
    vec![
        name(schema),
        text(schema, "spec.priorityLevelConfiguration.name").into(),
        int(schema, "spec.matchingPrecedence").into(),
        method.into(),
        age(schema, now),
        dangling.map_or("?", |condition| text(condition, "status")).into(),
    ]
}

fn priority_level(level: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &str| match at(level, path) {
        Value::Null => NONE.into(),
        number => number.clone(),
    };
    let queuing = |field: &str| number(&format!("spec.limited.limitResponse.queuing.{field}"));
    vec![
        name(level),
        text(level, "spec.type").into(),
        number("spec.limited.nominalConcurrencyShares"),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(level, now),
    ]
}
