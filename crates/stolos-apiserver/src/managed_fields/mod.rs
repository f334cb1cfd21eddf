//! Field ownership: server-side apply and the bookkeeping of every other write.
//!
//! Each field of an object has owners, recorded in `metadata.managedFields` as one set of fields per manager and kind of
//! operation. [`update`] records a plain write, [`apply`] merges what a manager wants and removes what it wants no more.
//! Everything here is a function of its arguments; nothing reads a store or a clock.

mod apply;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod checks;
mod claim;
mod conformity;
mod diff;
mod element;
pub(crate) mod elsewhere;
mod entry;
mod last_applied;
mod merge;
mod prune;
mod reshape;
mod set;
#[cfg(test)]
mod tests;
mod update;
mod view;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use self::apply::apply;
pub use self::update::update;
use crate::status::{ApiError, Cause};

/// Who writes, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Name of the field manager.
    pub name: String,
    /// Version of the objects it writes, such as `apps/v1`.
    pub api_version: String,
    /// Subresource it writes, empty for the object itself.
    pub subresource: String,
    /// The present moment.
    pub now: Timestamp,
}

impl Manager {
    /// Nothing for who writes through `scale`, whose object hands owners on without a time, as upstream has it.
    fn time(&self) -> String {
        if self.subresource == "scale" {
            return String::new();
        }
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// The top-level fields that an endpoint does not write, so that nobody owns them through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetFields(Reset);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reset {
    #[default]
    Nothing,
    Status,
    AllButStatus,
    AllButStatusAndMetadata,
}

impl ResetFields {
    /// Returns that the endpoint writes everything.
    #[must_use]
    pub const fn none() -> Self {
        Self(Reset::Nothing)
    }

    /// Returns the fields for the object itself when it has a status subresource.
    #[must_use]
    pub const fn status() -> Self {
        Self(Reset::Status)
    }

    /// Returns the fields for the status subresource of built-in kinds, which also writes metadata.
    #[must_use]
    pub const fn all_but_status() -> Self {
        Self(Reset::AllButStatusAndMetadata)
    }

    /// Returns the fields for the status subresource of custom resources.
    #[must_use]
    pub const fn all_but_status_of_custom() -> Self {
        Self(Reset::AllButStatus)
    }

    fn covers(self, top_level: &str) -> bool {
        match self.0 {
            Reset::Nothing => false,
            Reset::Status => top_level == "status",
            Reset::AllButStatus => top_level != "status",
            Reset::AllButStatusAndMetadata => !matches!(top_level, "status" | "metadata"),
        }
    }
}

/// Says why something was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that would change: 409. One cause per field and owner.
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Cause>),
    /// The configuration cannot be applied to any object: 400.
    #[error("{0}")]
    Malformed(String),
    /// The configuration does not fit the schema. Upstream calls that its own failure, so that clients hear of a 500.
    #[error("failed to create typed patch object ({object}): {}", errors_text(.errors))]
    Untyped {
        /// Namespace, name and kind of what was applied.
        object: String,
        /// One for each place.
        errors: Vec<String>,
    },
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Conflicts(causes) => {
                Self { causes, ..Self::new(http::StatusCode::CONFLICT, "Conflict", message) }
            }
            ApplyError::Malformed(_) => Self::bad_request(message),
            ApplyError::Untyped { .. } => {
                Self::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", message)
            }
        }
    }
}

fn errors_text(errors: &[String]) -> String {
    match errors {
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    }
}

/// Words conflicts as Kubernetes does: one in a line, several grouped by manager.
fn conflict_text(causes: &[Cause]) -> String {
    if let [only] = causes {
        return format!("Apply failed with 1 conflict: {}: {}", only.message, only.field);
    }
    let mut groups: Vec<&str> = causes.iter().map(|cause| cause.message.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut lines = Vec::new();
    for group in groups {
        lines.push(format!("{}:", group.replacen("conflict", "conflicts", 1)));
        let fields = causes.iter().filter(|cause| cause.message == group);
        lines.extend(fields.map(|cause| format!("- {}", cause.field)));
    }
    format!("Apply failed with {} conflicts: {}", causes.len(), lines.join("\n"))
}

/// Returns whether two states of an object are the same apart from the times of ownership, so that writing the second
/// over the first would be no change.
#[must_use]
pub fn same_but_times(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    same_fields(a, b, |key, a, b| match (key, a, b) {
        ("metadata", Value::Object(a), Value::Object(b)) => {
            same_fields(a, b, |key, a, b| match (key, a, b) {
                ("managedFields", Value::Array(a), Value::Array(b)) => {
                    // Entries are ordered by their times, so the order means no more than they do.
                    a.len() == b.len() && a.iter().all(|a| b.iter().any(|b| same_entries(a, b)))
                }
                _ => a == b,
            })
        }
        _ => a == b,
    })
}

fn same_entries(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    same_fields(a, b, |key, a, b| key == "time" || a == b)
}

fn same_fields(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    same: impl Fn(&str, &Value, &Value) -> bool,
) -> bool {
    a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(key, a, b)))
}

/// Says what makes the managed fields of an object unreadable, in upstream's words; nothing if they can be read.
#[must_use]
pub fn problem(object: &Value) -> Option<String> {
    let entries = managed_fields_of(object)?.as_array()?;
    entries.iter().find_map(|entry| {
        if !matches!(entry["operation"].as_str(), Some("Apply" | "Update")) {
            return Some("operation must be `Apply` or `Update`".to_owned());
        }
        if !matches!(entry["fieldsType"].as_str(), None | Some("" | "FieldsV1")) {
            return Some("fieldsType must be `FieldsV1`".to_owned());
        }
        let entry = entry::Entry::from_json(entry.clone());
        entry.is_none().then(|| "error decoding entry: fieldsV1 cannot be read".to_owned())
    })
}

/// Tells whether anybody owns fields of an object.
pub(crate) fn has_owners(object: &Value) -> bool {
    managed_fields_of(object).and_then(Value::as_array).is_some_and(|entries| !entries.is_empty())
}

fn managed_fields_of(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

fn take_managed_fields(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}
