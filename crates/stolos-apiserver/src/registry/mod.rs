//! The resources a logical cluster serves: one row per built-in resource, one per version of a CRD.

use std::sync::Arc;

use crate::names::GroupVersion;
use crate::schema::SchemaRef;
use crate::store::ResourceId;
use crate::table::Column;

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
    /// `metadata.generation` counts changes of the desired state.
    pub generation: bool,
    /// PUT may create.
    pub create_on_update: bool,
    /// PUT without a resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Defined by a CRD.
    pub custom: bool,
    /// Shape of the objects.
    pub schema: SchemaRef,
    /// Columns of tables.
    pub columns: Arc<[Column]>,
    /// Selectable field paths beyond `metadata.name` and `metadata.namespace`, such as `spec.nodeName`.
    pub selectable_fields: Vec<String>,
    /// Where the store keeps the objects; the same for all versions of a resource.
    pub storage: ResourceId,
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
