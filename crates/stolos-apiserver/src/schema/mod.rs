//! One schema form for built-in kinds and custom resources.
//!
//! It drives strict decoding, pruning, defaulting, validation, strategic merge, server-side apply, OpenAPI and `explain`.

pub mod builtin;
pub(crate) mod causes;
pub mod cel;
mod constraints;
mod defaulting;
pub mod parse;
mod pattern;
mod prune;
pub mod quantity;
pub mod structural;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use cel::Rule;
pub use constraints::Constraints;
pub use defaulting::default;
pub use prune::prune;
pub use validate::{validate, validate_noting};

/// A shared, possibly recursive schema node. Built once, at the latest when first read, then only read.
#[derive(Clone)]
pub struct SchemaRef(Arc<Node>);

/// A schema node that is there for as long as somebody else uses it.
pub(crate) struct WeakSchemaRef(Weak<Node>);

impl WeakSchemaRef {
    /// Returns the node if it is still there.
    pub(crate) fn upgrade(&self) -> Option<SchemaRef> {
        self.0.upgrade().map(SchemaRef)
    }
}

enum Node {
    /// Finished, or a forward node to be filled.
    Cell(OnceLock<Schema>),
    /// Built when first read.
    Lazy(LazyLock<Schema, Build>),
}

type Build = Box<dyn FnOnce() -> Schema + Send>;

impl SchemaRef {
    /// Wraps a finished node.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        Self(Arc::new(Node::Cell(OnceLock::from(schema))))
    }

    /// Returns a node that `build` makes when it is first read. `build` must not read the node itself.
    #[must_use]
    pub fn lazy(build: impl FnOnce() -> Schema + Send + 'static) -> Self {
        Self(Arc::new(Node::Lazy(LazyLock::new(Box::new(build)))))
    }

    /// Returns a node that [`SchemaRef::fill`] completes later, for schemas that contain themselves.
    #[must_use]
    pub fn forward() -> Self {
        Self(Arc::new(Node::Cell(OnceLock::new())))
    }

    /// Returns a handle that does not keep the node.
    pub(crate) fn downgrade(&self) -> WeakSchemaRef {
        WeakSchemaRef(Arc::downgrade(&self.0))
    }

    /// Tells whether this is the very node.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Completes a forward node; the first content wins.
    pub fn fill(&self, schema: Schema) {
        if let Node::Cell(cell) = &*self.0 {
            let _ = cell.set(schema);
        }
    }
}

impl Deref for SchemaRef {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match &*self.0 {
            Node::Cell(cell) => {
                cell.get().expect("a schema is read only after every forward node has been filled")
            }
            Node::Lazy(lazy) => lazy,
        }
    }
}

/// Does not descend: a schema may contain itself.
impl fmt::Debug for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = match &*self.0 {
            Node::Cell(cell) => cell.get().and_then(|schema| schema.model.clone()),
            Node::Lazy(_) => None,
        };
        f.debug_tuple("SchemaRef").field(&known).finish()
    }
}

/// What values of a node look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Fixed properties, a map, or both.
    Object,
    /// A list.
    Array,
    /// A string; `format` narrows it (`date-time`, `byte`, `quantity`, …).
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// `x-kubernetes-int-or-string`.
    IntOrString,
    /// Nothing is known: any JSON value.
    #[default]
    Any,
}

/// How server-side apply sees a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ListType {
    /// One value, replaced as a whole.
    #[default]
    Atomic,
    /// Unique scalars.
    Set,
    /// Objects identified by keys, each with the default it takes when absent (such as `protocol: TCP`).
    Map(Vec<(String, Option<Value>)>),
}

/// How strategic merge patch treats a field. Merge keys differ from list-map keys on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge element by element instead of being replaced.
    pub merge: bool,
    /// Keys that the patch does not name are dropped (`retainKeys`).
    pub retain_keys: bool,
    /// The patch replaces the whole object, which otherwise would merge field by field.
    pub replace: bool,
    /// Field that identifies an element; absent for lists of scalars.
    pub merge_key: Option<String>,
}

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Kind of value.
    pub type_: Type,
    /// OpenAPI format, such as `int32` or `date-time`.
    pub format: Option<String>,
    /// Text for `kubectl explain`.
    pub description: Option<Arc<str>>,
    /// Named fields of an object.
    pub properties: BTreeMap<String, SchemaRef>,
    /// Schema of the values of a map.
    pub additional_properties: Option<SchemaRef>,
    /// Schema of list elements.
    pub items: Option<SchemaRef>,
    /// Fields that must be present.
    pub required: Vec<String>,
    /// What becomes of fields that hold nothing; for the models of built-in kinds.
    pub presence: BTreeMap<String, builtin::Presence>,
    /// Value taken when the field is absent.
    pub default: Option<Value>,
    /// Null is a value of its own.
    pub nullable: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`, raw extensions).
    pub preserve_unknown: bool,
    /// A whole Kubernetes object (`x-kubernetes-embedded-resource`).
    pub embedded_resource: bool,
    /// Topology of a list for server-side apply.
    pub list_type: ListType,
    /// `x-kubernetes-map-type: atomic`: the object is one value for server-side apply.
    pub atomic: bool,
    /// How strategic merge patch treats this field.
    pub patch: PatchStrategy,
    /// Name in OpenAPI, such as `io.k8s.api.core.v1.PodSpec`, for nodes shared by reference.
    pub model: Option<Arc<str>>,
    /// Value checks beyond the type.
    pub constraints: Option<Arc<Constraints>>,
    /// Rules of this node (`x-kubernetes-validations`).
    pub rules: Arc<[Rule]>,
    /// This node or one below it has rules.
    pub has_rules: bool,
    /// `openAPIV3Schema` as the client wrote it; present at the root of a custom resource.
    pub source: Option<Arc<Source>>,
}

/// A schema as a client wrote it.
#[derive(Debug)]
pub struct Source {
    json: Value,
    fingerprint: OnceLock<String>,
}

impl Source {
    pub(crate) fn new(json: Value) -> Self {
        Self { json, fingerprint: OnceLock::new() }
    }

    /// Returns the schema itself.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Returns a hash of the content; it is the same in every process.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| hex::encode(Sha256::digest(self.json.to_string())))
    }
}
