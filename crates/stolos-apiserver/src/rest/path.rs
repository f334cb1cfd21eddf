//! The URL grammar of the Kubernetes API: which resource, object and subresource a path names.

use crate::names::GroupVersion;

/// What a path of the group-version tree names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// Group and version asked for; they may not be served.
    pub(crate) group_version: GroupVersion,
    /// Plural, as in the URL.
    pub(crate) plural: String,
    /// Namespace, absent for cluster-scoped objects and for lists over all namespaces.
    pub(crate) namespace: Option<String>,
    /// Object name, absent for collections.
    pub(crate) name: Option<String>,
    /// Everything behind the name, such as `status` or `proxy/metrics`.
    pub(crate) subresource: Option<String>,
    /// The deprecated `/watch/` form.
    pub(crate) legacy_watch: bool,
}

/// Reads a path below `/api/v1` or `/apis/<group>/<version>`; `None` for every other path, discovery included.
#[must_use]
pub(crate) fn parse(path: &str) -> Option<ResourcePath> {
    let segments: Vec<String> = path.trim_matches('/').split('/').map(percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["api", version, rest @ ..] => parse_resource(GroupVersion::new("", version), rest),
        ["apis", group, version, rest @ ..] => {
            parse_resource(GroupVersion::new(group, version), rest)
        }
        _ => None,
    }
}

fn parse_resource(group_version: GroupVersion, segments: &[&str]) -> Option<ResourcePath> {
    let (legacy_watch, segments) = match segments {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        other => (false, other),
    };
    let (namespace, segments) = match segments {
        ["namespaces", name, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
            (Some((*name).to_owned()), rest)
        }
        other => (None, other),
    };
    let (plural, rest) = segments.split_first()?;
    if plural.is_empty() {
        return None;
    }
    let subresource = rest.get(1..).filter(|tail| !tail.is_empty()).map(|tail| tail.join("/"));
    Some(ResourcePath {
        group_version,
        plural: (*plural).to_owned(),
        namespace,
        name: rest.first().map(|name| (*name).to_owned()),
        subresource,
        legacy_watch,
    })
}

/// Undoes percent encoding; an incomplete escape stays as it is.
#[must_use]
pub(crate) fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let byte =
            escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns plural, namespace, name and subresource; an absent part is empty.
    fn parsed(path: &str) -> [String; 4] {
        let path = parse(path).expect("a resource path");
        let [namespace, name, subresource] =
            [path.namespace, path.name, path.subresource].map(Option::unwrap_or_default);
        [path.plural, namespace, name, subresource]
    }

    #[test]
    fn namespaced_objects_and_collections_are_told_apart() {
        assert_eq!(parsed("/api/v1/pods"), ["pods", "", "", ""]);
        assert_eq!(parsed("/api/v1/namespaces/a/pods"), ["pods", "a", "", ""]);
        assert_eq!(
            parsed("/apis/apps/v1/namespaces/a/deployments/b/scale"),
            ["deployments", "a", "b", "scale"]
        );
    }

    #[test]
    fn namespaces_own_their_status_and_finalize_subresources() {
        assert_eq!(parsed("/api/v1/namespaces"), ["namespaces", "", "", ""]);
        assert_eq!(parsed("/api/v1/namespaces/a"), ["namespaces", "", "a", ""]);
        assert_eq!(parsed("/api/v1/namespaces/a/finalize"), ["namespaces", "", "a", "finalize"]);
        assert_eq!(parsed("/api/v1/namespaces/a/status"), ["namespaces", "", "a", "status"]);
    }

    #[test]
    fn escaped_names_are_decoded_and_odd_escapes_kept() {
        let [_, _, name, _] =
            parsed("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode");
        assert_eq!(name, "system:node");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz"), "%zz");
    }

    #[test]
    fn discovery_and_other_trees_are_not_resources() {
        for path in [
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/healthz",
            "/",
            "/openapi/v3",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn the_legacy_watch_prefix_is_understood() {
        let path = parse("/api/v1/watch/namespaces/a/pods").expect("a resource path");
        assert!(path.legacy_watch);
        assert_eq!(path.namespace.as_deref(), Some("a"));
    }
}
