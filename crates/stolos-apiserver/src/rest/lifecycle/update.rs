//! Updates: which part of the object a request may change, and what never changes.

use serde_json::{Value, json};

use crate::registry::Resource;
use crate::rest::lifecycle::create::{
    label_namespace, set_template_generation, template_generation,
};
use crate::rest::meta;

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but what the status subresource owns.
    Main,
    /// `/status`.
    Status,
    /// Everything, for subresources that compute the next state themselves.
    Whole,
    /// `/finalize` of namespaces: `spec.finalizers` alone.
    Finalize,
    /// `/approval` of certificate signing requests: `status.conditions` alone.
    Approval,
}

/// Metadata that an update never changes.
const FIXED: [&str; 6] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "selfLink",
    "uid",
];

/// Makes what a client sent the next state of `current`: only the written part differs, and the generation counts
/// changes of the desired state.
pub(crate) fn prepare_update(resource: &Resource, part: Part, current: &Value, new: &mut Value) {
    for field in FIXED {
        meta::copy(current, new, field);
    }
    for field in ["name", "namespace"] {
        meta::copy(current, new, field);
    }
    match part {
        Part::Main => restore_what_subresources_own(resource, current, new),
        Part::Whole => {}
        Part::Status | Part::Approval => *new = with_status_of(resource, current, new),
        Part::Finalize => *new = with_finalizers_of(current, new),
    }
    if resource.generation.counts()
        && part == Part::Main
        && desired_state_differs(resource, current, new)
    {
        let generation = current["metadata"]["generation"].as_i64().unwrap_or(0);
        meta::of(new).insert("generation".to_owned(), (generation + 1).into());
    }
}

fn restore_what_subresources_own(resource: &Resource, current: &Value, new: &mut Value) {
    if resource.status_subresource {
        restore(current, new, "status");
    }
    if !resource.custom && resource.storage.as_ref() == "daemonsets.apps" {
        let changed = new["spec"]["template"] != current["spec"]["template"];
        set_template_generation(new, template_generation(current) + i64::from(changed));
    }
    if !resource.custom && resource.storage.as_ref() == "namespaces" {
        // The finalizers are all there is in a namespace's spec, and `/finalize` writes them.
        restore(current, new, "spec");
        label_namespace(new);
    }
}

/// Tells whether this update completes a deletion: nothing holds the object any more.
#[must_use]
pub(crate) fn ends_deletion(resource: &Resource, current: &Value, new: &Value) -> bool {
    let grace = &current["metadata"]["deletionGracePeriodSeconds"];
    let released = meta::is_deleting(current) && meta::finalizers(new).is_empty();
    let held_by_spec = !resource.custom
        && resource.storage.as_ref() == "namespaces"
        && new["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    released && !held_by_spec && (grace.is_null() || *grace == 0)
}

fn restore(current: &Value, new: &mut Value, field: &str) {
    let Some(fields) = new.as_object_mut() else { return };
    match current.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}

fn with_status_of(resource: &Resource, current: &Value, new: &mut Value) -> Value {
    let mut next = current.clone();
    restore(new, &mut next, "status");
    meta::copy(new, &mut next, "managedFields");
    meta::copy(new, &mut next, "resourceVersion");
    if !resource.custom {
        // Tools annotate pods and nodes together with their status, so upstream lets annotations pass.
        meta::copy(new, &mut next, "annotations");
    }
    next
}

fn with_finalizers_of(current: &Value, new: &mut Value) -> Value {
    let mut next = current.clone();
    let finalizers = new["spec"]["finalizers"].take();
    if !next["spec"].is_object() {
        next["spec"] = json!({});
    }
    match finalizers {
        Value::Array(list) if !list.is_empty() => next["spec"]["finalizers"] = Value::Array(list),
        _ => {
            next["spec"].as_object_mut().expect("made an object above").remove("finalizers");
        }
    }
    next
}

/// Compares everything outside metadata, and outside status where status has its own subresource.
fn desired_state_differs(resource: &Resource, current: &Value, new: &Value) -> bool {
    let counts =
        |field: &str| field != "metadata" && !(field == "status" && ignores_status(resource));
    let fields = |object: &Value| -> Vec<(String, Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| counts(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    fields(current) != fields(new)
}

fn ignores_status(resource: &Resource) -> bool {
    !resource.custom || resource.status_subresource
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn deployments() -> std::sync::Arc<Resource> {
        Registry::builtin().resource("apps", "v1", "deployments").unwrap()
    }

    fn live() -> Value {
        json!({
            "metadata": {"name": "a", "uid": "u", "generation": 2, "creationTimestamp": "t", "labels": {"l": "1"}},
            "spec": {"replicas": 1},
            "status": {"replicas": 1},
        })
    }

    #[test]
    fn the_main_part_cannot_write_status_nor_server_fields() {
        let mut new = live();
        new["metadata"] = json!({"name": "a", "uid": "other", "generation": 9});
        new["status"]["replicas"] = json!(5);
        prepare_update(&deployments(), Part::Main, &live(), &mut new);
        assert_eq!(new["status"]["replicas"], 1);
        assert_eq!(new["metadata"]["uid"], "u");
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn generation_counts_changes_of_the_desired_state_only() {
        let mut new = live();
        new["spec"]["replicas"] = json!(2);
        prepare_update(&deployments(), Part::Main, &live(), &mut new);
        assert_eq!(new["metadata"]["generation"], 3);

        let mut labelled = live();
        labelled["metadata"]["labels"] = json!({"l": "2"});
        prepare_update(&deployments(), Part::Main, &live(), &mut labelled);
        assert_eq!(labelled["metadata"]["generation"], 2);
        assert_eq!(labelled["metadata"]["labels"]["l"], "2");
    }

    #[test]
    fn status_writes_leave_everything_else() {
        let mut new = live();
        new["spec"]["replicas"] = json!(7);
        new["status"]["replicas"] = json!(7);
        new["metadata"]["labels"] = json!({});
        new["metadata"]["annotations"] = json!({"seen": "yes"});
        prepare_update(&deployments(), Part::Status, &live(), &mut new);
        assert_eq!(new["spec"]["replicas"], 1);
        assert_eq!(new["status"]["replicas"], 7);
        assert_eq!(new["metadata"]["labels"]["l"], "1");
        assert_eq!(new["metadata"]["annotations"]["seen"], "yes");
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn removing_the_last_finalizer_of_a_deleting_object_removes_it() {
        let deleting = |finalizers: Value| json!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0, "finalizers": finalizers}});
        let before = deleting(json!(["a"]));
        assert!(ends_deletion(&deployments(), &before, &deleting(json!([]))));
        assert!(!ends_deletion(&deployments(), &before, &before));
        let graceful =
            json!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}});
        assert!(!ends_deletion(&deployments(), &graceful, &graceful));
    }

    #[test]
    fn a_namespace_is_held_by_its_spec_too() {
        let namespaces = Registry::builtin().resource("", "v1", "namespaces").unwrap();
        let held =
            json!({"metadata": {"deletionTimestamp": "t"}, "spec": {"finalizers": ["kubernetes"]}});
        let mut finalized = json!({"spec": {"finalizers": []}, "status": {"phase": "odd"}});
        prepare_update(&namespaces, Part::Finalize, &held, &mut finalized);
        assert!(!ends_deletion(&namespaces, &held, &held));
        assert!(ends_deletion(&namespaces, &held, &finalized));
        assert!(finalized.get("status").is_none());
    }
}
