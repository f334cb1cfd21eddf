//! One row of the registry.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::crd::Conversion;
use crate::names::GroupVersion;
use crate::schema::{self, SchemaRef};
use crate::store::ResourceId;
use crate::table::Column;

/// Verbs of a resource that is stored and can be listed.
pub const STORED: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of namespaces: deleting all of them at once is not offered.
pub const STORED_ONE_BY_ONE: &[&str] =
    &["create", "delete", "get", "list", "patch", "update", "watch"];
/// Verbs of a resource that is answered and never stored, such as reviews.
pub const CREATE: &[&str] = &["create"];
/// Verbs of subresources that read and write a part of the object.
pub const READ_WRITE: &[&str] = &["get", "patch", "update"];
/// Verbs of subresources that only write.
pub const UPDATE: &[&str] = &["update"];

/// One served resource in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Group and version served.
    pub group_version: GroupVersion,
    /// Version that objects are stored in.
    pub storage_version: String,
    /// Plural, as in the URL.
    pub plural: String,
    /// Singular, lower case.
    pub singular: String,
    /// Kind of the objects.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories for kubectl, such as `all`.
    pub categories: Vec<String>,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of discovery.
    pub verbs: &'static [&'static str],
    /// Has `/status`, which alone writes `status`.
    pub status_subresource: bool,
    /// Has `/scale`.
    pub scale: Option<Scale>,
    /// Subresources other than `status` and `scale`.
    pub other_subresources: &'static [Subresource],
    /// What `metadata.generation` counts.
    pub generation: Generation,
    /// PUT may create.
    pub create_on_update: bool,
    /// PUT without a resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Dependents stay when a deletion does not say what becomes of them.
    pub orphans_dependents: bool,
    /// Deleting at once answers with the last state of the object, not with a bare Status.
    pub returns_deleted: bool,
    /// Defined by a CRD.
    pub custom: bool,
    /// Shape of the objects.
    pub schema: LazySchema,
    /// Columns of tables.
    pub columns: Arc<[Column]>,
    /// Selectable field labels beyond `metadata.name` and `metadata.namespace`, such as `spec.nodeName`.
    pub selectable_fields: Vec<String>,
    /// Warning for those who still use this version.
    pub deprecation: Option<String>,
    /// Where the store keeps the objects; the same for all versions of a resource.
    pub storage: ResourceId,
    /// Converts between versions that differ in more than their name.
    pub conversion: Option<Arc<Conversion>>,
}

/// What `metadata.generation` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    Absent,
    /// From 1, one more with each change of the desired state.
    Counted,
    /// Absent until the desired state changes for the first time, then counted.
    CountedFromChange,
    /// Always 1: what could be counted cannot change.
    Fixed,
}

impl Generation {
    /// Returns whether objects are created with generation 1.
    #[must_use]
    pub fn starts(self) -> bool {
        matches!(self, Self::Counted | Self::Fixed)
    }

    /// Returns whether a change of the desired state counts.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Counted | Self::CountedFromChange)
    }
}

impl Resource {
    /// Returns whether objects are stored, as opposed to answered and forgotten (reviews, bindings).
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get")
    }

    /// Returns whether the resource offers this verb.
    #[must_use]
    pub fn offers(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Returns every subresource, ordered by name, as discovery lists them.
    #[must_use]
    pub fn subresources(&self) -> Vec<Subresource> {
        let mut all = self.other_subresources.to_vec();
        if self.status_subresource {
            all.push(Subresource::of_parent("status", READ_WRITE));
        }
        if self.scale.is_some() {
            all.push(Subresource::of_kind("scale", "autoscaling/v1", "Scale", READ_WRITE));
        }
        // Those of custom resources come in the order in which definitions name them.
        if !self.custom {
            all.sort_by_key(|subresource| subresource.name);
        }
        all
    }

    /// Returns the subresource of this name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<Subresource> {
        self.subresources().into_iter().find(|subresource| subresource.name == name)
    }

    /// Returns version and kind of the bodies of a subresource, or of the objects themselves for the empty name.
    #[must_use]
    pub fn kind_of(&self, subresource: &str) -> (GroupVersion, String) {
        let other = self.subresource(subresource).and_then(|other| {
            Some((GroupVersion::parse(other.api_version?), other.kind?.to_owned()))
        });
        other.unwrap_or_else(|| (self.group_version.clone(), self.kind.clone()))
    }

    /// Returns `deployments.apps`, or `pods` in the core group.
    #[must_use]
    pub fn qualified(&self) -> String {
        resource_id(&self.group_version.group, &self.plural)
    }
}

/// Names a resource as the store and error texts do: `deployments.apps`, or `pods` in the core group.
#[must_use]
pub fn resource_id(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// Paths of the scale subresource, rooted at the object and without the leading dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Path of the wished replicas, such as `spec.replicas`.
    pub spec_replicas: String,
    /// Path of the observed replicas.
    pub status_replicas: String,
    /// Path of the selector string or LabelSelector, if any.
    pub label_selector: Option<String>,
}

/// A part of an object with its own path, such as `pods/eviction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last path segment.
    pub name: &'static str,
    /// `apiVersion` of the bodies; absent when it is that of the parent.
    pub api_version: Option<&'static str>,
    /// Kind of the bodies; absent when it is that of the parent.
    pub kind: Option<&'static str>,
    /// Verbs of discovery.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// Builds a subresource whose bodies are whole parent objects.
    #[must_use]
    pub const fn of_parent(name: &'static str, verbs: &'static [&'static str]) -> Self {
        Self { name, api_version: None, kind: None, verbs }
    }

    /// Builds a subresource whose bodies are of another kind.
    #[must_use]
    pub const fn of_kind(
        name: &'static str,
        api_version: &'static str,
        kind: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        Self { name, api_version: Some(api_version), kind: Some(kind), verbs }
    }
}

/// A schema that is built when it is first used, and then shared by all clones.
///
/// The schemas of all built-in kinds together take longer to build than a server takes to start.
#[derive(Clone)]
pub struct LazySchema {
    id: u64,
    schema: Arc<OnceLock<SchemaRef>>,
    build: fn(group: &str, version: &str, kind: &str) -> SchemaRef,
    group_version: GroupVersion,
    kind: String,
}

/// Schemas are numbered through the process, so that a number never means two of them.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl LazySchema {
    /// Returns a number that no other schema of this process has; clones share it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the schema of a built-in kind; nothing is built yet.
    #[must_use]
    pub fn builtin(group_version: &GroupVersion, kind: &str) -> Self {
        Self {
            id: next_id(),
            schema: Arc::default(),
            build: builtin_schema,
            group_version: group_version.clone(),
            kind: kind.to_owned(),
        }
    }
}

/// Wraps a finished schema, such as a compiled one of a CRD.
impl From<SchemaRef> for LazySchema {
    fn from(schema: SchemaRef) -> Self {
        Self {
            id: next_id(),
            schema: Arc::new(OnceLock::from(schema)),
            build: builtin_schema,
            group_version: GroupVersion::new("", ""),
            kind: String::new(),
        }
    }
}

impl Deref for LazySchema {
    type Target = SchemaRef;

    fn deref(&self) -> &SchemaRef {
        self.schema.get_or_init(|| {
            (self.build)(&self.group_version.group, &self.group_version.version, &self.kind)
        })
    }
}

impl fmt::Debug for LazySchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazySchema({}, {})", self.group_version, self.kind)
    }
}

/// Returns the shape of a built-in kind.
fn builtin_schema(group: &str, version: &str, kind: &str) -> SchemaRef {
    schema::builtin::kind(group, version, kind).expect("a test reads the schema of every row")
}
