//! Hand-over from client-side apply: the annotation in which `kubectl apply` keeps what it applied.

use serde_json::Value;

use super::Manager;
use super::claim::applied;
use super::diff::Diff;
use super::set::FieldSet;
use super::view::View;

/// The manager that kubectl uses for server-side apply; only it hands over.
const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Bytes that all annotations of an object may have together, as in Kubernetes.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Returns the fields that `kubectl` may take from others without force: what it applied from the client, as far as
/// the object still has it.
pub(super) fn fields_to_take(view: View<'_>, live: &Value, manager: &Manager) -> Option<FieldSet> {
    if manager.name != KUBECTL {
        return None;
    }
    let last_applied: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last_applied.get("apiVersion").and_then(Value::as_str) != Some(&manager.api_version) {
        return None;
    }
    let mut fields = applied(view, &last_applied);
    let diff = Diff::between(view, Some(&last_applied), Some(live));
    for changed in [&diff.added, &diff.modified, &diff.removed] {
        fields.subtract(changed);
    }
    Some(fields)
}

/// Keeps the annotation up to date, so that a user can go back to client-side apply.
pub(super) fn refresh(object: &mut Value, config: &Value, manager: &Manager) {
    if !refreshes(object, manager) {
        return;
    }
    let mut config = config.clone();
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        let left = annotations.map(|annotations| {
            annotations.remove(ANNOTATION);
            annotations.len()
        });
        if left == Some(0) {
            metadata.remove("annotations");
        }
    }
    let annotations =
        object["metadata"]["annotations"].as_object_mut().expect("the annotation was found in it");
    annotations.insert(ANNOTATION.to_owned(), format!("{config}\n").into());
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.iter().map(size).sum::<usize>() > MAX_ANNOTATION_BYTES {
        annotations.insert(ANNOTATION.to_owned(), "".into());
    }
}

/// Returns whether applying as this manager keeps the annotation of the object up to date.
pub(super) fn refreshes(object: &Value, manager: &Manager) -> bool {
    manager.name == KUBECTL && annotation(object).is_some()
}

fn annotation(object: &Value) -> Option<&str> {
    let annotation = object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()?;
    (!annotation.is_empty()).then_some(annotation)
}
