//! What the store keeps and what it is asked to do: keys, versions, events, writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pairs::Pairs;
use super::rendition::Renditions;

/// Identifies a resource within a store, such as `deployments.apps` or `pods`; the same for all served versions.
pub type ResourceId = Arc<str>;

/// Identifies an object of a resource; cluster-scoped objects have an empty namespace. Orders by namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Object name.
    pub name: String,
}

impl Key {
    /// Returns the key of an object in a namespace.
    #[must_use]
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Returns the key of a cluster-scoped object.
    #[must_use]
    pub fn cluster_scoped(name: &str) -> Self {
        Self::namespaced("", name)
    }
}

/// What selectors and the garbage collector need of an object, read once from its JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: Pairs,
    /// Selectable fields of the resource by path, such as `spec.nodeName`.
    pub fields: Pairs,
    /// Uids of `metadata.ownerReferences`.
    pub owners: Vec<String>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

impl Attributes {
    /// Reads the attributes that every object has; `fields`, which depend on the resource, stay empty.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        Self {
            uid: text(&metadata["uid"]),
            labels: labels
                .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
                .collect(),
            fields: Pairs::default(),
            owners: owners.map(|reference| text(&reference["uid"])).collect(),
            deleting: metadata["deletionTimestamp"].is_string(),
        }
    }
}

/// An object as it stood at one revision.
#[derive(Debug)]
pub struct Version {
    /// Which object.
    pub key: Key,
    /// Revision at which this state was written.
    pub revision: u64,
    /// Canonical JSON with `metadata.resourceVersion`, in the storage version; shared by every reader.
    pub body: Bytes,
    /// What selectors see.
    pub attributes: Attributes,
    /// For which schema the body was last found to hold all defaults and no unknown field.
    pub complete: Completeness,
}

/// Remembers the schema for which a stored object was last found complete, so that readers need not look again. A
/// schema may gain defaults and lose fields after an object was stored.
#[derive(Debug, Default)]
pub struct Completeness(AtomicU64);

impl Completeness {
    /// Returns the note of an object that is complete for this schema; 0 is no schema.
    #[must_use]
    pub fn of(schema: u64) -> Self {
        Self(schema.into())
    }

    /// Returns whether the object was last found complete for this schema.
    #[must_use]
    pub fn is_for(&self, schema: u64) -> bool {
        self.0.load(Ordering::Relaxed) == schema
    }

    /// Notes that the object is complete for this schema; 0 is no schema.
    pub fn note(&self, schema: u64) {
        self.0.store(schema, Ordering::Relaxed);
    }
}

impl Version {
    /// Parses the body.
    #[must_use]
    pub fn object(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the store wrote the body as JSON")
    }
}

/// One committed change of a resource.
#[derive(Debug)]
pub struct Event {
    /// Revision of the change.
    pub revision: u64,
    /// State before; absent for a creation.
    pub previous: Option<Arc<Version>>,
    /// State after. For a deletion: the last state, with the revision of the deletion in its body.
    pub current: Arc<Version>,
    /// The change removed the object.
    pub deleted: bool,
    /// What watches made of it.
    pub renditions: Renditions,
}

/// A change to make, with what must hold for it.
#[derive(Debug)]
pub struct Write {
    /// Resource of the object.
    pub resource: ResourceId,
    /// Object.
    pub key: Key,
    /// What must be there, checked against the newest pending state.
    pub expect: Expect,
    /// What to do.
    pub change: Change,
    /// An object that must exist and not be deleting at commit, such as the namespace of a creation.
    pub requires: Option<(ResourceId, Key)>,
}

/// Optimistic lock of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The object does not exist.
    Absent,
    /// The object exists at this revision.
    Revision(u64),
}

/// The change itself. Objects are given without `metadata.resourceVersion`; the store sets it.
#[derive(Debug)]
pub enum Change {
    /// Writes this state.
    Put(Value, Attributes),
    /// Removes the object; the value is the last state shown in the event.
    Delete(Value, Attributes),
}

/// Why a write did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The write expected no object, and there is one.
    #[error("the object exists already")]
    AlreadyExists,
    /// The write expected an object, and there is none.
    #[error("the object does not exist")]
    NotFound,
    /// The object changed since the writer read it.
    #[error("the object changed and is at revision {current}")]
    Conflict {
        /// Revision of the newest state.
        current: u64,
    },
    /// The required object does not exist.
    #[error("the required object `{}` does not exist", .0.name)]
    RequirementMissing(Key),
    /// The required object is being deleted.
    #[error("the required object `{}` is being deleted", .0.name)]
    RequirementDeleting(Key),
    /// The serialised object exceeds [`super::Limits::object_bytes`].
    #[error("the object is too large")]
    TooLarge,
    /// The logical cluster holds as much as it may; what is named here would exceed a limit.
    #[error("{0}")]
    Full(Excess),
    /// The store cannot write; whether this write became durable is unknown.
    #[error("the write failed: {0}")]
    Failed(String),
}

/// A limit of a logical cluster that a write would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// One object too many.
    #[error("the cluster holds {limit} objects and may hold no more")]
    Objects {
        /// Most objects.
        limit: usize,
    },
    /// Too many bytes.
    #[error("the cluster would hold {bytes} bytes, more than the {limit} it may hold")]
    Bytes {
        /// Bytes with the write.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
}

/// The asked revision is outside what the store remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {requested} is too old, history begins at {oldest}")]
pub struct Expired {
    /// Revision asked for.
    pub requested: u64,
    /// Oldest revision that can be asked for.
    pub oldest: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_are_read_from_metadata() {
        let object = json!({"metadata": {
            "uid": "u1", "labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"uid": "o1"}, {"uid": "o2"}],
        }});
        let attributes = Attributes::of(&object);
        assert_eq!(attributes.uid, "u1");
        assert_eq!(&attributes.labels["app"], "web");
        assert_eq!(attributes.owners, ["o1", "o2"]);
        assert!(attributes.deleting);
        assert_eq!(Attributes::of(&json!({})), Attributes::default());
    }
}
