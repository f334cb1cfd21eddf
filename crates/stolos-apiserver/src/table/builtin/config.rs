//! Configuration, quotas.

use serde_json::Value;

use super::read::{age, at, list, name, scalar, size, text};
use super::{AGE, Heading, NAME, Printer};

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "ConfigMap",
        columns: &[NAME, Heading::string("Data", "Number of entries."), AGE],
        cells: |object, now| {
            vec![
                name(object),
                (size(object, "data") + size(object, "binaryData")).into(),
                age(object, now),
            ]
        },
    },
    Printer {
        group: "",
        kind: "Secret",
        columns: &[
            NAME,
            Heading::string("Type", "What the secret is for."),
            Heading::string("Data", "Number of entries."),
            AGE,
        ],
        cells: |object, now| {
            vec![
                name(object),
                text(object, "type").into(),
                size(object, "data").into(),
                age(object, now),
            ]
        },
    },
    Printer {
        group: "",
        kind: "ServiceAccount",
        columns: &[NAME, Heading::string("Secrets", "Number of secrets that pods may mount."), AGE],
        cells: |object, now| {
            vec![name(object), list(object, "secrets").len().into(), age(object, now)]
        },
    },
    Printer {
        group: "",
        kind: "ResourceQuota",
        columns: &[
            NAME,
            Heading::string("Request", "What is requested, of what may be."),
            Heading::string("Limit", "Limits in use, of those allowed."),
            AGE,
        ],
        cells: |object, now| {
            let [requests, limits] = quota(object);
            vec![name(object), requests.into(), limits.into(), age(object, now)]
        },
    },
];

/// Writes used and allowed amounts, limits apart from the rest.
fn quota(quota: &Value) -> [String; 2] {
    let mut written = [Vec::new(), Vec::new()];
    for (resource, hard) in at(quota, "status.hard").as_object().into_iter().flatten() {
        let used = at(quota, "status.used").get(resource).map_or_else(|| "0".to_owned(), scalar);
        let column = usize::from(resource.starts_with("limits."));
        written[column].push(format!("{resource}: {used}/{}", scalar(hard)));
    }
    written.map(|parts| parts.join(", "))
}
