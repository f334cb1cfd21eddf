//! `/scale`: the replicas of an object behind one shape, `autoscaling/v1 Scale`.

use serde_json::{Value, json};

use crate::patch::{self, PatchError};
use crate::registry::{Resource, Scale};
use crate::rest::meta;
use crate::selector::LabelSelector;
use crate::status::{ApiError, Cause};

const API_VERSION: &str = "autoscaling/v1";

/// A change of a Scale.
#[derive(Clone, Debug)]
pub(crate) enum ScaleEdit {
    Replace(Value),
    JsonPatch(Value),
    MergePatch(Value),
}

/// Shows an object as a Scale.
#[must_use]
pub(crate) fn scale_of(paths: &Scale, object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let spec = match number(&paths.spec_replicas) {
        0 => json!({}),
        replicas => json!({ "replicas": replicas }),
    };
    let mut scale = json!({
        "apiVersion": API_VERSION,
        "kind": "Scale",
        "metadata": metadata,
        "spec": spec,
        "status": { "replicas": number(&paths.status_replicas) },
    });
    let selector =
        paths.label_selector.as_deref().and_then(|path| at(object, path)).and_then(selector_text);
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// Returns what applying a Scale says about the object itself.
pub(crate) fn config_of(paths: &Scale, resource: &Resource, scale: &Value) -> Value {
    let mut config = json!({
        "apiVersion": resource.group_version.to_string(),
        "kind": resource.kind,
        "metadata": scale["metadata"],
    });
    if let Some(replicas) = scale["spec"].get("replicas") {
        set(&mut config, &paths.spec_replicas, replicas.clone());
    }
    config
}

impl ScaleEdit {
    /// Returns the object with the wished number of replicas; the Scale's resourceVersion and uid go along, so that they
    /// are checked like those of a PUT.
    pub(crate) fn apply(&self, paths: &Scale, live: &Value) -> Result<Value, ApiError> {
        let mut scale = scale_of(paths, live);
        match self {
            Self::Replace(body) => scale = body.clone(),
            Self::JsonPatch(operations) => {
                patch::json(&mut scale, operations).map_err(|error| failed(&error))?
            }
            Self::MergePatch(changes) => patch::merge(&mut scale, changes),
        }
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let cause = Cause {
                reason: "FieldValueInvalid".into(),
                message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
                field: "spec.replicas".into(),
            };
            return Err(ApiError::invalid(
                "autoscaling",
                "Scale",
                meta::text(live, "name"),
                vec![cause],
            ));
        }
        let mut object = live.clone();
        set(&mut object, &paths.spec_replicas, replicas.into());
        for field in ["resourceVersion", "uid", "name", "namespace"] {
            let value = meta::text(&scale, field);
            if !value.is_empty() {
                meta::of(&mut object).insert(field.to_owned(), value.into());
            }
        }
        Ok(object)
    }
}

fn failed(error: &PatchError) -> ApiError {
    ApiError::bad_request(error.to_string())
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, field| value.get(field))
}

/// Takes the wished replicas from a Scale that admission may have changed.
pub(crate) fn set_replicas(paths: &Scale, object: &mut Value, replicas: &Value) {
    let current = at(object, &paths.spec_replicas).and_then(Value::as_i64).unwrap_or(0);
    if let Some(replicas) = replicas.as_i64().filter(|replicas| *replicas != current) {
        set(object, &paths.spec_replicas, replicas.into());
    }
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut node = object;
    for field in path.trim_start_matches('.').split('.') {
        if !node.is_object() {
            *node = json!({});
        }
        node = &mut node[field];
    }
    *node = value;
}

/// Writes a selector as text, whichever of its three forms the object uses.
fn selector_text(selector: &Value) -> Option<String> {
    if let Some(text) = selector.as_str() {
        return Some(text.to_owned());
    }
    let structured =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let selector = if structured { selector.clone() } else { json!({ "matchLabels": selector }) };
    LabelSelector::from_object(&selector).ok().flatten().map(|selector| selector.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Scale {
        Scale {
            spec_replicas: "spec.replicas".into(),
            status_replicas: "status.replicas".into(),
            label_selector: Some("spec.selector".into()),
        }
    }

    fn live() -> Value {
        json!({
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "y"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": 1},
        })
    }

    #[test]
    fn a_scale_shows_replicas_and_selector() {
        let scale = scale_of(&paths(), &live());
        assert_eq!(scale["spec"]["replicas"], 2);
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=web"}));
        assert_eq!(scale["metadata"], json!({"name": "a", "resourceVersion": "7"}));
    }

    #[test]
    fn scaling_changes_replicas_alone_and_carries_the_version() {
        let edit = ScaleEdit::MergePatch(
            json!({"spec": {"replicas": 5}, "metadata": {"resourceVersion": "6"}}),
        );
        let object = edit.apply(&paths(), &live()).unwrap();
        assert_eq!(object["spec"]["replicas"], 5);
        assert_eq!(object["metadata"]["resourceVersion"], "6");
        assert_eq!(object["metadata"]["labels"], json!({"x": "y"}));
    }

    #[test]
    fn negative_replicas_are_invalid() {
        let edit = ScaleEdit::MergePatch(json!({"spec": {"replicas": -1}}));
        assert_eq!(edit.apply(&paths(), &live()).unwrap_err().reason, "Invalid");
    }
}
