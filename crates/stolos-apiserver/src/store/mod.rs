//! Durable, revisioned object store with watches: in-memory index over `redb`.
//!
//! A write is sequenced, flushed with its batch, then published: nothing is visible before it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

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

/// What selectors and the garbage collector need of an object, read once from its JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Selectable fields of the resource by path, such as `spec.nodeName`.
    pub fields: BTreeMap<String, String>,
    /// Uids of `metadata.ownerReferences`.
    pub owners: Vec<String>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
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
