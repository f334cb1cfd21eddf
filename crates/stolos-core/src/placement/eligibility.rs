//! Which kinds, namespaces and objects may leave the hub at all.

use std::collections::BTreeSet;

use serde_json::Value;
use stolos_api::placement::GROUP as PLACEMENT_GROUP;

use super::object::{self, Gvk};

/// Groups none of whose kinds is placed: the fleet's own, and what describes the hub itself.
const SKIPPED_GROUPS: &[&str] = &[
    "cluster.kubernetes-fleet.io",
    "fleet.stolos.dev",
    "events.k8s.io",
    "coordination.k8s.io",
    "metrics.k8s.io",
];

/// Single kinds that are not placed. Core events are the same objects as those of `events.k8s.io`.
const SKIPPED_KINDS: &[(&str, &str)] = &[
    ("", "Pod"),
    ("", "Node"),
    ("", "Event"),
    ("networking.fleet.azure.com", "ServiceImport"),
    ("networking.fleet.azure.com", "TrafficManagerProfile"),
    ("networking.fleet.azure.com", "TrafficManagerBackend"),
];

/// The kinds of the placement group that users may place.
const PLACED_PLACEMENT_KINDS: &[&str] = &["ClusterResourceEnvelope", "ResourceEnvelope"];

fn is_fleet_kind(gvk: &Gvk) -> bool {
    gvk.group == PLACEMENT_GROUP && !PLACED_PLACEMENT_KINDS.contains(&gvk.kind.as_str())
}

/// Which kinds may be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// All but the built-in block list.
    #[default]
    Default,
    /// All but the built-in block list and these.
    Except(Vec<KindPattern>),
    /// These alone.
    Only(Vec<KindPattern>),
}

impl Kinds {
    /// Returns groups none of whose kinds can be placed.
    pub fn excluded_groups(&self) -> &'static [&'static str] {
        match self {
            Self::Default | Self::Except(_) => SKIPPED_GROUPS,
            Self::Only(_) => &[],
        }
    }

    /// Returns whether a kind may be placed.
    pub fn permit(&self, gvk: &Gvk) -> bool {
        match self {
            Self::Default => !is_skipped_by_default(gvk),
            Self::Except(patterns) => {
                !is_skipped_by_default(gvk) && !patterns.iter().any(|pattern| pattern.covers(gvk))
            }
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.covers(gvk)),
        }
    }
}

fn is_skipped_by_default(gvk: &Gvk) -> bool {
    SKIPPED_GROUPS.contains(&gvk.group.as_str())
        || SKIPPED_KINDS.contains(&(gvk.group.as_str(), gvk.kind.as_str()))
        || is_fleet_kind(gvk)
}

/// A group, a version of a group, or one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindPattern {
    group: String,
    version: Option<String>,
    kind: Option<String>,
}

/// A token of a kind list cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither `group`, `group/version`, `group/version/Kind,Kind` nor, for the core group, `v1/Kind,Kind`"
)]
pub struct BadKindPattern(String);

impl KindPattern {
    /// Reads a list of patterns separated by semicolons.
    ///
    /// # Errors
    /// On the first token that has none of the four forms.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, BadKindPattern> {
        let tokens = list.split(';').map(str::trim).filter(|token| !token.is_empty());
        let parsed: Result<Vec<Vec<Self>>, _> = tokens.map(Self::parse).collect();
        Ok(parsed?.into_iter().flatten().collect())
    }

    fn parse(token: &str) -> Result<Vec<Self>, BadKindPattern> {
        let parts: Vec<_> = token.split('/').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(BadKindPattern(token.to_owned()));
        }
        let kinds = |group: &str, version: &str, kinds: &str| {
            let one = |kind: &str| Self {
                group: group.to_owned(),
                version: Some(version.to_owned()),
                kind: Some(kind.trim().to_owned()),
            };
            kinds.split(',').map(one).collect()
        };
        match parts.as_slice() {
            [group] => Ok(vec![Self { group: (*group).into(), version: None, kind: None }]),
            // One slash after `v1` cannot be a group, so it means kinds of the core group.
            [version, list] if version.starts_with("v1") => Ok(kinds("", version, list)),
            [group, version] => Ok(vec![Self {
                group: (*group).into(),
                version: Some((*version).into()),
                kind: None,
            }]),
            [group, version, list] => Ok(kinds(group, version, list)),
            _ => Err(BadKindPattern(token.to_owned())),
        }
    }

    fn covers(&self, gvk: &Gvk) -> bool {
        self.group == gvk.group
            && self.version.as_ref().is_none_or(|version| *version == gvk.version)
            && self.kind.as_ref().is_none_or(|kind| *kind == gvk.kind)
    }
}

/// What may leave the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligibility {
    /// Kinds that may be placed.
    pub kinds: Kinds,
    /// Namespaces that may not be placed, besides the built-in ones.
    pub skipped_namespaces: BTreeSet<String>,
    /// Whether workloads run on the hub. Then volume claims belong to them and stay.
    pub hub_runs_workloads: bool,
}

impl Eligibility {
    /// Returns whether a namespace belongs to the hub and may not be placed.
    pub fn is_reserved_namespace(&self, name: &str) -> bool {
        name == "default"
            || name.starts_with("fleet-")
            || name.starts_with("kube-")
            || self.skipped_namespaces.contains(name)
    }

    /// Returns whether an object of a permitted kind may be placed: it is not being deleted, and
    /// no controller of the hub made it. `service_exists` tells, for Endpoints, whether their
    /// namespace has a Service of this name.
    pub fn permits(&self, object: &Value, service_exists: impl FnOnce(&str) -> bool) -> bool {
        if object::is_deleting(object) {
            return false;
        }
        let gvk = Gvk::of(object);
        let name = object::name(object);
        match (gvk.group.as_str(), gvk.kind.as_str()) {
            ("apps", "ReplicaSet" | "ControllerRevision") => !has_owner(object),
            ("", "ConfigMap") => name != "kube-root-ca.crt",
            ("", "ServiceAccount") => name != "default",
            ("", "Secret") => {
                object::text(object, "/type") != "kubernetes.io/service-account-token"
            }
            ("", "PersistentVolumeClaim") => !self.hub_runs_workloads,
            ("scheduling.k8s.io", "PriorityClass") => !is_system_class(object),
            ("", "Endpoints") => !service_exists(name),
            ("discovery.k8s.io", "EndpointSlice") => {
                object::label(object, "endpointslice.kubernetes.io/managed-by").is_none()
            }
            _ => true,
        }
    }
}

/// Tells whether an object is a priority class that every API server makes for itself. Users can neither make nor delete one, so
/// whoever took it over could never let go of it.
pub(super) fn is_system_class(object: &Value) -> bool {
    let gvk = Gvk::of(object);
    gvk.group == "scheduling.k8s.io"
        && gvk.kind == "PriorityClass"
        && object::name(object).starts_with("system-")
}

fn has_owner(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.is_some_and(|owners| !owners.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fleet_and_the_hub_itself_are_not_placed() {
        for (gvk, want) in [
            (Gvk::new("", "v1", "ConfigMap"), true),
            (Gvk::new("", "v1", "Pod"), false),
            (Gvk::new("", "v1", "Event"), false),
            (Gvk::new("coordination.k8s.io", "v1", "Lease"), false),
            (Gvk::new("fleet.stolos.dev", "v1alpha1", "UpdateRun"), false),
            (Gvk::new(PLACEMENT_GROUP, "v1beta1", "Work"), false),
            (Gvk::new(PLACEMENT_GROUP, "v1beta1", "ResourceEnvelope"), true),
            (Gvk::new("networking.fleet.azure.com", "v1beta1", "ServiceImport"), false),
            (Gvk::new("networking.fleet.azure.com", "v1beta1", "ServiceExport"), true),
            (Gvk::new("example.com", "v1", "Widget"), true),
        ] {
            assert_eq!(Kinds::Default.permit(&gvk), want, "{gvk}");
        }
    }

    #[test]
    fn a_list_of_kinds_adds_to_the_block_list_or_replaces_it() {
        let list = KindPattern::parse_list("example.com; apps/v1/Deployment,DaemonSet;v1/Secret");
        let list = list.unwrap();
        let (except, only) = (Kinds::Except(list.clone()), Kinds::Only(list));
        for (gvk, excepted) in [
            (Gvk::new("example.com", "v2", "Widget"), true),
            (Gvk::new("apps", "v1", "DaemonSet"), true),
            (Gvk::new("apps", "v1", "StatefulSet"), false),
            (Gvk::new("apps", "v1beta1", "Deployment"), false),
            (Gvk::new("", "v1", "Secret"), true),
            (Gvk::new("", "v1", "ConfigMap"), false),
        ] {
            assert_eq!(except.permit(&gvk), !excepted, "{gvk}");
            assert_eq!(only.permit(&gvk), excepted, "{gvk}");
        }
        assert!(!except.permit(&Gvk::new("", "v1", "Pod")));
        for bad in ["a/b/c/d", "a//b", "/v1"] {
            assert!(KindPattern::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_controllers_of_the_hub_made_is_not_placed() {
        let eligibility = Eligibility { hub_runs_workloads: true, ..Eligibility::default() };
        let owners = json!([{"kind": "Deployment"}]);
        for (object, want) in [
            (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}), true),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}}),
                false,
            ),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                    "name": "a", "deletionTimestamp": "2024-01-01T00:00:00Z",
                }}),
                false,
            ),
            (
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
                false,
            ),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
                    "type": "kubernetes.io/service-account-token"}),
                false,
            ),
            (json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}}), false),
            (
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"ownerReferences": owners}}),
                false,
            ),
            (json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {}}), true),
            (
                json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {
                    "name": "system-node-critical",
                }}),
                false,
            ),
            (
                json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "systematic"}}),
                true,
            ),
            (
                json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "served"}}),
                false,
            ),
            (json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "own"}}), true),
            (
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
                    "labels": {"endpointslice.kubernetes.io/managed-by": "x"},
                }}),
                false,
            ),
        ] {
            let got = eligibility.permits(&object, |name| name == "served");
            assert_eq!(got, want, "{object}");
        }
    }

    #[test]
    fn namespaces_of_the_hub_are_reserved() {
        let eligibility = Eligibility {
            skipped_namespaces: ["mine".to_owned()].into(),
            ..Eligibility::default()
        };
        for reserved in ["default", "kube-system", "fleet-member-a", "mine"] {
            assert!(eligibility.is_reserved_namespace(reserved), "{reserved}");
        }
        assert!(!eligibility.is_reserved_namespace("app"));
    }
}
