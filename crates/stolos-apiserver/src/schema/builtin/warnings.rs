//! What kube-apiserver warns of though it takes it: fields and annotations that have had their day.

use serde_json::Value;

/// Returns the warnings about an object of a built-in kind that is written.
#[must_use]
pub fn warnings(group: &str, kind: &str, object: &Value) -> Vec<String> {
    let annotation = |name: &str| object["metadata"]["annotations"].get(name).is_some();
    let mut warnings = Vec::new();
    match (group, kind) {
        ("", "Service") => {
            let spec = &object["spec"];
            let is_named = spec["externalName"].as_str().is_some_and(|name| !name.is_empty());
            if is_named && spec["type"] != "ExternalName" {
                let why = "spec.externalName is ignored when spec.type is not \"ExternalName\"";
                warnings.push(why.to_owned());
            }
        }
        ("", "PersistentVolumeClaim") if annotation(STORAGE_CLASS) => warnings.push(format!(
            "metadata.annotations[{STORAGE_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        )),
        ("networking.k8s.io", "Ingress") if annotation(INGRESS_CLASS) => warnings.push(format!(
            "annotation {INGRESS_CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
        )),
        _ => {}
    }
    warnings
}

const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_elsewhere_are_of_use_for_one_type_alone() {
        let service = |kind: &str| json!({"spec": {"type": kind, "externalName": "example.com"}});
        assert_eq!(warnings("", "Service", &service("ExternalName")), [] as [&str; 0]);
        assert_eq!(warnings("", "Service", &service("ClusterIP")).len(), 1);
    }

    #[test]
    fn old_annotations_are_warned_of() {
        let old = |name: &str| json!({"metadata": {"annotations": {name: "x"}}});
        let claim = warnings("", "PersistentVolumeClaim", &old(STORAGE_CLASS));
        assert!(claim[0].contains("deprecated since v1.8"), "{claim:?}");
        assert_eq!(warnings("networking.k8s.io", "Ingress", &old(INGRESS_CLASS)).len(), 1);
        assert_eq!(warnings("networking.k8s.io", "Ingress", &old("other")), [] as [&str; 0]);
    }
}
