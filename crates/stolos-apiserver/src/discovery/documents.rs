//! The documents themselves, rendered from a registry snapshot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Form;
use super::version::compare_versions;
use crate::names::GroupVersion;
use crate::registry::{Resource, Snapshot, Subresource};
use crate::rest::convert::storage_version;

/// Renders the document of a path; nothing when no group or version is there.
pub(super) fn render(snapshot: &Snapshot, path: &str, form: Form) -> Option<Value> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match (segments.as_slice(), form) {
        (["api"], Form::Aggregated(version)) => Some(aggregated(&[core(snapshot)], version)),
        (["apis"], Form::Aggregated(version)) => Some(aggregated(&named_groups(snapshot), version)),
        (["api"], Form::Legacy) => Some(api_versions(&core(snapshot))),
        (["apis"], Form::Legacy) => {
            let groups: Vec<_> = named_groups(snapshot).iter().map(api_group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        (["api", version], Form::Legacy) => resource_list(snapshot, "", version),
        (["apis", group], Form::Legacy) => {
            let group = named_groups(snapshot).into_iter().find(|found| found.name == *group)?;
            let mut json = api_group(&group);
            json["kind"] = json!("APIGroup");
            json["apiVersion"] = json!("v1");
            Some(json)
        }
        (["apis", group, version], Form::Legacy) if !group.is_empty() => {
            resource_list(snapshot, group, version)
        }
        _ => None,
    }
}

/// A group with its versions, preferred first, and their resources by plural.
struct Group<'a> {
    name: &'a str,
    versions: Vec<(&'a str, Vec<&'a Resource>)>,
}

fn core(snapshot: &Snapshot) -> Group<'_> {
    let found = groups(snapshot).into_iter().find(|group| group.name.is_empty());
    found.unwrap_or(Group { name: "", versions: Vec::new() })
}

/// Returns all groups but the core group: built-in ones first, because kubectl resolves a plural that two groups
/// have to the first of them.
fn named_groups(snapshot: &Snapshot) -> Vec<Group<'_>> {
    let mut groups = groups(snapshot);
    groups.retain(|group| !group.name.is_empty());
    groups.sort_by_key(|group| {
        let mut resources = group.versions.iter().flat_map(|(_, resources)| resources);
        let custom = resources.all(|resource| resource.custom);
        let place = ORDER.iter().position(|known| *known == group.name);
        (custom, place.unwrap_or(ORDER.len()))
    });
    groups
}

/// The built-in groups in the order in which kube-apiserver names them; others follow by name.
const ORDER: [&str; 20] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

fn groups(snapshot: &Snapshot) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    // The snapshot is ordered by group, version and plural.
    for resource in snapshot.all() {
        let GroupVersion { group, version } = &resource.group_version;
        if groups.last().is_none_or(|last| last.name != group) {
            groups.push(Group { name: group, versions: Vec::new() });
        }
        let versions = &mut groups.last_mut().expect("pushed above").versions;
        if versions.last().is_none_or(|(last, _)| last != version) {
            versions.push((version, Vec::new()));
        }
        versions.last_mut().expect("pushed above").1.push(resource);
    }
    for group in &mut groups {
        group.versions.sort_by(|(a, _), (b, _)| compare_versions(a, b));
    }
    groups
}

fn api_versions(core: &Group<'_>) -> Value {
    let versions: Vec<_> = core.versions.iter().map(|(version, _)| version).collect();
    json!({ "kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": [] })
}

fn api_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, _)| {
            let group_version = GroupVersion::new(group.name, version);
            json!({ "groupVersion": group_version.to_string(), "version": version })
        })
        .collect();
    json!({ "name": group.name, "preferredVersion": versions[0], "versions": versions })
}

fn resource_list(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    let group_version = GroupVersion::new(group, version);
    let rows: Vec<&Resource> = snapshot
        .all()
        .iter()
        .filter(|resource| resource.group_version == group_version)
        .map(AsRef::as_ref)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let resources: Vec<Value> = rows.into_iter().flat_map(api_resources).collect();
    let mut list = json!({
        "kind": "APIResourceList",
        "groupVersion": group_version.to_string(),
        "resources": resources,
    });
    // The list of the core group is older than the field.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

/// Renders a resource and its subresources, which the legacy form lists side by side.
fn api_resources(resource: &Resource) -> Vec<Value> {
    let mut own = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    add_names(&mut own, resource);
    if resource.verbs.contains(&"list") {
        own["storageVersionHash"] = storage_version_hash(resource).into();
    }
    let subresources = resource.subresources().into_iter().map(|subresource| {
        let mut json = json!({
            "name": format!("{}/{}", resource.plural, subresource.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind.unwrap_or(&resource.kind),
            "verbs": subresource.verbs,
        });
        let of_other = subresource.api_version.map(GroupVersion::parse);
        if let Some(other) = of_other.filter(|other| *other != resource.group_version) {
            let GroupVersion { group, version } = other;
            if !group.is_empty() {
                json["group"] = json!(group);
            }
            json["version"] = json!(version);
        }
        json
    });
    std::iter::once(own).chain(subresources).collect()
}

/// Names the version that objects are stored in, for clients that migrate stored objects.
fn storage_version_hash(resource: &Resource) -> String {
    let GroupVersion { group, version } = storage_version(resource);
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    STANDARD.encode(&digest[..8])
}

fn aggregated(groups: &[Group<'_>], version: &str) -> Value {
    let items: Vec<Value> = groups.iter().map(discovered_group).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn discovered_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, resources)| {
            let resources: Vec<Value> = resources.iter().map(|row| discovered(row)).collect();
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        })
        .collect();
    let mut metadata = Map::new();
    if !group.name.is_empty() {
        metadata.insert("name".to_owned(), json!(group.name));
    }
    json!({ "metadata": metadata, "versions": versions })
}

fn discovered(resource: &Resource) -> Value {
    let GroupVersion { group, version } = own_kind(resource);
    let mut json = json!({
        "resource": resource.plural,
        "responseKind": { "group": group, "version": version, "kind": resource.kind },
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    add_names(&mut json, resource);
    let subresources: Vec<Value> = resource
        .subresources()
        .iter()
        .map(|subresource| discovered_subresource(resource, subresource))
        .collect();
    if !subresources.is_empty() {
        json["subresources"] = Value::Array(subresources);
    }
    json
}

/// Built-in resources leave out the group and version of their own kind, as kube-apiserver does.
fn own_kind(resource: &Resource) -> GroupVersion {
    if resource.custom { resource.group_version.clone() } else { GroupVersion::new("", "") }
}

fn discovered_subresource(parent: &Resource, subresource: &Subresource) -> Value {
    let of_other = subresource.api_version.map(GroupVersion::parse);
    let of_other = of_other.filter(|other| *other != parent.group_version || parent.custom);
    let GroupVersion { group, version } = of_other.unwrap_or_else(|| own_kind(parent));
    let kind = subresource.kind.unwrap_or(&parent.kind);
    json!({
        "subresource": subresource.name,
        "responseKind": { "group": group, "version": version, "kind": kind },
        "verbs": subresource.verbs,
    })
}

fn add_names(json: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        json["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        json["categories"] = json!(resource.categories);
    }
}
