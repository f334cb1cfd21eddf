//! Claims get the default storage class, ingresses the default ingress class.

use futures::future::BoxFuture;
use serde_json::Value;

use super::creates;
use crate::rest::admission::{Plugin, Request};
use crate::rest::meta;
use crate::status::ApiError;
use crate::store::{ClusterStore, ListOptions};

/// Fills in a class for objects that name none.
pub(super) struct DefaultClass {
    store: ClusterStore,
    /// What gets a class.
    resource: &'static str,
    /// Field of its spec that names the class.
    field: &'static str,
    /// Older ways to name one.
    annotation: &'static str,
    classes: &'static str,
    /// Annotations of the class for all.
    marks: &'static [&'static str],
}

impl DefaultClass {
    pub(super) fn of_storage(store: ClusterStore) -> Self {
        Self {
            store,
            resource: "persistentvolumeclaims",
            field: "storageClassName",
            annotation: "volume.beta.kubernetes.io/storage-class",
            classes: "storageclasses.storage.k8s.io",
            marks: &[
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ],
        }
    }

    pub(super) fn of_ingresses(store: ClusterStore) -> Self {
        Self {
            store,
            resource: "ingresses.networking.k8s.io",
            field: "ingressClassName",
            annotation: "kubernetes.io/ingress.class",
            classes: "ingressclasses.networking.k8s.io",
            marks: &["ingressclass.kubernetes.io/is-default-class"],
        }
    }

    fn fill(&self, object: &mut Value) -> bool {
        let names_one = !object["spec"][self.field].is_null()
            || object["metadata"]["annotations"].get(self.annotation).is_some();
        if names_one || !object["spec"].is_object() {
            return false;
        }
        let page = self.store.list(&self.classes.into(), &ListOptions::default());
        let classes = page.map(|page| page.items).unwrap_or_default();
        let classes: Vec<Value> = classes.iter().map(|class| class.object()).collect();
        let Some(name) = default_of(&classes, self.marks) else { return false };
        object["spec"][self.field] = name.into();
        true
    }
}

/// Returns the class for all: of several the youngest, and of those the first by name.
fn default_of<'a>(classes: &'a [Value], marks: &[&str]) -> Option<&'a str> {
    let is_default =
        |class: &&Value| marks.iter().any(|mark| class["metadata"]["annotations"][*mark] == "true");
    let rank = |class: &&Value| {
        let born = std::cmp::Reverse(meta::text(class, "creationTimestamp").to_owned());
        (born, meta::text(class, "name").to_owned())
    };
    classes.iter().filter(is_default).min_by_key(rank).map(|class| meta::text(class, "name"))
}

impl Plugin for DefaultClass {
    fn mutate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        let changed =
            creates(request, self.resource) && object.is_some_and(|object| self.fill(object));
        Box::pin(std::future::ready(Ok(changed)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_default_classes_the_youngest_counts() {
        let class = |name: &str, born: &str, default: &str| json!({"metadata": {"name": name, "creationTimestamp": born, "annotations": {"m": default}}});
        let classes = [
            class("old", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-02-01T00:00:00Z", "true"),
            class("a", "2026-02-01T00:00:00Z", "true"),
            class("no", "2026-03-01T00:00:00Z", "false"),
        ];
        assert_eq!(default_of(&classes, &["m"]), Some("a"));
        assert_eq!(default_of(&classes[3..], &["m"]), None);
    }
}
