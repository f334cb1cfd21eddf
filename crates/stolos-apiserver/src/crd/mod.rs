//! CustomResourceDefinitions: acceptance, publication, removal.
//!
//! The request handler calls [`default`] and [`validate`]. Afterwards the controller decides on the names, turns the
//! definition into [`resources`] and publishes them before it reports the definition as established.

mod controller;
mod conversion;
mod deprecation;
mod names;
mod resources;
mod status;
mod validate;

use serde_json::{Value, json};

pub(crate) use controller::Controller;
pub use conversion::Conversion;
pub use resources::resources;
pub use validate::validate;

/// Where the store keeps definitions.
pub const STORAGE: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Holds a definition until its objects are gone. It has to be added when deletion begins.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what a definition may leave out.
pub fn default(crd: &mut Value) {
    let spec = &mut crd["spec"];
    if !spec.is_object() {
        return;
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({ "strategy": "None" });
    }
    let names = &mut spec["names"];
    let Some(kind) = names["kind"].as_str().filter(|kind| !kind.is_empty()).map(str::to_owned)
    else {
        return;
    };
    if names["singular"].as_str().is_none_or(str::is_empty) {
        names["singular"] = json!(kind.to_lowercase());
    }
    if names["listKind"].as_str().is_none_or(str::is_empty) {
        names["listKind"] = json!(format!("{kind}List"));
    }
}

/// Returns the versions of a definition.
fn versions(crd: &Value) -> impl Iterator<Item = &Value> {
    crd["spec"]["versions"].as_array().into_iter().flatten()
}

/// Returns the name of the version that objects are stored in.
pub(crate) fn storage_version(crd: &Value) -> Option<&str> {
    versions(crd).find(|version| version["storage"] == true)?["name"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_conversion_are_defaulted() {
        let mut crd = json!({"spec": {"names": {"plural": "widgets", "kind": "Widget"}}});
        default(&mut crd);
        let want = json!({"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"});
        assert_eq!(crd["spec"]["names"], want);
        assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
        let before = crd.clone();
        default(&mut crd);
        assert_eq!(crd, before, "a second time changes nothing");
    }

    #[test]
    fn given_names_stay() {
        let names = json!({"plural": "w", "kind": "W", "singular": "one", "listKind": "Many"});
        let mut crd = json!({"spec": {"names": names}});
        default(&mut crd);
        assert_eq!(crd["spec"]["names"], names);
    }
}
