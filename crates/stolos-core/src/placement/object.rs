//! Looking into objects of any kind.

use std::fmt;

use serde_json::Value;
use stolos_api::placement::{EnvelopeType, GROUP, ResourceIdentifier};

/// A kind in one version of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl Gvk {
    /// Returns a kind.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Returns the kind of an object; parts that it lacks are empty.
    pub fn of(object: &Value) -> Self {
        let api_version = text(object, "/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, text(object, "/kind"))
    }

    /// Returns whether this is the kind, in whatever version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Returns whether this is the namespace kind.
    pub fn is_namespace(&self) -> bool {
        self.is("", "Namespace") && self.version == "v1"
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// Returns the string at a JSON pointer, empty if there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the name of an object.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Returns the namespace of an object, empty if it is cluster-scoped.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// Returns a label of an object.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// Returns whether an object is being deleted.
pub fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// Returns how status lists name an object.
pub fn identifier(object: &Value) -> ResourceIdentifier {
    let Gvk { group, version, kind } = Gvk::of(object);
    ResourceIdentifier {
        group,
        version,
        kind,
        name: name(object).to_owned(),
        namespace: namespace(object).to_owned(),
        envelope: None,
    }
}

/// Returns what kind of envelope an object is, if it is one.
pub fn envelope_type(object: &Value) -> Option<EnvelopeType> {
    let gvk = Gvk::of(object);
    if gvk.is(GROUP, "ClusterResourceEnvelope") {
        Some(EnvelopeType::ClusterResourceEnvelope)
    } else if gvk.is(GROUP, "ResourceEnvelope") {
        Some(EnvelopeType::ResourceEnvelope)
    } else {
        None
    }
}
