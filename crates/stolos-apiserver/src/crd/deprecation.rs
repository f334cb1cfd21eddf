//! What clients of a deprecated version of a custom resource are warned of.

use serde_json::Value;

use super::versions;
use crate::discovery::compare_versions;

/// Returns the warning for users of a version, or nothing while it is not deprecated. Unless the definition has words of
/// its own, the warning names the best version that is served and not deprecated.
pub(super) fn warning(crd: &Value, kind: &str, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(own) = version["deprecationWarning"].as_str() {
        return Some(own.to_owned());
    }
    let name = |version: &Value| version["name"].as_str().unwrap_or_default().to_owned();
    let (group, deprecated) = (crd["spec"]["group"].as_str().unwrap_or_default(), name(version));
    let better = versions(crd)
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(name)
        .filter(|other| compare_versions(other, &deprecated).is_lt())
        .min_by(|a, b| compare_versions(a, b));
    let text = format!("{group}/{deprecated} {kind} is deprecated");
    Some(match better {
        Some(better) => format!("{text}; use {group}/{better} {kind}"),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_best_other_version_is_recommended() {
        let version = |name: &str, served: bool, deprecated: bool| json!({"name": name, "served": served, "deprecated": deprecated});
        let own = json!({"name": "v1alpha2", "served": true, "deprecated": true, "deprecationWarning": "go away"});
        let crd = json!({"spec": {"group": "g.io", "versions": [
            version("v1alpha1", true, true), own, version("v1beta1", true, false), version("v1", true, false),
            version("v2", false, false), version("v3", true, true),
        ]}});
        let of = |index: usize| warning(&crd, "Widget", &crd["spec"]["versions"][index]);
        let text = "g.io/v1alpha1 Widget is deprecated; use g.io/v1 Widget";
        assert_eq!(of(0).as_deref(), Some(text));
        assert_eq!(of(1).as_deref(), Some("go away"));
        assert_eq!(of(3), None);
        assert_eq!(of(5).as_deref(), Some("g.io/v3 Widget is deprecated"));
    }
}
