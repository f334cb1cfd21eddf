//! Columns and cells of built-in kinds, one file per area. Headings, their order and the texts of cells are what kubectl
//! users know; API servers always compute the wide form and clients hide the columns of priority 1.

mod batch;
mod cluster;
mod config;
mod flow;
mod network;
mod pod;
mod policy;
mod rbac;
mod read;
mod selector;
mod storage;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::read::{name, text};
use super::Column;

/// How one kind is printed.
pub(super) struct Printer {
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    pub(super) columns: &'static [Heading],
    /// Computes as many cells as there are columns.
    pub(super) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// One column of a built-in kind.
pub(super) struct Heading {
    name: &'static str,
    type_: &'static str,
    format: &'static str,
    priority: i32,
    description: &'static str,
}

impl Heading {
    const fn new(name: &'static str, type_: &'static str, description: &'static str) -> Self {
        Self { name, type_, format: "", priority: 0, description }
    }

    const fn string(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "string", description)
    }

    const fn integer(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "integer", description)
    }

    const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "boolean", description)
    }

    /// Shown with `-o wide` only.
    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// Holds the name of the object.
    const fn naming(mut self) -> Self {
        self.format = "name";
        self
    }

    pub(super) fn column(&self) -> Column {
        Column {
            name: self.name.to_owned(),
            type_: self.type_.to_owned(),
            format: self.format.to_owned(),
            description: self.description.to_owned(),
            priority: self.priority,
            json_path: None,
        }
    }
}

const NAME: Heading = Heading::string("Name", "Name of the object.").naming();
const AGE: Heading = Heading::string("Age", "Time since the object was created.");
const CONTAINERS: Heading =
    Heading::string("Containers", "Names of the containers of a pod.").wide();
const IMAGES: Heading = Heading::string("Images", "Images of the containers of a pod.").wide();
const SELECTOR: Heading =
    Heading::string("Selector", "Labels of the pods that belong to the object.").wide();

const PRINTERS: &[&[Printer]] = &[
    batch::PRINTERS,
    cluster::PRINTERS,
    config::PRINTERS,
    flow::PRINTERS,
    network::PRINTERS,
    pod::PRINTERS,
    policy::PRINTERS,
    rbac::PRINTERS,
    storage::PRINTERS,
    workloads::PRINTERS,
];

/// Prints kinds that have no printer of their own.
const PLAIN: Printer = Printer {
    group: "",
    kind: "",
    columns: &[NAME, Heading::new("Created At", "date", "When the object was created.")],
    cells: |object, _| vec![name(object), text(object, "metadata.creationTimestamp").into()],
};

/// Finds how a kind is printed.
pub(super) fn find(group: &str, kind: &str) -> &'static Printer {
    let all = PRINTERS.iter().copied().flatten();
    all.into_iter().find(|printer| printer.group == group && printer.kind == kind).unwrap_or(&PLAIN)
}

impl Printer {
    /// Says of finished pods that they are finished, so that clients may leave them out.
    pub(super) fn row_conditions(&self, object: &Value) -> Option<Value> {
        let (reason, message) = match (self.group, self.kind, text(object, "status.phase")) {
            ("", "Pod", "Succeeded") => {
                ("Succeeded", "every container of the pod ended without an error")
            }
            ("", "Pod", "Failed") => ("Failed", "a container of the pod ended with an error"),
            _ => return None,
        };
        Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printer_fills_its_columns_even_for_an_empty_object() {
        let all = PRINTERS.iter().copied().flatten().chain([&PLAIN]);
        for printer in all {
            let cells = (printer.cells)(&json!({}), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), printer.columns.len(), "{}/{}", printer.group, printer.kind);
        }
    }
}
